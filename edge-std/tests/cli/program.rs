//! Runs the program.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use amr_emulator::{Emulator, Options, Store};
use serde_json::Value;

/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// An emulator with its own store.
pub(crate) fn emulator() -> Emulator {
    emulator_with(Options::default())
}

/// The same with other options.
pub(crate) fn emulator_with(options: Options) -> Emulator {
    Emulator::start(&Options { store: Store::Builtin, ..options }).expect("the emulator starts")
}

/// Variables for the program.
pub(crate) type Environment = Vec<(&'static str, String)>;

/// The program, before it runs.
pub(crate) struct Program {
    environment: Environment,
    input: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    /// As the service principal of `emulator`.
    pub(crate) fn of(emulator: &Emulator) -> Self {
        Self::with(emulator.environment())
    }

    /// With these variables and no other.
    pub(crate) fn with(environment: Environment) -> Self {
        Self { environment, input: Vec::new() }
    }

    /// With this standard input.
    pub(crate) fn input(self, text: impl Into<Vec<u8>>) -> Self {
        Self { input: text.into(), ..self }
    }

    /// Runs it, to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.start(args).end()
    }

    /// Runs it while nobody reads what it prints.
    pub(crate) fn run_unread(&self, args: &[&str]) -> Ran {
        let mut child = self.spawn(args);
        drop((child.stdout.take(), child.stdin.take()));
        let err = reader(child.stderr.take().expect("it has an output for errors"));
        let out = thread::spawn(String::new);
        Running { child, out, err }.end()
    }

    fn spawn(&self, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_redis-entraid"))
            .args(args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    /// Lets it run.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = self.spawn(args);
        let mut input = child.stdin.take().expect("it has an input");
        // It may not want to read it.
        let _ = input.write_all(&self.input);
        drop(input);
        let out = reader(child.stdout.take().expect("it has an output"));
        let err = reader(child.stderr.take().expect("it has an output for errors"));
        Running { child, out, err }
    }
}

/// The program, while it runs.
pub(crate) struct Running {
    child: Child,
    out: thread::JoinHandle<String>,
    err: thread::JoinHandle<String>,
}

impl Running {
    /// Does what Ctrl-C does.
    #[cfg(unix)]
    pub(crate) fn interrupt(&mut self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().expect("there is a kill");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        };
        let text = |reader: thread::JoinHandle<String>| reader.join().expect("it is text");
        Ran { code: status.code(), out: text(self.out), err: text(self.err) }
    }
}

fn reader(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("it prints UTF-8");
        text
    })
}

impl Ran {
    /// Asserts that it exited with `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Asserts that neither a token nor a secret of `emulator` was shown.
    #[track_caller]
    pub(crate) fn keeps_secrets_of(self, emulator: &Emulator) -> Self {
        let entra = emulator.entra();
        let federated = entra.federated_token();
        let fixed = [&entra.secret, &entra.identity_header, &entra.msi_secret, &federated];
        let fixed = fixed.map(String::clone);
        let tokens = emulator.tokens().into_iter().map(|token| {
            // A part of a token is as bad: its signature is what nobody else can make. An opaque one has none.
            token.rsplit_once('.').map(|(_, signature)| signature.to_owned()).unwrap_or(token)
        });
        for secret in tokens.chain(fixed) {
            for shown in [&self.out, &self.err] {
                assert!(!shown.contains(&secret), "a secret is shown: {shown}");
            }
        }
        self
    }

    /// What it printed, as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What it printed, a JSON value a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let line =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(line).collect()
    }
}
