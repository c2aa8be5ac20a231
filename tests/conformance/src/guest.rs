//! Programs under test, in the runtimes that users have, and functions that they serve.

use std::borrow::ToOwned;
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::string::{String, ToString};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

use amr_emulator::{Counts, Emulator, Options};

/// What the variable `name` says, which `cargo xtask test` sets.
///
/// # Panics
/// If it isn't set.
pub fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: see the top")).into()
}

/// An emulator.
///
/// # Panics
/// If it can't be started.
pub fn emulator(options: Options) -> Emulator {
    Emulator::start(&options).expect("the emulator starts")
}

/// With some latency, so that a round trip is one.
pub fn far() -> Options {
    Options { latency: Duration::from_millis(20), ..Options::default() }
}

/// Whether that was one round trip for each connection. The emulator takes a program that was held up
/// in the middle of what it had to say, for as long as a reply takes, for one that waited: that may
/// happen to a few, but not to all.
pub fn is_one_flight_each(counts: &Counts) -> bool {
    let Counts { connections, rounds, .. } = *counts;
    (connections..=connections + connections / 5).contains(&rounds)
}

/// What ends a program after so many seconds, whatever it does.
pub fn within(seconds: u32, program: impl Into<PathBuf>) -> Command {
    let mut command = Command::new("timeout");
    command.arg(seconds.to_string()).arg(program.into()).stdin(Stdio::null());
    command
}

/// A program that runs. What is left running is killed.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Guest {
    /// Starts `command`, which is [`within`] some time.
    ///
    /// # Panics
    /// If it isn't there.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("it is there");
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdout, said: Vec::new() }
    }

    /// The next line that it says, if there is one.
    ///
    /// # Panics
    /// If that is no text.
    pub fn line(&mut self) -> Option<&str> {
        let mut line = String::new();
        let len = self.stdout.as_mut()?.read_line(&mut line).expect("it is text");
        self.said.push(line.trim_end().to_owned());
        self.said.last().map(String::as_str).filter(|_| len > 0)
    }

    /// Waits until it has said `what` so often. Answers with all that it has said until now.
    ///
    /// # Panics
    /// If it ends before that.
    pub fn until(&mut self, what: &str, times: usize) -> &[String] {
        let mut seen = 0;
        while seen < times {
            match self.line() {
                Some(line) => seen += usize::from(line.contains(what)),
                None => panic!("no {what}: {:#?}", self.said),
            }
        }
        &self.said
    }

    /// All that it says to its end.
    ///
    /// # Panics
    /// If that is no text.
    pub fn rest(&mut self) -> String {
        let mut said = String::new();
        let stdout = self.stdout.as_mut().expect("it is piped");
        stdout.read_to_string(&mut said).expect("it is text");
        said
    }

    /// Passes on what it says from here on: nobody waits for it, but it must be able to.
    pub fn pass_on(&mut self) {
        if let Some(mut stdout) = self.stdout.take() {
            thread::spawn(move || io::copy(&mut stdout, &mut io::stderr()));
        }
    }

    /// Whether it ends by itself in that time.
    ///
    /// # Panics
    /// If nobody knows.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("it is ours").is_some();
            if ended || start.elapsed() > time {
                return ended;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it says of errors. For those who read it to its end.
    pub fn stderr(&mut self) -> Option<impl BufRead + Send + use<>> {
        self.child.stderr.take().map(BufReader::new)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Through `timeout`, which passes it on.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// A function that is served, which counts its hits in Redis.
#[derive(Debug)]
pub struct Served {
    /// Where it is.
    pub address: String,
    /// What it talks to.
    pub emulator: Emulator,
    /// Who serves it.
    pub guest: Guest,
}

impl Served {
    /// Sends a request. Answers with the number of hits.
    ///
    /// # Errors
    /// What came instead.
    pub fn hit(&self) -> Result<u64, String> {
        let request = || {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, io::Error>(answer)
        };
        let answer = request().map_err(|error| error.to_string())?;
        // The body may come in chunks.
        let hits = answer.split_once(" hits").and_then(|(before, _)| {
            before.rsplit_once('\n').and_then(|(_, hits)| hits.parse().ok())
        });
        hits.filter(|_| answer.starts_with("HTTP/1.1 200")).ok_or(answer)
    }

    /// Sends so many requests, one after the other, and sees that each is counted.
    ///
    /// # Panics
    /// If one isn't.
    pub fn hits(&self, count: u64) {
        let before = self.emulator.counts().commands;
        for number in 1..=count {
            assert_eq!(self.hit(), Ok(before + number));
        }
    }

    /// Sends so many requests at once, and sees that each has a number of its own.
    ///
    /// # Panics
    /// If one hasn't.
    pub fn at_once(&self, count: usize) {
        let (done, answers) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..count {
                let done = done.clone();
                scope.spawn(move || done.send(self.hit()));
            }
        });
        drop(done);
        let mut hits: Vec<u64> = answers.iter().map(|hit| hit.expect("each is answered")).collect();
        hits.sort_unstable();
        hits.dedup();
        assert_eq!(hits.len(), count, "each has its own number");
    }

    /// Shows and answers with what that cost.
    pub fn cost(&self, what: &str) -> Counts {
        let counts = self.emulator.counts();
        let Counts { commands, token_requests, connections, rounds, .. } = counts;
        std::println!(
            "\n{what}: {commands} requests, {token_requests} token requests, \
            {connections} connections, {rounds} round trips"
        );
        counts
    }
}
