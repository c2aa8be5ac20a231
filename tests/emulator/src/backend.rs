//! The store behind the front: a real `redis-server`, or a small one of our own.

pub(crate) mod redis;
mod wire;

use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::Options;
use crate::builtin::Builtin;
use crate::cluster::servers::Servers;
use redis::{Redis, Settings};

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

impl Store {
    /// The `redis-server`, if it is one.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        match self {
            Self::Redis(program) => Some(program.clone()),
            Self::Any => in_path("redis-server"),
            Self::Builtin => None,
        }
    }
}

/// One store.
#[derive(Clone)]
pub(crate) enum Backend {
    Redis(Arc<Redis>),
    Builtin(Arc<Builtin>),
}

impl Backend {
    pub(crate) async fn start(store: &Store, folder: &Path) -> Result<Self> {
        match store.program() {
            Some(program) => {
                let redis = Redis::launch(Settings::new(program, folder))?;
                redis.wait().await?;
                Ok(Self::Redis(Arc::new(redis)))
            }
            None => Ok(Self::Builtin(Arc::default())),
        }
    }

    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Box<dyn Stream>> {
        match self {
            Self::Redis(redis) => Ok(Box::new(UnixStream::connect(redis.socket()).await?)),
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
}

/// All that is behind the front.
pub(crate) enum Stores {
    /// One store, whatever the port.
    One(Backend),
    /// A cluster of real servers.
    Cluster(Servers),
}

impl Stores {
    pub(crate) async fn start(options: &Options, folder: &Path) -> Result<Self> {
        match options.cluster {
            None => Backend::start(&options.store, folder).await.map(Self::One),
            Some(cluster) => {
                Servers::start(&options.store, cluster, folder).await.map(Self::Cluster)
            }
        }
    }

    /// The store that a client reaches at `port` of the front.
    pub(crate) async fn behind(&self, port: u16) -> Result<Backend> {
        match self {
            Self::One(backend) => Ok(backend.clone()),
            Self::Cluster(servers) => Ok(Backend::Redis(servers.behind(port).await?)),
        }
    }

    pub(crate) const fn cluster(&self) -> Option<&Servers> {
        match self {
            Self::One(_) => None,
            Self::Cluster(servers) => Some(servers),
        }
    }

    /// What it is.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::One(Backend::Builtin(_)) => "a built-in store",
            Self::One(Backend::Redis(_)) => "redis-server",
            Self::Cluster(_) => "a cluster of redis-server",
        }
    }

    /// Ends all processes.
    pub(crate) fn kill(&self) {
        match self {
            Self::One(Backend::Builtin(_)) => {}
            Self::One(Backend::Redis(redis)) => redis.kill(),
            Self::Cluster(servers) => servers.kill(),
        }
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}
