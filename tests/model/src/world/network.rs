//! Bytes that flow, and time that passes meanwhile.

use redis_entraid_core::connection::CloseReason;

use super::{Left, World};
use crate::server::Broken;

impl World {
    /// Lets up to so many bytes flow in each direction. Says whether any did.
    pub(super) fn flow(&mut self, out: usize, back: usize) -> Result<bool, Broken> {
        self.update()?;
        let bytes = self.connection.transmit();
        let out = if self.now < self.stalled_until { 0 } else { out };
        let len = bytes.len().min(out);
        let taken = bytes[..len].to_vec();
        if len > 0 {
            let health = self.connection.health(self.time());
            if health.login_ends_in.is_some_and(|left| left.is_zero()) {
                return Broken::new("nothing is written behind a login's end", "it was");
            }
            self.connection.sent(len);
            self.server.now = self.now;
            self.note(|| format!("  > {}", taken.escape_ascii()));
            self.server.receive(&taken)?;
        }
        self.server.now = self.now;
        self.server.run()?;
        self.expire()?;
        let mut left = back.min(self.server.out.len());
        let came = left > 0;
        while left > 0 && !self.connection.has_ended() {
            let space = self.connection.receive_space();
            let len = space.len().min(left);
            if len == 0 {
                return Broken::new("there is room to receive", "there is none");
            }
            let bytes: Vec<u8> = self.server.out.drain(..len).collect();
            space[..len].copy_from_slice(&bytes);
            self.connection.received(self.time(), len);
            self.heard = self.now;
            left -= len;
            self.note(|| format!("  < {}", bytes.escape_ascii()));
            self.hear()?;
        }
        self.update()?;
        Ok(len > 0 || came)
    }

    /// The server closes a connection whose login has ended.
    pub(super) fn expire(&mut self) -> Result<(), Broken> {
        let ended = |(_, ends): &(String, u64)| self.now >= *ends;
        if !self.server.is_silent() && self.server.session.login.as_ref().is_some_and(ended) {
            return self.cut();
        }
        Ok(())
    }

    pub(super) fn cut(&mut self) -> Result<(), Broken> {
        if self.is_drained() && !self.server.session.doubtful {
            let session = &self.server.session;
            self.left = Some(Left {
                transaction: session.multi.is_some(),
                watch: !session.watched.is_empty(),
                tracking: session.tracking,
                subscriptions: session.subscriptions() as u32,
            });
        }
        self.connection.closed(CloseReason::ByServer);
        self.update()
    }

    pub(super) fn drain(&mut self) -> Result<(), Broken> {
        for _ in 0..10_000 {
            if !self.flow(usize::MAX, usize::MAX)? {
                return Ok(());
            }
        }
        Broken::new("there is an end to what is said", "there isn't")
    }

    /// Time passes, in which all happens when it is due.
    pub(super) fn pass(&mut self, millis: u64) -> Result<(), Broken> {
        let until = self.now.saturating_add(millis);
        loop {
            self.drain()?;
            self.check()?;
            if self.now >= until {
                return Ok(());
            }
            let mut next = until.min(self.connection.next_deadline().as_millis());
            if let Some(blocked) = &self.server.session.blocked {
                next = next.min(blocked.until);
            }
            if let Some((_, ends)) = &self.server.session.login {
                next = next.min(*ends);
            }
            for end in [self.server.silent_until, self.stalled_until] {
                next = next.min(if end > self.now { end } else { u64::MAX });
            }
            next = next.min(self.fresh_at);
            self.now = next.max(self.now + 1).min(until);
            if self.now >= self.fresh_at {
                self.token()?;
            }
        }
    }
}
