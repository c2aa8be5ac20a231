//! Runs every example as a person would, against the emulator.
//!
//! They are taken from where they were built, beside this test.

mod axum_service;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use amr_emulator::{Emulator, Kind, Options};
use conformance::case::environment;

fn emulator() -> Emulator {
    Emulator::start(&Options::default()).expect("the emulator starts")
}

/// An example with the environment of `emulator`.
fn example(name: &str, emulator: &Emulator) -> Command {
    let mut program = PathBuf::from(env!("CARGO_BIN_EXE_subject-std"));
    program.set_file_name(name);
    let mut command = Command::new(program);
    command.envs(environment(emulator)).stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("it was built: cargo build --package examples");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}\n{errors}");
    text
}

#[test]
fn service_principal() {
    let emulator = emulator();
    assert_eq!(output(&mut example("service-principal", &emulator)), "hello\n");
}

#[test]
fn workload_identity() {
    let emulator = emulator();
    let entra = emulator.entra();
    let file = std::env::temp_dir().join(format!("workload-identity-{}", std::process::id()));
    std::fs::write(&file, entra.federated_token()).expect("it can be written");
    let mut command = example("workload-identity", &emulator);
    let command = command.env("AZURE_FEDERATED_TOKEN_FILE", &file);
    let oid = format!("{}\n", entra.principal.object_id);
    assert_eq!(output(command.env_remove("AZURE_CLIENT_SECRET")), oid);
    std::fs::remove_file(&file).expect("it is there");
}

/// An example that gets what the host of this `kind` sets, and nothing else.
fn on(kind: Kind, name: &str, emulator: &Emulator) -> Command {
    let mut command = example(name, emulator);
    for (name, _) in environment(emulator) {
        command.env_remove(name);
    }
    command.envs(emulator.environment_of(kind));
    command
}

#[test]
fn every_identity_by_the_environment() {
    let emulator = emulator();
    let entra = emulator.entra();
    for (name, kind) in Kind::ALL {
        // The folder of its keys is root's.
        if kind != Kind::Arc {
            let text = output(&mut on(kind, "from-env", &emulator));
            let application = &entra.principal.object_id;
            let machine = &entra.system_assigned.object_id;
            let is = |oid: &String| text.ends_with(&format!(" set)\n{oid}\n"));
            assert!(is(application) || is(machine), "{name}: {text}");
        }
    }
}

#[test]
fn client_certificate() {
    let emulator = emulator();
    let oid = format!("{}\n", emulator.entra().principal.object_id);
    assert_eq!(output(&mut on(Kind::Certificate, "client-certificate", &emulator)), oid);
}

#[test]
fn client_assertion_of_github() {
    let emulator = emulator();
    // What GitHub would say, from a file.
    let file = std::env::temp_dir().join(format!("github-{}", std::process::id()));
    let answer = format!(r#"{{"value":"{}","count":1}}"#, emulator.entra().federated_token());
    std::fs::write(&file, answer).expect("it can be written");
    let mut command = on(Kind::Secret, "client-assertion", &emulator);
    command.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("file://{}?x=y", file.display()));
    command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a-token-of-the-job");
    let oid = format!("{}\n", emulator.entra().principal.object_id);
    assert_eq!(output(&mut command), oid);
    std::fs::remove_file(&file).expect("it is there");
}

#[test]
fn developer_in_azure_and_at_home() {
    let emulator = emulator();
    let machine = format!("{}\n", emulator.entra().system_assigned.object_id);
    assert_eq!(output(&mut on(Kind::Imds, "developer", &emulator)), machine);
    // At home there is no metadata service, but somebody is signed in.
    let folder = std::env::temp_dir().join(format!("signed-in-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("it can be made");
    let (user, token) = emulator.entra().login();
    let script = format!("#!/bin/sh\necho '{{\"accessToken\":\"{token}\"}}'\n");
    std::fs::write(folder.join("az"), script).expect("it can be written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.join("az"), executable).expect("it is there");
    let mut command = on(Kind::Imds, "developer", &emulator);
    command.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1");
    let path = std::env::var("PATH").expect("there is one");
    command.env("PATH", format!("{}:{path}", folder.display()));
    assert_eq!(output(&mut command), format!("{user}\n"));
    std::fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn managed_identity_of_both_kinds_and_by_every_id() {
    let emulator = emulator();
    let entra = emulator.entra();
    let user = &entra.user_assigned;
    let resource = user.resource_id.as_deref().expect("it has one");
    for host in ["imds", "app-service"] {
        for (id, oid) in [
            (&[][..], &entra.system_assigned.object_id),
            (&["client-id", &user.client_id], &user.object_id),
            (&["object-id", &user.object_id], &user.object_id),
            (&["resource-id", resource], &user.object_id),
        ] {
            let mut command = example("managed-identity", &emulator);
            assert_eq!(output(command.arg(host).args(id)), format!("{oid}\n"), "{host} {id:?}");
        }
    }
}

#[test]
fn custom_policy() {
    let emulator = emulator();
    let text = output(&mut example("custom-policy", &emulator));
    assert!(text.contains("\nhello\n") && text.contains("next in 17"), "{text}");
    assert_eq!(emulator.counts().token_requests, 1, "one identity for two connections");
    assert_eq!(emulator.counts().logins, 2);
}

#[test]
fn injected_source() {
    let emulator = emulator();
    // What `az account get-access-token` would print.
    let url = format!(
        "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://redis.azure.com",
        emulator.plain()
    );
    let script = format!(
        "curl -s -H Metadata:true '{url}' | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/'"
    );
    let mut command = example("injected-source", &emulator);
    let who = output(command.args(["sh", "-c", &script]));
    assert_eq!(who.trim(), emulator.entra().system_assigned.object_id);
}

#[test]
fn byo_loop() {
    let emulator = emulator();
    let mut command = example("byo-loop", &emulator);
    command.env("REDIS_PORT", emulator.redis_plain_port().to_string());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it was built");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, b"SET k v\nGET k\nAUTH me token\nINCR n\n")
        .expect("it listens");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends with its input");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines.contains(&"\"v\"") && lines.contains(&"(int) 1"), "{text}");
    let source = include_str!("../../../../examples/byo-loop.rs");
    assert!(source.lines().count() < 350, "it is meant to be short");
}
