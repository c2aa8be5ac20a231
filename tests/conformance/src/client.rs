//! The subject of the tokio host: its public client.

use core::fmt::{self, Write};
use core::time::Duration;
use std::borrow::ToOwned;
use std::collections::HashMap;
use std::env;
use std::string::String;
use std::time::Instant;
use std::vec::Vec;

use redis_entraid::source::{ManagedIdentity, Selector};
use redis_entraid::{
    Arg, Builder, Client, Error, Idle, Protocol, Replacement, Roots, Subscriber, Topic,
};

use crate::replies::{write_delivery, write_failure, write_replies};
use crate::{Options, Subject, commands, words};

/// What this subject can do, in the words of the cases: all that there is.
pub const HAS: &[&str] = &[
    "begin",
    "idle",
    "large",
    "leave",
    "lingering",
    "long-lived",
    "moved",
    "peer",
    "pipeline",
    "principal",
    "readiness",
    "records",
    "repeats",
    "resp2",
    "resp3",
    "second-look",
    "slices",
    "sources",
    "subscribe",
    "subscribe-resp2",
    "tls",
    "tls-reason",
    "transactions",
    "types",
];

/// The variables that tell it where the emulator is.
pub type Environment = HashMap<String, String>;

/// Clients by name.
#[derive(Debug)]
pub struct Clients {
    environment: Environment,
    clients: HashMap<String, Client>,
    begun: HashMap<String, tokio::task::JoinHandle<String>>,
    subscribers: HashMap<String, Subscriber>,
}

impl Clients {
    /// A subject without clients yet.
    pub fn new(environment: Environment) -> Self {
        let (clients, begun, subscribers) = Default::default();
        Self { environment, clients, begun, subscribers }
    }

    /// The same, with the variables of this process.
    pub fn from_env() -> Self {
        Self::new(env::vars().collect())
    }

    fn var(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn builder(&self, options: Options<'_>) -> Result<Builder, Error> {
        let source = options.get("source").unwrap_or("principal");
        let (source, id) = source.split_once('/').unwrap_or((source, "system"));
        let user = |name| self.var(name).unwrap_or_default();
        let selector = match id {
            "client-id" => Selector::ClientId(user("EMULATOR_CLIENT_ID")),
            "object-id" => Selector::ObjectId(user("EMULATOR_OBJECT_ID")),
            "resource-id" => Selector::ResourceId(user("EMULATOR_RESOURCE_ID")),
            _ => Selector::System,
        };
        let mut builder = Client::from_variables(|name| self.var(name))?;
        builder = match source {
            "imds" => {
                let base = user("AZURE_POD_IDENTITY_AUTHORITY_HOST");
                builder.source(ManagedIdentity::imds_at(base, selector))
            }
            "app-service" => builder.source(ManagedIdentity::app_service(
                user("IDENTITY_ENDPOINT"),
                user("IDENTITY_HEADER"),
                selector,
            )),
            _ => builder,
        };
        if options.get("resp") == Some("2") {
            builder = builder.protocol(Protocol::Resp2);
        }
        if options.get("replacement") == Some("overlap") {
            builder = builder.replacement(Replacement::Overlap);
        }
        if let Some(seconds) = options.get("idle").and_then(|text| text.parse().ok()) {
            builder = builder.idle(Idle::Keep(Duration::from_secs(seconds)));
        }
        let pem = std::fs::read(user("SSL_CERT_FILE")).unwrap_or_default();
        Ok(builder.roots(Roots::pem(&pem)?))
    }
}

impl Subject for Clients {
    async fn connect(
        &mut self,
        name: &str,
        options: Options<'_>,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let connected = match self.builder(options) {
            Ok(builder) => builder.connect().await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(client) => {
                self.clients.insert(name.to_owned(), client);
                answer.write_str("ok")
            }
            Err(error) => write_failure(&error, answer),
        }
    }

    async fn send(&mut self, name: &str, text: &str, answer: &mut dyn Write) -> fmt::Result {
        let Some(client) = self.clients.get_mut(name) else {
            return answer.write_str("err no such client");
        };
        send(client, text, answer).await
    }

    async fn leave(
        &mut self,
        name: &str,
        patience: Duration,
        text: &str,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let mut said = String::new();
        let sending = self.send(name, text, &mut said);
        match tokio::time::timeout(patience, sending).await {
            Ok(sent) => sent.and(answer.write_str(&said)),
            Err(_) => answer.write_str("gone"),
        }
    }

    async fn begin(&mut self, name: &str, text: &str, answer: &mut dyn Write) -> fmt::Result {
        let Some(client) = self.clients.get(name) else {
            return answer.write_str("err no such client");
        };
        let (mut client, text) = (client.clone(), text.to_owned());
        let begun = tokio::spawn(async move {
            let mut answer = String::new();
            let words: ([Arg<'_>; 16], usize) = words(&text);
            let reply = client.command(&words.0[..words.1]).await;
            // A String is never full.
            let _ = write_replies(std::iter::once(reply), &mut answer);
            answer
        });
        self.begun.insert(name.to_owned(), begun);
        answer.write_str("ok")
    }

    async fn end(&mut self, name: &str, answer: &mut dyn Write) -> fmt::Result {
        match self.begun.remove(name) {
            Some(begun) => answer.write_str(&begun.await.unwrap_or_default()),
            None => answer.write_str("err nothing was begun"),
        }
    }

    async fn subscribe(
        &mut self,
        name: &str,
        channel: &str,
        options: Options<'_>,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let subscribed = async {
            let mut subscriber = self.builder(options)?.subscriber().await?;
            subscriber.subscribe(Topic::Channel, [channel]).await?;
            Ok(subscriber)
        };
        match subscribed.await {
            Ok(subscriber) => {
                self.subscribers.insert(name.to_owned(), subscriber);
                answer.write_str("ok")
            }
            Err(error) => write_failure(&error, answer),
        }
    }

    async fn hear(&mut self, name: &str, answer: &mut dyn Write) -> fmt::Result {
        let Some(subscriber) = self.subscribers.get_mut(name) else {
            return answer.write_str("err no such subscriber");
        };
        let patience = Duration::from_secs(30);
        let Ok(heard) = tokio::time::timeout(patience, subscriber.next()).await else {
            return answer.write_str("err timeout");
        };
        write_delivery(heard, answer)
    }

    async fn wait(
        &mut self,
        name: &str,
        what: &str,
        count: u32,
        patience: Duration,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let happened = || {
            let health = match (self.clients.get(name), self.subscribers.get(name)) {
                (Some(client), _) => client.health(),
                (_, Some(subscriber)) => subscriber.health(),
                _ => return Err("err no such client"),
            };
            match what {
                "reauth" => Ok(health.reauths),
                "reconnect" => Ok(health.reconnects),
                "refresh" => Ok(health.token.refreshes.saturating_sub(1)),
                "down" => Ok(u32::from(health.connection.is_none())),
                "unready" => Ok(u32::from(!health.is_ready())),
                _ => Err("err nothing to wait for"),
            }
        };
        answer.write_str(happens(count, patience, happened).await)
    }

    async fn close(&mut self, name: &str, answer: &mut dyn Write) -> fmt::Result {
        self.clients.remove(name);
        self.subscribers.remove(name);
        answer.write_str("ok")
    }
}

async fn send(client: &mut Client, text: &str, answer: &mut dyn Write) -> fmt::Result {
    let commands: Vec<([Arg<'_>; 16], usize)> = commands(text).map(words).collect();
    // One command is sent as one: that may be redirected, or sliced.
    if let [(args, len)] = &commands[..] {
        let reply = client.command(&args[..*len]).await;
        return write_replies(std::iter::once(reply), answer);
    }
    match client.pipeline(commands.iter().map(|(args, len)| &args[..*len])).await {
        Ok(replies) => write_replies(replies, answer),
        Err(error) => write_failure(&error, answer),
    }
}

/// Waits until something has happened `count` times, and says how that went.
pub(crate) async fn happens(
    count: u32,
    patience: Duration,
    mut happened: impl FnMut() -> Result<u32, &'static str>,
) -> &'static str {
    let start = Instant::now();
    loop {
        match happened() {
            Err(error) => return error,
            Ok(times) if times >= count => return "ok",
            Ok(_) if start.elapsed() >= patience => return "err timeout",
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
