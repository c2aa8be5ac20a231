//! The host on a network that tells it where it is, and where others are: DHCP and DNS.
#![allow(clippy::unwrap_used)]

mod board;

use std::time::Duration;

use board::{Board, on_board_by_dhcp, said, until};
use network::memory;
use redis_entraid_embassy::entraid_core::source::{
    HttpSource, ManagedIdentity, Selector, TokenSource,
};
use redis_entraid_embassy::entraid_core::transport::ConnectErrorKind;
use redis_entraid_embassy::{Client, Config, Error, Http, Problem, args};

/// The managed identity, at an endpoint that has a name.
fn source(board: &Board) -> impl TokenSource + 'static {
    let http = Http::plain(board.tcp(), memory(768)).setting(board.clock);
    let identity = ManagedIdentity::imds_at("http://localhost", Selector::System);
    HttpSource::new(identity, http, memory(512))
}

/// A client of the server of that name.
fn client(board: &Board, change: impl FnOnce(&mut Config)) -> Client {
    board.client_of(source(board), |config| {
        config.address = None;
        change(config);
    })
}

#[test]
fn a_device_that_knows_names_alone_logs_in() {
    on_board_by_dhcp(|board| async move {
        assert!(!board.stack.is_config_up());
        let client = client(&board, |_| {});
        let mut room = [0; 64];
        client.command(args!["SET", "k", 1], &mut room).await.unwrap();
        assert_eq!(client.command(args!["GET", "k"], &mut room).await.unwrap().int(), Ok(1));
        let counts = board.emulator.counts();
        assert_eq!((counts.token_requests, counts.logins), (1, 1), "{}", said());
    });
}

#[test]
fn a_silent_address_leads_to_the_next_one_and_an_alias_to_its_name() {
    for address in ["two.localhost", "alias.localhost"] {
        on_board_by_dhcp(move |board| async move {
            let client = client(&board, |config| {
                config.address = Some(address);
                config.connection.command_timeout = Duration::from_secs(20);
            });
            client.command(args!["PING"], &mut [0; 64]).await.unwrap();
            assert_eq!(board.emulator.counts().logins, 1, "{}", said());
            // The one that has answered is the first the next time.
            board.emulator.cut();
            let begun = std::time::Instant::now();
            until(|| client.health().connects == 2).await;
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        });
    }
}

#[test]
fn a_network_that_comes_late_is_waited_for() {
    on_board_by_dhcp(|board| async move {
        board.wire.cut(true);
        let client = client(&board, |_| {});
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!board.stack.is_config_up() && client.health().problem.is_none(), "{}", said());
        board.wire.cut(false);
        until(|| client.health().connects == 1).await;
        client.command(args!["PING"], &mut [0; 64]).await.unwrap();
    });
}

#[test]
fn a_name_that_nobody_knows_is_told() {
    on_board_by_dhcp(|board| async move {
        let client = client(&board, |config| {
            config.host = "no-such-cache.example";
            config.connection.command_timeout = Duration::from_secs(3);
        });
        let cause = Some(Problem::Connect(ConnectErrorKind::Name));
        until(|| client.health().problem == cause).await;
        let error = client.command(args!["PING"], &mut [0; 64]).await.unwrap_err();
        assert_eq!(error, Error::Unavailable { cause }, "{}", said());
        assert!(said().contains("DNS lookup failed"), "{}", said());
        assert_eq!(board.emulator.counts().logins, 0);
    });
}
