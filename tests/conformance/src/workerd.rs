//! Workers in a real workerd. `WORKERD` and `ESBUILD` name the programs, and `JS_PROJECT` the folder
//! where the npm package is installed: `cargo xtask test javascript` sees to that.

use std::format;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::string::{String, ToString};

use amr_emulator::Emulator;

use crate::case::environment;

/// No Worker is served longer, in seconds.
const LIMIT: &str = "600";

/// A Worker that is served.
#[derive(Debug)]
pub struct Workerd {
    guest: Child,
    /// Where, on this machine.
    pub port: u16,
}

impl Drop for Workerd {
    fn drop(&mut self) {
        // Through `timeout`, which passes it on.
        let _ = Command::new("kill").arg(self.guest.id().to_string()).status();
        let _ = self.guest.wait();
    }
}

/// What one of the variables above says.
///
/// # Panics
/// If it isn't set.
pub fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")).into()
}

impl Workerd {
    /// Serves the `program` of the project, bundled into `folder` as the tools of Workers do it. It
    /// trusts the root of `emulator`, and is told `variables` about it.
    ///
    /// # Panics
    /// If that can't be had.
    pub fn serve(program: &str, folder: &Path, emulator: &Emulator, variables: &[&str]) -> Self {
        std::fs::create_dir_all(folder).expect("it can be made");
        bundle(program, folder);
        std::fs::copy(variable("JS_PROJECT").join("kv.mjs"), folder.join("kv.mjs"))
            .expect("it can be copied");
        std::fs::write(folder.join("ca.pem"), emulator.root_pem()).expect("it can be written");
        std::fs::write(folder.join("workerd.capnp"), config(variables)).expect("it can be written");
        let mut command = Command::new("timeout");
        command.current_dir(folder).arg(LIMIT).arg(variable("WORKERD"));
        command.args(["serve", "workerd.capnp", "--control-fd=1"]).envs(environment(emulator));
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut guest = command.spawn().expect("it is there");
        let mut said = BufReader::new(guest.stdout.take().expect("it is piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it is text");
        let port = line
            .split_once("\"port\":")
            .and_then(|(_, port)| port.trim_end().trim_end_matches('}').parse().ok());
        // What it says from here on is for people, and it must be able to.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stderr()));
        Self { guest, port: port.unwrap_or_else(|| panic!("workerd doesn't start: {line}")) }
    }
}

fn bundle(program: &str, folder: &Path) {
    let mut command = Command::new(variable("ESBUILD"));
    command.current_dir(variable("JS_PROJECT")).arg(program);
    command.args(["--bundle", "--format=esm", "--conditions=workerd", "--log-level=warning"]);
    command.args(["--external:cloudflare:*", "--loader:.wasm=copy", "--asset-names=[name]"]);
    command.arg("--entry-names=index").arg(format!("--outdir={}", folder.display()));
    assert!(command.status().expect("it is there").success(), "{program} can't be bundled");
}

/// What workerd is told: the Worker, with the emulator's root for its sockets and its `fetch`.
fn config(variables: &[&str]) -> String {
    let mut bindings = String::new();
    for name in variables {
        bindings += &format!("(name = \"{name}\", fromEnvironment = \"{name}\"), ");
    }
    let key = "00112233445566778899aabbccddeeff".repeat(2);
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "kv", worker = .kv),
    (name = "internet", network = (
      allow = ["public", "private", "local"],
      tlsOptions = (trustBrowserCas = false, trustedCertificates = [embed "ca.pem"]))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const kv :Workerd.Worker = (
  modules = [(name = "kv.mjs", esModule = embed "kv.mjs")],
  compatibilityDate = "2026-10-01");
const main :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "client.wasm", wasm = embed "client.wasm"),
  ],
  bindings = [
    {bindings}(name = "CACHE_KEY", text = "{key}"),
    (name = "TOKENS", kvNamespace = "kv"),
  ],
  compatibilityDate = "2026-10-01");
"#
    )
}
