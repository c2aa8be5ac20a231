//! A server in this process that does what a test says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_entraid::entraid_core::resp::{Framer, Value};
use redis_entraid::entraid_core::transport::Endpoint;
use redis_entraid::error::ConnectError;
use redis_entraid::source::{AccessToken, FetchError, Request, StaticToken, TokenSource};
use redis_entraid::{Builder, Client, Connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

/// What comes of a command.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes.
    Raw(&'static str),
    /// These bytes, this much later.
    After(Duration, &'static str),
    /// The connection is cut.
    Cut,
}

/// One command that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// On which connection, the first being 0.
    pub(crate) connection: usize,
    pub(crate) command: String,
}

type Script = dyn Fn(&Heard) -> Option<Answer> + Send + Sync;

/// A server, and how to connect to it.
#[derive(Clone)]
pub(crate) struct Server {
    script: Arc<Script>,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// Where it was dialed: address, port and server name.
    dialed: Arc<Mutex<Vec<(String, u16, String)>>>,
}

impl Server {
    /// Answers as `script` says, and as a server would where it says nothing.
    pub(crate) fn new(script: impl Fn(&Heard) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), heard: Arc::default(), dialed: Arc::default() }
    }

    /// Begins a client of it, with a token that never ends.
    pub(crate) fn client(&self) -> Builder<Self> {
        Client::builder("here")
            .source(StaticToken::new("token").user("oid"))
            .connector(self.clone())
    }

    /// The commands that came, but for logins and introductions.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let heard = self.heard.lock().unwrap();
        let own = |heard: &&Heard| {
            !["HELLO", "CLIENT", "AUTH"].iter().any(|own| heard.command.starts_with(own))
        };
        heard.iter().filter(own).cloned().collect()
    }

    /// The same without the connections.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.command).collect()
    }

    pub(crate) fn dialed(&self) -> Vec<(String, u16, String)> {
        self.dialed.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.dialed.lock().unwrap().len()
    }

    async fn serve(self, mut stream: DuplexStream, connection: usize) -> Option<()> {
        let mut input = Vec::new();
        loop {
            let mut used = 0;
            while let Ok(framed) = Framer::new().feed(&input[used..])
                && framed.complete
            {
                let command = Value::new(&input[used..used + framed.used]).expect("it was framed");
                let words: Vec<_> = command.items().map(|word| word.str().unwrap_or("?")).collect();
                used += framed.used;
                let heard = Heard { connection, command: words.join(" ") };
                self.heard.lock().unwrap().push(heard.clone());
                let usual = match words[0] {
                    "HELLO" => "%1\r\n+proto\r\n:3\r\n",
                    "CLIENT" => "-ERR unknown subcommand\r\n",
                    _ => "+OK\r\n",
                };
                match (self.script)(&heard).unwrap_or(Answer::Raw(usual)) {
                    Answer::Raw(raw) => stream.write_all(raw.as_bytes()).await.ok()?,
                    Answer::After(time, raw) => {
                        sleep(time).await;
                        stream.write_all(raw.as_bytes()).await.ok()?;
                    }
                    Answer::Cut => return None,
                }
            }
            input.drain(..used);
            if stream.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
        }
    }
}

impl Connect for Server {
    type Stream = DuplexStream;

    async fn connect(&self, endpoint: Endpoint<'_>) -> Result<DuplexStream, ConnectError> {
        // It holds 4 KiB each way.
        let (near, far) = tokio::io::duplex(4096);
        let connection = {
            let mut dialed = self.dialed.lock().unwrap();
            let name = endpoint.server_name.to_owned();
            dialed.push((endpoint.address.to_owned(), endpoint.port, name));
            dialed.len() - 1
        };
        tokio::spawn(self.clone().serve(far, connection));
        Ok(near)
    }
}

/// A source that gives a new token each time, which lives for ten minutes.
#[derive(Debug, Default)]
pub(crate) struct Fresh(u32);

impl TokenSource for Fresh {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        self.0 += 1;
        let token = AccessToken::new(format!("token-{}", self.0)).user("oid");
        Ok(token.expires_in(Duration::from_secs(600)))
    }
}
