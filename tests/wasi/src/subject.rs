//! The subject: the WASI host's public client.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::{self, Write};
use core::time::Duration;

use conformance::replies::{write_delivery, write_failure, write_replies};
use conformance::{Options, Subject, commands, words};
use redis_entraid_wasi::Error;
use redis_entraid_wasi::entraid_core::auth::Protocol;
use redis_entraid_wasi::entraid_core::command::Topic;
use redis_entraid_wasi::entraid_core::connection::{Idle, Replacement};
use redis_entraid_wasi::entraid_core::drive::timeout_at;
use redis_entraid_wasi::entraid_core::resp::Arg;
use redis_entraid_wasi::entraid_core::source::{ManagedIdentity, Selector};
use redis_entraid_wasi::entraid_core::time::{Clock, Timer};
use redis_entraid_wasi::{Builder, Client, HttpSource, Reactor, Roots, Subscriber, WasiClock};
use wasip2::cli::environment::get_environment;

/// Clients by name.
pub struct Clients {
    reactor: Reactor,
    environment: BTreeMap<String, String>,
    clients: BTreeMap<String, Client>,
    begun: BTreeMap<String, Rc<RefCell<Option<String>>>>,
    subscribers: BTreeMap<String, Subscriber>,
}

/// Where its tokens come from.
type Source = HttpSource<ManagedIdentity<String>>;

impl Clients {
    /// A subject without clients yet.
    pub fn new(reactor: Reactor) -> Self {
        let environment = get_environment().into_iter().collect();
        let (clients, begun, subscribers) = Default::default();
        Self { reactor, environment, clients, begun, subscribers }
    }

    fn var(&self, name: &str) -> String {
        self.environment.get(name).cloned().unwrap_or_default()
    }

    fn builder(&self, options: Options<'_>) -> Result<Builder<Source>, Error> {
        let source = options.get("source").unwrap_or("imds");
        let (source, id) = source.split_once('/').unwrap_or((source, "system"));
        let selector = match id {
            "client-id" => Selector::ClientId(self.var("EMULATOR_CLIENT_ID")),
            "object-id" => Selector::ObjectId(self.var("EMULATOR_OBJECT_ID")),
            "resource-id" => Selector::ResourceId(self.var("EMULATOR_RESOURCE_ID")),
            _ => Selector::System,
        };
        let source = match source {
            "app-service" => ManagedIdentity::app_service(
                self.var("IDENTITY_ENDPOINT"),
                self.var("IDENTITY_HEADER"),
                selector,
            ),
            _ => ManagedIdentity::imds_at(self.var("AZURE_POD_IDENTITY_AUTHORITY_HOST"), selector),
        };
        let port = self.var("REDIS_PORT").parse().unwrap_or(0);
        let roots = Roots::pem(self.var("REDIS_CA_PEM").as_bytes())?;
        let host = self.var("REDIS_HOSTNAME");
        let builder = Builder::new(&self.reactor, host).port(port).roots(roots);
        let mut builder = builder.http_source(source);
        if options.get("resp") == Some("2") {
            builder = builder.protocol(Protocol::Resp2);
        }
        if let Some(seconds) = options.get("idle").and_then(|text| text.parse().ok()) {
            builder = builder.idle(Idle::Keep(Duration::from_secs(seconds)));
        }
        if options.get("replacement") == Some("overlap") {
            builder = builder.replacement(Replacement::Overlap);
        }
        Ok(builder)
    }

    async fn open(&self, options: Options<'_>) -> Result<Client, Error> {
        let client = self.builder(options)?.connect().await?;
        // The cases want to know whether the login was good.
        client.logged_in().await?;
        Ok(client)
    }
}

impl Subject for Clients {
    async fn connect(
        &mut self,
        name: &str,
        options: Options<'_>,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        match self.open(options).await {
            Ok(client) => {
                self.clients.insert(name.to_owned(), client);
                answer.write_str("ok")
            }
            Err(error) => write_failure(&error, answer),
        }
    }

    async fn send(&mut self, name: &str, text: &str, answer: &mut dyn Write) -> fmt::Result {
        match self.clients.get_mut(name) {
            Some(client) => send(client, text, answer).await,
            None => answer.write_str("err no such client"),
        }
    }

    async fn leave(
        &mut self,
        name: &str,
        patience: Duration,
        text: &str,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let timer = WasiClock::new(self.reactor.clone());
        let mut said = String::new();
        let sending = self.send(name, text, &mut said);
        match timeout_at(&timer, timer.now().plus(patience), sending).await {
            Some(sent) => sent.and(answer.write_str(&said)),
            None => answer.write_str("gone"),
        }
    }

    async fn begin(&mut self, name: &str, text: &str, answer: &mut dyn Write) -> fmt::Result {
        let Some(client) = self.clients.get(name) else {
            return answer.write_str("err no such client");
        };
        let (mut client, text) = (client.clone(), text.to_owned());
        let begun = Rc::new(RefCell::new(None));
        self.begun.insert(name.to_owned(), begun.clone());
        self.reactor.spawn(async move {
            let mut answer = String::new();
            // A String is never full.
            let _ = send(&mut client, &text, &mut answer).await;
            *begun.borrow_mut() = Some(answer);
        });
        answer.write_str("ok")
    }

    async fn end(&mut self, name: &str, answer: &mut dyn Write) -> fmt::Result {
        let Some(begun) = self.begun.remove(name) else {
            return answer.write_str("err nothing was begun");
        };
        let timer = WasiClock::new(self.reactor.clone());
        loop {
            if let Some(said) = begun.borrow_mut().take() {
                return answer.write_str(&said);
            }
            timer.sleep_until(timer.now().plus(LOOK)).await;
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
            let subscriber = self.builder(options)?.subscriber().await?;
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
        let Some(subscriber) = self.subscribers.get(name) else {
            return answer.write_str("err no such subscriber");
        };
        let timer = WasiClock::new(self.reactor.clone());
        let until = timer.now().plus(Duration::from_secs(30));
        match timeout_at(&timer, until, subscriber.next()).await {
            Some(heard) => write_delivery(heard, answer),
            None => answer.write_str("err timeout"),
        }
    }

    async fn wait(
        &mut self,
        name: &str,
        what: &str,
        count: u32,
        patience: Duration,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let timer = WasiClock::new(self.reactor.clone());
        let until = timer.now().plus(patience);
        loop {
            let health = match (self.clients.get(name), self.subscribers.get(name)) {
                (Some(client), _) => client.health(),
                (_, Some(subscriber)) => subscriber.health(),
                _ => return answer.write_str("err no such client"),
            };
            let times = match what {
                "reauth" => health.reauths,
                "reconnect" => health.reconnects,
                "refresh" => health.token.refreshes.saturating_sub(1),
                "down" => u32::from(health.connection.is_none()),
                "unready" => u32::from(!health.is_ready()),
                "lingering" => u32::try_from(self.reactor.lingering()).unwrap_or(u32::MAX),
                "nothing-lingers" => u32::from(self.reactor.lingering() == 0),
                _ => return answer.write_str("err nothing to wait for"),
            };
            if times >= count {
                return answer.write_str("ok");
            }
            if timer.now() >= until {
                return answer.write_str("err timeout");
            }
            timer.sleep_until(timer.now().plus(LOOK)).await;
        }
    }

    async fn close(&mut self, name: &str, answer: &mut dyn Write) -> fmt::Result {
        self.clients.remove(name);
        self.subscribers.remove(name);
        answer.write_str("ok")
    }
}

/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);

async fn send(client: &mut Client, text: &str, answer: &mut dyn Write) -> fmt::Result {
    let commands: Vec<([Arg<'_>; 16], usize)> = commands(text).map(words).collect();
    let sent = match &commands[..] {
        // One command is sent as one: that may be sliced.
        [(args, len)] => client.command(&args[..*len]).await.map(|_| 1),
        all => client.pipeline(all.iter().map(|(args, len)| &args[..*len])).await,
    };
    match sent {
        Ok(count) => write_replies((0..count).map(|at| client.reply(at)), answer),
        Err(error) => write_failure(&error, answer),
    }
}
