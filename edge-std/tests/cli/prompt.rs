//! `run` without a command, on a terminal.
#![cfg(unix)]

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;

use crate::program::emulator;

/// A terminal, as a person sees it.
struct Terminal {
    keys: File,
    shown: Arc<Mutex<String>>,
    /// Where in `shown` the answer to the last line begins.
    from: usize,
}

impl Terminal {
    /// Types a line, and waits until `expected` is shown.
    fn types(&mut self, line: &str, expected: &str) {
        self.from = self.shown.lock().unwrap().len();
        self.keys.write_all(line.as_bytes()).unwrap();
        self.shows(expected);
    }

    fn shows(&self, expected: &str) {
        let begun = Instant::now();
        loop {
            let shown = self.shown.lock().unwrap()[self.from..].to_owned();
            if shown.contains(expected) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{expected:?} is not in {shown:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn at_a_prompt_lines_are_commands_and_a_line_with_a_password_is_not_kept() {
    let emulator = emulator();
    let history = emulator.root_file().with_file_name("history");
    let pair = openpty(None, None).unwrap();
    let end = || Stdio::from(pair.slave.try_clone().unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_redis-entraid"))
        .args(["run", "--history"])
        .arg(&history)
        .env_clear()
        .envs(emulator.environment())
        .env("TERM", "xterm")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    drop(pair.slave);
    let shown = Arc::new(Mutex::new(String::new()));
    let (mut screen, writer) = (File::from(pair.master), shown.clone());
    let keys = screen.try_clone().unwrap();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        // It is an error when nobody has the other end any more.
        while let Ok(len @ 1..) = screen.read(&mut piece) {
            writer.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..len]));
        }
    });
    let mut terminal = Terminal { keys, shown, from: 0 };
    let prompt = format!("localhost:{}> ", emulator.redis_port());
    terminal.shows(&prompt);
    terminal.types("SET key 'a b'\r", "\r\nOK\r\n");
    terminal.types("GET key\r", "\r\n\"a b\"\r\n");
    terminal.types("AUTH me hush\r", "logs in by itself");
    terminal.types("NOSUCH\r", "(error) ERR unknown command");
    // The line before the last one, without the one that wasn't kept.
    terminal.types("\x1b[A\x1b[A\r", "\r\n\"a b\"\r\n");
    // Ctrl-C gives a line up, not the program.
    terminal.types("GET\x03", &prompt);
    terminal.types("quit\r", "quit");
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > Duration::from_secs(20) => child.kill().unwrap(),
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success(), "{status}");
    let kept = std::fs::read_to_string(&history).unwrap();
    assert!(kept.contains("SET key 'a b'") && kept.contains("GET key"), "{kept}");
    assert!(!kept.contains("hush"), "{kept}");
}
