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
    assert!(all.contains("OSS policy, 2 nodes") && all.contains("all 2 accept the login"), "{all}");
    assert!(all.contains("knows no maintenance notifications"), "{all}");
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
