//! The rules, as far as they can be seen from outside.

use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{CloseReason, Output, ReplyTooLarge, Tag};
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::Generation;
use redis_entraid_core::resp::Value;
use redis_entraid_core::time::Instant;

use super::{Left, World};
use crate::server::{Broken, Frame, What};

/// Whether `got` is `frame`, to the byte or to the size.
fn is_same(frame: &Frame, got: Result<Value<'_>, ReplyTooLarge>) -> bool {
    match got {
        Ok(value) => value.raw() == frame.bytes,
        Err(error) => error.size == frame.bytes.len() as u64,
    }
}

fn shown(got: Result<Value<'_>, ReplyTooLarge>) -> String {
    match got {
        Ok(value) => value.raw().escape_ascii().to_string(),
        Err(error) => error.to_string(),
    }
}

fn expected(frame: Option<&Frame>) -> String {
    let text = |frame: &Frame| format!("{:?}: {}", frame.what, frame.bytes.escape_ascii());
    frame.map_or("nothing".into(), text)
}

pub(super) fn is_reply(
    frame: Option<&Frame>,
    tag: Tag,
    reply: Result<Value<'_>, ReplyTooLarge>,
    receive: usize,
) -> Result<(), Broken> {
    let own = |what| matches!(what, What::Reply(of) | What::Confirmed(of) if of == tag);
    if !frame.is_some_and(|frame| own(frame.what) && is_same(frame, reply)) {
        let how = format!("{tag} got {}, expected {}", shown(reply), expected(frame));
        return Broken::new("each reply has its own tag", how);
    }
    if let Err(error) = reply
        && error.size <= receive as u64
    {
        return Broken::new("a reply that fits is handed out", shown(reply));
    }
    Ok(())
}

pub(super) fn is_push(
    frame: Option<&Frame>,
    push: Result<Value<'_>, ReplyTooLarge>,
    gone: &[Tag],
) -> Result<(), Broken> {
    let unasked = |what| match what {
        What::Push => true,
        // Nobody waits for it any more.
        What::Confirmed(tag) => gone.contains(&tag),
        _ => false,
    };
    if frame.is_some_and(|frame| unasked(frame.what) && is_same(frame, push)) {
        return Ok(());
    }
    let how = format!("pushed {}, expected {}", shown(push), expected(frame));
    Broken::new("each reply has its own tag", how)
}

/// What came of a connection, for people.
pub(super) fn output(output: &Output<'_>) -> String {
    match output {
        Output::Reply { tag, reply } => format!("{tag}: {}", shown(*reply)),
        Output::Push(push) => format!("push {}", shown(*push)),
        other => format!("{other:?}"),
    }
}

impl World {
    /// The longest that a connection may be unready, or wait, without a byte: the time that a
    /// command blocks, its time limit, and a server that is silent or doesn't answer two logins.
    fn patience(&self) -> u64 {
        let config = self.settings.config();
        let all = config.max_block
            + config.command_timeout
            + config.unresponsive_after
            + config.login_timeout * 2;
        all.as_millis() as u64
    }

    /// What a connection says of itself is so.
    pub(super) fn event(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Rejected { .. } => {
                self.refused = Some(self.now);
                // That token is as good as none, and a host fetches another one.
                self.token_came = u64::MAX;
                self.fresh_at = self.fresh_at.min(self.now + 1000);
            }
            Event::LoggedIn { generation, .. } | Event::Reauthenticated { generation } => {
                self.generation = generation;
            }
            Event::ReplacementDue { .. } => self.replaces = true,
            Event::StateLost(lost) => {
                let told = Left {
                    transaction: lost.transaction,
                    watch: lost.watch,
                    tracking: lost.tracking,
                    subscriptions: lost.subscriptions,
                };
                if let Some(left) = self.left.take()
                    && left != told
                {
                    let how = format!("told {told:?}, it was {left:?}");
                    return Broken::new("what is lost is told", how);
                }
            }
            Event::Disconnected { reason } => {
                self.ended = true;
                if let Some(left) = self.left.take()
                    && left != Left::default()
                {
                    let how = format!("nothing told, it was {left:?}");
                    return Broken::new("what is lost is told", how);
                }
                return self.end(reason);
            }
            _ => {}
        }
        Ok(())
    }

    /// A connection ends for the reason that it says.
    fn end(&self, reason: CloseReason) -> Result<(), Broken> {
        let config = self.settings.config();
        let patience = config.unresponsive_after.as_millis() as u64;
        // A command may take as long as it was given.
        let oldest = self.unanswered.front().map_or(0, |(_, by)| *by);
        let early = self.now < self.heard.max(oldest) + patience;
        // But what the connection has sent by itself may be older.
        let introduces = self.settings.set_info || self.settings.named;
        let early = early && !introduces && self.now < self.heard + self.settings.idle.0 * 1000;
        match reason {
            // It may have ended with a login that nobody answered.
            CloseReason::Unresponsive if early && self.generation == self.newest(0) => {
                Broken::new("a server has its time", format!("{reason:?} at {}", self.now))
            }
            CloseReason::LoginExpired
                if self.token_came != u64::MAX && self.generation < self.newest(10_000) =>
            {
                Broken::new("an error names the side that failed", format!("{reason:?}"))
            }
            CloseReason::Protocol => {
                Broken::new("a connection ends for a reason", format!("{reason:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The newest token that has been there for so many milliseconds.
    fn newest(&self, millis: u64) -> Generation {
        let newest = self.tokens as u32;
        Generation(if self.token_came.saturating_add(millis) <= self.now {
            newest
        } else {
            newest - 1
        })
    }

    /// What holds at any time.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        let now = self.time();
        if let Some((tag, _)) = self.open.iter().find(|(_, by)| self.now >= **by) {
            return Broken::new("a command is answered or lost in time", format!("{tag} isn't"));
        }
        let health = self.connection.health(now);
        let stands = !self.connection.has_ended() && self.manager.login(now).is_some();
        self.unready = (stands && !health.ready).then(|| self.unready.unwrap_or(self.now));
        self.waiting = (stands && health.waiting > 0).then(|| self.waiting.unwrap_or(self.now));
        for (since, what) in [(self.unready, "isn't ready"), (self.waiting, "waits for a reply")] {
            // As long as bytes come there is somebody, and a command may have been given longer.
            let given = self.unanswered.front().map_or(0, |(_, by)| *by);
            let last = self.heard.max(given);
            if since.is_some_and(|since| self.now > since.max(last) + self.patience()) {
                return Broken::new("nothing waits for ever", format!("it {what}"));
            }
        }
        Ok(())
    }

    /// What holds when all is at rest.
    pub(super) fn check_drained(&mut self) -> Result<(), Broken> {
        if !self.is_drained() {
            return Ok(());
        }
        let now = self.time();
        let health = self.connection.health(now);
        if let Some((tag, _)) = self.open.first_key_value() {
            return Broken::new("each reply has its own tag", format!("{tag} has none"));
        }
        if let Some(frame) = self.server.next_visible(&self.gone) {
            return Broken::new("what comes is handed out", expected(Some(&frame)));
        }
        let session = &self.server.session;
        if let Some(real) = &mut self.server.real {
            let seen =
                real.seen().or_else(|error| Broken::new("a real server can be asked", error))?;
            let small = (session.multi.is_some(), session.tracking, session.subscriptions() as u64);
            if (seen.transaction, seen.tracking, seen.subscriptions) != small
                || seen.watch.is_some_and(|watch| watch == session.watched.is_empty())
            {
                let how = format!("it has {seen:?}, the small one {session:?}");
                return Broken::new("a real server does the same", how);
            }
        }
        let (known, is) = (health.session, session.is_open());
        if known != is && !(known && session.doubtful) {
            let how = format!("open: {known}, at the server: {is}");
            return Broken::new("the session is the server's", how);
        }
        let (known, are) = (health.subscriptions as usize, session.subscriptions());
        if known != are {
            let how = format!("{known}, at the server: {are}");
            return Broken::new("the subscriptions are the server's", how);
        }
        if health.generation.is_some() && session.login.is_none() && session.told_noauth {
            return Broken::new("a login that is lost is noticed", "it isn't");
        }
        self.check_login(now)
    }

    /// A login that is due happens.
    fn check_login(&self, now: Instant) -> Result<(), Broken> {
        let health = self.connection.health(now);
        let session = &self.server.session;
        let recently = self.refused.is_some_and(|refused| self.now < refused + 60_000);
        let (Some(have), Some(left)) = (health.generation, health.login_ends_in) else {
            return Ok(());
        };
        let resp2_subscriber = health.protocol == Protocol::Resp2 && session.subscriptions() > 0;
        let can_not = session.multi.is_some() || self.retired || recently || resp2_subscriber;
        if !can_not
            && self.manager.newer_than(have, now).is_some()
            && now >= self.manager.reauth_at(7, now + left)
        {
            return Broken::new("a login that is due happens", format!("it has {have:?}"));
        }
        if self.retired && !session.is_open() {
            return Broken::new("a connection that retires ends", "it doesn't");
        }
        Ok(())
    }
}
