//! `ping`

use crate::program::{Program, emulator};

#[test]
fn it_says_how_long_a_round_trip_takes() {
    let emulator = emulator();
    let ran = Program::of(&emulator).run(&["ping"]).exits(0).keeps_secrets_of(&emulator);
    let server = format!("PONG from localhost:{} in ", emulator.redis_port());
    assert!(ran.out.starts_with(&server) && ran.out.contains("RESP3"), "{ran:?}");
    let json = Program::of(&emulator).run(&["ping", "--json"]).exits(0).keeps_secrets_of(&emulator);
    let json = json.json();
    assert_eq!((json["reply"].as_str(), json["host"].as_str()), (Some("PONG"), Some("localhost")));
    assert!(json["round_trip_ms"].as_f64().unwrap() > 0.0, "{json}");
}

#[test]
fn arguments_take_the_place_of_variables() {
    let emulator = emulator();
    let mut environment = emulator.environment();
    environment.retain(|(name, _)| !name.starts_with("REDIS_"));
    environment.push(("REDIS_ENDPOINT", "nowhere.invalid:1".into()));
    let port = emulator.redis_port().to_string();
    let ran = Program::with(environment).run(&["--host", "localhost", "ping", "--port", &port]);
    ran.exits(0);
}

#[test]
fn a_login_that_may_not_ping_is_a_login() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    emulator
        .arm("cmd#* error NOPERM User me has no permissions to run the 'ping' command")
        .unwrap();
    let ran = program.run(&["ping"]).exits(0);
    assert!(ran.out.starts_with("logged in, PING isn't allowed"), "{ran:?}");
    let json = program.run(&["ping", "--json"]).exits(0).json();
    assert!(json["reply"].is_null() && json["login_ms"].is_number(), "{json}");
}

#[test]
fn the_exit_code_says_what_failed() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    for (fault, args, code, said) in [
        ("cmd#1 error ERR no", &["ping"][..], 1, "ERR no"),
        ("auth#1 wrongpass", &["ping"], 6, "WRONGPASS"),
        ("cmd#1 hang", &["ping", "--timeout", "5"], 7, "timed out"),
        ("token#* refuse invalid_client 7000215 401", &["token"], 4, "7000215"),
    ] {
        emulator.reset();
        emulator.arm(fault).unwrap();
        let ran = program.run(args).exits(code).keeps_secrets_of(&emulator);
        assert!(ran.err.contains(said), "{ran:?}");
    }
    emulator.reset();
    let ran = program.run(&["ping", "--port", "1", "--timeout", "5"]).exits(5);
    assert!(ran.err.contains("refused"), "{ran:?}");
    program.run(&["ping", "--no-such"]).exits(2);
    Program::with(Vec::new()).run(&["ping"]).exits(3);
    let help = program.run(&["--help"]).exits(0).out;
    for code in 0..=7 {
        assert!(help.contains(&format!("\n  {code}  ")), "{help}");
    }
}
