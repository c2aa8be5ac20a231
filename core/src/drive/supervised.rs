//! What a supervisor decides, done to connections and to what they are for.

use core::task::{Context, Poll};

use super::{Outputs, Submit};
use crate::connection::{CloseReason, ConnectionHealth, Output};
use crate::event::Event;
use crate::manager::TokenManager;
use crate::storage::Storage;
use crate::supervisor::{Demand, Handover, HandoverReason, Role, Succession, Supervisor};
use crate::time::Instant;
use crate::transport::{ConnectError, ConnectErrorKind};

/// No connection is needed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NotNeeded;

/// What the connections of a supervisor are for: the commands of a client, or a subscriber's messages.
///
/// A place is the number of a connection, from 0 on, as in [`Supervisor::role`].
pub trait Workload {
    /// Returns whether a connection is needed, and wakes `cx` when that changes. Called while none
    /// serves.
    ///
    /// # Errors
    /// [`NotNeeded`] if none will be needed any more.
    fn poll_demand(&mut self, cx: &mut Context<'_>) -> Result<Demand, NotNeeded>;

    /// Returns when [`expire`](Self::expire) has something to do. Changes with each other call, and
    /// when commands come.
    fn deadline(&self) -> Instant {
        Instant::FAR_FUTURE
    }

    /// Fails the commands whose time is over. `serves` is whether a connection serves.
    fn expire(&mut self, now: Instant, serves: bool) {
        let _ = (now, serves);
    }

    /// Tells whether it is useless for a caller to wait for a connection.
    fn set_hopeless(&mut self, is_hopeless: bool) {
        let _ = is_hopeless;
    }

    /// A connection is dialed from `now` on.
    fn dials(&mut self, now: Instant) {
        let _ = now;
    }

    /// The dial failed. `event` is for the listeners of events.
    fn dial_failed(&mut self, now: Instant, error: &dyn ConnectError, event: &Event);

    /// What was dialed is given up: no caller needs it any more.
    fn dial_given_up(&mut self) {}

    /// There is a transport, and a connection begins at `place`. It `replaces` another one, or serves
    /// at once.
    fn begins(&mut self, place: usize, replaces: bool);

    /// The connection at `place` takes commands from now on.
    fn serves(&mut self, place: usize) {
        let _ = place;
    }

    /// Gives commands to the connection at `place`, as many as it takes, and wakes `cx` when there are
    /// more. Returns whether it gave any. One that only `prepares` gets what it needs to take over.
    ///
    /// # Errors
    /// [`NotNeeded`] if no connection is needed any more.
    fn submit(
        &mut self,
        place: usize,
        prepares: bool,
        cx: &mut Context<'_>,
        now: Instant,
        connection: &mut dyn Submit,
    ) -> Result<bool, NotNeeded>;

    /// Returns whether a caller has asked for another connection in the place of the one that serves,
    /// since the last call.
    fn take_handover(&mut self) -> Option<Handover> {
        None
    }

    /// Returns whether another connection may take the next command: nothing is open that only the one
    /// that serves has.
    fn can_pause(&self) -> bool {
        true
    }

    /// Takes all that the connection at `place` has to say.
    fn outputs(&mut self, place: usize, now: Instant, outputs: &mut dyn Outputs);

    /// Returns whether outputs may have to wait for room: then they come one by one, each after
    /// [`poll_room`](Self::poll_room). Never changes.
    fn has_limits(&self) -> bool {
        false
    }

    /// Waits until there is room for `output`, which comes next. No more is read meanwhile; if the
    /// connection ends meanwhile, it doesn't come.
    fn poll_room(&mut self, cx: &mut Context<'_>, output: &Output<'_>) -> Poll<()> {
        let _ = (cx, output);
        Poll::Ready(())
    }

    /// Returns whether the connection at `place` is logged in and has what it needs to take over.
    fn is_settled(&self, place: usize) -> bool;

    /// Takes the transport's own error, before the connection at `place` ends for it.
    fn broke(&mut self, place: usize, error: &dyn core::error::Error) {
        let _ = (place, error);
    }

    /// Bytes are about to be written by the connection at `place`.
    fn speaking(&mut self, place: usize, health: &ConnectionHealth) {
        let _ = (place, health);
    }

    /// All that had come was handed out, or something took too long.
    fn settle(&mut self, place: usize, now: Instant, health: &ConnectionHealth) {
        let _ = (place, now, health);
    }

    /// Nothing was sent or received for a while: memory may be given back.
    fn give_back(&mut self) {}

    /// The connection at `place` has ended, after its last output.
    fn ended(&mut self, place: usize, now: Instant, reason: CloseReason, then: Succession);
}

/// A supervisor and its workload. It holds no rule: it hands on what the one decides to the other.
#[derive(Debug)]
pub struct Supervised<W: ?Sized, const N: usize> {
    /// What decides.
    pub supervisor: Supervisor<N>,
    is_hopeless: bool,
    has_changed: bool,
    /// What the connections are for.
    pub workload: W,
}

impl<W: Workload, const N: usize> Supervised<W, N> {
    /// Before the first connection.
    pub const fn new(supervisor: Supervisor<N>, workload: W) -> Self {
        Self { supervisor, is_hopeless: false, has_changed: true, workload }
    }
}

impl<W: Workload + ?Sized, const N: usize> Supervised<W, N> {
    /// Compares the wanted state with the actual one. Call it as often as [`Supervisor::update`] must be
    /// called. Returns the demand, which is [`Demand::None`] while a connection serves.
    ///
    /// # Errors
    /// [`NotNeeded`] if no connection is needed any more.
    pub fn update<M: Storage<u8>>(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        manager: &TokenManager<M>,
    ) -> Result<Demand, NotNeeded> {
        let Self { supervisor, is_hopeless, workload, .. } = self;
        let serves = supervisor.serving().is_some();
        let demand = if serves { Demand::None } else { workload.poll_demand(cx)? };
        let was_coming = supervisor.is_coming();
        supervisor.update(now, manager.is_worth_a_login(now), demand);
        if was_coming && !supervisor.is_coming() {
            workload.dial_given_up();
        }
        let hopeless = !serves && supervisor.is_hopeless(now, manager);
        if core::mem::replace(is_hopeless, hopeless) != hopeless {
            workload.set_hopeless(hopeless);
        }
        Ok(demand)
    }

    /// Returns whether something has happened since the last call that the supervisor and the other
    /// connection are to see: call [`update`](Self::update) then. Any other call may change the answer.
    pub const fn take_changed(&mut self) -> bool {
        core::mem::replace(&mut self.has_changed, false)
    }

    /// Returns when to call [`update`](Self::update) at the latest.
    pub fn next_deadline(&self) -> Instant {
        self.supervisor.next_deadline()
    }

    /// There is a transport at `place`.
    #[inline(never)]
    pub fn dialed(&mut self, place: usize) {
        let replaces = self.supervisor.serving().is_some();
        self.has_changed = true;
        self.supervisor.dialed(place);
        self.workload.begins(place, replaces);
        if !replaces {
            self.workload.serves(place);
        }
    }

    /// No transport could be made at `place`. Returns the event to report, unless none was dialed there.
    pub fn dial_failed(
        &mut self,
        place: usize,
        now: Instant,
        kind: ConnectErrorKind,
    ) -> Option<Event> {
        self.has_changed = true;
        self.supervisor.dial_failed(place, now, kind)
    }

    /// The transport that serves wears out: another one is made.
    pub fn wears_out(&mut self) {
        self.hand_over(Handover::new(HandoverReason::Rekey));
    }

    fn hand_over(&mut self, handover: Handover) {
        self.has_changed |= self.supervisor.hand_over(handover);
    }

    /// Gives the connection at `place` what it is to do. Returns whether there was something.
    ///
    /// # Errors
    /// [`NotNeeded`] if no connection is needed any more.
    #[inline(never)]
    pub fn submit(
        &mut self,
        place: usize,
        cx: &mut Context<'_>,
        now: Instant,
        connection: &mut dyn Submit,
    ) -> Result<bool, NotNeeded> {
        if let Some(handover) = self.workload.take_handover() {
            self.hand_over(handover);
        }
        let Self { supervisor, workload, has_changed, .. } = self;
        let role = supervisor.role(place, now);
        match role {
            Role::Pause if connection.can_pause() && workload.can_pause() => {
                supervisor.paused(place);
                connection.retire();
                *has_changed = true;
            }
            Role::Retire => connection.retire(),
            // Something may be missing: it was not replaced as it should have been.
            Role::Close => connection.close(CloseReason::Closed),
            _ => {}
        }
        workload.submit(place, role == Role::Prepare, cx, now, connection)
    }

    /// Takes all that the connection at `place` has to say.
    pub fn outputs(&mut self, place: usize, now: Instant, outputs: &mut dyn Outputs) {
        let Self { supervisor, workload, has_changed, .. } = self;
        workload.outputs(place, now, &mut Observed { supervisor, outputs, has_changed });
        if workload.is_settled(place) {
            *has_changed |= supervisor.settled(place);
        }
    }

    /// The connection at `place` has ended, after its last output.
    #[inline(never)]
    pub fn ended(&mut self, place: usize, now: Instant, reason: CloseReason) {
        self.has_changed = true;
        let then = self.supervisor.ended(place, reason);
        self.workload.ended(place, now, reason, then);
        if let Succession::By(heir) = then {
            self.workload.serves(heir);
        }
    }
}

/// Outputs of which a supervisor sees the events.
struct Observed<'o, const N: usize> {
    supervisor: &'o mut Supervisor<N>,
    outputs: &'o mut dyn Outputs,
    has_changed: &'o mut bool,
}

impl<const N: usize> Outputs for Observed<'_, N> {
    fn next_output(&mut self, now: Instant) -> Option<Output<'_>> {
        let output = self.outputs.next_output(now)?;
        if let Output::Event(event) = &output {
            self.supervisor.observe(now, event);
            *self.has_changed = true;
        }
        Some(output)
    }
}
