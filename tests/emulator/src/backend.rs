//! The store behind the front: a real `redis-server`, or a small one of our own.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::builtin::Builtin;
use crate::token::random_hex;

/// Something to read commands' replies from and write commands to.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Which store to use.
#[derive(Clone, Debug, Default)]
pub enum Store {
    /// The `redis-server` of the path if there is one, else the small one.
    #[default]
    Any,
    /// This `redis-server`.
    Redis(PathBuf),
    /// The small one: strings, counters, expiry, hashes, lists, sets, publish and subscribe.
    Builtin,
}

#[derive(Debug)]
pub(crate) enum Backend {
    Redis(Box<Redis>),
    Builtin(Arc<Builtin>),
}

impl Backend {
    pub(crate) async fn start(store: &Store, folder: &Path) -> Result<Self> {
        let program = match store {
            Store::Redis(program) => Some(program.clone()),
            Store::Any => in_path("redis-server"),
            Store::Builtin => None,
        };
        match program {
            Some(program) => {
                Redis::start(program, folder).await.map(|redis| Self::Redis(redis.into()))
            }
            None => Ok(Self::Builtin(Arc::default())),
        }
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Box<dyn Stream>> {
        match self {
            Self::Redis(redis) => Ok(Box::new(UnixStream::connect(&redis.socket).await?)),
            Self::Builtin(builtin) => {
                let (near, far) = tokio::io::duplex(1 << 16);
                tokio::spawn(builtin.clone().serve(far));
                Ok(Box::new(near))
            }
        }
    }

    /// Lets `user` log in with `token` from here on.
    pub(crate) async fn allow(&self, user: &str, token: &str) -> Result<()> {
        match self {
            Self::Redis(redis) => redis.allow(user, token).await,
            Self::Builtin(builtin) => {
                builtin.allow(user, token);
                Ok(())
            }
        }
    }

    /// What it is.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis-server",
            Self::Builtin(_) => "a built-in store",
        }
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A server that we started, reached by a socket in a folder of ours.
#[derive(Debug)]
pub(crate) struct Redis {
    process: std::sync::Mutex<Child>,
    program: PathBuf,
    folder: PathBuf,
    socket: PathBuf,
    password: String,
    admin: Mutex<Option<UnixStream>>,
    /// Who was allowed in. Held while the server is told, so that nobody logs in before it knows.
    accounts: Mutex<Vec<(String, String)>>,
}

impl Redis {
    async fn start(program: PathBuf, folder: &Path) -> Result<Self> {
        let socket = folder.join("redis.sock");
        let password = random_hex();
        let process = launch(&program, folder, &password)?;
        let redis = Self {
            process: process.into(),
            program,
            folder: folder.to_owned(),
            socket,
            password,
            admin: Mutex::default(),
            accounts: Mutex::default(),
        };
        redis.wait().await?;
        Ok(redis)
    }

    async fn wait(&self) -> Result<()> {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            match self.administer(&["PING"]).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > patience => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Kills the server and starts it anew, empty.
    pub(crate) async fn restart(&self) -> Result<()> {
        let accounts = self.accounts.lock().await;
        self.kill();
        let process = launch(&self.program, &self.folder, &self.password)?;
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

    async fn allow(&self, user: &str, token: &str) -> Result<()> {
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
        self.administer(&["ACL", "SETUSER", user, "on", &password, "~*", "&*", "+@all"]).await?;
        Ok(())
    }

    /// Sends a command as the default user, whose password nobody else has.
    async fn administer(&self, words: &[&str]) -> Result<()> {
        let mut admin = self.admin.lock().await;
        let stream = match &mut *admin {
            Some(stream) => stream,
            none => {
                let mut stream = UnixStream::connect(&self.socket).await?;
                exchange(&mut stream, &["AUTH", &self.password]).await?;
                none.insert(stream)
            }
        };
        let result = exchange(stream, words).await;
        if result.is_err() {
            *admin = None;
        }
        result
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(program: &Path, folder: &Path, password: &str) -> Result<Child> {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for (name, value) in [
        ("port", "0"),
        ("unixsocket", "redis.sock"),
        ("save", ""),
        ("appendonly", "no"),
        ("daemonize", "no"),
        ("logfile", "redis.log"),
        // So that who hasn't logged in hears NOAUTH.
        ("requirepass", password),
    ] {
        command.arg(format!("--{name}")).arg(value);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Error::new(error.kind(), format!("{}: {error}", program.display())))
}

/// Sends a command and expects a status.
async fn exchange(stream: &mut UnixStream, words: &[&str]) -> Result<()> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(command.as_bytes()).await?;
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n") {
        if stream.read_buf(&mut reply).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    match reply.first() {
        Some(b'+') => Ok(()),
        _ => Err(Error::other(format!("{}: {}", words[0], String::from_utf8_lossy(&reply).trim()))),
    }
}
