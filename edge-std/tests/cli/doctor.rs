//! `doctor`, where all is well. What it says where not, is in `broken.rs`.

use serde_json::Value;

use amr_emulator::Kind;

use crate::program::{Program, emulator};
use crate::servers;

/// The names of the steps, as JSON has them.
fn steps(json: &Value) -> Vec<&str> {
    json["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect()
}

#[test]
fn where_all_is_well_each_step_says_what_it_saw_and_nothing_else_is_said() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    let ran = program.run(&["doctor"]).exits(0).keeps_secrets_of(&emulator);
    assert!(!ran.out.contains("FAIL") && !ran.out.contains("cause"), "{}", ran.out);
    assert!(ran.out.lines().all(|line| line.len() <= 110), "{}", ran.out);
    let json = program.run(&["doctor", "--json"]).exits(0).keeps_secrets_of(&emulator).json();
    assert_eq!((&json["healthy"], &json["problem"]), (&true.into(), &Value::Null));
    let expected = [
        "environment",
        "endpoint",
        "token",
        "clock",
        "dns",
        "tcp",
        "tls",
        "login",
        "cluster",
        "read",
        "write",
        "maintenance",
    ];
    assert_eq!(steps(&json), expected);
    let saw = |step: &str| {
        let at = expected.iter().position(|known| *known == step).unwrap();
        json["steps"][at]["saw"].as_str().unwrap().to_owned()
    };
    assert!(saw("token").contains(&emulator.entra().principal.object_id));
    assert!(saw("dns").contains("127.0.0.1 (private)"));
    assert!(saw("tls").starts_with("TLS 1.3, certificate of *.emulator.redis.azure.net"));
    assert!(saw("cluster").starts_with("Enterprise policy"));
}

#[test]
fn nothing_is_left_behind_at_the_server() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    program.run(&["doctor"]).exits(0);
    assert_eq!(program.run(&["run", "--no-raw", "KEYS", "*"]).out, "(empty array)\n");
}

#[test]
fn the_key_may_begin_with_what_the_access_policy_allows() {
    let emulator = emulator();
    let ran = Program::of(&emulator).run(&["doctor", "--prefix", "cache:"]).exits(0);
    assert!(ran.out.contains("; cache:"), "{}", ran.out);
}

#[test]
fn every_node_of_a_cluster_is_logged_in_to() {
    let emulator = emulator();
    let second = servers::redis(|_| None);
    let slots = format!(
        "*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n_\r\n:0\r\n\
        *3\r\n:8192\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{second}\r\n"
    );
    let seed = servers::cluster(slots);
    let port = seed.to_string();
    let json = Program::of(&emulator).run(&["doctor", "--json", "--port", &port]).exits(0).json();
    let all = json["steps"].to_string();
    assert!(
        all.contains("OSS policy, 2 nodes") && all.contains("all 2 nodes accept the login"),
        "{all}"
    );
    assert!(all.contains("knows no maintenance notifications"), "{all}");
}

#[test]
fn an_answer_that_is_not_the_last_word_is_waited_for() {
    let emulator = emulator();
    emulator.arm("token#1 refuse invalid_client 700213 401").unwrap();
    let ran = Program::of(&emulator).run(&["doctor", "--timeout", "20"]).exits(0);
    assert_eq!(emulator.counts().token_requests, 2, "{ran:?}");
}

#[test]
fn a_wrong_clock_is_shown_and_what_else_is_wrong_is_looked_for() {
    let emulator = emulator();
    let (_, token) = emulator.entra().login();
    let document = format!(r#"{{"access_token":"{token}","expires_in":"3599"}}"#);
    let port = servers::metadata(&document, "2026-01-01T00:00:00Z");
    let mut environment = emulator.environment_of(Kind::Imds);
    environment.retain(|(name, _)| *name != "AZURE_POD_IDENTITY_AUTHORITY_HOST");
    environment.push(("AZURE_POD_IDENTITY_AUTHORITY_HOST", format!("http://127.0.0.1:{port}")));
    let program = Program::with(environment);
    let json = program.run(&["doctor", "--json"]).exits(3).json();
    assert_eq!(json["problem"]["step"], "clock", "{json}");
    assert_eq!(steps(&json).iter().filter(|step| **step == "clock").count(), 1, "{json}");
    assert_eq!(steps(&json).last(), Some(&"maintenance"), "{json}");
    let json = program.run(&["doctor", "--json", "--port", "1"]).exits(5).json();
    assert_eq!(json["problem"]["step"], "tcp", "{json}");
    let bad = |step: &Value| (step["ok"] == false).then(|| step["step"].clone());
    let failed: Vec<Value> = json["steps"].as_array().unwrap().iter().filter_map(bad).collect();
    assert_eq!(failed, ["clock", "tcp"]);
}

#[test]
fn a_clock_is_compared_with_that_of_another_machine_alone() {
    let emulator = emulator();
    for (kind, is_compared) in [
        (Kind::Secret, true),
        (Kind::Imds, true),
        (Kind::IdentityBinding, false),
        (Kind::AppService, false),
        (Kind::CloudShell, false),
        (Kind::MachineLearning, false),
        (Kind::ServiceFabric, false),
    ] {
        let ran = Program::with(emulator.environment_of(kind)).run(&["doctor"]).exits(0);
        assert_eq!(!ran.out.contains("not compared"), is_compared, "{kind:?}: {}", ran.out);
    }
}

#[test]
fn an_identity_that_only_reads_is_asked_to_write_nothing() {
    let emulator = emulator();
    let json = Program::of(&emulator).run(&["doctor", "--read-only", "--json"]).exits(0).json();
    assert!(steps(&json).contains(&"read") && !steps(&json).contains(&"write"), "{json}");
}

#[test]
fn the_test_key_outlives_two_slow_commands() {
    let emulator = emulator();
    let (tell, told) = std::sync::mpsc::channel();
    let port = servers::redis(move |command| {
        if command.starts_with("SET ") {
            tell.send(command.to_owned()).expect("somebody listens");
        }
        let refused = command.starts_with("SET ") || command.starts_with("CLUSTER ");
        refused.then(|| "-ERR no\r\n".into())
    });
    let port = port.to_string();
    for (limit, life) in [("60", " PX 120000"), ("1", " PX 10000")] {
        Program::of(&emulator).run(&["doctor", "--port", &port, "--timeout", limit]).exits(1);
        let command = told.try_recv().unwrap();
        assert!(command.ends_with(life), "{command}");
    }
}

#[test]
fn why_there_are_no_notifications_is_said_as_the_server_says_it() {
    let emulator = emulator();
    for (error, said) in [
        ("ERR unknown subcommand 'MAINT_NOTIFICATIONS'", "knows no maintenance notifications"),
        ("ERR maintenance notifications are disabled on this server", "are disabled on this"),
    ] {
        emulator.reset();
        emulator.arm(&format!("cmd#6 error {error}")).unwrap();
        let ran = Program::of(&emulator).run(&["doctor"]).exits(0);
        assert!(ran.out.contains(said), "{}", ran.out);
    }
}

#[cfg(unix)]
#[test]
fn it_ends_though_a_file_says_nothing() {
    let emulator = emulator();
    let file = emulator.root_file().with_file_name("silent.pem");
    // Who opens it waits for a writer.
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let mut environment = emulator.environment();
    environment.retain(|(name, _)| *name != "SSL_CERT_FILE");
    environment.push(("SSL_CERT_FILE", file.display().to_string()));
    let json = Program::with(environment).run(&["doctor", "--json", "--timeout", "1"]).exits(4);
    assert_eq!(json.json()["problem"]["step"], "endpoint");
}

#[test]
fn a_host_that_is_none_is_not_shown() {
    let emulator = emulator();
    for args in [&["doctor", "--json"][..], &["doctor"]] {
        let args = [args, &["--host", "redis://:hush@localhost"]].concat();
        let ran = Program::of(&emulator).run(&args).exits(3);
        assert!(!ran.out.contains("hush") && ran.err.is_empty(), "{ran:?}");
    }
}

#[test]
fn what_is_not_known_is_null() {
    let json = Program::with(Vec::new()).run(&["doctor", "--json"]).exits(3).json();
    assert_eq!((&json["host"], &json["port"]), (&Value::Null, &Value::Null));
}

#[test]
fn every_identity_is_checked() {
    let emulator = emulator();
    for (name, kind) in Kind::ALL {
        // Only root can make the folder of its keys.
        if kind != Kind::Arc {
            let environment = emulator.environment_of(kind);
            let ran = Program::with(environment).run(&["doctor"]).exits(0);
            let said = match kind {
                Kind::Secret | Kind::Certificate => "service principal",
                Kind::WorkloadIdentity | Kind::IdentityBinding => "workload identity",
                Kind::CloudShell => "the person who is signed in to Cloud Shell",
                _ => "managed identity of",
            };
            let ran = ran.keeps_secrets_of(&emulator);
            assert!(ran.out.contains(said), "{name}: {}", ran.out);
        }
    }
}

#[test]
fn what_a_narrow_access_policy_hides_is_no_failure() {
    let emulator = emulator();
    for fault in ["cmd#1 error NOPERM no", "cmd#6 error NOPERM no"] {
        emulator.reset();
        emulator.arm(fault).unwrap();
        let ran = Program::of(&emulator).run(&["doctor"]).exits(0);
        assert_eq!(ran.out.matches("not known: the access policy").count(), 1, "{}", ran.out);
    }
}
