//! The subject of `examples/byo-loop`: each client is a process of it.

use core::fmt::{self, Write};
use core::time::Duration;
use std::borrow::ToOwned;
use std::collections::HashMap;
use std::format;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::string::String;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;
use std::vec::Vec;

use crate::client::{Environment, happens};
use crate::{Options, Subject, commands, write_error};

/// What this subject can't do, in the words of the cases.
pub const LACKS: &[&str] = &[
    "begin",
    "idle",
    "large",
    "leave",
    "lingering",
    "moved",
    "principal",
    "readiness",
    "records",
    "repeats",
    "resp2",
    "slices",
    "sources",
    "subscribe",
    "subscribe-resp2",
    "tls",
    "tls-reason",
    "types",
];

/// Processes by name.
#[derive(Debug)]
pub struct Loops {
    program: PathBuf,
    environment: Environment,
    loops: HashMap<String, Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    output: Receiver<String>,
    events: Receiver<String>,
    logins: u32,
    reauths: u32,
    refreshes: u32,
    refused: bool,
}

impl Loops {
    /// A subject without processes yet. It needs a Redis port without TLS.
    pub fn new(program: PathBuf, mut environment: Environment) -> Self {
        let port = environment.get("EMULATOR_PLAIN_PORT").cloned().unwrap_or_default();
        environment.insert("REDIS_PORT".into(), port);
        Self { program, environment, loops: HashMap::new() }
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|l| sender.send(l))
    });
    receiver
}

impl Process {
    /// Takes note of what it reported until now.
    fn listen(&mut self) {
        for event in self.events.try_iter() {
            self.reauths += u32::from(event.starts_with("logged in again"));
            self.logins += u32::from(event.starts_with("logged in with"));
            self.refreshes += u32::from(event.contains("fetched: lives"));
            self.refused |= event.contains("refused: WRONGPASS");
        }
    }
}

impl Subject for Loops {
    async fn connect(
        &mut self,
        name: &str,
        _options: Options<'_>,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let spawned = Command::new(&self.program)
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return write!(answer, "err {}: {error}", self.program.display()),
        };
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return answer.write_str("err no pipes");
        };
        let mut process = Process {
            child,
            output: lines(stdout),
            events: lines(stderr),
            logins: 0,
            reauths: 0,
            refreshes: 0,
            refused: false,
        };
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            process.listen();
            if process.logins > 0 {
                self.loops.insert(name.to_owned(), process);
                return answer.write_str("ok");
            }
            if process.refused {
                return write_error(Some("WRONGPASS"), "rejected", "NotSent", answer);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        answer.write_str("err timeout")
    }

    async fn send(&mut self, name: &str, text: &str, answer: &mut dyn Write) -> fmt::Result {
        let Some(process) = self.loops.get_mut(name) else {
            return answer.write_str("err no such client");
        };
        let commands: Vec<&str> = commands(text).collect();
        let all: String = commands.iter().map(|command| format!("{command}\n")).collect();
        let written = process.child.stdin.as_mut().map(|stdin| stdin.write_all(all.as_bytes()));
        if !matches!(written, Some(Ok(()))) {
            return answer.write_str("err it has ended");
        }
        for at in 0..commands.len() {
            answer.write_str(if at == 0 { "" } else { " | " })?;
            let Ok(line) = process.output.recv_timeout(Duration::from_secs(40)) else {
                return answer.write_str("err timeout");
            };
            if let Some(code) = line.strip_prefix("(err) ") {
                write_error(Some(code), "server", "Unknown", answer)?;
            } else if let Some(outcome) = line.strip_prefix("(lost) ") {
                write_error(None, "lost", outcome, answer)?;
            } else if line.starts_with("(refused)") {
                write_error(None, "usage", "NotSent", answer)?;
            } else {
                answer.write_str(if at == 0 { "ok " } else { "" })?;
                answer.write_str(&line)?;
            }
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        name: &str,
        what: &str,
        count: u32,
        patience: Duration,
        answer: &mut dyn Write,
    ) -> fmt::Result {
        let Some(process) = self.loops.get_mut(name) else {
            return answer.write_str("err no such client");
        };
        let happened = || {
            process.listen();
            match what {
                "reauth" => Ok(process.reauths),
                "reconnect" => Ok(process.logins - 1),
                "refresh" => Ok(process.refreshes - 1),
                _ => Err("err nothing to wait for"),
            }
        };
        answer.write_str(happens(count, patience, happened).await)
    }

    async fn close(&mut self, name: &str, answer: &mut dyn Write) -> fmt::Result {
        self.loops.remove(name);
        answer.write_str("ok")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
