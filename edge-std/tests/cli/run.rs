//! `run`

use serde_json::json;

use crate::program::{Program, emulator};

#[test]
fn a_command_prints_its_reply_raw_pretty_or_as_json() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    let run = |args: &[&str]| program.run(args).exits(0).keeps_secrets_of(&emulator).out;
    assert_eq!(run(&["run", "--", "SET", "key", "a \"b\""]), "OK\n");
    assert_eq!(run(&["run", "GET", "key"]), "a \"b\"\n");
    assert_eq!(run(&["run", "--no-raw", "GET", "key"]), "\"a \\\"b\\\"\"\n");
    assert_eq!(run(&["run", "--json", "GET", "key"]), "\"a \\\"b\\\"\"\n");
    assert_eq!(run(&["run", "--no-raw", "GET", "none"]), "(nil)\n");
    assert_eq!(run(&["run", "--no-raw", "KEYS", "*"]), "1) \"key\"\n");
    // What looks like an option is the command's.
    assert_eq!(run(&["run", "SET", "n", "-1"]), "OK\n");
    assert_eq!(run(&["run", "--no-raw", "--", "INCR", "n"]), "(integer) 0\n");
}

#[test]
fn an_error_of_the_server_exits_with_1() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    let ran = program.run(&["run", "NOSUCH"]).exits(1);
    assert!(ran.out.starts_with("(error) ERR unknown command 'NOSUCH'"), "{ran:?}");
    let json = program.run(&["run", "--json", "NOSUCH"]).exits(1).json();
    assert_eq!(json["error"]["kind"], "server");
}

#[test]
fn the_programs_own_login_cant_be_replaced() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    for command in
        [&["run", "AUTH", "me", "hush"][..], &["run", "HELLO", "3", "AUTH", "me", "hush"]]
    {
        let ran = program.run(command).exits(2);
        assert!(ran.err.contains("logs in by itself") && !ran.err.contains("hush"), "{ran:?}");
    }
}

#[test]
fn lines_of_the_standard_input_are_commands_of_one_connection() {
    let emulator = emulator();
    let lines = "SET key \"a b\"\n\nMULTI\nGET key\nEXEC\nNOSUCH\nGET \"x\n";
    let program = Program::of(&emulator).input(lines);
    let ran = program.run(&["run", "--no-raw"]).exits(2).keeps_secrets_of(&emulator);
    let expected = "OK\nOK\nQUEUED\n1) \"a b\"\n(error) ERR unknown command 'NOSUCH'";
    assert!(ran.out.starts_with(expected), "{ran:?}");
    assert!(ran.err.contains("unbalanced quotes"), "{ran:?}");
    assert_eq!(emulator.counts().connections, 1);
    let lines = Program::of(&emulator).input("GET key\nNOSUCH\n").run(&["run", "--json"]).exits(1);
    let lines = lines.json_lines();
    assert_eq!(lines[0], json!("a b"));
    assert_eq!(lines[1]["error"]["kind"], "server");
}

#[test]
fn a_line_may_be_of_any_bytes() {
    let emulator = emulator();
    let lines = b"SET key \xff\xfe\nSTRLEN key\n";
    let ran = Program::of(&emulator).input(lines).run(&["run"]).exits(0);
    assert_eq!(ran.out, "OK\n2\n");
}

#[test]
fn text_and_json_exit_alike() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    for (error, code) in [("NOAUTH Authentication required.", 6), ("ERR no", 1)] {
        for args in [&["run", "GET", "key"][..], &["run", "--json", "GET", "key"]] {
            emulator.reset();
            emulator.arm(&format!("cmd#* error {error}")).unwrap();
            program.run(args).exits(code);
        }
    }
}

#[test]
fn where_nobody_reads_the_output_it_ends_quietly_and_a_failure_stays_one() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    for (args, code) in [
        (&["run", "GET", "key"][..], 0),
        (&["doctor"], 0),
        (&["token", "--json"], 0),
        (&["doctor", "--port", "1"], 5),
    ] {
        let ran = program.run_unread(args).exits(code);
        assert_eq!(ran.err, "");
    }
}
