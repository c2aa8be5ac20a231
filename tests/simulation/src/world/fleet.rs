//! The connections of the fleet, and the server at their other ends.

use super::*;

impl World {
    pub(super) fn update(&mut self, link: usize) {
        let now = at(self.now);
        if self.links[link].connection.is_none() {
            return self.dial(link);
        }
        let before = self.manager.next_deadline();
        if let Some(connection) = &mut self.links[link].connection {
            connection.update(now, &mut self.manager);
        }
        if self.manager.next_deadline() < before {
            self.wake_manager(self.now);
        }
        self.pump(link);
        if let Some(connection) = &self.links[link].connection {
            let next = connection.next_deadline().max(now.plus(Duration::from_millis(1)));
            self.wake(link, next.as_millis());
        }
    }

    fn dial(&mut self, link: usize) {
        let now = at(self.now);
        if self.links[link].dialing || self.manager.login(now).is_none() {
            return;
        }
        match self.links[link].reconnect.poll(now, true) {
            Dial::Now => {
                self.links[link].dialing = true;
                let latency = self.chance.between(1, 100);
                self.plan(latency, What::Dialed(link));
            }
            Dial::Wait { until } => self.wake(link, until.as_millis()),
        }
    }

    pub(super) fn dialed(&mut self, link: usize) {
        let now = at(self.now);
        let refused = self.chance.one_in(50);
        let state = &mut self.links[link];
        state.dialing = false;
        if refused {
            state.reconnect.failed(now);
            return self.wake(link, self.now);
        }
        let config = Config {
            id: link as u64,
            set_info: false,
            // What is kept is kept by commands here: tokens are what this is about.
            idle: Idle::Keep(Duration::from_secs(30 * 86_400)),
            ..Config::new(0)
        };
        let ring = [Pending::default(); 4];
        state.connection = Some(Connection::new(config, [0; 128], [0; 128], ring));
        state.epoch += 1;
        state.login = None;
        state.replies.clear();
        self.wake(link, self.now);
    }

    /// Takes what a connection sends, lets the server answer, and hears what happened.
    fn pump(&mut self, link: usize) {
        loop {
            let Some(connection) = &mut self.links[link].connection else { return };
            let sent = String::from_utf8(connection.transmit().to_vec()).expect("it is text");
            connection.sent(sent.len());
            if !sent.is_empty() {
                self.serve(link, &sent);
            }
            self.outputs(link);
            let Some(connection) = &mut self.links[link].connection else { return };
            if !connection.needs_update() {
                return;
            }
            connection.update(at(self.now), &mut self.manager);
        }
    }

    /// The server: it hears `sent`.
    fn serve(&mut self, link: usize, sent: &str) {
        let ended = self.links[link].login.is_some_and(|login| self.now >= login.ends);
        assert!(!ended, "a connection was written to whose login has ended");
        if self.chance.one_in(20_000) {
            return self.cut(link, CloseReason::ByServer);
        }
        let auth = sent.split("\r\ntoken-").nth(1).and_then(|rest| rest.split('\r').next());
        let reply = match auth.and_then(|number| number.parse::<u64>().ok()) {
            None if self.links[link].login.is_none() => "-NOAUTH Authentication required.\r\n",
            None => ":1\r\n",
            Some(number) => {
                let issued = self.issued[number as usize - 1];
                let good = self.now < issued.ends;
                if good && self.chance.one_in(500) {
                    self.report.refused += 1;
                    // It couldn't check the token, or can't serve anybody.
                    if self.chance.one_in(2) {
                        "-WRONGPASS invalid username-password pair\r\n"
                    } else {
                        "-LOADING Redis is loading the dataset in memory\r\n"
                    }
                } else if good {
                    match self.links[link].login.replace(issued) {
                        None => self.report.logins += 1,
                        Some(_) => self.report.reauths += 1,
                    }
                    if sent.contains("HELLO") { "%1\r\n+proto\r\n:3\r\n" } else { "+OK\r\n" }
                } else {
                    self.report.refused += 1;
                    "-WRONGPASS invalid username-password pair\r\n"
                }
            }
        };
        let state = &mut self.links[link];
        state.replies.extend_from_slice(reply.as_bytes());
        let epoch = state.epoch;
        let latency = self.chance.between(1, 50);
        self.plan(latency, What::Arrive(link, epoch));
    }

    pub(super) fn arrive(&mut self, link: usize, epoch: u64) {
        let now = at(self.now);
        let state = &mut self.links[link];
        let Some(connection) = state.connection.as_mut().filter(|_| state.epoch == epoch) else {
            return;
        };
        for byte in state.replies.drain(..) {
            if let [slot, ..] = connection.receive_space() {
                *slot = byte;
            }
            connection.received(now, 1);
        }
        self.outputs(link);
        self.update(link);
    }

    fn outputs(&mut self, link: usize) {
        let now = at(self.now);
        loop {
            let state = &mut self.links[link];
            let Some(connection) = &mut state.connection else { return };
            match connection.next(now) {
                None => return,
                Some(Output::Reply { .. }) => self.report.commands += 1,
                Some(Output::Event(event)) => {
                    state.reconnect.observe(now, &event);
                    match event {
                        Event::LoggedIn { .. } => {
                            self.check_link(link);
                            self.links[link].down = None;
                        }
                        Event::Disconnected { reason } => self.ended(link, reason),
                        _ => {}
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn ended(&mut self, link: usize, reason: CloseReason) {
        let state = &mut self.links[link];
        state.connection = None;
        state.down.get_or_insert(self.now);
        if reason == CloseReason::LoginExpired {
            self.report.expired += 1;
            // Only if the next token was due while the endpoint was unwell.
            let login = state.login.expect("it was logged in");
            // The source may have told a shorter life than the server grants.
            let due = login.sent + (login.ends.min(login.told) - login.sent) / 2;
            assert!(self.unwell >= due, "a login ended though the endpoint was well");
        } else {
            self.report.cut += 1;
        }
        self.wake(link, self.now);
    }

    pub(super) fn cut(&mut self, link: usize, reason: CloseReason) {
        if let Some(connection) = &mut self.links[link].connection {
            connection.closed(reason);
            self.outputs(link);
        }
    }
}
