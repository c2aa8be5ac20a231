//! Hosts in processes of their own.

mod device;
mod worker;

use std::ffi::OsString;
use std::fmt::{Result, Write};
use std::process::Stdio;
use std::time::Duration;

use conformance::client::Environment;
use conformance::guest::Guest;
use conformance::{Options, Subject};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

pub(crate) use device::firmware;

/// The runtime and the component, if this is to run them.
pub(crate) fn wasi() -> Option<(OsString, OsString)> {
    std::env::var_os("WASMTIME").zip(std::env::var_os("WASI_GUEST"))
}

/// The runtime and the program of a JavaScript host, if this is to run them.
pub(crate) fn javascript(host: &str) -> Option<(OsString, OsString)> {
    std::env::var_os(host.to_uppercase()).zip(std::env::var_os("JS_SUBJECT"))
}

/// A host in a process of its own.
pub(crate) struct Child {
    lines: Box<dyn AsyncWrite + Unpin>,
    answers: BufReader<Box<dyn AsyncRead + Unpin>>,
    // Behind the lines: workerd waits for its requests to end, and those for the lines.
    _process: Process,
}

/// What ends when it is dropped.
enum Process {
    Ours { _process: tokio::process::Child },
    Board { _board: device::Board },
    Worker { _request: TcpStream, _guest: Guest },
}

impl Child {
    /// The tokio host.
    pub(crate) fn std(environment: &Environment) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_subject-std"));
        Self::start(command.envs(environment))
    }

    /// The WASI host.
    pub(crate) fn wasi(environment: &Environment) -> Self {
        let (wasmtime, guest) = wasi().expect("only run where there is one");
        let mut command = Command::new(wasmtime);
        command.args(["run", "-S", "inherit-network,allow-ip-name-lookup,http"]);
        for (name, value) in environment {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        Self::start(command.arg(guest))
    }

    /// The JavaScript host, in Node or Deno.
    pub(crate) fn javascript(host: &str, environment: &Environment) -> Self {
        let (program, subject) = javascript(host).expect("only run where there is one");
        let mut command = Command::new(program);
        if host == "deno" {
            command.args(["run", "--quiet", "--allow-net", "--allow-env"]);
        }
        command.arg(subject).envs(environment);
        // For `fetch`.
        let root = environment.get("SSL_CERT_FILE").expect("there is a root");
        Self::start(command.env("NODE_EXTRA_CA_CERTS", root).env("DENO_CERT", root))
    }

    fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the subject is there");
        let lines = process.stdin.take().expect("it is piped");
        let answers = process.stdout.take().expect("it is piped");
        Self::new(Process::Ours { _process: process }, lines, answers)
    }

    fn new(
        process: Process,
        lines: impl AsyncWrite + Unpin + 'static,
        answers: impl AsyncRead + Unpin + 'static,
    ) -> Self {
        let answers: Box<dyn AsyncRead + Unpin> = Box::new(answers);
        Self { _process: process, lines: Box::new(lines), answers: BufReader::new(answers) }
    }

    async fn line(&mut self, line: &str, answer: &mut dyn Write) -> Result {
        self.lines.write_all(format!("{line}\n").as_bytes()).await.expect("it listens");
        self.lines.flush().await.expect("it listens");
        let mut said = String::new();
        self.answers.read_line(&mut said).await.expect("it answers");
        answer.write_str(said.trim_end())
    }
}

impl Subject for Child {
    async fn connect(
        &mut self,
        name: &str,
        options: Options<'_>,
        answer: &mut dyn Write,
    ) -> Result {
        self.line(&format!("connect {name} {}", options.as_str()), answer).await
    }

    async fn send(&mut self, name: &str, commands: &str, answer: &mut dyn Write) -> Result {
        self.line(&format!("send {name} {commands}"), answer).await
    }

    async fn wait(
        &mut self,
        name: &str,
        what: &str,
        count: u32,
        patience: Duration,
        answer: &mut dyn Write,
    ) -> Result {
        let seconds = patience.as_secs();
        self.line(&format!("wait {name} {what} {count} {seconds}s"), answer).await
    }

    async fn close(&mut self, name: &str, answer: &mut dyn Write) -> Result {
        self.line(&format!("close {name}"), answer).await
    }

    async fn leave(
        &mut self,
        name: &str,
        patience: Duration,
        commands: &str,
        answer: &mut dyn Write,
    ) -> Result {
        self.line(&format!("leave {name} {} {commands}", patience.as_millis()), answer).await
    }

    async fn begin(&mut self, name: &str, command: &str, answer: &mut dyn Write) -> Result {
        self.line(&format!("begin {name} {command}"), answer).await
    }

    async fn end(&mut self, name: &str, answer: &mut dyn Write) -> Result {
        self.line(&format!("end {name}"), answer).await
    }

    async fn subscribe(
        &mut self,
        name: &str,
        channel: &str,
        options: Options<'_>,
        answer: &mut dyn Write,
    ) -> Result {
        let options = options.as_str();
        self.line(&format!("subscribe {name} {channel} {options}"), answer).await
    }

    async fn hear(&mut self, name: &str, answer: &mut dyn Write) -> Result {
        self.line(&format!("hear {name}"), answer).await
    }
}
