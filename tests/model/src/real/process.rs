//! A server's process, in a folder of its own; for a cluster, two.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Wire;

/// A running server.
#[derive(Debug)]
pub struct Process {
    /// The node that slots are moved to.
    second: Option<Box<Self>>,
    ids: (String, String),
    version: (u32, u32),
    child: Child,
    port: u16,
    folder: PathBuf,
}

const PASSWORD: &str = "the administrator's";

/// Nobody uses these ports, nor those of the cluster's bus.
fn free_port() -> Result<u16, String> {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let start = 20_000 + (std::process::id() % 300) as u16 * 50;
    for _ in 0..1000 {
        let offset = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = 20_000 + (start - 20_000 + offset) % 15_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return Ok(port);
        }
    }
    Err("there is no free port".into())
}

impl Process {
    pub(super) fn start(program: &Path, cluster: bool) -> Result<Self, String> {
        let mut first = Self::launch(program, cluster)?;
        if cluster {
            let second = Self::launch(program, cluster)?;
            let (mut wire, mut other) = (first.admin()?, second.admin()?);
            // `ADDSLOTSRANGE` is newer than the oldest of them.
            let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
            let slots = slots.iter().map(String::as_str);
            wire.ok(&["CLUSTER", "ADDSLOTS"].into_iter().chain(slots).collect::<Vec<_>>())?;
            wire.ok(&["CLUSTER", "MEET", "127.0.0.1", &second.port.to_string()])?;
            let id = |wire: &mut Wire| {
                let answer = wire.call(&["CLUSTER", "MYID"])?;
                let text = String::from_utf8_lossy(&answer).into_owned();
                Ok::<_, String>(text.lines().nth(1).unwrap_or_default().to_owned())
            };
            first.ids = (id(&mut wire)?, id(&mut other)?);
            until(|| {
                let nodes =
                    String::from_utf8_lossy(&wire.call(&["CLUSTER", "NODES"])?).into_owned();
                let info = String::from_utf8_lossy(&wire.call(&["CLUSTER", "INFO"])?).into_owned();
                let met = nodes
                    .lines()
                    .any(|line| line.starts_with(&first.ids.1) && !line.contains("handshake"));
                Ok(met && info.contains("cluster_state:ok"))
            })?;
            first.second = Some(Box::new(second));
        }
        Ok(first)
    }

    fn launch(program: &Path, cluster: bool) -> Result<Self, String> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("model-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let version = Command::new(program).arg("--version").output();
        let version = version.map_err(|error| format!("{}: {error}", program.display()))?.stdout;
        let version = String::from_utf8_lossy(&version).into_owned();
        let version = version.split(" v=").nth(1).unwrap_or_default();
        let mut numbers = version.split(['.', ' ']).map(|number| number.parse().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let mut command = Command::new(program);
        command.current_dir(&folder);
        for (name, value) in [
            ("port", port.to_string().as_str()),
            ("bind", "127.0.0.1"),
            ("save", ""),
            ("appendonly", "no"),
            ("logfile", "redis.log"),
            ("requirepass", PASSWORD),
            ("cluster-enabled", if cluster { "yes" } else { "no" }),
            ("cluster-require-full-coverage", "no"),
        ]
        .into_iter()
        .chain((major > 6).then_some(("enable-debug-command", "yes")))
        {
            command.arg(format!("--{name}")).arg(value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let process = Self {
            second: None,
            ids: Default::default(),
            version: (major, minor),
            child,
            port,
            folder,
        };
        until(|| Ok(process.admin().is_ok()))?;
        Ok(process)
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn connect(&self) -> Result<Wire, String> {
        Wire::connect(self.port)
    }

    /// Opens a connection of the administrator's.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn admin(&self) -> Result<Wire, String> {
        let mut wire = self.connect()?;
        wire.ok(&["AUTH", PASSWORD])?;
        Ok(wire)
    }

    pub(super) const fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The folder that it writes to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) const fn version(&self) -> (u32, u32) {
        self.version
    }

    pub(super) const fn is_cluster(&self) -> bool {
        self.second.is_some()
    }

    /// The names of the node and of the other one.
    pub fn ids(&self) -> (&str, &str) {
        (&self.ids.0, &self.ids.1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits until it is so.
fn until(mut is: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let patience = Instant::now() + Duration::from_secs(30);
    while !is()? {
        if Instant::now() > patience {
            return Err("it takes too long".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
