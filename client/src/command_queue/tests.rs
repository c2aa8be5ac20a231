//! Handles and a connection that takes as many commands as it is told to.

mod limits;
mod many;
mod noauth;
mod withdrawal;

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::{Pin, pin};
use std::boxed::Box;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

use super::super::command_dispatcher::{CommandDispatcher, QueueDemand};
use super::super::handle::Handle;
use super::*;
use redis_entraid_core::connection::{Output, SubmitError, Tag};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::{Clock, UnixTime};

type Shared = RefCell<QueueState>;

/// The time, which stands still until it is set.
#[derive(Default)]
struct Stopped(Cell<u64>);

impl Clock for Stopped {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.get())
    }

    fn unix_time(&self) -> Option<UnixTime> {
        None
    }
}

/// A dispatcher, and what its connection was given.
struct Line {
    dispatcher: CommandDispatcher<Shared>,
    clock: Stopped,
    tags: Vec<Tag>,
    said: Vec<String>,
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Line {
    fn new() -> (Self, Handle<Shared>) {
        #[allow(clippy::arc_with_non_send_sync)]
        let queue = Arc::new(CommandQueue::new(&Config::new(0), None));
        let handle = Handle::new(queue.clone());
        let (clock, tags, said) = Default::default();
        (Self { dispatcher: CommandDispatcher::new(queue), clock, tags, said }, handle)
    }

    /// Takes so many commands.
    fn take(&mut self, count: usize) -> Result<bool, Ended> {
        let Self { dispatcher, clock, tags, said } = self;
        let end = said.len() + count;
        dispatcher.submit(&cx(), clock.now(), &mut |_, tag, command| {
            if said.len() == end {
                return Err(SubmitError::Full);
            }
            let command = Value::new(command.bytes()).unwrap();
            let words: Vec<_> = command.items().map(|word| word.str().unwrap()).collect();
            said.push(words.join(" "));
            tags.push(tag);
            Ok(())
        })
    }

    /// Answers the command number `at`.
    fn answer(&mut self, at: usize, reply: &str) {
        let reply = Ok(Value::new(reply.as_bytes()).unwrap());
        self.dispatcher.deliver().output(Output::Reply { tag: self.tags[at], reply });
    }

    /// Answers all from number `at` on.
    fn answer_all(&mut self, at: usize, reply: &str) {
        (at..self.tags.len()).for_each(|at| self.answer(at, reply));
    }
}

/// The words of commands, divided by bars.
fn words(text: &'static str) -> Vec<Vec<Arg<'static>>> {
    text.split(" | ").map(|command| command.split(' ').map(Arg::from).collect()).collect()
}

/// Begins to wait for a pipeline.
fn begun<'h>(
    handle: &'h mut Handle<Shared>,
    clock: &'h Stopped,
    text: &'static str,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + 'h>> {
    let mut waiting = Box::pin(async move {
        let commands = words(text);
        handle.execute_all(clock, None, commands.iter().map(Vec::as_slice)).await
    });
    assert!(waiting.as_mut().poll(&mut cx()).is_pending(), "{text}");
    waiting
}

/// Waits for a pipeline that isn't even queued.
fn refused(handle: &mut Handle<Shared>, text: &'static str) -> Error {
    let (commands, clock) = (words(text), Stopped::default());
    let waiting = pin!(handle.execute_all(&clock, None, commands.iter().map(Vec::as_slice)));
    match waiting.poll(&mut cx()) {
        Poll::Ready(Err(error)) => error,
        other => panic!("{text}: {other:?}"),
    }
}

/// What came to each command: the text of a reply, or an error.
fn replies(handle: &Handle<Shared>) -> Vec<String> {
    let said = |at| match handle.pick(at) {
        Ok(value) => value.str().unwrap().to_string(),
        Err(error) => error.to_string(),
    };
    (0..handle.replies()).map(said).collect()
}
