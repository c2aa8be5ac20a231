//! The command queue in lent memory, with a secret in a command and in its reply.

use core::task::{Context, Waker};
use std::time::Duration;

use leaks::Shown;
use redis_entraid_core::args;
use redis_entraid_core::command_queue::{CommandError, CommandQueue, CommandSlot, Limits};
use redis_entraid_core::connection::Output;
use redis_entraid_core::resp::Value;

use super::{NOW, SECRET};

pub(crate) fn command_queue(shown: &mut Shown) {
    let cx = &Context::from_waker(Waker::noop());
    let limits = Limits { queue: Duration::from_secs(1), reply: Duration::from_secs(1) };
    shown.value(&limits);
    shown.value(&CommandSlot::new());
    let (mut slots, mut commands, mut replies) =
        ([const { CommandSlot::new() }; 2], [0; 256], [0; 256]);
    let mut queue = CommandQueue::new(&mut slots, &mut commands, &mut replies, limits);
    let (command, mut room) = (args!["SET", "k", SECRET], [0; 256]);
    let ticket = queue.enter(NOW, None, command).unwrap();
    shown.value(&ticket);
    assert!(queue.poll(NOW, cx, &ticket, command, &mut room).is_pending());
    shown.value(&queue);
    let mut tag = 0;
    queue.submit(NOW, cx, |_, given, _| {
        tag = given;
        Ok(())
    });
    let raw = format!("+{SECRET}\r\n");
    queue.output(&Output::Reply { tag, reply: Ok(Value::framed(raw.as_bytes())) });
    shown.value(&queue);
    let error = CommandError::Unavailable;
    shown.error(&error);
    shown.value(&slots);
}
