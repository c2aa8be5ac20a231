//! The asynchronous shell, over a server and a clock that the tests play.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod broken;
mod flood;
mod load;
mod room;
mod world;

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use load::*;
use redis_entraid_core::connection::CloseReason;
use redis_entraid_core::drive::*;
use redis_entraid_core::event::Event;
use redis_entraid_core::manager::Generation;
use redis_entraid_core::manager::TokenManager;
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::secret::Secret;
use redis_entraid_core::source::ErrorKind;
use redis_entraid_core::source::{SourceError, Start, TokenSource};
use redis_entraid_core::time::{Clock, Instant, Timer};
use redis_entraid_core::token::Token;
use std::collections::VecDeque;
use std::format;
use std::sync::Arc;
use std::vec::Vec;
use world::*;

#[test]
fn it_reads_while_it_writes() {
    // 64 MB of commands through buffers of 4 KiB, to a server that stops reading until its
    // replies are taken.
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let server = Server { window: 100, ..Server::default() };
    let value = "x".repeat(1024);
    let total = (64 << 20) / 1024;
    let mut load = Load { total, value, ..Load::default() };
    let mut connection = connection(4096);
    let ended = world.run(Instant::from_millis(1000), async {
        serve(&mut connection, server.halves(), &world, &tokens, &mut load).await
    });
    assert_eq!(ended, None);
    assert_eq!((load.replies, server.commands.get()), (total, total));
    assert_eq!(*server.logins.borrow(), ["token"]);
}

/// A source that does what its script says, and keeps whether each token had to be fresh.
struct Script(VecDeque<Act>, Vec<bool>);

impl Script {
    fn of<const N: usize>(acts: [Act; N]) -> Self {
        Self(VecDeque::from(acts), Vec::new())
    }
}

enum Act {
    Token(&'static str, u64),
    Fail(ErrorKind),
    Hang,
}

impl TokenSource for Script {
    type Error = SourceError;

    async fn fetch<'b>(
        &'b mut self,
        start: &Start,
        memory: &'b mut [u8],
    ) -> Result<Token<'b>, SourceError> {
        self.1.push(start.fresh);
        match self.0.pop_front().expect("no more requests than were foreseen") {
            Act::Token(text, life) => {
                memory[..text.len()].copy_from_slice(text.as_bytes());
                let text = core::str::from_utf8(&memory[..text.len()]).unwrap();
                let token = Token::new(Secret::new(text)).with_user("oid");
                Ok(token.with_expires_in(Duration::from_secs(life)))
            }
            Act::Fail(kind) => Err(SourceError::Other { kind, what: "script" }),
            Act::Hang => core::future::pending().await,
        }
    }
}

#[test]
fn a_connection_stays_logged_in_through_refreshes_and_failures() {
    let world = World::default();
    let tokens = tokens();
    let mut source = Script::of([
        Act::Token("one", 600),
        Act::Fail(ErrorKind::Transient),
        Act::Hang,
        Act::Token("two", 600),
        Act::Token("three", 600),
    ]);
    let server = Server { window: 1 << 20, ..Server::default() };
    let mut load = Load { total: 1, ..Load::default() };
    let mut connection = connection(256);
    let mut memory = [0; 64];
    let mut events = Vec::new();
    let both = async {
        let serve = serve(&mut connection, server.halves(), &world, &tokens, &mut load);
        let refresh =
            refresh(&tokens, &mut source, &world, &mut memory, Refresh::Background, |event, _| {
                events.push(event)
            });
        either(async { _ = serve.await }, async { _ = refresh.await }).await;
    };
    assert_eq!(world.run(Instant::from_millis(1_000_000), both), None);
    assert_eq!(*server.logins.borrow(), ["one", "two", "three"]);
    let shown: Vec<_> = events.iter().map(|event| format!("{event}")).collect();
    assert_eq!(shown.len(), 5, "{shown:?}");
    assert!(shown[2].contains("timed out"), "{shown:?}");
    assert!(
        matches!(
            load.events[..],
            [
                Event::LoggedIn { generation: Generation(1), .. },
                Event::Reauthenticated { generation: Generation(2) },
                Event::Reauthenticated { generation: Generation(3) },
            ]
        ),
        "{:?}",
        load.events
    );
    assert_eq!(load.replies, 1);
    assert_eq!(memory, [0; 64], "wiped");
}

#[test]
fn a_refused_token_wakes_the_source_before_its_time() {
    let world = World::default();
    let tokens = tokens();
    let mut source = Script::of([Act::Token("one", 3600), Act::Token("two", 3600)]);
    let mut memory = [0; 64];
    let all = async {
        let refresh =
            refresh(&tokens, &mut source, &world, &mut memory, Refresh::Background, |_, _| {});
        let refuse = async {
            world.sleep_until(Instant::from_millis(20_000)).await;
            tokens.with(|manager| manager.rejected(world.now(), Generation(1)));
            core::future::pending::<()>().await;
        };
        either(refuse, async { _ = refresh.await }).await;
    };
    world.run(Instant::from_millis(60_000), all);
    let login = tokens.with(|manager| manager.login(world.now()).map(|login| login.generation()));
    assert_eq!(login, Some(Generation(2)));
    assert_eq!(source.1, [false, true], "the second one must not come from a cache");
}

#[test]
fn a_server_that_goes_or_falls_silent_ends_it_with_the_reason() {
    for silent in [false, true] {
        let world = World::default();
        let tokens = tokens();
        put(&tokens, "token", world.now());
        let server = Server { window: 1000, ..Server::default() };
        let mut load = Load { total: 1, ..Load::default() };
        let mut connection = connection(256);
        let reason = world.run(Instant::from_millis(100_000), async {
            let serve = serve(&mut connection, server.halves(), &world, &tokens, &mut load);
            let cut = async {
                world.sleep_until(Instant::from_millis(1000)).await;
                server.closed.set(!silent);
                wake(&server.reader);
                core::future::pending::<()>().await;
            };
            let mut reason = None;
            either(cut, async { reason = Some(serve.await) }).await;
            reason.unwrap()
        });
        // Idle and silent is no reason to end; the ping that is sent then is answered.
        let expected = if silent { None } else { Some(CloseReason::ByServer) };
        assert_eq!(reason, expected);
    }
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let server = Server { window: 1000, ..Server::default() };
    server.deaf.set(true);
    let mut load = Load { total: 1, ..Load::default() };
    let mut connection = connection(256);
    let reason = world.run(Instant::from_millis(100_000), async {
        serve(&mut connection, server.halves(), &world, &tokens, &mut load).await
    });
    assert_eq!(reason, Some(CloseReason::LoginTimeout));
    assert_eq!(world.now(), Instant::from_millis(5000));
}

#[test]
fn a_refused_token_wakes_a_source_that_waits_in_another_task() {
    let world = World::default();
    let tokens = tokens();
    put(&tokens, "token", world.now());
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let mut waiting = pin!(tokens.wait(&world, Instant::FAR_FUTURE, |_| false));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // The server refuses the first login.
    let server = Server { window: 1000, refuses: true.into(), ..Server::default() };
    let mut load = Load { total: 1, ..Load::default() };
    let mut connection = connection(256);
    let reason = world.run(Instant::from_millis(100_000), async {
        serve(&mut connection, server.halves(), &world, &tokens, &mut load).await
    });
    assert!(matches!(reason, Some(CloseReason::Refused(_))), "{reason:?}");
    assert!(flag.0.load(Ordering::Relaxed), "nobody was woken");
    tokens.with(|manager| {
        assert_eq!(manager.health(world.now()).rejections, 1);
        assert!(manager.next_deadline() <= Instant::from_millis(5000));
    });
}

#[test]
fn more_tasks_than_there_is_room_for_do_not_wake_each_other_for_ever() {
    let world = World::default();
    let tokens: SharedTokenManager<[u8; 64], 1> = SharedTokenManager::new(TokenManager::new(
        RefreshPolicy::default(),
        Jitter::none(),
        [[0; 64]; 2],
    ));
    let token = Token::new(Secret::new("token")).with_user("oid");
    let token = token.with_expires_in(Duration::from_secs(3600));
    tokens.with(|manager| manager.push(world.now(), &token)).unwrap();
    let other = Waker::from(Arc::new(Flag(AtomicBool::new(false))));
    let mut waiting = pin!(tokens.wait(&world, Instant::FAR_FUTURE, |_| false));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&other)).is_pending());
    let server = Server { window: 1000, ..Server::default() };
    let mut load = Load { total: 1, ..Load::default() };
    let mut connection = connection(256);
    let all = async {
        let serve = serve(&mut connection, server.halves(), &world, &tokens, &mut load);
        let push = async {
            world.sleep_until(Instant::from_millis(100_000)).await;
            let token = Token::new(Secret::new("newer")).with_user("oid");
            let token = token.with_expires_in(Duration::from_secs(3600));
            // The one waiter that found room is woken, and isn't us.
            tokens.with(|manager| manager.push(world.now(), &token)).unwrap();
            core::future::pending::<()>().await;
        };
        either(async { _ = serve.await }, push).await;
    };
    assert_eq!(world.run(Instant::from_millis(140_000), all), None);
    assert_eq!(*server.logins.borrow(), ["token", "newer"], "found by looking");
}

#[test]
fn a_refresh_that_is_dropped_can_be_called_again_at_once() {
    let world = World::default();
    let tokens = tokens();
    let mut source = Script::of([Act::Hang, Act::Token("one", 3600)]);
    let mut memory = [0; 64];
    let dropped = async {
        let refresh =
            refresh(&tokens, &mut source, &world, &mut memory, Refresh::Background, |_, _| {});
        let tired = world.sleep_until(Instant::from_millis(2000));
        either(tired, async { _ = refresh.await }).await;
    };
    world.run(Instant::from_millis(10_000), dropped).unwrap();
    let again = refresh(&tokens, &mut source, &world, &mut memory, Refresh::Background, |_, _| {});
    world.run(Instant::from_millis(10_000), again);
    tokens.with(|manager| {
        let health = manager.health(world.now());
        assert_eq!((health.failures, health.refreshes), (0, 1));
    });
    // The floor after the request that was dropped, and not its deadline.
    assert_eq!(world.now(), Instant::from_millis(3000));
}
