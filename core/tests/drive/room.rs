//! A handler that has no room for a while.

use core::cell::Cell;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use redis_entraid_core::connection::{CloseReason, Output};
use redis_entraid_core::drive::{Handler, Submit, either, serve};
use redis_entraid_core::time::{Clock, Instant, Timer};

use super::{Load, Server, World, connection, put, tokens, wake};

/// Takes as many replies as it was given room for.
#[derive(Default)]
struct Narrow {
    load: Load,
    room: Cell<u64>,
    waker: Cell<Option<Waker>>,
}

struct Handling<'n>(&'n mut Load, &'n Cell<u64>, &'n Cell<Option<Waker>>);

impl Handler for Handling<'_> {
    fn poll_commands(&mut self, cx: &mut Context<'_>, connection: &mut dyn Submit) {
        self.0.poll_commands(cx, connection);
    }

    fn has_limits(&self) -> bool {
        true
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, output: &Output<'_>) -> Poll<()> {
        if !matches!(output, Output::Reply { .. }) || self.0.replies < self.1.get() {
            return Poll::Ready(());
        }
        self.2.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn output(&mut self, output: Output<'_>) {
        self.0.output(output);
        assert!(self.0.replies <= self.1.get(), "there is no room");
    }
}

#[test]
fn a_reply_that_finds_no_room_waits_and_nothing_is_lost() {
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let server = Server { window: 1 << 20, ..Server::default() };
    let mut connection = connection(256);
    let mut narrow = Narrow::default();
    narrow.load.total = 300;
    let Narrow { load, room, waker } = &mut narrow;
    let mut handling = Handling(load, room, waker);
    let both = async {
        let serving = serve(&mut connection, server.halves(), &world, &tokens, &mut handling);
        let making_room = async {
            for _ in 0..100 {
                let next = world.now() + Duration::from_millis(10);
                world.sleep_until(next).await;
                room.set(room.get() + 3);
                wake(waker);
            }
        };
        either(async { _ = serving.await }, async {
            making_room.await;
            world.sleep_until(world.now() + Duration::from_millis(10)).await;
        })
        .await;
    };
    assert_eq!(world.run(Instant::from_millis(10_000), both), Some(()));
    assert_eq!((narrow.load.replies, narrow.load.lost), (300, 0));
}

#[test]
fn who_never_makes_room_holds_the_connection_up_no_longer_than_a_silent_server() {
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let server = Server { window: 1 << 20, ..Server::default() };
    let mut connection = connection(256);
    let mut narrow = Narrow::default();
    narrow.load.total = 3;
    let Narrow { load, room, waker } = &mut narrow;
    room.set(1);
    let mut handling = Handling(load, room, waker);
    let serving = serve(&mut connection, server.halves(), &world, &tokens, &mut handling);
    let ended = world.run(Instant::from_millis(60_000), serving);
    assert_eq!(ended, Some(CloseReason::Unresponsive));
    // The second one had its reply, which no handler took.
    assert_eq!((narrow.load.replies, narrow.load.lost), (1, 1));
}
