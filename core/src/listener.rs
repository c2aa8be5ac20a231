//! Subscriptions that are known beforehand, for a host without an allocator.

use core::fmt;

use crate::command::Topic;
use crate::connection::{Lost, Outcome, Output, SubmitError, Tag};
use crate::event::Event;
use crate::pubsub::{Confirmation, Message, Notice};
use crate::resp::{Arg, ErrorReply};

/// Keeps a list of subscriptions on whatever connection there is, beside other commands: with
/// RESP3, which a connection with subscriptions should speak, since with RESP2 it takes no others.
///
/// ```
/// use redis_entraid_core::command::Topic;
/// use redis_entraid_core::connection::Output;
/// use redis_entraid_core::listener::{ListenerEvent, Listener};
/// use redis_entraid_core::resp::Value;
///
/// let mut listener = Listener::new(&[(Topic::Channel, "orders")]);
/// listener.connected();
/// // There is a connection: it subscribes to what is wanted.
/// let mut told = None;
/// listener.submit(&mut |tag, args| Ok(told = Some((tag, args.len()))), &mut |_| {});
/// let (tag, _) = told.unwrap();
/// let reply = Ok(Value::new(b"_\r\n").unwrap());
/// listener.output(&Output::Reply { tag, reply }, &mut |_| {});
///
/// let push = Value::new(b">3\r\n$7\r\nmessage\r\n$6\r\norders\r\n$4\r\nopen\r\n").unwrap();
/// let mut open = false;
/// listener.output(&Output::Push(Ok(push)), &mut |heard| {
///     open = matches!(heard, ListenerEvent::Message(message) if message.payload.str() == Ok("open"));
/// });
/// assert!(open);
/// ```
#[derive(Clone)]
pub struct Listener<'a> {
    wanted: &'a [(Topic, &'a str)],
    /// How many of them the server was told of, on this connection; and has answered.
    told: usize,
    answered: usize,
    /// How many it has granted.
    granted: usize,
    trust: Trust,
}

/// Whether the server still has what it has granted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Trust {
    Yes,
    /// It has ended one by itself: all subscriptions are sent again, behind the answers to those in flight.
    Ended,
    /// It has lost the login, and perhaps all subscriptions: all are sent again with the next login.
    Forgotten,
    /// It has not answered one in time: the state is unknown.
    Silent,
}

/// What a [`Listener`] reports.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ListenerEvent<'a> {
    /// A message was published.
    Message(Message<'a>),
    /// All subscriptions are there, on a new connection or once more. What was published before,
    /// since the last one was lost for example, is missing; from here on nothing is. A program that
    /// reads the current state now misses nothing.
    Subscribed,
    /// A message was dropped here, which was larger than the receive buffer.
    Missed,
    /// A subscription was refused. It is asked for again when all are, on the next connection for
    /// example.
    Refused {
        /// Of which kind it was.
        topic: Topic,
        /// To what.
        name: &'a str,
        /// What the server says; `None` if the command is too large to be sent.
        error: Option<ErrorReply<'a>>,
    },
}

/// Gives a command to the connection: see
/// [`Connection::submit`](crate::connection::Connection::submit).
pub type Tell<'s> = dyn FnMut(Tag, &[Arg<'_>]) -> Result<(), SubmitError> + 's;

/// Tags from here downwards are a listener's.
const FIRST: Tag = Tag::MAX;

impl<'a> Listener<'a> {
    /// For these channels, patterns and shard channels.
    pub const fn new(wanted: &'a [(Topic, &'a str)]) -> Self {
        Self { wanted, told: 0, answered: 0, granted: 0, trust: Trust::Yes }
    }

    /// There is a new transport.
    pub const fn connected(&mut self) {
        (self.told, self.answered, self.granted, self.trust) = (0, 0, 0, Trust::Yes);
    }

    /// Tells the server what is wanted, as much as the connection takes. Says whether the connection
    /// is still of use: one whose server is silent about a subscription is to be closed as
    /// [unresponsive](crate::connection::CloseReason::Unresponsive).
    pub fn submit(&mut self, tell: &mut Tell<'_>, hear: &mut dyn FnMut(ListenerEvent<'_>)) -> bool {
        if self.trust == Trust::Ended && self.answered == self.told {
            self.connected();
        }
        while let Trust::Yes = self.trust
            && let Some((topic, name)) = self.wanted.get(self.told)
        {
            let args = [Arg::from(topic.subscribes()), Arg::from(*name)];
            let told = tell(FIRST - self.told as Tag, &args);
            // In a transaction it is refused, and taken behind that.
            if let Err(SubmitError::Full | SubmitError::Ended | SubmitError::Refused(_)) = told {
                break;
            }
            self.told += 1;
            if told.is_err() {
                hear(ListenerEvent::Refused { topic: *topic, name, error: None });
                self.answered(hear);
            }
        }
        self.trust != Trust::Silent
    }

    /// Is told what a connection has to say, and tells `hear` what comes of it.
    pub fn output(&mut self, output: &Output<'_>, hear: &mut dyn FnMut(ListenerEvent<'_>)) {
        match output {
            Output::Push(Ok(value)) => match Notice::of(*value) {
                Some(Notice::Message(message)) => hear(ListenerEvent::Message(message)),
                // Not requested here: a slot of a cluster has moved, for example.
                Some(Notice::Confirmation(Confirmation { began: false, .. })) => {
                    self.distrust(Trust::Ended);
                }
                _ => {}
            },
            Output::Push(Err(_)) => hear(ListenerEvent::Missed),
            Output::Reply { tag, reply } => {
                let Some((topic, name)) = self.wanted(*tag) else { return };
                match reply.ok().and_then(|value| value.error()) {
                    Some(error) if error.code() == "NOAUTH" => self.distrust(Trust::Forgotten),
                    Some(error) => hear(ListenerEvent::Refused { topic, name, error: Some(error) }),
                    None => self.granted += 1,
                }
                self.answered(hear);
            }
            Output::Lost { tag, lost: Lost { reason: None, outcome } } => {
                if self.wanted(*tag).is_some() {
                    self.trust = match outcome {
                        Outcome::NotSent => Trust::Forgotten,
                        Outcome::Unknown => Trust::Silent,
                    };
                }
            }
            Output::Lost { .. } => {}
            Output::Event(Event::StateLost(_)) => self.distrust(Trust::Forgotten),
            Output::Event(Event::LoggedIn { .. } | Event::Reauthenticated { .. }) => {
                if self.trust == Trust::Forgotten {
                    self.connected();
                }
            }
            Output::Event(_) => {}
        }
    }

    /// What is worse stays.
    fn distrust(&mut self, trust: Trust) {
        if self.trust < trust {
            self.trust = trust;
        }
    }

    fn wanted(&self, tag: Tag) -> Option<(Topic, &'a str)> {
        self.wanted.get(usize::try_from(FIRST - tag).ok()?).copied()
    }

    /// One more is answered. If that was all, what comes from here on is complete.
    fn answered(&mut self, hear: &mut dyn FnMut(ListenerEvent<'_>)) {
        self.answered += 1;
        let all = self.answered == self.wanted.len() && self.trust == Trust::Yes;
        if all && self.granted > 0 {
            hear(ListenerEvent::Subscribed);
        }
    }
}

impl fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, granted, .. } = self;
        f.debug_struct("Listener").field("wanted", wanted).field("granted", granted).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};
    use std::vec::Vec;
    use std::{format, vec};

    use super::*;
    use crate::auth::Protocol;
    use crate::command::CommandRefused;
    use crate::connection::{CloseReason, ReplyTooLarge};
    use crate::event::LostState;
    use crate::manager::Generation;
    use crate::resp::Value;

    const WANTED: &[(Topic, &str)] =
        &[(Topic::Channel, "a"), (Topic::Pattern, "b*"), (Topic::Shard, "c")];

    /// A connection that takes so many commands, and what was heard.
    #[derive(Default)]
    struct World {
        room: usize,
        told: Vec<(Tag, String)>,
        heard: Vec<String>,
    }

    impl World {
        fn submit(&mut self, listener: &mut Listener<'_>) -> bool {
            let Self { room, told, heard } = self;
            listener.submit(
                &mut |tag, args| {
                    *room = room.checked_sub(1).ok_or(SubmitError::Full)?;
                    let words: Vec<_> = args
                        .iter()
                        .map(|arg| match arg {
                            Arg::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                            Arg::Int(number) => number.to_string(),
                        })
                        .collect();
                    told.push((tag, words.join(" ")));
                    Ok(())
                },
                &mut |it| heard.push(written(it)),
            )
        }

        fn output(&mut self, listener: &mut Listener<'_>, output: &Output<'_>) {
            listener.output(output, &mut |it| self.heard.push(written(it)));
        }

        /// The server grants all that it was told of and has not answered yet.
        fn grant(&mut self, listener: &mut Listener<'_>) {
            for (tag, _) in core::mem::take(&mut self.told) {
                let reply = Ok(Value::framed(b"_\r\n"));
                self.output(listener, &Output::Reply { tag, reply });
            }
        }
    }

    fn written(heard: ListenerEvent<'_>) -> String {
        match heard {
            ListenerEvent::Message(message) => message.payload.str().unwrap().to_string(),
            ListenerEvent::Refused { name, error, .. } => {
                format!("{name} {}", error.map_or("too large", |error| error.code()))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_connection_is_told_what_is_wanted_as_fast_as_it_takes_it() {
        let (mut listener, mut world) = (Listener::new(WANTED), World::default());
        for _ in 0..2 {
            listener.connected();
            let mut told = Vec::new();
            for room in [0, 2, 0, 5] {
                world.room = room;
                assert!(world.submit(&mut listener));
                told.extend(world.told.iter().map(|(_, command)| command.clone()));
                world.grant(&mut listener);
            }
            assert_eq!(told, ["SUBSCRIBE a", "PSUBSCRIBE b*", "SSUBSCRIBE c"]);
        }
    }

    #[test]
    fn each_connection_is_complete_when_all_subscriptions_are_there() {
        let (mut listener, mut world) =
            (Listener::new(WANTED), World { room: 100, ..World::default() });
        // The second connection gets as far as one of three.
        for (granted, heard) in [(3, 1), (1, 1), (3, 2)] {
            listener.connected();
            world.submit(&mut listener);
            world.told.truncate(granted);
            world.grant(&mut listener);
            assert_eq!(world.heard, vec!["Subscribed"; heard]);
        }
    }

    #[test]
    fn what_is_refused_is_told_and_asked_for_again_on_the_next_connection() {
        let (mut listener, mut world) =
            (Listener::new(WANTED), World { room: 100, ..World::default() });
        for _ in 0..2 {
            listener.connected();
            world.submit(&mut listener);
            let (tag, _) = world.told.remove(1);
            let reply = Ok(Value::framed(b"-NOPERM no channels for you\r\n"));
            world.output(&mut listener, &Output::Reply { tag, reply });
            world.grant(&mut listener);
        }
        assert_eq!(world.heard, ["b* NOPERM", "Subscribed", "b* NOPERM", "Subscribed"]);
        let mut heard = vec![];
        listener.connected();
        let error = crate::storage::CapacityError::new(crate::storage::Buffer::Transmit, 9, 1);
        let mut tell = |_: Tag, _: &[Arg<'_>]| Err(SubmitError::TooLarge(error));
        listener.submit(&mut tell, &mut |it| heard.push(written(it)));
        assert_eq!(heard, ["a too large", "b* too large", "c too large"]);
    }

    #[test]
    fn messages_are_heard_and_one_that_is_too_large_is_missed() {
        let (mut listener, mut world) = (Listener::new(WANTED), World::default());
        let message = Value::framed(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
        world.output(&mut listener, &Output::Push(Ok(message)));
        let other = Value::framed(b">2\r\n$10\r\ninvalidate\r\n*0\r\n");
        world.output(&mut listener, &Output::Push(Ok(other)));
        let large = ReplyTooLarge { size: 5000, capacity: 100 };
        world.output(&mut listener, &Output::Push(Err(large)));
        assert_eq!(world.heard, ["hi", "Missed"]);
    }

    #[test]
    fn a_server_that_is_silent_about_a_subscription_is_given_up() {
        let (mut listener, mut world) =
            (Listener::new(WANTED), World { room: 100, ..World::default() });
        listener.connected();
        assert!(world.submit(&mut listener));
        let (tag, _) = world.told[2];
        let silent = Lost::new(Outcome::Unknown, None);
        // Replies to others' commands are ignored.
        world.output(&mut listener, &Output::Lost { tag: 1, lost: silent });
        world.output(&mut listener, &Output::Reply { tag: 2, reply: Ok(Value::framed(b"_\r\n")) });
        let ended = Lost::new(
            Outcome::Unknown,
            Some(CloseReason::Broken(crate::transport::TransportFailure::Reset)),
        );
        world.output(&mut listener, &Output::Lost { tag, lost: ended });
        assert!(world.submit(&mut listener));
        world.output(&mut listener, &Output::Lost { tag, lost: silent });
        assert!(!world.submit(&mut listener));
        listener.connected();
        assert!(world.submit(&mut listener));
    }

    #[test]
    fn what_a_transaction_holds_up_is_told_behind_it() {
        let (mut listener, mut world) =
            (Listener::new(WANTED), World { room: 100, ..World::default() });
        listener.connected();
        let mut tell =
            |_: Tag, _: &[Arg<'_>]| Err(SubmitError::Refused(CommandRefused::Subscription));
        listener.submit(&mut tell, &mut |it| world.heard.push(written(it)));
        assert!(world.heard.is_empty());
        world.submit(&mut listener);
        world.grant(&mut listener);
        assert_eq!(world.heard, ["Subscribed"]);
    }

    const AGAIN: Output<'_> = Output::Event(Event::Reauthenticated { generation: Generation(2) });

    #[test]
    fn a_server_that_has_forgotten_the_login_is_told_again_with_the_next_one_and_not_before() {
        let (mut listener, mut world) =
            (Listener::new(WANTED), World { room: 100, ..World::default() });
        listener.connected();
        let (generation, protocol) = (Generation(1), Protocol::Resp3);
        let login = Output::Event(Event::LoggedIn { generation, protocol });
        world.output(&mut listener, &login);
        world.submit(&mut listener);
        for _ in 0..3 {
            let denied = Ok(Value::framed(b"-NOAUTH Authentication required.\r\n"));
            for (at, (tag, _)) in core::mem::take(&mut world.told).into_iter().enumerate() {
                // Who knows what became of the first one?
                let reply = if at == 0 { Ok(Value::framed(b"_\r\n")) } else { denied };
                world.output(&mut listener, &Output::Reply { tag, reply });
                assert!(world.submit(&mut listener));
                assert!(world.told.is_empty(), "a hot loop");
            }
            world.output(&mut listener, &AGAIN);
            world.submit(&mut listener);
            assert_eq!((world.told.len(), world.heard.len()), (3, 0));
        }
        world.grant(&mut listener);
        assert_eq!(world.heard, ["Subscribed"]);
        // A login as usual changes nothing. If the connection has noticed it, it says so.
        world.output(&mut listener, &AGAIN);
        world.submit(&mut listener);
        assert!(world.told.is_empty());
        let lost = LostState { subscriptions: 3, ..LostState::default() };
        world.output(&mut listener, &Output::Event(Event::StateLost(lost)));
        world.output(&mut listener, &AGAIN);
        world.submit(&mut listener);
        world.grant(&mut listener);
        assert_eq!(world.heard, ["Subscribed", "Subscribed"]);
    }

    #[test]
    fn a_subscription_that_the_server_ends_is_made_again() {
        let (mut listener, mut world) =
            (Listener::new(WANTED), World { room: 2, ..World::default() });
        listener.connected();
        world.submit(&mut listener);
        let ended = Value::framed(b">3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n");
        world.output(&mut listener, &Output::Push(Ok(ended)));
        // What is under way is heard first.
        world.room = 100;
        world.submit(&mut listener);
        assert_eq!(world.told.len(), 2);
        world.grant(&mut listener);
        world.submit(&mut listener);
        assert_eq!((world.told.len(), world.heard.len()), (3, 0));
        world.grant(&mut listener);
        assert_eq!(world.heard, ["Subscribed"]);
    }

    #[test]
    fn that_all_may_be_stale_is_no_message() {
        let (mut listener, mut world) = (Listener::new(WANTED), World::default());
        let stale = Value::framed(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
        world.output(&mut listener, &Output::Push(Ok(stale)));
        assert!(world.heard.is_empty());
    }
}
