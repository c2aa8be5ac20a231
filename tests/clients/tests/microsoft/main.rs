//! Microsoft's own clients log in at the emulator, as they are; what they send is in `requests.txt`,
//! which `UPDATE_REQUESTS=1` writes anew. `cargo xtask test microsoft` says where they are.

#![allow(clippy::unwrap_used)]

mod cases;
mod ours;
mod requests;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use amr_emulator::{Chain, Emulator, Kind, Options, Store};
use cases::{CASES, Case, Whose};

/// So many run at once: most of the time is theirs.
const AT_ONCE: usize = 3;

/// The folder of Azure Arc's keys, which all have to share.
static ARC: Mutex<()> = Mutex::new(());

fn emulator(life: u64) -> Emulator {
    let (store, chain) = (Store::Builtin, Chain::Ec);
    Emulator::start(&Options { store, chain, life, ..Options::default() }).unwrap()
}

/// Runs a program of this folder with the variables of a host of this `kind`, and no others.
fn run(
    emulator: &Emulator,
    kind: Kind,
    program: &str,
    args: &[&str],
    more: &[(&str, String)],
) -> String {
    let program = format!("{}/{program}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("timeout");
    command.args(["60", "python3", &program]).args(args).env_clear();
    command.env("PATH", env::var_os("PATH").unwrap());
    command.env("PYTHONPATH", env::var_os("MICROSOFT_CLIENTS").expect("see the top"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("HOME", "/nonexistent");
    command.env("REQUESTS_CA_BUNDLE", emulator.root_file());
    // Nothing leaves the machine: not what is meant for the metadata service, and nothing else.
    command.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", emulator.plain());
    command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
    command.env("NO_PROXY", "localhost,127.0.0.1");
    let user = &emulator.entra().user_assigned;
    command.env("EMULATOR_CLIENT_ID", &user.client_id).env("EMULATOR_OBJECT_ID", &user.object_id);
    command.env("EMULATOR_RESOURCE_ID", user.resource_id.as_ref().unwrap());
    command
        .envs(emulator.environment_of(kind))
        .envs(more.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let status = output.status;
    assert!(status.success(), "{program} {args:?}: {status}\n{}", said(&output.stderr));
    said(&output.stdout)
}

/// Runs a case, and answers with what its client has sent to get a token.
fn requests_of(case: &Case) -> Option<String> {
    let _alone = (case.kind == Kind::Arc).then(|| ARC.lock().unwrap());
    let emulator = emulator(3600);
    let entra = emulator.entra();
    let more: Vec<_> = case.changed.iter().map(|change| change(&emulator)).collect();
    case.faults.iter().for_each(|fault| emulator.arm(fault).unwrap());
    let said = run(&emulator, case.kind, case.program(), &[case.way], &more);
    let whose = |identity: &amr_emulator::Identity| format!("oid: {}\n", identity.object_id);
    match case.whose {
        Whose::Application => assert_eq!(said, whose(&entra.principal), "{case:?}"),
        Whose::System => assert_eq!(said, whose(&entra.system_assigned), "{case:?}"),
        Whose::User => assert_eq!(said, whose(&entra.user_assigned), "{case:?}"),
        Whose::Nobody(why) => {
            assert!(said.starts_with("refused: ") && said.contains(why), "{case:?}: {said}");
            return None;
        }
    }
    Some(requests::normalized(&emulator))
}

#[test]
fn each_identity_gets_its_token_by_the_requests_that_are_known() {
    let folder = Path::new("/var/opt/azcmagent");
    let was_there = folder.exists();
    let (left, sent) = (Mutex::new(CASES.iter()), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = { left.lock().unwrap().next() } {
                    let requests = requests_of(case);
                    sent.lock().unwrap().insert(case.name(), requests);
                }
            });
        }
    });
    assert_eq!(folder.exists(), was_there);
    let sent = sent.into_inner().unwrap();
    assert_eq!(sent.len(), CASES.len());
    println!("{} runs of Microsoft's clients", sent.len());
    let shown = sent.iter().filter_map(|(name, sent)| Some((name, sent.as_ref()?)));
    let text: String = shown.map(|(name, sent)| format!("== {name}\n{sent}\n")).collect();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/requests.txt");
    if env::var_os("UPDATE_REQUESTS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let known = std::fs::read_to_string(file).unwrap();
    assert!(text == known, "other requests than in requests.txt:\n{text}");
}

/// Tokens live for 15 seconds, and redis-entraid gets a new one when 70 % of that are over: a busy machine has
/// seconds to log in with it.
#[test]
fn redis_entraid_stays_logged_in_when_tokens_end() {
    let runs = [
        (Kind::Imds, "system"),
        (Kind::Imds, "user"),
        (Kind::AppService, "user"),
        (Kind::Secret, "default"),
        (Kind::WorkloadIdentity, "default"),
    ];
    thread::scope(|scope| {
        for (kind, provider) in runs {
            scope.spawn(move || {
                let emulator = emulator(15);
                let said = run(&emulator, kind, "with_redis_entraid.py", &[provider], &[]);
                assert_eq!(said, "done\n", "{kind:?} {provider}");
                let counts = emulator.counts();
                // One for commands, one for messages.
                assert_eq!((counts.logins, counts.refused), (2, 0), "{kind:?} {counts:?}");
                assert_eq!(counts.expired, 0, "{kind:?} {counts:?}");
            });
        }
    });
    println!("{} runs of redis-entraid", runs.len());
}
