//! Microsoft Entra ID and Azure Managed Redis on one machine, for tests and demonstrations.
//!
//! [`Emulator::start`] makes keys and certificates, opens ports on loopback - Entra's token endpoint
//! by HTTPS, the managed-identity endpoints by HTTP (Service Fabric's and the proxy of AKS identity
//! bindings by HTTPS with certificates of their own), and a Redis port by TLS - and puts a real
//! `redis-server` behind the last. The front demands `AUTH oid token`, checks the token as the
//! service does, and closes a connection when its token ends. [`faults`] go wrong on command, and
//! [`Emulator::requests`] has what clients have sent. [`Options::cluster`] puts a cluster of real
//! servers there instead, whose slots move and whose nodes come and go: see [`Cluster`].

mod amr;
mod backend;
mod builtin;
mod capture;
mod cluster;
mod counters;
mod entra;
mod environment;
pub mod faults;
mod http;
mod managed;
mod pki;
mod token;

use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use backend::Store;
pub use capture::Captured;
pub use cluster::{Cluster, ClusterOptions, Migration, Primary};
pub use counters::{Counts, Login, LoginKind, NodeCounts};
pub use entra::{Certificate, Entra, Identity};
pub use environment::Kind;
pub use pki::{Chain, Flaw, Pki};
use tokio::net::TcpListener;
use tokio::sync::watch;

use backend::{Backend, Stores};
use capture::Capture;
use cluster::rules::Rules;
use cluster::servers::Servers;
use counters::Counters;
use faults::{BadFault, Faults};
use http::Service;
use managed::arc::Keys;
use pki::endpoints::{Named, Pinned};

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long tokens live, in seconds.
    pub life: u64,
    /// The shape of the certificate chain.
    pub chain: Chain,
    /// What stores the keys.
    pub store: Store,
    /// How the keys are divided.
    pub policy: Policy,
    /// How many ports [`Policy::Oss`] divides the slots among: two or more.
    pub ports: usize,
    /// A cluster of real servers instead of one store: the OSS policy, whatever [`policy`](Self::policy)
    /// says. The store has to be a `redis-server`.
    pub cluster: Option<ClusterOptions>,
    /// How long each reply is on its way.
    pub latency: Duration,
    /// Where Azure Arc's keys are written, when somebody asks for one. Clients accept no other folder
    /// than the default, which only root can make.
    pub arc_folder: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        let (chain, store, policy) = (Chain::default(), Store::default(), Policy::default());
        let arc_folder = managed::arc::FOLDER.into();
        let latency = Duration::ZERO;
        Self { life: 3600, chain, store, policy, ports: 2, cluster: None, latency, arc_folder }
    }
}

/// The cluster policy of Azure Managed Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// One port for all keys.
    #[default]
    Enterprise,
    /// Two ports ([or more](Options::ports)) that share the slots of one store. They redirect to each
    /// other by address, and answer `CLUSTER SLOTS` and `CLUSTER KEYSLOT`.
    Oss,
}

struct Shared {
    entra: Entra,
    pki: Pki,
    stores: Stores,
    faults: Faults,
    counters: Counters,
    capture: Capture,
    keys: Keys,
    rules: Rules,
    latency: Duration,
    /// Each change cuts all connections to the Redis port.
    cuts: watch::Sender<u64>,
    /// Whether nobody listens at the Redis port.
    down: watch::Sender<bool>,
}

impl Shared {
    fn reset(&self) {
        self.faults.reset();
        self.counters.reset();
        self.capture.clear();
    }

    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// A running emulator. It ends when it is dropped.
pub struct Emulator {
    shared: Arc<Shared>,
    folder: Folder,
    runtime: Option<tokio::runtime::Runtime>,
    authority_port: u16,
    plain_port: u16,
    redis_port: u16,
    redis_plain_port: u16,
    fabric_port: u16,
    fabric_thumbprint: String,
    binding_port: u16,
    binding_name: String,
}

impl Emulator {
    /// Starts one.
    ///
    /// # Errors
    /// If keys can't be made, ports can't be opened, or the store doesn't start.
    pub fn start(options: &Options) -> Result<Self> {
        apart(|| Self::launch(options))
    }

    fn launch(options: &Options) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name("amr-emulator")
            .build()?;
        let folder = Folder::new()?;
        let pki = Pki::shared(options.chain)?;
        std::fs::write(folder.0.join("ca.pem"), &pki.root_pem)?;
        let listen = || runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let (authority, plain) = (listen()?, listen()?);
        let (redis, redis_plain) = (listen()?, listen()?);
        let (fabric, binding) = (listen()?, listen()?);
        let port = |listener: &TcpListener| Ok::<_, Error>(listener.local_addr()?.port());
        let (authority_port, plain_port) = (port(&authority)?, port(&plain)?);
        let (redis_port, redis_plain_port) = (port(&redis)?, port(&redis_plain)?);
        let (fabric_port, binding_port) = (port(&fabric)?, port(&binding)?);
        let binding_name = format!("{}.ests.aks.azure.test", entra::guid());
        let (pinned, named) = (Pinned::new()?, Named::new(&binding_name)?);
        let entra = Entra::new(options.life, &folder.0)?;
        std::fs::write(folder.0.join("certificate.pem"), &entra.certificate.pem)?;
        std::fs::write(folder.0.join("binding-ca.pem"), &named.root_pem)?;
        let more: Vec<TcpListener> = match (options.cluster, options.policy) {
            (None, Policy::Oss) => {
                (1..options.ports.max(2)).map(|_| listen()).collect::<Result<_>>()?
            }
            _ => Vec::new(),
        };
        let mut ports = more.iter().map(port).collect::<Result<Vec<_>>>()?;
        if !ports.is_empty() {
            ports.insert(0, redis_port);
        }
        let rules = match options.cluster {
            Some(cluster) => Rules::Servers { asking: cluster.asking },
            None => Rules::Ports(ports),
        };
        let shared = Arc::new(Shared {
            entra,
            pki,
            stores: runtime.block_on(Stores::start(options, &folder.0))?,
            faults: Faults::default(),
            counters: Counters::default(),
            capture: Capture::default(),
            keys: Keys::new(options.arc_folder.clone()),
            rules,
            latency: options.latency,
            cuts: watch::Sender::new(0),
            down: watch::Sender::new(false),
        });
        let base = format!("https://localhost:{authority_port}");
        let proxied = Service::Binding(base.clone());
        runtime.spawn(http::serve_tls(shared.clone(), binding, named.config, proxied));
        runtime.spawn(http::serve_tls(shared.clone(), fabric, pinned.config, Service::Fabric));
        runtime.spawn(http::serve_authority(shared.clone(), authority, base));
        runtime.spawn(http::serve_plain(shared.clone(), plain));
        let serve = |listener, tls, node| {
            runtime.spawn(amr::serve(shared.clone(), amr::Port { listener, tls, node }));
        };
        serve(redis, true, None);
        serve(redis_plain, false, None);
        more.into_iter().for_each(|listener| serve(listener, true, None));
        for node in shared.stores.cluster().map(Servers::nodes).unwrap_or_default() {
            if let Some(listener) = node.listener() {
                serve(listener, true, Some(node));
            }
        }
        Ok(Self {
            shared,
            folder,
            runtime: Some(runtime),
            authority_port,
            plain_port,
            redis_port,
            redis_plain_port,
            fabric_port,
            fabric_thumbprint: pinned.thumbprint,
            binding_port,
            binding_name,
        })
    }

    /// The directory: who may ask for tokens and log in.
    pub fn entra(&self) -> &Entra {
        &self.shared.entra
    }

    /// All tokens that it has given out: nobody may show them.
    ///
    /// # Panics
    /// If a thread did while it held them.
    pub fn tokens(&self) -> Vec<String> {
        self.entra().given_out.lock().expect("nobody panics with it").clone()
    }

    /// The root to trust, in PEM.
    pub fn root_pem(&self) -> &str {
        &self.shared.pki.root_pem
    }

    /// The same as a file.
    pub fn root_file(&self) -> PathBuf {
        self.folder.0.join("ca.pem")
    }

    /// The port of the emulated Redis, at `localhost`. Of a cluster it is the endpoint, which leads to
    /// any primary.
    pub fn redis_port(&self) -> u16 {
        self.redis_port
    }

    /// The same without TLS, which the service has only for logins with keys: for loops that
    /// bring their own TLS, or none.
    pub fn redis_plain_port(&self) -> u16 {
        self.redis_plain_port
    }

    /// `https://localhost:...`, the authority host.
    pub fn authority(&self) -> String {
        format!("https://localhost:{}", self.authority_port)
    }

    /// `http://localhost:...`, where the managed-identity endpoints are, and the commands.
    pub fn plain(&self) -> String {
        format!("http://localhost:{}", self.plain_port)
    }

    /// What keeps the keys.
    pub fn store(&self) -> &'static str {
        self.shared.stores.name()
    }

    /// Arms a [fault](faults).
    ///
    /// # Errors
    /// [`BadFault`] if the line is none.
    pub fn arm(&self, line: &str) -> std::result::Result<(), BadFault> {
        self.shared.faults.arm(line)
    }

    /// Forgets all faults.
    pub fn disarm(&self) {
        self.shared.faults.disarm();
    }

    /// All requests to the identity endpoints, the newest thousand.
    pub fn requests(&self) -> Vec<Captured> {
        self.shared.capture.all()
    }

    /// Forgets all faults, counts and requests.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Cuts all connections to the Redis port.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Takes the Redis port down for so long, as a server that restarts: connections are cut, and new
    /// ones are refused.
    pub fn down(&self, time: Duration) {
        self.shared.down.send_replace(true);
        if let Some(runtime) = &self.runtime {
            let shared = self.shared.clone();
            runtime.spawn(async move {
                tokio::time::sleep(time).await;
                shared.down.send_replace(false);
            });
        }
    }

    /// Kills the `redis-server` and starts it anew, empty. The small store has no such thing, nor has a
    /// cluster.
    ///
    /// # Errors
    /// If it doesn't start again.
    pub fn restart(&self) -> Result<()> {
        let Stores::One(Backend::Redis(redis)) = &self.shared.stores else { return Ok(()) };
        match &self.runtime {
            Some(runtime) => apart(|| runtime.block_on(redis.restart())),
            None => Ok(()),
        }
    }

    /// What was served so far.
    pub fn counts(&self) -> Counts {
        self.shared.counters.get()
    }

    /// What was served so far at one port of the Redis side.
    pub fn counts_at(&self, port: u16) -> NodeCounts {
        self.shared.counters.of(port)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.keys.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // A task may still hold it for a moment.
        self.shared.stores.kill();
    }
}

/// Does blocking `work` in a thread of its own, so that it can be asked for from anywhere.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| Err(Error::other("it panicked")))
}

/// A folder for one emulator, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("amr-emulator-{}", token::random_hex()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Emulator(localhost:{})", self.redis_port)
    }
}
