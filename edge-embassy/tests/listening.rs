//! Subscriptions on the connection of commands. That messages come, through cuts and logins, is what
//! the cases of `tests/conformance` prove with a real server.
#![allow(clippy::unwrap_used)]

mod board;

use std::cell::RefCell;
use std::time::Duration;

use board::{on_board, said, until};
use redis_entraid_embassy::entraid_core::command::Topic;
use redis_entraid_embassy::entraid_core::connection::Idle;
use redis_entraid_embassy::entraid_core::listener::ListenerEvent;
use redis_entraid_embassy::{Config, Listening, args};
use tokio::task::spawn_local;

thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn hear(heard: &ListenerEvent<'_>) {
    let text = match heard {
        ListenerEvent::Refused { name, error: Some(error), .. } => {
            format!("{name}: {}", error.code())
        }
        ListenerEvent::Refused { name, .. } => format!("{name}: too large"),
        other => format!("{other:?}"),
    };
    HEARD.with(|all| all.borrow_mut().push(text));
}

fn heard() -> Vec<String> {
    HEARD.with(|all| all.borrow().clone())
}

#[test]
fn what_is_refused_is_heard_on_each_connection_and_commands_go_on() {
    on_board("rsa", 3600, |board| async move {
        let too_large: &str = "n".repeat(600).leak();
        let wanted = vec![(Topic::Channel, "news"), (Topic::Pattern, too_large)].leak();
        let (client, runner) = board.made_of(board.source(true), |_| {});
        let mut runner = runner.listening(Listening::new(wanted, hear));
        spawn_local(async move { runner.run().await });
        let mut room = [0; 64];
        client.command(args!["SET", "k", 1], &mut room).await.unwrap();
        until(|| heard().len() >= 2).await;
        board.emulator.cut();
        until(|| heard().len() >= 4).await;
        let each = ["Subscribed".to_owned(), format!("{too_large}: too large")];
        for connection in heard().chunks(2) {
            assert!(each.iter().all(|one| connection.contains(one)), "{}", said());
        }
        let value = client.command(args!["GET", "k"], &mut room).await.unwrap();
        assert_eq!(value.int(), Ok(1));
    });
}

#[test]
fn who_listens_is_never_idle_and_may_not_sleep() {
    on_board("rsa", 3600, |board| async move {
        let let_go = Idle::Close(Duration::from_millis(200));
        let change = |config: &mut Config| config.connection.idle = let_go;
        let (client, runner) = board.made_of(board.source(true), change);
        let mut runner = runner.listening(Listening::new(&[(Topic::Channel, "news")], hear));
        spawn_local(async move { runner.run().await });
        until(|| client.health().connects == 1).await;
        for _ in 0..50 {
            assert_eq!(client.may_sleep(), Duration::ZERO);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(client.health().connection.is_some(), "{}", said());
        assert_eq!(board.emulator.counts().connections, 1, "{}", said());
    });
}
