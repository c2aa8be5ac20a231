//! A server that answers as it is told.

use super::*;

/// Connections log in with a new token as soon as it is there.
pub(super) fn at_once() -> RefreshPolicy {
    RefreshPolicy { reauth_spread: Duration::ZERO, ..RefreshPolicy::default() }
}

/// A connection with its manager, and a server that answers as it is told.
pub(super) struct Server {
    pub(super) now: Instant,
    pub(super) manager: Manager,
    pub(super) connection: Connection<[u8; 256], [Pending; 8]>,
    pub(super) logins: Vec<String>,
    /// Answers to logins, before they are accepted.
    pub(super) answers: Vec<String>,
    /// It hears, and doesn't answer.
    pub(super) deaf: bool,
    pub(super) events: Vec<Event>,
    pub(super) replies: Vec<String>,
    pub(super) tokens: Vec<String>,
}

impl Server {
    pub(super) fn new(policy: RefreshPolicy, config: Config) -> Self {
        let config = Config { set_info: false, ..config };
        Self {
            now: ms(0),
            manager: manager(RefreshPolicy { refresh_jitter: Ratio::ZERO, ..policy }),
            connection: Connection::new(config, [0; 256], [0; 256], [Pending::default(); 8]),
            logins: Vec::new(),
            answers: Vec::new(),
            deaf: false,
            events: Vec::new(),
            replies: Vec::new(),
            tokens: Vec::new(),
        }
    }

    pub(super) fn token(&mut self, text: &str, life_ms: u64) {
        self.tokens.push(text.into());
        self.manager.push(self.now, &token(text, life_ms)).unwrap();
    }

    pub(super) fn log_in(&mut self) {
        self.connection.update(self.now, &mut self.manager);
        self.exchange();
        assert!(self.connection.is_ready());
    }

    /// A newer token, and time for all to log in with it.
    pub(super) fn refresh(&mut self, text: &str) {
        self.now = self.now.plus(Duration::from_secs(60));
        self.connection.update(self.now, &mut self.manager);
        self.token(text, 3_600_000);
        for _ in 0..40 {
            self.connection.update(self.now, &mut self.manager);
            self.exchange();
            self.outputs();
            // Not so long that a server that was silenced is given up.
            self.now = self.now.plus(Duration::from_millis(if self.deaf { 100 } else { 1000 }));
        }
    }

    /// Takes what is sent, answers it, and looks when that is wanted.
    pub(super) fn exchange(&mut self) {
        loop {
            let sent = String::from_utf8(self.connection.transmit().to_vec()).unwrap();
            self.connection.sent(sent.len());
            let token =
                self.tokens.iter().rev().find(|token| sent.contains(&format!("\r\n{token}\r\n")));
            let login = sent.contains("\r\nAUTH\r\n").then_some(token).flatten().cloned();
            if let Some(token) = login {
                self.logins.push(token);
                if !self.deaf {
                    let hello = "%1\r\n+proto\r\n:3\r\n".to_owned();
                    let good = if sent.contains("HELLO") { hello } else { "+OK\r\n".into() };
                    let answer =
                        if self.answers.is_empty() { good } else { self.answers.remove(0) };
                    self.hear(&answer);
                }
            } else if !self.deaf {
                for _ in 0..sent.matches('*').count() {
                    self.hear("+OK\r\n");
                }
            }
            if self.connection.needs_update() {
                self.connection.update(self.now, &mut self.manager);
            } else if self.connection.transmit().is_empty() {
                return;
            }
        }
    }

    pub(super) fn say(&mut self, bytes: &str) {
        self.hear(bytes);
        self.connection.update(self.now, &mut self.manager);
        self.exchange();
    }

    pub(super) fn hear(&mut self, bytes: &str) {
        self.connection.receive_space()[..bytes.len()].copy_from_slice(bytes.as_bytes());
        self.connection.received(self.now, bytes.len());
        self.outputs();
    }

    pub(super) fn outputs(&mut self) {
        while let Some(output) = self.connection.next(self.now) {
            match output {
                Output::Event(event) => self.events.push(event),
                Output::Reply { reply: Ok(value), .. } => {
                    self.replies.push(String::from_utf8_lossy(value.raw()).trim().to_owned());
                }
                _ => {}
            }
        }
    }

    /// Sends a command, and answers with its reply.
    pub(super) fn command(&mut self) -> Option<String> {
        match self.connection.submit(self.now, 7, args!["SET", "k", "v"]) {
            Ok(()) => {}
            Err(SubmitError::Full) => return None,
            Err(error) => panic!("{error}"),
        }
        self.exchange();
        self.replies.pop()
    }

    pub(super) fn ended(&mut self) -> Vec<CloseReason> {
        self.outputs();
        let ends = self.events.iter().filter_map(|event| match event {
            Event::Disconnected { reason } => Some(*reason),
            _ => None,
        });
        ends.collect()
    }
}
