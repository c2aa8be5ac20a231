//! Where clients and their runner meet: a command at a time, and what is known of it all.

mod mail;
mod turns;

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::waitqueue::WakerRegistration;
use mail::Mail;
use redis_entraid_core::connection::Output;
use redis_entraid_core::drive::{Submit, timeout_at};
use redis_entraid_core::resp::{Arg, Value};
use redis_entraid_core::time::{Clock, Instant};
use turns::Turns;

use crate::clock::EmbassyClock;
use crate::error::{Error, ServerError};
use crate::watch::{Agenda, Health};

pub(crate) struct Desk {
    state: Mutex<CriticalSectionRawMutex, RefCell<State>>,
    clock: &'static EmbassyClock,
    limits: Limits,
}

/// How long a command may wait where nobody says otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// For its turn and for a connection.
    pub(crate) queue: Duration,
    /// For its reply then.
    pub(crate) reply: Duration,
}

struct State {
    /// Who may use the mailbox.
    turns: Turns,
    mail: Mail,
    caller: WakerRegistration,
    runner: WakerRegistration,
    health: Health,
    agenda: Agenda,
}

impl Desk {
    pub(crate) const fn new(
        command: &'static mut [u8],
        reply: &'static mut [u8],
        clock: &'static EmbassyClock,
        limits: Limits,
    ) -> Self {
        let state = State {
            turns: Turns::new(),
            mail: Mail::new(command, reply),
            caller: WakerRegistration::new(),
            runner: WakerRegistration::new(),
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
        Self { state: Mutex::new(RefCell::new(state)), clock, limits }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        self.state.lock(|state| use_it(&mut state.borrow_mut()))
    }

    /// Sends a command, and waits for its reply: for `limit` in all, if it has one.
    pub(crate) async fn command<'r>(
        &self,
        args: &[Arg<'_>],
        limit: Option<Duration>,
        room: &'r mut [u8],
    ) -> Result<Value<'r>, Error> {
        let by = self.clock.now().plus(limit.unwrap_or(self.limits.queue));
        let _turn = timeout_at(self.clock, by, self.turn()).await.ok_or(Error::Busy)??;
        self.with(|state| state.mail.put(args, limit.map(|_| by)))?;
        // Whoever gives up takes his command back.
        let _abandoned = Abandoned(self);
        self.with(|state| state.runner.wake());
        let mut answer = core::pin::pin!(poll_fn(|cx| self.poll_answer(cx, by, room)));
        let len = match timeout_at(self.clock, by, answer.as_mut()).await {
            Some(answer) => answer?,
            // What was sent has its own time, which may be longer: it may block.
            None => answer.await?,
        };
        let value = Value::framed(room.get(..len).unwrap_or_default());
        match value.error() {
            Some(error) => Err(Error::Server(ServerError::new(error))),
            None => Ok(value),
        }
    }

    /// Waits for the turn.
    async fn turn(&self) -> Result<Turn<'_>, Error> {
        let mut place = Place { desk: self, number: None };
        let taken = poll_fn(|cx| {
            let Place { desk, number } = &mut place;
            desk.with(|state| state.turns.take(number, cx.waker()))
        });
        match taken.await {
            Ok(()) => Ok(Turn(self)),
            Err(_) => Err(Error::Busy),
        }
    }

    /// Takes the answer, if it is there. What is still to be sent when its time is over is given up.
    fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        by: Instant,
        room: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        let late = self.clock.now() >= by;
        self.with(|state| {
            state.caller.register(cx.waker());
            match state.mail.take(room) {
                Some(answer) => Poll::Ready(answer),
                None if late && state.mail.is_waiting() => {
                    let unavailable = Err(Error::Unavailable { cause: state.health.problem });
                    Poll::Ready(state.mail.refused(room).unwrap_or(unavailable))
                }
                None => Poll::Pending,
            }
        })
    }

    /// Submits the command that waits, if there is one, and has `cx` woken when there is.
    pub(crate) fn poll_commands(&self, cx: &Context<'_>, connection: &mut dyn Submit) {
        self.with(|state| {
            state.runner.register(cx.waker());
            let usual = self.clock.now().plus(self.limits.reply);
            if state.mail.submit(usual, connection) {
                state.caller.wake();
            }
        });
    }

    /// Whether a command waits to be sent. If there is none, has `cx` woken when there is.
    pub(crate) fn poll_waiting(&self, cx: &Context<'_>) -> bool {
        self.with(|state| {
            state.runner.register(cx.waker());
            state.mail.is_waiting()
        })
    }

    /// Whether a command waits to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        self.with(|state| state.mail.is_waiting())
    }

    /// Takes in what came of a command, if it is one that a caller waits for.
    pub(crate) fn output(&self, output: &Output<'_>) {
        self.with(|state| {
            if state.mail.output(output) {
                state.caller.wake();
            }
        });
    }

    /// Ends it: there will be no answers any more.
    pub(crate) fn close(&self) {
        self.with(|state| {
            state.mail.close();
            state.caller.wake();
        });
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

    /// Takes in what there is to do.
    pub(crate) fn plan<T>(&self, change: impl FnOnce(&mut Agenda) -> T) -> T {
        self.with(|state| change(&mut state.agenda))
    }

    /// For how long there is nothing to do.
    pub(crate) fn rest(&self) -> Duration {
        self.with(|state| match state.mail.is_empty() {
            true => state.agenda.rest(self.clock.now()),
            false => Duration::ZERO,
        })
    }
}

/// Takes a command back that no caller waits for any more.
struct Abandoned<'d>(&'d Desk);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.mail.withdraw());
    }
}

/// A place in the line, which is left however the waiting ends.
struct Place<'d> {
    desk: &'d Desk,
    number: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.desk.with(|state| state.turns.leave(self.number));
    }
}

/// Somebody's turn, until it is dropped.
struct Turn<'d>(&'d Desk);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.turns.end());
    }
}

#[cfg(test)]
mod tests {
    use core::future::Future;
    use core::pin::pin;
    use core::task::Waker;
    use std::boxed::Box;

    use redis_entraid_core::args;
    use redis_entraid_core::command::CommandClass;
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
            _: CommandClass,
            _: &[u8],
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
        let desk: &Desk = Box::leak(Box::new(Desk::new(memory(), memory(), &CLOCK, limits)));
        let (mut line, mut room) = (Line(None), [0; 16]);
        let cx = &mut Context::from_waker(Waker::noop());
        let blpop = args!["BLPOP", "k", 5];
        let mut command = pin!(desk.command(blpop, Some(patience), &mut room));
        assert!(command.as_mut().poll(cx).is_pending());
        desk.poll_commands(cx, &mut line);
        let tag = line.0.unwrap();
        std::thread::sleep(patience * 2);
        // It may block, so that its reply may still come.
        assert!(command.as_mut().poll(cx).is_pending());
        let lost = Lost::new(
            Outcome::NotSent,
            Some(CloseReason::Broken(redis_entraid_core::transport::Break::Reset)),
        );
        desk.output(&Output::Lost { tag, lost });
        let answer = command.as_mut().poll(cx);
        assert!(matches!(answer, Poll::Ready(Err(Error::Unavailable { .. }))), "{answer:?}");
    }
}
