//! The subject of the tokio host: its public client.

use core::fmt::{self, Write};
use core::time::Duration;
use std::borrow::ToOwned;
use std::collections::HashMap;
use std::env;
use std::string::String;
use std::time::Instant;
use std::vec::Vec;

use redis_entraid::error::{Kind, Outcome};
use redis_entraid::source::{ManagedIdentity, Selector};
use redis_entraid::{Arg, Builder, Client, Error, Protocol, Roots};

use crate::{Options, Subject, commands, words, write_error, write_value};

/// What this subject can do, in the words of the cases.
pub const HAS: &[&str] = &["long-lived", "resp2", "resp3", "sources", "tls", "types"];

/// The variables that tell it where the emulator is.
pub type Environment = HashMap<String, String>;

/// Clients by name.
#[derive(Debug)]
pub struct Clients {
    environment: Environment,
    clients: HashMap<String, Client>,
}

impl Clients {
    /// A subject without clients yet.
    pub fn new(environment: Environment) -> Self {
        Self { environment, clients: HashMap::new() }
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
            Err(error) => write(&error, answer),
        }
    }

    async fn send(&mut self, name: &str, text: &str, answer: &mut dyn Write) -> fmt::Result {
        let Some(client) = self.clients.get_mut(name) else {
            return answer.write_str("err no such client");
        };
        let commands: Vec<([Arg<'_>; 16], usize)> = commands(text).map(words).collect();
        let sent = client.pipeline(commands.iter().map(|(args, len)| &args[..*len])).await;
        let replies = match sent {
            Ok(replies) => replies,
            Err(error) => return write(&error, answer),
        };
        for (at, reply) in replies.enumerate() {
            answer.write_str(if at == 0 { "" } else { " | " })?;
            match reply {
                Ok(value) => {
                    if at == 0 {
                        answer.write_str("ok ")?;
                    }
                    write_value(value, answer)?;
                }
                Err(error) => write(&error, answer)?,
            }
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        name: &str,
        what: &str,
        count: u32,
        patience: Duration,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let Some(client) = self.clients.get(name) else {
            return answer.write_str("err no such client");
        };
        let start = Instant::now();
        while start.elapsed() < patience {
            let health = client.health();
            let happened = match what {
                "reauth" => health.reauths,
                "reconnect" => health.reconnects,
                "refresh" => health.token.refreshes.saturating_sub(1),
                _ => return answer.write_str("err nothing to wait for"),
            };
            if happened >= count {
                return answer.write_str("ok");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        answer.write_str("err timeout")
    }

    async fn close(&mut self, name: &str, answer: &mut dyn Write) -> fmt::Result {
        self.clients.remove(name);
        answer.write_str("ok")
    }
}

fn write(error: &Error, answer: &mut dyn Write) -> fmt::Result {
    let kind = match error.kind() {
        Kind::Usage => "usage",
        Kind::Token => "token",
        Kind::Connect => "connect",
        Kind::Rejected => "rejected",
        Kind::Server => "server",
        Kind::Lost => "lost",
        _ => "other",
    };
    let outcome = match error.outcome() {
        Outcome::NotSent => "NotSent",
        _ => "Unknown",
    };
    write_error(error.code(), kind, outcome, answer)
}
