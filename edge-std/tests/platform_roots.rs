//! The platform's roots, which `SSL_CERT_FILE` names here: a pipe, which says when it is read, and
//! says everything once. The variable is a process's own, so that the test runs itself with it.
#![cfg(all(unix, feature = "http", feature = "tls"))]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use amr_emulator::{Chain, Emulator, Options, Store};
use redis_entraid::error::{ConfigError, ErrorKind};
use redis_entraid::{Client, Error, Roots, args};
use tokio::time::{sleep, timeout};

const RULE: &str = "the_platforms_roots_are_read_once_off_the_runtime_and_anew_when_asked";

/// No step takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_platforms_roots_are_read_once_off_the_runtime_and_anew_when_asked() {
    if env::var_os("INSIDE").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(inside(Path::new(&env::var_os("SSL_CERT_FILE").unwrap())));
    }
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("roots-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let pipe = folder.join("roots.pem");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("there is no mkfifo");
    assert!(made.success());
    let mut again = Command::new(env::current_exe().unwrap());
    again.args([RULE, "--exact", "--nocapture"]).env("INSIDE", "1").env("SSL_CERT_FILE", &pipe);
    let mut child = again.env_remove("SSL_CERT_DIR").spawn().unwrap();
    let start = Instant::now();
    let ended = loop {
        match child.try_wait().unwrap() {
            None if start.elapsed() < 3 * PATIENCE => thread::sleep(Duration::from_millis(10)),
            ended => break ended,
        }
    };
    // A read that nobody answers holds a runtime up that does it itself.
    let _ = child.kill();
    fs::remove_dir_all(folder).unwrap();
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

async fn inside(pipe: &Path) {
    let start = |chain| {
        let options = Options { chain, store: Store::Builtin, ..Options::default() };
        Emulator::start(&options).expect("the emulator starts")
    };
    let (emulator, other) = (start(Chain::Rsa), start(Chain::Ec));
    // One thread has all tasks, and is not held up by what reads the pipe.
    let first = tokio::spawn(connect(&emulator));
    for _ in 0..30 {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(!first.is_finished());
    say(pipe, emulator.root_pem());
    first.await.unwrap().unwrap();
    // Nobody writes to the pipe any more, and nobody reads it.
    connect(&emulator).await.unwrap();
    assert_eq!(refused(&other).await, ErrorKind::Token);
    // Whoever asks has other roots, with which who trusts the platform is at the other one.
    say(pipe, other.root_pem());
    timeout(PATIENCE, Roots::reload_platform()).await.unwrap().unwrap();
    connect(&other).await.unwrap();
    assert_eq!(refused(&emulator).await, ErrorKind::Token);
    // What can't be used changes nothing.
    say(pipe, "no certificate");
    let refused = timeout(PATIENCE, Roots::reload_platform()).await.unwrap();
    assert!(matches!(refused, Err(ConfigError::Roots(_))), "{refused:?}");
    connect(&other).await.unwrap();
}

/// Writes `text` to whoever reads next.
fn say(pipe: &Path, text: &str) {
    let (pipe, text) = (pipe.to_owned(), text.to_owned());
    thread::spawn(move || fs::write(pipe, text));
}

/// Logs in with a client that trusts the platform, as one does by default.
fn connect(emulator: &Emulator) -> impl Future<Output = Result<(), Error>> + use<> {
    connect_within(PATIENCE, emulator)
}

/// What it comes to that a server isn't trusted.
async fn refused(emulator: &Emulator) -> ErrorKind {
    connect_within(Duration::from_secs(1), emulator).await.unwrap_err().kind()
}

fn connect_within(
    limit: Duration,
    emulator: &Emulator,
) -> impl Future<Output = Result<(), Error>> + use<> {
    let environment = emulator.environment();
    async move {
        let find = |name: &str| environment.iter().find(|(known, _)| *known == name);
        let builder = Client::from_variables(|name| find(name).map(|(_, value)| value.clone()))?;
        let mut client = builder.start_timeout(limit).connect().await?;
        client.command(args!["PING"]).await.map(|_| ())
    }
}
