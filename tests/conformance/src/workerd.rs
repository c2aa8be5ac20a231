//! Workers in a real workerd. `WORKERD` and `ESBUILD` name the programs, and `JS_PROJECT` the folder
//! where the npm package is installed: `cargo xtask test javascript` sees to that.

use std::format;
use std::path::Path;
use std::process::{Command, Stdio};
use std::string::String;

use amr_emulator::Emulator;

use crate::case::environment;
use crate::guest::{Guest, variable, within};

/// Serves the `program` of the project, bundled into `folder` as the tools of Workers do it, and says
/// at which port of this machine. It trusts the root of `emulator`, and is told `variables` about it.
///
/// # Panics
/// If that can't be had.
pub fn serve(
    program: &str,
    folder: &Path,
    emulator: &Emulator,
    variables: &[&str],
) -> (Guest, u16) {
    std::fs::create_dir_all(folder).expect("it can be made");
    bundle(program, folder);
    std::fs::copy(variable("JS_PROJECT").join("kv.mjs"), folder.join("kv.mjs"))
        .expect("it can be copied");
    std::fs::write(folder.join("ca.pem"), emulator.root_pem()).expect("it can be written");
    std::fs::write(folder.join("workerd.capnp"), config(folder, variables))
        .expect("it can be written");
    let mut command = within(600, variable("WORKERD"));
    command.current_dir(folder).args(["serve", "workerd.capnp", "--control-fd=1"]);
    command.envs(environment(emulator)).stdout(Stdio::piped());
    let mut guest = Guest::start(&mut command);
    let line = guest.line().expect("it says where it listens");
    let port = line
        .split_once("\"port\":")
        .and_then(|(_, port)| port.trim_end_matches('}').parse().ok())
        .unwrap_or_else(|| panic!("workerd doesn't start: {line}"));
    guest.pass_on();
    (guest, port)
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
fn config(folder: &Path, variables: &[&str]) -> String {
    let [mut bindings, mut modules] = [String::new(), String::new()];
    // A program has those that it uses.
    for name in ["client.wasm", "tokens.wasm"].iter().filter(|name| folder.join(name).exists()) {
        modules += &format!("(name = \"{name}\", wasm = embed \"{name}\"), ");
    }
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
    {modules}
  ],
  bindings = [
    {bindings}(name = "CACHE_KEY", text = "{key}"),
    (name = "TOKENS", kvNamespace = "kv"),
  ],
  compatibilityDate = "2026-10-01");
"#
    )
}
