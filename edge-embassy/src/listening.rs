//! Subscriptions, for runners that have some.

use core::fmt;

use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::{CloseReason, Output};
use redis_entraid_core::drive::Submit;
use redis_entraid_core::listener::{Listener, ListenerEvent};

/// Is told what is published. It must not wait for anything.
pub type ListenerHook = fn(&ListenerEvent<'_>);

/// What a runner does for subscriptions: [`Listening`] has some, `()` none.
pub trait Listen {
    /// Whether there are any.
    const LISTENS: bool;

    /// There is a new transport.
    fn connected(&mut self) {}

    /// Tells the server what is wanted.
    fn submit(&mut self, connection: &mut dyn Submit) {
        let _ = connection;
    }

    /// Is told what the connection has to say.
    fn output(&mut self, output: &Output<'_>) {
        let _ = output;
    }
}

/// There are none: it takes no flash either.
impl Listen for () {
    const LISTENS: bool = false;
}

/// Subscriptions for a runner: see [`Runner::listening`](crate::Runner::listening).
pub struct Listening {
    listener: Listener<'static>,
    hear: ListenerHook,
}

impl Listening {
    /// Subscribes to `wanted`, and has `hear` told what is published there.
    pub const fn new(wanted: &'static [(Topic, &'static str)], hear: ListenerHook) -> Self {
        Self { listener: Listener::new(wanted), hear }
    }
}

impl Listen for Listening {
    const LISTENS: bool = true;

    fn connected(&mut self) {
        self.listener.connected();
    }

    fn submit(&mut self, connection: &mut dyn Submit) {
        let Self { listener, hear } = self;
        let hear = &mut |heard: ListenerEvent<'_>| hear(&heard);
        if !listener.submit(&mut |tag, args| connection.submit(tag, args), hear) {
            connection.close(CloseReason::Unresponsive);
        }
    }

    fn output(&mut self, output: &Output<'_>) {
        let Self { listener, hear } = self;
        listener.output(output, &mut |heard| hear(&heard));
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listening").field(&self.listener).finish()
    }
}
