//! A `redis-server` that we started, reached by a socket in a folder of ours.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::wire::exchange;
use crate::token::random_hex;

/// What a server is started with.
#[derive(Clone)]
pub(crate) struct Settings {
    program: PathBuf,
    folder: PathBuf,
    /// The default user's, so that who hasn't logged in hears `NOAUTH`.
    pub(crate) password: String,
    /// What else its configuration says.
    pub(crate) more: Vec<(&'static str, String)>,
}

impl Settings {
    /// A server without a port.
    pub(crate) fn new(program: PathBuf, folder: &Path) -> Self {
        let (folder, password) = (folder.to_owned(), random_hex());
        Self { program, folder, password, more: vec![("port", "0".to_owned())] }
    }

    fn launch(&self) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder);
        for (name, value) in [
            ("unixsocket", "redis.sock"),
            ("save", ""),
            ("appendonly", "no"),
            ("daemonize", "no"),
            ("logfile", "redis.log"),
            ("requirepass", &self.password),
        ] {
            command.arg(format!("--{name}")).arg(value);
        }
        for (name, value) in &self.more {
            command.arg(format!("--{name}")).arg(value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(
            |error| Error::new(error.kind(), format!("{}: {error}", self.program.display())),
        )
    }
}

/// A running server. It ends when it is dropped.
pub(crate) struct Redis {
    process: Mutex<Child>,
    settings: Settings,
    admin: tokio::sync::Mutex<Option<UnixStream>>,
    /// Who was allowed in. Held while the server is told, so that nobody logs in before it knows.
    accounts: tokio::sync::Mutex<Vec<(String, String)>>,
}

impl Redis {
    /// Starts one, which takes a moment: see [`wait`](Self::wait).
    pub(crate) fn launch(settings: Settings) -> Result<Self> {
        let process = settings.launch()?.into();
        Ok(Self { process, settings, admin: Default::default(), accounts: Default::default() })
    }

    /// Where it is reached.
    pub(crate) fn socket(&self) -> PathBuf {
        self.settings.folder.join("redis.sock")
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// It ended, or takes more than a minute.
    pub(crate) async fn wait(&self) -> Result<()> {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.process.lock().expect("nobody panics with it").try_wait()? {
                let log = std::fs::read_to_string(self.settings.folder.join("redis.log"));
                let log = log.unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                return Err(Error::other(format!("redis-server ended ({status}): {last}")));
            }
            let Err(error) = self.ask(&["PING"]).await else { return Ok(()) };
            if Instant::now() > patience {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the server and starts it anew, empty.
    pub(crate) async fn restart(&self) -> Result<()> {
        let accounts = self.accounts.lock().await;
        self.kill();
        let process = self.settings.launch()?;
        *self.process.lock().expect("nobody panics with it") = process;
        *self.admin.lock().await = None;
        self.wait().await?;
        for (user, token) in &*accounts {
            self.set_user(user, token).await?;
        }
        Ok(())
    }

    /// Ends the server.
    pub(crate) fn kill(&self) {
        let mut process = self.process.lock().expect("nobody panics with it");
        let _ = process.kill();
        let _ = process.wait();
    }

    /// Lets `user` log in with `token` from here on.
    pub(crate) async fn allow(&self, user: &str, token: &str) -> Result<()> {
        let account = (user.to_owned(), token.to_owned());
        let mut accounts = self.accounts.lock().await;
        if !accounts.contains(&account) {
            self.set_user(user, token).await?;
            accounts.push(account);
        }
        Ok(())
    }

    async fn set_user(&self, user: &str, token: &str) -> Result<()> {
        let password = format!(">{token}");
        self.ask(&["ACL", "SETUSER", user, "on", &password, "~*", "&*", "+@all"]).await?;
        Ok(())
    }

    /// Sends a command as the default user, whose password nobody else has.
    pub(crate) async fn ask(&self, words: &[&str]) -> Result<Vec<u8>> {
        let words = words.iter().map(|word| word.as_bytes()).collect();
        let mut replies = self.ask_all(&[words]).await?;
        Ok(replies.pop().unwrap_or_default())
    }

    /// Sends commands, a few hundred in one go.
    ///
    /// # Errors
    /// What the server says against the first one that it refuses.
    pub(crate) async fn ask_all(&self, commands: &[Vec<&[u8]>]) -> Result<Vec<Vec<u8>>> {
        let mut replies = Vec::new();
        for flight in commands.chunks(256) {
            // For each anew, so that a login comes in between.
            let mut admin = self.admin.lock().await;
            // Taken out, so that one that is dropped halfway isn't used again.
            let mut stream = match admin.take() {
                Some(stream) => stream,
                None => self.log_in().await?,
            };
            replies.extend(exchange(&mut stream, flight).await?);
            *admin = Some(stream);
        }
        Ok(replies)
    }

    async fn log_in(&self) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(self.socket()).await?;
        let login = vec![&b"AUTH"[..], self.settings.password.as_bytes()];
        exchange(&mut stream, &[login]).await?;
        Ok(stream)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
