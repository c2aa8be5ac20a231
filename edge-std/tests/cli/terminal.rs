//! The program on a terminal: the prompt of `run`, colours, and what `watch` draws.
#![cfg(unix)]

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use amr_emulator::Emulator;
use nix::pty::{Winsize, openpty};

use crate::program::emulator;

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program on a terminal, as a person sees it.
struct Terminal {
    program: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
    /// Where in `shown` the answer to the last line begins.
    from: usize,
}

impl Terminal {
    fn start(emulator: &Emulator, args: &[&str], variable: (&str, &str)) -> Self {
        Self::start_with(emulator, args, variable, None)
    }

    /// The same on a terminal of this size.
    fn start_with(
        emulator: &Emulator,
        args: &[&str],
        variable: (&str, &str),
        size: Option<Winsize>,
    ) -> Self {
        let pair = openpty(&size, None).unwrap();
        let end = || Stdio::from(pair.slave.try_clone().unwrap());
        let program = Command::new(env!("CARGO_BIN_EXE_redis-entraid"))
            .args(args)
            .env_clear()
            .envs(emulator.environment())
            .env("TERM", "xterm")
            .env(variable.0, variable.1)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
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
        Self { program, keys, shown, from: 0 }
    }

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
            assert!(begun.elapsed() < PATIENCE, "{expected:?} is not in {shown:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end of the program, and gives all that was shown up to `last`.
    fn ends(mut self, last: &str) -> String {
        let begun = Instant::now();
        let status = loop {
            match self.program.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => self.program.kill().unwrap(),
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(status.success(), "{status}");
        // It may be on its way.
        self.from = 0;
        self.shows(last);
        self.shown.lock().unwrap().clone()
    }
}

#[test]
fn at_a_prompt_lines_are_commands_and_a_line_with_a_password_is_not_kept() {
    let emulator = emulator();
    let history = emulator.root_file().with_file_name("history");
    let args = ["run", "--history", history.to_str().unwrap()];
    let mut terminal = Terminal::start(&emulator, &args, ("LANG", "C"));
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
    terminal.ends("quit");
    let kept = std::fs::read_to_string(&history).unwrap();
    assert!(kept.contains("SET key 'a b'") && kept.contains("GET key"), "{kept}");
    assert!(!kept.contains("hush"), "{kept}");
}

#[test]
fn there_are_colours_on_a_terminal_unless_they_are_unwanted() {
    let emulator = emulator();
    for (variable, coloured) in [
        (("LANG", "C"), true),
        // An empty one counts as none.
        (("NO_COLOR", ""), true),
        (("NO_COLOR", "1"), false),
        (("TERM", "dumb"), false),
    ] {
        let shown = Terminal::start(&emulator, &["doctor"], variable).ends("maintenance  ");
        assert_eq!(shown.contains("\x1b[32mok  \x1b[0m"), coloured, "{variable:?}: {shown}");
        assert_eq!(shown.contains('\x1b'), coloured, "{variable:?}: {shown}");
    }
}

#[test]
fn watch_draws_in_place_and_leaves_the_events_and_the_summary() {
    let emulator = emulator();
    let args = ["watch", "--for", "8", "--every", "0.5"];
    let shown = Terminal::start(&emulator, &args, ("LANG", "C")).ends("in all");
    // Four lines, each time.
    let drawings: Vec<&str> = shown.split("\x1b[4A\x1b[J").collect();
    assert!(drawings.len() > 5, "{shown:?}");
    let drawing = drawings[drawings.len() - 2];
    let server = format!("localhost:{}  logged in, RESP3, ", emulator.redis_port());
    for part in [&*server, "token 1 [", "ping ", "1 token, 0 re-AUTHs, 0 reconnects, "] {
        assert!(drawing.contains(part), "{part}: {drawing:?}");
    }
    assert_eq!(drawing.matches("\r\n").count(), 4, "{drawing:?}");
    assert_eq!(shown.matches("logged in with token 1").count(), 1, "{shown:?}");
}

#[test]
fn what_watch_draws_is_no_wider_than_the_terminal_and_a_dumb_one_gets_lines() {
    let emulator = emulator();
    let args = ["watch", "--for", "6", "--every", "0.5"];
    let size = Winsize { ws_row: 20, ws_col: 40, ws_xpixel: 0, ws_ypixel: 0 };
    let shown = Terminal::start_with(&emulator, &args, ("LANG", "C"), Some(size)).ends("in all");
    let drawings: Vec<&str> = shown.split("\x1b[4A\x1b[J").collect();
    let drawing = drawings[drawings.len() - 2];
    let widths: Vec<usize> = drawing.lines().map(|line| line.chars().count()).collect();
    assert!(widths.len() == 4 && widths.iter().all(|width| *width < 40), "{drawing:?}");
    assert!(widths.contains(&39), "{drawing:?}");
    let shown = Terminal::start(&emulator, &args, ("TERM", "dumb")).ends("in all");
    assert!(!shown.contains('\x1b') && shown.contains(" ms  token 1 ["), "{shown:?}");
}

#[test]
fn a_line_is_kept_before_its_command_is_done() {
    let emulator = emulator();
    let history = emulator.root_file().with_file_name("history");
    let args = ["run", "--history", history.to_str().unwrap()];
    emulator.arm("cmd#2 hang").unwrap();
    let mut terminal = Terminal::start(&emulator, &args, ("LANG", "C"));
    terminal.shows("> ");
    terminal.types("SET key value\r", "\r\nOK\r\n");
    terminal.keys.write_all(b"GET key\r").unwrap();
    let begun = Instant::now();
    while emulator.counts().commands < 2 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", terminal.shown);
        thread::sleep(Duration::from_millis(5));
    }
    terminal.program.kill().unwrap();
    terminal.program.wait().unwrap();
    let kept = std::fs::read_to_string(&history).unwrap();
    assert!(kept.contains("SET key value") && kept.contains("GET key"), "{kept}");
}
