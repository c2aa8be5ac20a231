//! What clients with an allocator have.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use leaks::Shown;
use redis_entraid_client::{
    Cause, CommandDispatcher, CommandQueue, CommandWorkload, ConfigError, ConnectError,
    ConnectionStatus, Delivery, Ended, Environment, Error, FetchError, Handle, LocalClient,
    NodeAddress, QueueState, Reader, Reporter, Router, RoutingHandle, ServerError, Settings,
    SubscriberConnection, SubscriberWorkload, SubscriptionHub, SubscriptionState, reach,
};
use redis_entraid_core::command::Topic;
use redis_entraid_core::connection::{CloseReason, Config, Output};
use redis_entraid_core::drive::{NotNeeded, Refresh, Supervised};
use redis_entraid_core::event::Event;
use redis_entraid_core::policy::Jitter;
use redis_entraid_core::reconnect::ReconnectPolicy;
use redis_entraid_core::resp::Value;
use redis_entraid_core::source::StaticToken;
use redis_entraid_core::supervisor::{Demand, DialAttempt, Handover, HandoverReason, Supervisor};
use redis_entraid_core::time::{Clock, Instant, StdClock, Timer};
use redis_entraid_core::transport::{self, ConnectErrorKind, Connector, Endpoint, TransportUser};

use super::{HEADER, SECRET, token};

pub(super) fn clients(shown: &mut Shown) {
    let principal = [
        ("REDIS_HOSTNAME", "cache"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_CLIENT_SECRET", SECRET),
        ("AZURE_TENANT_ID", "tenant"),
    ];
    let managed = [
        ("REDIS_HOSTNAME", "cache"),
        ("IDENTITY_ENDPOINT", "http://localhost"),
        ("IDENTITY_HEADER", HEADER),
    ];
    for variables in [&principal[..], &managed] {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        let read = Environment::read(|name| find(name).map(|(_, value)| (*value).to_owned()));
        let environment = read.unwrap();
        shown.value(&environment);
        shown.value(&environment.source);
        shown.value(&environment.chosen);
    }
    let queue = Arc::new(CommandQueue::<Mutex<QueueState>>::new(&Config::new(0), None));
    shown.value(&*queue);
    shown.value(&QueueState::default());
    shown.value(&Handle::new(queue.clone()));
    let node = NodeAddress { address: Some("10.0.0.1".into()), port: 8500 };
    shown.value(&RoutingHandle::new(Handle::new(queue.clone())));
    shown.value(&Router::new(queue.clone()));
    shown.value(&node);
    let mut desk = CommandDispatcher::new(queue.clone());
    shown.value(&desk);
    shown.value(&desk.deliver());
    shown.value(&desk.demand());
    shown.value(&Ended::NotNeeded);
    let policy = ReconnectPolicy::default();
    let workload = CommandWorkload::new(queue.clone(), &Quiet);
    shown.value(&workload);
    let mut supervisor: Supervisor<2> = Supervisor::new(policy, Jitter::new(1));
    shown.value(&supervisor.role(0, Instant::default()));
    shown.value(&supervisor.ended(0, CloseReason::ByServer));
    shown.value(&Handover::new(HandoverReason::Asked));
    shown.value(&Handover::new(HandoverReason::Asked).reason);
    shown.value(&supervisor);
    shown.value(&Supervised::new(supervisor, workload));
    shown.value(&Demand::Waiting);
    shown.value(&DialAttempt { number: 1, until: Instant::default() });
    shown.value(&NotNeeded);
    let hub = Arc::new(SubscriptionHub::<Mutex<SubscriptionState>>::new(10));
    shown.value(&SubscriberWorkload::new(hub, &Quiet));
    shown.value(&Refresh::default());
    shown.value(&Settings::new("cache", 7));
    let (settings, source) = (Settings::new("cache", 7), StaticToken::new(token()));
    let (local, _) = LocalClient::new(settings, StdTimer(StdClock::new()), Nowhere, source, None);
    shown.value(&local);
    shown.value(&local.clone());
    shown.value(&local.downgrade());
    shown.value(&local.health());
    shown.value(&local.subscriber(Nowhere).0);
    mail(shown);
    let mut status = ConnectionStatus::new();
    let failed = || ConnectError::new(ConnectErrorKind::Unreachable, "cache", "nobody is there");
    status.dial_failed(failed());
    shown.value(&status);
    shown.error(&failed());
    let (timer, address) = (StdTimer(StdClock::new()), "10.0.0.1:1".parse().unwrap());
    let endpoint = Endpoint::new("cache", 1);
    let dial = async |_| Err::<(), _>(failed());
    let reached = pin!(reach(&timer, &endpoint, [address], dial));
    if let Poll::Ready(Err(unreached)) = reached.poll(&mut Context::from_waker(Waker::noop())) {
        shown.error(&unreached);
        unreached.addresses().for_each(|(_, missed)| shown.value(missed));
    }
    shown.error(&FetchError::transient("no vault"));
    shown.error(&ConfigError::NoSource);
    shown.value(&ServerError { code: "ERR".into(), message: "no".into() });
    shown.error(&Error::Token(Arc::new(FetchError::transient("no vault"))));
}

/// What a subscriber hears.
fn mail(shown: &mut Shown) {
    let mailbox = Arc::new(SubscriptionHub::<Mutex<SubscriptionState>>::new(1000).following(7));
    shown.value(&*mailbox);
    shown.value(&SubscriptionState::default());
    let mut line = SubscriberConnection::new(mailbox.clone());
    let message = Value::new(b">3\r\n+message\r\n+a\r\n+b\r\n").unwrap();
    line.output(Instant::default(), Output::Push(Ok(message)));
    shown.value(&line);
    let reader = Reader::new(mailbox.clone());
    shown.value(&reader);
    let context = &mut Context::from_waker(Waker::noop());
    let mut subscribing = pin!(reader.subscribe(Topic::Shard, ["c"]));
    assert!(subscribing.as_mut().poll(context).is_pending());
    line.submit(Instant::default(), context, &mut |_, _| Ok(())).unwrap();
    let moved = Ok(Value::new(b"-MOVED 7365 10.0.0.1:8501\r\n").unwrap());
    line.output(Instant::default(), Output::Reply { tag: 0, reply: moved });
    let Poll::Ready(Some(node)) = pin!(mailbox.next_node()).as_mut().poll(context) else {
        panic!("no node")
    };
    shown.value(&node);
    let mut next = pin!(reader.next());
    let next = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(delivery)) = next else { panic!("{next:?}") };
    shown.value(&delivery);
    let Delivery::Message(message) = delivery else { panic!("{delivery:?}") };
    shown.value(&message);
}

/// Reports nothing.
#[derive(Debug)]
struct Quiet;

impl Reporter for Quiet {
    fn status<T>(&self, change: impl FnOnce(&mut ConnectionStatus) -> T) -> T {
        change(&mut ConnectionStatus::new())
    }

    fn endpoint<T>(&self, use_it: impl FnOnce(&Endpoint<'_>) -> T) -> T {
        use_it(&Endpoint::new("cache", 1))
    }

    fn observe(&self, _: Instant, _: &Event) {}

    fn push(&self, _: Value<'_>) {}

    fn dial_failed(&self, _: Instant, _: &dyn transport::ConnectError, _: &Event) {}

    fn cause(&self, error: &dyn std::error::Error) -> Cause {
        let words: Box<dyn std::error::Error + Send + Sync> = error.to_string().into();
        words.into()
    }

    fn is_waited_for(&self) -> bool {
        false
    }

    fn set_connected(&self, _: bool) {}

    fn set_hopeless(&self, _: bool) {}
}

/// A clock that nobody waits for.
struct StdTimer(StdClock);

impl Clock for StdTimer {
    fn now(&self) -> Instant {
        self.0.now()
    }
}

impl Timer for StdTimer {
    async fn sleep_until(&self, _: Instant) {
        core::future::pending().await
    }
}

/// A server that isn't there.
#[derive(Clone)]
struct Nowhere;

#[derive(Debug)]
struct NotThere;

impl core::fmt::Display for NotThere {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not there")
    }
}

impl core::error::Error for NotThere {}

impl transport::ConnectError for NotThere {
    fn kind(&self) -> ConnectErrorKind {
        ConnectErrorKind::Unreachable
    }
}

impl Connector for Nowhere {
    type Error = NotThere;

    async fn connect<S: TransportUser>(
        &mut self,
        _: &Endpoint<'_>,
        _: S,
    ) -> Result<S::Output, NotThere> {
        Err(NotThere)
    }
}
