//! One connection, from its beginning to its end.

use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use embedded_io_async::{Error as _, ErrorKind, Read, Write};

use super::{LOOK_EVERY, SharedTokenManager, either};
use crate::command::EncodedCommand;
use crate::connection::{
    CloseReason, Connection, ConnectionHealth, Machine, Output, Pending, QUIET, Receiver,
    SubmitError, Tag, Transmitter,
};
use crate::resp::Arg;
use crate::storage::Storage;
use crate::time::{Instant, Timer};
use crate::transport::TransportFailure;

/// How often it is read and written before others have a turn: those who wait for what was read,
/// and have room for so much of it.
const ROUNDS: u32 = 8;

/// A connection, as far as it takes commands.
pub trait Submit {
    /// See [`Connection::submit`].
    ///
    /// # Errors
    /// [`SubmitError`] if it is not queued. After `Full`, try again later.
    fn submit(&mut self, tag: Tag, args: &[Arg<'_>]) -> Result<(), SubmitError>;

    /// See [`Connection::submit_encoded`].
    ///
    /// # Errors
    /// [`SubmitError`] if it is not queued. After `Full`, try again later.
    fn submit_encoded(
        &mut self,
        by: Instant,
        tag: Tag,
        command: EncodedCommand<'_>,
    ) -> Result<(), SubmitError>;

    /// See [`Connection::retire`].
    fn retire(&mut self);

    /// See [`Connection::can_pause`].
    fn can_pause(&self) -> bool {
        true
    }

    /// Ends the connection.
    fn close(&mut self, reason: CloseReason);
}

/// The outputs of a connection.
pub trait Outputs {
    /// See [`Connection::next`].
    fn next_output(&mut self, now: Instant) -> Option<Output<'_>>;
}

impl<B: Storage<u8>, R: Storage<Pending>> Connection<B, R> {
    /// Accepts, at `now`, the commands that a [`Workload`](super::Workload) gives.
    pub const fn taking(&mut self, now: Instant) -> impl Submit + '_ {
        let (machine, _, transmitter) = self.parts();
        Submitter { now, machine, transmitter }
    }
}

impl<B: Storage<u8>, R: Storage<Pending>> Outputs for Connection<B, R> {
    fn next_output(&mut self, now: Instant) -> Option<Output<'_>> {
        self.next(now)
    }
}

/// What a connection has to say whose bytes were just received.
struct Received<'s, R, B: Storage<u8>> {
    machine: &'s mut Machine<R>,
    receiver: &'s mut Receiver<B>,
}

impl<R: Storage<Pending>, B: Storage<u8>> Outputs for Received<'_, R, B> {
    fn next_output(&mut self, now: Instant) -> Option<Output<'_>> {
        self.machine.next(now, self.receiver)
    }
}

/// What a connection has to say while its receiver is lent out.
struct Losses<'s, R>(&'s mut Machine<R>);

impl<R: Storage<Pending>> Outputs for Losses<'_, R> {
    fn next_output(&mut self, _: Instant) -> Option<Output<'_>> {
        self.0.next_loss()
    }
}

/// What a command is submitted to.
struct Submitter<'s, R, B: Storage<u8>> {
    now: Instant,
    machine: &'s mut Machine<R>,
    transmitter: &'s mut Transmitter<B>,
}

impl<R: Storage<Pending>, B: Storage<u8>> Submit for Submitter<'_, R, B> {
    fn submit(&mut self, tag: Tag, args: &[Arg<'_>]) -> Result<(), SubmitError> {
        self.machine.submit(self.now, self.transmitter, tag, args)
    }

    fn submit_encoded(
        &mut self,
        by: Instant,
        tag: Tag,
        command: EncodedCommand<'_>,
    ) -> Result<(), SubmitError> {
        self.machine.submit_encoded(self.now, by, self.transmitter, tag, command)
    }

    fn retire(&mut self) {
        self.machine.retire();
    }

    fn can_pause(&self) -> bool {
        self.machine.can_pause()
    }

    fn close(&mut self, reason: CloseReason) {
        self.machine.close(reason);
    }
}

/// What a connection's owner does for [`serve`].
pub trait Handler {
    /// Submits commands as long as `connection` takes them, and wakes `cx` when there are more. Called
    /// whenever something may have changed.
    fn poll_commands(&mut self, cx: &mut Context<'_>, connection: &mut dyn Submit);

    /// Takes all that the connection has to say.
    fn outputs(&mut self, now: Instant, outputs: &mut dyn Outputs) {
        while let Some(output) = outputs.next_output(now) {
            self.output(output);
        }
    }

    /// Returns whether outputs may have to wait for room: then they come one by one, each after
    /// [`poll_room`](Self::poll_room). Never changes.
    fn has_limits(&self) -> bool {
        false
    }

    /// Waits until there is room for `output`, which [`output`](Self::output) is called with next. No more
    /// is read meanwhile. If the connection ends first, `output` is dropped.
    fn poll_room(&mut self, cx: &mut Context<'_>, output: &Output<'_>) -> Poll<()> {
        let _ = (cx, output);
        Poll::Ready(())
    }

    /// Takes a reply, a push or an event.
    fn output(&mut self, output: Output<'_>) {
        let _ = output;
    }

    /// Takes the transport's own error, before the connection ends for it.
    fn broke(&mut self, error: &dyn core::error::Error) {
        let _ = error;
    }

    /// Bytes are about to be written; `health` is the state of the connection.
    fn speaking(&mut self, health: &ConnectionHealth) {
        let _ = health;
    }

    /// All that had come was handed out, or something took too long; `health` is the state of the
    /// connection.
    fn settle(&mut self, health: &ConnectionHealth) {
        let _ = health;
    }

    /// Nothing was sent or received for a while: memory may be given back.
    fn give_back(&mut self) {}
}

/// Drives a connection over the two halves of a transport until it ends.
///
/// It reads while it writes, so that a server that stops reading until its replies are taken
/// can't hold it up.
///
/// # Cancel safety
/// Dropping the future abandons the connection: drop `connection` and the transport, too.
pub async fn serve<I, O, C, B, R, M, H, const WAITERS: usize>(
    connection: &mut Connection<B, R>,
    (mut reader, mut writer): (I, O),
    timer: &C,
    tokens: &SharedTokenManager<M, WAITERS>,
    handler: &mut H,
) -> CloseReason
where
    I: Read,
    O: Write,
    C: Timer,
    B: Storage<u8>,
    R: Storage<Pending>,
    M: Storage<u8>,
    H: Handler + ?Sized,
{
    let (machine, receiver, transmitter) = connection.parts();
    let shared = RefCell::new(Shared { machine, handler });
    // Whether one of the three below did something that the others may wait for.
    let progress = Cell::new(false);
    let crowded = Cell::new(false);

    let reading = async {
        let mut heard = timer.now();
        while !shared.borrow().machine.has_ended() {
            let read = reader.read(receiver.space()).await;
            if B::GROWS {
                // A buffer can't shrink while it is read into: it does when a long silence is over,
                // that a `PING` ends at the latest.
                let before = core::mem::replace(&mut heard, timer.now());
                if heard >= before.plus(QUIET) {
                    receiver.forget();
                }
            }
            {
                let mut shared = shared.borrow_mut();
                let Shared { machine, handler } = &mut *shared;
                match read {
                    Ok(0) => machine.close(receiver.ended()),
                    Ok(len) => {
                        receiver.received(len);
                        machine.heard(timer.now());
                    }
                    Err(error) => {
                        handler.broke(&error);
                        machine.close(broken(error.kind()));
                    }
                }
                if !handler.has_limits() {
                    handler.outputs(timer.now(), &mut Received { machine, receiver });
                }
            }
            while shared.borrow().handler.has_limits() {
                let next = shared.borrow_mut().machine.next(timer.now(), receiver);
                let Some(output) = next else { break };
                poll_fn(|cx| {
                    let handler = &mut *shared.borrow_mut().handler;
                    handler.poll_room(cx, &output).map(|()| handler.output(output))
                })
                .await;
            }
            shared.borrow_mut().settle(timer.now());
            progress.set(true);
            // A server that never stops talking must not keep the others from their turn.
            yield_once().await;
        }
    };
    let writing = async {
        while !shared.borrow().machine.has_ended() {
            poll_fn(|cx| {
                crowded.set(!tokens.register(cx));
                let mut shared = shared.borrow_mut();
                let Shared { machine, handler } = &mut *shared;
                update(machine, timer, transmitter, tokens);
                if !machine.has_ended() {
                    let now = timer.now();
                    if B::GROWS && machine.is_quiet(now) {
                        handler.give_back();
                    }
                    handler.poll_commands(cx, &mut Submitter { now, machine, transmitter });
                }
                shared.report_losses(timer.now());
                if transmitter.is_empty() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            {
                let mut shared = shared.borrow_mut();
                let Shared { machine, handler } = &mut *shared;
                handler.speaking(&machine.health(timer.now()));
            }
            let written = async {
                while !transmitter.is_empty() {
                    shared.borrow_mut().machine.offered();
                    let len = writer.write(transmitter.bytes()).await.map_err(Some)?;
                    if len == 0 {
                        return Err(None);
                    }
                    let len = transmitter.sent(len);
                    shared.borrow_mut().machine.sent(len);
                }
                writer.flush().await.map_err(Some)
            };
            if let Err(error) = written.await {
                let mut shared = shared.borrow_mut();
                if let Some(error) = &error {
                    shared.handler.broke(error);
                }
                shared.machine.close(broken(error.map_or(ErrorKind::Other, |error| error.kind())));
            }
            progress.set(true);
        }
    };
    let timing = async {
        while !shared.borrow().machine.has_ended() {
            let deadline = shared.borrow().machine.next_deadline();
            // Without a place among the waiters, it looks for news from time to time.
            let most = if crowded.get() { LOOK_EVERY } else { Duration::MAX };
            let wake = deadline.min(timer.now().plus(most));
            let changed = poll_fn(|_| {
                let same = shared.borrow().machine.next_deadline() == deadline;
                if same { Poll::Pending } else { Poll::Ready(()) }
            });
            either(timer.sleep_until(wake), changed).await;
            let now = timer.now();
            if now >= wake {
                let mut shared = shared.borrow_mut();
                shared.machine.tick(now);
                shared.report_losses(timer.now());
                shared.settle(now);
                progress.set(true);
            }
        }
    };

    {
        let (mut reading, mut writing, mut timing) = (pin!(reading), pin!(writing), pin!(timing));
        poll_fn(|cx| {
            for _ in 0..ROUNDS {
                progress.set(false);
                // Each of them ends when the connection does, and is then not polled again.
                let ended = reading.as_mut().poll(cx).is_ready()
                    || writing.as_mut().poll(cx).is_ready()
                    || timing.as_mut().poll(cx).is_ready();
                if ended || shared.borrow().machine.has_ended() {
                    return Poll::Ready(());
                }
                if !progress.get() {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
    // A last look: a login that was refused is to be known before the next one.
    let mut shared = shared.into_inner();
    shared.report_losses(timer.now());
    update(shared.machine, timer, transmitter, tokens);
    shared.report_losses(timer.now());
    shared.machine.close_reason().unwrap_or(CloseReason::Closed)
}

/// Looks, and wakes who fetches tokens if that became due earlier.
fn update<M: Storage<u8>, B: Storage<u8>, R: Storage<Pending>, C: Timer, const WAITERS: usize>(
    machine: &mut Machine<R>,
    timer: &C,
    transmitter: &mut Transmitter<B>,
    tokens: &SharedTokenManager<M, WAITERS>,
) {
    let earlier = {
        let mut manager = tokens.manager.borrow_mut();
        let before = manager.next_deadline();
        machine.update(timer.now(), transmitter, &mut manager);
        manager.next_deadline() < before
    };
    if earlier {
        tokens.wake();
    }
}

const fn broken(kind: ErrorKind) -> CloseReason {
    CloseReason::Broken(TransportFailure::of(kind))
}

/// Lets others have a turn. Who polls comes back by itself.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(
        |_| {
            if core::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
        },
    )
    .await;
}

struct Shared<'s, R, H: ?Sized> {
    machine: &'s mut Machine<R>,
    handler: &'s mut H,
}

impl<R: Storage<Pending>, H: Handler + ?Sized> Shared<'_, R, H> {
    fn settle(&mut self, now: Instant) {
        if !self.machine.has_ended() {
            self.handler.settle(&self.machine.health(now));
        }
    }

    fn report_losses(&mut self, now: Instant) {
        self.handler.outputs(now, &mut Losses(self.machine));
    }
}
