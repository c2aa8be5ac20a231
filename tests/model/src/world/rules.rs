//! The rules, as far as they can be seen from outside.

use std::collections::VecDeque;

use redis_entraid_core::auth::Protocol;
use redis_entraid_core::connection::{ReplyTooLarge, Tag};
use redis_entraid_core::event::Event;
use redis_entraid_core::resp::Value;
use redis_entraid_core::time::Instant;

use super::{Left, World, is_end, is_visible};
use crate::server::{Broken, Frame, What};

/// The next of what the server has sent that the user gets to see.
pub(super) fn next_visible(sent: &mut VecDeque<Frame>, gone: &[Tag]) -> Option<Frame> {
    loop {
        let frame = sent.pop_front()?;
        let nobody = matches!(frame.what, What::Reply(tag) if gone.contains(&tag));
        if is_visible(frame.what) && !nobody {
            return Some(frame);
        }
    }
}

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

pub(super) fn event(
    event: Event,
    ended: &mut bool,
    left: &mut Option<Left>,
    refused: (&mut Option<u64>, u64),
) -> Result<(), Broken> {
    *ended |= is_end(&event);
    match event {
        Event::Rejected { .. } => *refused.0 = Some(refused.1),
        Event::StateLost(lost) => {
            let told = Left {
                transaction: lost.transaction,
                watch: lost.watch,
                tracking: lost.tracking,
                subscriptions: lost.subscriptions,
            };
            if let Some(left) = left.take()
                && left != told
            {
                let how = format!("told {told:?}, it was {left:?}");
                return Broken::new("what is lost is told", how);
            }
        }
        _ => {}
    }
    if *ended
        && let Some(left) = left.take()
        && left != Left::default()
    {
        return Broken::new("what is lost is told", format!("nothing told, it was {left:?}"));
    }
    Ok(())
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
            // As long as bytes come, there is somebody.
            if since.is_some_and(|since| self.now > since.max(self.heard) + self.patience()) {
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
        let session = &self.server.session;
        if let Some((tag, _)) = self.open.first_key_value() {
            return Broken::new("each reply has its own tag", format!("{tag} has none"));
        }
        if let Some(frame) = next_visible(&mut self.server.sent, &self.gone) {
            return Broken::new("what comes is handed out", expected(Some(&frame)));
        }
        if let Some(real) = &mut self.server.real {
            let seen = real.seen().or_else(|error| Broken::new("a real server can be asked", error))?;
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
        let can = session.multi.is_none()
            && !self.retired
            && !recently
            && !(health.protocol == Protocol::Resp2 && session.subscriptions() > 0);
        if can
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
