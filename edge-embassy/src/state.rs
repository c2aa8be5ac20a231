//! What clients and their runner share: the command queue, and what is known of it all.

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use redis_entraid_core::command_queue::{CommandError, CommandQueue, CommandSlot, Limits, Ticket};
use redis_entraid_core::connection::{CloseReason, Output};
use redis_entraid_core::drive::{Submit, timeout_at};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::{Clock, Instant};

use crate::clock::EmbassyClock;
use crate::error::{Error, ServerError};
use crate::watch::{Agenda, Health};

pub(crate) struct ClientState {
    state: Mutex<CriticalSectionRawMutex, RefCell<State>>,
    clock: &'static EmbassyClock,
}

struct State {
    queue: CommandQueue<'static>,
    health: Health,
    agenda: Agenda,
}

impl ClientState {
    pub(crate) const fn new(
        slots: &'static mut [CommandSlot],
        commands: &'static mut [u8],
        replies: &'static mut [u8],
        clock: &'static EmbassyClock,
        limits: Limits,
    ) -> Self {
        let state = State {
            queue: CommandQueue::new(slots, commands, replies, limits),
            health: Health {
                at: Instant::from_millis(0),
                token: None,
                connection: None,
                connects: 0,
                reauths: 0,
                problem: None,
            },
            agenda: Agenda::new(),
        };
        Self { state: Mutex::new(RefCell::new(state)), clock }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        self.state.lock(|state| use_it(&mut state.borrow_mut()))
    }

    /// Uses the queue, and wakes the tasks that it names.
    fn queue<T>(&self, use_it: impl FnOnce(&mut CommandQueue<'static>) -> T) -> T {
        let result = self.with(|state| use_it(&mut state.queue));
        self.wake();
        result
    }

    #[inline(never)]
    fn wake(&self) {
        while let Some(waker) = self.with(|state| state.queue.next_waker()) {
            waker.wake();
        }
    }

    /// Sends a command, and waits for its reply: for `limit` in all, if it has one.
    pub(crate) async fn command<'r>(
        &self,
        args: &[Arg<'_>],
        limit: Option<Duration>,
        room: &'r mut [u8],
    ) -> Result<Value<'r>, Error> {
        let entered = self.queue(|queue| queue.enter(self.clock.now(), limit, args));
        let ticket = entered.map_err(|error| self.error(error))?;
        // A dropped future withdraws its command.
        let _withdrawal = Withdrawal(self, ticket);
        let answer = loop {
            let by = self.with(|state| state.queue.deadline(&ticket));
            let answered = poll_fn(|cx| {
                let now = self.clock.now();
                let (answer, until) = self.queue(|queue| {
                    let answer = queue.poll(now, cx, &ticket, args, room);
                    (answer, queue.deadline(&ticket))
                });
                match answer.map(Some) {
                    // It has got another time limit, with a connection.
                    Poll::Pending if until != by => Poll::Ready(None),
                    answer => answer,
                }
            });
            if let Some(Some(answer)) = timeout_at(self.clock, by, answered).await {
                break answer;
            }
        };
        let len = answer.map_err(|error| self.error(error))?;
        let value = Value::framed(room.get(..len).unwrap_or_default());
        match value.error() {
            Some(error) => Err(Error::Server(ServerError::new(error))),
            None => Ok(value),
        }
    }

    /// The error of a command, with why there is no connection if it was for want of one.
    fn error(&self, error: CommandError) -> Error {
        match error {
            CommandError::Refused(refused) => Error::Refused(refused),
            CommandError::TooLarge(error) => Error::TooLarge(error),
            CommandError::ReplyTooLarge(error) => {
                Error::ReplyTooLarge { size: error.size, capacity: error.capacity }
            }
            CommandError::Lost(lost) => Error::Lost { outcome: lost.outcome, reason: lost.reason },
            CommandError::Busy => Error::Busy,
            CommandError::Closed => Error::Closed,
            // `Unavailable`, and what a later core has.
            _ => Error::Unavailable { cause: self.health().problem },
        }
    }

    /// Submits the commands that wait, as many as `connection` takes, and has `cx` woken for more.
    pub(crate) fn poll_commands(&self, cx: &Context<'_>, connection: &mut dyn Submit) {
        let now = self.clock.now();
        self.queue(|queue| {
            queue.submit(now, cx, |until, tag, command| {
                connection.submit_encoded(until, tag, command)
            });
        });
    }

    /// Whether a command waits to be sent. If there is none, has `cx` woken when there is.
    pub(crate) fn poll_waiting(&self, cx: &Context<'_>) -> bool {
        self.with(|state| state.queue.poll_waiting(cx))
    }

    /// Waits until there is room for a reply.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, output: &Output<'_>) -> Poll<()> {
        self.queue(|queue| queue.poll_room(cx, output))
    }

    /// Takes in what came of a command.
    #[inline(never)]
    pub(crate) fn output(&self, output: &Output<'_>) {
        self.queue(|queue| queue.output(output));
    }

    /// The connection has ended.
    pub(crate) fn disconnected(&self, reason: CloseReason) {
        self.queue(|queue| queue.disconnected(reason));
    }

    /// Ends it: there will be no answers any more.
    pub(crate) fn close(&self) {
        self.queue(CommandQueue::close);
    }

    pub(crate) fn health(&self) -> Health {
        self.with(|state| state.health)
    }

    /// Takes in news of how it stands.
    pub(crate) fn tell(&self, news: impl FnOnce(&mut Health)) {
        self.with(|state| {
            state.health.pass(self.clock.now());
            news(&mut state.health);
        });
    }

    /// Receives a command, or a change of state.
    pub(crate) fn plan<T>(&self, change: impl FnOnce(&mut Agenda) -> T) -> T {
        self.with(|state| change(&mut state.agenda))
    }

    /// For how long there is nothing to do.
    pub(crate) fn rest(&self) -> Duration {
        self.with(|state| match state.queue.is_empty() {
            true => state.agenda.rest(self.clock.now()),
            false => Duration::ZERO,
        })
    }
}

/// Takes a command back that no caller waits for any more.
struct Withdrawal<'c>(&'c ClientState, Ticket);

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        self.0.queue(|queue| queue.withdraw(&self.1));
    }
}

#[cfg(test)]
mod tests {
    use core::future::Future;
    use core::pin::pin;
    use core::task::Waker;
    use std::boxed::Box;

    use redis_entraid_core::args;
    use redis_entraid_core::command::EncodedCommand;
    use redis_entraid_core::connection::{CloseReason, Lost, Outcome, SubmitError, Tag};
    use redis_entraid_core::time::UnixTime;

    use super::*;

    /// A connection that takes everything.
    struct Line(Option<Tag>);

    impl Submit for Line {
        fn submit(&mut self, _: Tag, _: &[Arg<'_>]) -> Result<(), SubmitError> {
            Err(SubmitError::Ended)
        }

        fn submit_encoded(
            &mut self,
            _: Instant,
            tag: Tag,
            _: EncodedCommand<'_>,
        ) -> Result<(), SubmitError> {
            self.0 = Some(tag);
            Ok(())
        }

        fn close(&mut self, _: CloseReason) {}

        fn retire(&mut self) {}
    }

    #[test]
    fn a_command_that_comes_back_unsent_when_its_time_is_over_waits_for_no_other_connection() {
        static CLOCK: EmbassyClock = EmbassyClock::new(UnixTime(0));
        let memory = || std::vec![0; 64].leak();
        let patience = Duration::from_millis(30);
        let limits = Limits { queue: patience, reply: patience };
        let slots: &'static mut [_] = Box::leak(Box::new([const { CommandSlot::new() }; 2]));
        let state: &ClientState =
            Box::leak(Box::new(ClientState::new(slots, memory(), memory(), &CLOCK, limits)));
        let (mut line, mut room) = (Line(None), [0; 16]);
        let cx = &mut Context::from_waker(Waker::noop());
        let blpop = args!["BLPOP", "k", 5];
        let mut command = pin!(state.command(blpop, Some(patience), &mut room));
        assert!(command.as_mut().poll(cx).is_pending());
        state.poll_commands(cx, &mut line);
        let tag = line.0.unwrap();
        std::thread::sleep(patience * 2);
        // It may block, so that its reply may still come.
        assert!(command.as_mut().poll(cx).is_pending());
        let lost = Lost::new(
            Outcome::NotSent,
            Some(CloseReason::Broken(redis_entraid_core::transport::TransportFailure::Reset)),
        );
        state.output(&Output::Lost { tag, lost });
        let answer = command.as_mut().poll(cx);
        assert!(matches!(answer, Poll::Ready(Err(Error::Unavailable { .. }))), "{answer:?}");
    }
}
