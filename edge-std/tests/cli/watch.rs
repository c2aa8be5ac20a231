//! `watch`

use std::time::Duration;

use amr_emulator::{Emulator, Options};
use serde_json::Value;

use crate::program::{Program, emulator, emulator_with};

/// Tokens of this emulator live for ten seconds.
fn quick() -> Emulator {
    emulator_with(Options { life: 10, ..Options::default() })
}

/// How often something of this name happened.
fn count(lines: &[Value], event: &str) -> usize {
    lines.iter().filter(|line| line["event"] == event).count()
}

#[test]
fn it_shows_refreshes_and_reauths_and_round_trips_in_lines() {
    let emulator = quick();
    let ran = Program::of(&emulator).run(&["watch", "--for", "11"]).exits(0);
    let out = ran.keeps_secrets_of(&emulator).out;
    let lines_with = |word: &str| out.lines().filter(|line| line.contains(word)).count();
    assert!(lines_with("refresh  ") >= 2 && lines_with("re-AUTH  ") >= 1, "{out}");
    assert!(lines_with(" ms  token 1 [") >= 4 && lines_with(" ms  token 2 [") >= 1, "{out}");
    // Nothing is drawn over where the output is no terminal.
    assert!(!out.contains('\x1b'), "{out}");
    let last = out.lines().last().unwrap();
    assert!(last.contains("in all") && last.contains("0 reconnects"), "{out}");
}

#[test]
fn it_shows_the_same_as_json_a_line_each() {
    let emulator = quick();
    let ran = Program::of(&emulator).run(&["watch", "--for", "11", "--every", "0.5", "--json"]);
    let lines = ran.exits(0).keeps_secrets_of(&emulator).json_lines();
    assert!(count(&lines, "refreshed") >= 2 && count(&lines, "reauthenticated") >= 1, "{lines:?}");
    assert_eq!(count(&lines, "logged_in"), 1, "{lines:?}");
    let trips: Vec<_> = lines.iter().filter(|line| line["round_trip_ms"].is_number()).collect();
    assert!(trips.len() >= 10 && trips.iter().all(|line| line["ready"] == true), "{lines:?}");
    let summary = &lines.last().unwrap()["summary"];
    assert!(summary["tokens"].as_u64().unwrap() >= 2 && summary["failed"] == 0, "{summary}");
}

#[test]
fn a_reconnect_and_why_are_shown() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    let lines = std::thread::scope(|scope| {
        let ran = scope.spawn(|| program.run(&["watch", "--for", "8", "--every", "0.2", "--json"]));
        let begun = std::time::Instant::now();
        while emulator.counts().commands == 0 && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        emulator.cut();
        ran.join().unwrap().exits(0).keeps_secrets_of(&emulator).json_lines()
    });
    assert!(count(&lines, "disconnected") >= 1 && count(&lines, "logged_in") >= 2, "{lines:?}");
    assert!(lines.last().unwrap()["summary"]["reconnects"].as_u64().unwrap() >= 1, "{lines:?}");
}

#[test]
fn where_there_is_no_connection_in_the_end_it_exits_as_ping_does() {
    let emulator = emulator();
    let program = Program::of(&emulator);
    let ran = program.run(&["watch", "--for", "5", "--port", "1"]).exits(5);
    assert!(ran.out.contains("can't connect") && ran.err.contains("refused"), "{ran:?}");
    emulator.arm("auth#* wrongpass").unwrap();
    let ran = program.run(&["watch", "--for", "5", "--json"]).exits(6);
    let lines = ran.keeps_secrets_of(&emulator).json_lines();
    assert!(count(&lines, "rejected") >= 1, "{lines:?}");
    assert_eq!(lines.last().unwrap()["error"]["kind"], "login");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_with_the_summary() {
    let emulator = emulator();
    let mut running = Program::of(&emulator).start(&["watch"]);
    let begun = std::time::Instant::now();
    while emulator.counts().commands == 0 && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.interrupt();
    let ran = running.end().exits(0).keeps_secrets_of(&emulator);
    assert!(ran.out.lines().last().unwrap().contains("in all"), "{ran:?}");
}
