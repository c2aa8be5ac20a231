//! The cases, and how one is run against an emulator.
//!
//! ```text
//! # The rule that it proves.
//! needs: resp3, redis            what the subject and the store must have
//! life: 8                        how long tokens live, in seconds
//! arm: auth#2 wrongpass          a fault, from the start
//! policy: oss                    two ports that redirect to each other
//! chain: expired                 what is wrong with the server's certificates
//!
//! > connect a                    a line for the subject, and its answer
//! < ok
//! ! cut                          something for the emulator: cut, restart, down 5s, disarm, or a fault
//! = logins=1 commands>=5         counters of the emulator, at this point
//! ~ token_requests>=2            the same, as soon as it is so
//! ```
//!
//! What a case says holds on a machine that stands still for seconds, wherever that happens. A token
//! of 24 seconds is renewed after 14 at the earliest, and the last connection logs in with the next
//! one more than 3 seconds before the old one ends. Patience is long: it costs nothing when all is well.

use std::borrow::ToOwned;
use std::format;
use std::path::Path;
use std::string::{String, ToString};
use std::time::{Duration, Instant};
use std::vec::Vec;

use amr_emulator::{Chain, Counts, Emulator, Options, Policy, Store};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::client::Environment;
use crate::{Subject, answer};

/// A case that was read.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of its file, without its ending.
    pub name: String,
    /// What it needs.
    pub needs: Vec<String>,
    life: u64,
    policy: Policy,
    chain: Chain,
    arm: Vec<String>,
    steps: Vec<(char, String)>,
}

impl Case {
    /// Reads the case of `path`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let mut case = Self {
            name,
            needs: Vec::new(),
            life: 3600,
            policy: Policy::default(),
            chain: Chain::default(),
            arm: Vec::new(),
            steps: Vec::new(),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let wrong = || format!("{}: not a line: {line}", case.name);
            if line.starts_with('#') {
            } else if let Some(needs) = line.strip_prefix("needs:") {
                case.needs.extend(needs.split(',').map(|need| need.trim().to_owned()));
            } else if let Some(life) = line.strip_prefix("life:") {
                case.life = life.trim().parse().map_err(|_| wrong())?;
            } else if line == "policy: oss" {
                case.policy = Policy::Oss;
            } else if let Some(chain) = line.strip_prefix("chain:") {
                case.chain = Chain::named(chain.trim()).ok_or_else(wrong)?;
            } else if let Some(fault) = line.strip_prefix("arm:") {
                case.arm.push(fault.trim().to_owned());
            } else {
                match line.split_once(' ') {
                    Some((kind @ (">" | "<" | "!" | "=" | "~"), rest)) => {
                        let kind = kind.chars().next().unwrap_or_default();
                        case.steps.push((kind, rest.trim().to_owned()));
                    }
                    _ => return Err(wrong()),
                }
            }
        }
        Ok(case)
    }

    /// Starts an emulator for it.
    ///
    /// # Errors
    /// A sentence that says why that failed.
    pub fn emulator(&self, store: &Store) -> Result<Emulator, String> {
        let (life, store) = (self.life, store.clone());
        let Self { policy, chain, .. } = *self;
        let options = Options { life, store, policy, chain, ..Options::default() };
        let emulator = Emulator::start(&options).map_err(|error| error.to_string())?;
        for fault in &self.arm {
            emulator.arm(fault).map_err(|error| error.to_string())?;
        }
        Ok(emulator)
    }

    /// Runs it, and answers with what was different.
    ///
    /// # Errors
    /// The transcript up to the first difference.
    pub async fn run(&self, emulator: &Emulator, subject: &mut impl Subject) -> Result<(), String> {
        let mut transcript = String::new();
        let mut answered = String::new();
        for (kind, text) in &self.steps {
            let line = text;
            let text = placed(line, emulator);
            let shown = if text.len() > 1000 { line } else { &text };
            transcript += &format!("{kind} {shown}\n");
            match kind {
                '>' => {
                    answered.clear();
                    let answering = answer(subject, &text, &mut answered);
                    // Whatever it does, it doesn't hang.
                    if tokio::time::timeout(PATIENCE, answering).await.is_err() {
                        return Err(format!("{transcript}-- no answer in {PATIENCE:?}"));
                    }
                }
                '<' if answered == text => {}
                '<' => return Err(format!("{transcript}-- but it said: {answered}")),
                '!' => act(emulator, &text)?,
                '~' => {
                    let start = Instant::now();
                    while counted(emulator, &text).is_err() && start.elapsed() < PATIENCE {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    counted(emulator, &text).map_err(|error| transcript.clone() + &error)?;
                }
                _ => counted(emulator, &text).map_err(|error| transcript.clone() + &error)?,
            }
        }
        Ok(())
    }
}

/// No step of a case takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whether the counters are what `text` says; else, which isn't.
fn counted(emulator: &Emulator, text: &str) -> Result<(), String> {
    let counts = emulator.counts();
    for word in text.split_whitespace() {
        let (name, wanted) = word.split_once('=').unwrap_or((word, "?"));
        let (name, least) = match name.strip_suffix('>') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (found, wanted) = (count(&counts, name), wanted.parse().ok());
        if found.is_none() || !(found == wanted || least && found > wanted) {
            return Err(format!("-- but {name}={found:?}"));
        }
    }
    Ok(())
}

/// More than what lies between two hosts takes in when nobody reads.
const LARGE: usize = 8 << 20;

/// Puts the emulator's ids where a case names them, and much where it says so.
fn placed(text: &str, emulator: &Emulator) -> String {
    let entra = emulator.entra();
    let text = match text.contains("$LARGE") {
        true => &text.replace("$LARGE", &"x".repeat(LARGE)),
        false => text,
    };
    text.replace("$PRINCIPAL", &entra.principal.object_id)
        .replace("$SYSTEM", &entra.system_assigned.object_id)
        .replace("$USER", &entra.user_assigned.object_id)
}

fn act(emulator: &Emulator, what: &str) -> Result<(), String> {
    match what {
        "cut" => emulator.cut(),
        "disarm" => emulator.disarm(),
        "restart" => emulator.restart().map_err(|error| error.to_string())?,
        "down 5s" => emulator.down(Duration::from_secs(5)),
        fault => emulator.arm(fault).map_err(|error| error.to_string())?,
    }
    Ok(())
}

fn count(counts: &Counts, name: &str) -> Option<u64> {
    Some(match name {
        "token_requests" => counts.token_requests,
        "tokens" => counts.tokens,
        "same_tokens" => counts.same_tokens,
        "connections" => counts.connections,
        "logins" => counts.logins,
        "reauths" => counts.reauths,
        "refused" => counts.refused,
        "commands" => counts.commands,
        "rounds" => counts.rounds,
        "expired" => counts.expired,
        _ => return None,
    })
}

/// What a subject needs to know of an emulator.
pub fn environment(emulator: &Emulator) -> Environment {
    let mut all: Environment = Environment::new();
    for (name, value) in emulator.managed_environment().into_iter().chain(emulator.environment()) {
        all.insert(name.to_owned(), value);
    }
    let user = &emulator.entra().user_assigned;
    let ids = [
        ("EMULATOR_CLIENT_ID", user.client_id.clone()),
        ("EMULATOR_OBJECT_ID", user.object_id.clone()),
        ("EMULATOR_RESOURCE_ID", user.resource_id.clone().unwrap_or_default()),
        ("EMULATOR_FEDERATED_TOKEN", emulator.entra().federated_token()),
        ("EMULATOR_CERTIFICATE_PEM", certificate(emulator)),
        ("REDIS_CA_PEM", emulator.root_pem().to_owned()),
        ("EMULATOR_PLAIN_PORT", emulator.redis_plain_port().to_string()),
    ];
    all.extend(ids.map(|(name, value)| (name.to_owned(), value)));
    all
}

/// The application's certificate and key, in PEM.
///
/// # Panics
/// If they can't be read.
pub fn certificate(emulator: &Emulator) -> String {
    std::fs::read_to_string(emulator.certificate_file()).expect("the emulator has written it")
}

/// The certificate in `pem`, as devices want it.
pub fn root_der(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    BASE64_STANDARD.decode(text.trim()).unwrap_or_default()
}
