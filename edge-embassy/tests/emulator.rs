//! The host as it is on a device, over an in-memory network, against the emulator.
#![allow(clippy::unwrap_used)]

mod board;

use std::time::Duration;

use board::{on_board, said, until};
use network::{SERVERS, memory};
use rand_core::OsRng;
use redis_entraid_embassy::entraid_core::connection::{Idle, Outcome};
use redis_entraid_embassy::entraid_core::policy::Ratio;
use redis_entraid_embassy::entraid_core::source::{Authority, HttpSource, ServicePrincipal};
use redis_entraid_embassy::entraid_core::time::UnixTime;
use redis_entraid_embassy::entraid_core::transport::{
    ConnectErrorKind, Connector, Endpoint, TransportUser,
};
use redis_entraid_embassy::{Error, Http, Problem, Tcp, Tls, args};
use tokio::task::spawn_local;

#[test]
fn it_stays_logged_in_through_tokens_and_a_cut() {
    on_board("rsa", 12, |board| async move {
        // Each login ends seconds after the next one is due: a machine may stand still for so long.
        let client = board.client_of(board.source(true), |config| {
            config.policy.expiration_refresh_ratio = Ratio::percent(50);
            config.policy.reauth_spread = Duration::from_secs(1);
        });
        let mut room = [0; 64];
        let mut count = 0;
        // A token is asked for every five seconds at the most: the first one has ended then.
        while client.health().reauths < 3 {
            count += 1;
            let counted = client.command(args!["INCR", "count"], &mut room).await.unwrap();
            assert_eq!(counted.int(), Ok(count));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let counts = board.emulator.counts();
        assert_eq!((counts.connections, counts.refused), (1, 0), "{}", said());
        assert!(counts.reauths >= 3, "{counts:?}");
        board.emulator.cut();
        until(|| client.health().connects == 2).await;
        let counted = client.command(args!["INCR", "count"], &mut room).await.unwrap();
        assert_eq!(counted.int(), Ok(count + 1));
        assert_eq!(board.emulator.counts().expired, 0);
    });
}

#[test]
fn each_caller_gets_its_own_reply_whoever_gives_up() {
    on_board("rsa", 3600, |board| async move {
        let client = board.client();
        client.command(args!["PING"], &mut [0; 16]).await.unwrap();
        let callers: Vec<_> = (0..8_i64)
            .map(|caller| {
                spawn_local(async move {
                    let (mut got, mut room) = (0, [0; 64]);
                    for number in 0..100 {
                        let (key, value) = (format!("{caller}"), caller * 1000 + number);
                        let command = args!["SET", &*key, value];
                        let patience = Duration::from_millis(number as u64 % 7);
                        if number % 3 == 0 {
                            let set = client.command(command, &mut room);
                            let _ = tokio::time::timeout(patience, set).await;
                        }
                        client.command(command, &mut room).await.unwrap();
                        let found = client.command(args!["GET", &*key], &mut room).await.unwrap();
                        assert_eq!(found.int(), Ok(value));
                        got += 1;
                    }
                    got
                })
            })
            .collect();
        for caller in callers {
            assert!(caller.await.unwrap() > 0);
        }
        assert_eq!(board.emulator.counts().connections, 1, "{}", said());
    });
}

#[test]
fn an_idle_connection_is_let_go_and_made_again_for_a_command() {
    on_board("rsa", 3600, |board| async move {
        let let_go = Idle::Close(Duration::from_secs(1));
        let client = board.client_of(board.source(true), |config| config.connection.idle = let_go);
        let mut room = [0; 64];
        client.command(args!["SET", "k", 1], &mut room).await.unwrap();
        assert!(client.may_sleep() <= Duration::from_secs(1));
        until(|| client.health().connection.is_none()).await;
        // Until the token is due.
        until(|| client.may_sleep() > Duration::from_secs(600)).await;
        assert!(client.may_sleep() < Duration::from_secs(3600));
        assert_eq!(board.emulator.counts().connections, 1);
        let value = client.command(args!["GET", "k"], &mut room).await.unwrap();
        assert_eq!(value.int(), Ok(1));
        let counts = board.emulator.counts();
        assert_eq!((counts.connections, counts.token_requests), (2, 1), "{}", said());
    });
}

#[test]
fn who_gave_up_what_was_dialed_may_sleep() {
    on_board("rsa", 3600, |board| async move {
        let let_go = Idle::Close(Duration::from_secs(1));
        let client = board.client_of(board.source(true), |config| config.connection.idle = let_go);
        let mut room = [0; 64];
        client.command(args!["SET", "k", 1], &mut room).await.unwrap();
        until(|| client.health().connection.is_none()).await;
        until(|| client.may_sleep() > Duration::from_secs(600)).await;
        board.emulator.arm("connect#2 hang").unwrap();
        let get = args!["GET", "k"];
        let get = client.command(get, &mut room);
        assert!(tokio::time::timeout(Duration::from_millis(200), get).await.is_err());
        assert_eq!(client.may_sleep(), Duration::ZERO);
        until(|| client.may_sleep() > Duration::from_secs(600)).await;
    });
}

#[test]
fn who_waits_for_an_answer_may_not_sleep() {
    on_board("rsa", 3600, |board| async move {
        board.emulator.arm("cmd#1 hang").unwrap();
        let keep = Idle::Keep(Duration::from_secs(5));
        let client = board.client_of(board.source(true), |config| config.connection.idle = keep);
        // Nothing has begun, but it will.
        assert_eq!(client.may_sleep(), Duration::ZERO);
        until(|| client.health().connects == 1).await;
        // The replies to what it says of itself come a moment later.
        until(|| client.may_sleep() > Duration::from_millis(100)).await;
        // A `PING` that nobody has asked for.
        until(|| board.emulator.counts().commands > 0).await;
        for _ in 0..10 {
            assert_eq!(client.may_sleep(), Duration::ZERO, "{}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_connection_outlives_the_sleep_that_it_allows() {
    on_board("rsa", 3600, |board| async move {
        let client = board.client();
        let mut room = [0; 64];
        client.command(args!["SET", "k", 1], &mut room).await.unwrap();
        until(|| client.may_sleep() > Duration::from_secs(200)).await;
        // Nobody hears anything then, nor sends.
        board.wire.cut(true);
        tokio::time::sleep(Duration::from_secs(25)).await;
        board.wire.cut(false);
        let value = client.command(args!["GET", "k"], &mut room).await.unwrap();
        assert_eq!(value.int(), Ok(1));
        assert_eq!(board.emulator.counts().connections, 1, "{}", said());
    });
}

#[test]
fn a_problem_that_has_passed_is_none_any_more() {
    on_board("rsa", 10, |board| async move {
        board.emulator.arm("token#2 status 503").unwrap();
        let client = board.client();
        until(|| matches!(client.health().problem, Some(Problem::Token(_)))).await;
        until(|| client.health().reauths == 1).await;
        assert_eq!(client.health().problem, None, "{}", said());
    });
}

#[test]
fn a_server_that_cant_show_who_it_is_never_sees_a_token() {
    for (chain, why) in [
        ("other-name", "the certificate is not for this host name"),
        ("other-root", "invalid signature in the certificate chain"),
        ("expired", "the certificate has expired"),
        ("not-yet-valid", "the certificate is not valid yet"),
        ("leaf-as-authority", "a certificate's issuer is not a CA"),
        ("client-only", "a certificate's key usage does not allow this"),
    ] {
        on_board(chain, 3600, |board| async move {
            let client = board.client_of(board.source(true), |config| {
                config.connection.command_timeout = Duration::from_secs(2);
            });
            let cause = Some(Problem::Connect(ConnectErrorKind::Tls));
            until(|| client.health().problem == cause).await;
            let error = client.command(args!["PING"], &mut [0; 64]).await.unwrap_err();
            assert_eq!(error, Error::Unavailable { cause }, "{chain}");
            assert!(said().contains(why), "{chain}: {}", said());
            let counts = board.emulator.counts();
            assert_eq!((counts.tokens, counts.logins, counts.refused), (1, 0, 0), "{chain}");
        });
    }
}

#[test]
fn without_a_wall_clock_there_is_no_connection_and_then_there_is() {
    on_board("rsa", 3600, |board| async move {
        let client = board.client_of(board.source(false), |config| {
            config.connection.command_timeout = Duration::from_secs(5);
        });
        let mut room = [0; 64];
        let cause = Some(Problem::Clock);
        until(|| client.health().problem == cause).await;
        let error = client.command(args!["PING"], &mut room).await.unwrap_err();
        assert_eq!((error, error.outcome()), (Error::Unavailable { cause }, Outcome::NotSent));
        assert!(error.to_string().contains("the wall clock is not set"), "{error}");
        assert!(said().contains("without it no certificate can be verified"), "{}", said());
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        board.clock.set(UnixTime(now.as_secs())).unwrap();
        until(|| client.health().connects == 1).await;
        client.command(args!["PING"], &mut room).await.unwrap();
    });
}

#[test]
fn a_refused_token_is_told() {
    on_board("rsa", 3600, |board| async move {
        board.emulator.arm("auth#* wrongpass").unwrap();
        let client = board.client_of(board.source(true), |config| {
            config.connection.command_timeout = Duration::from_secs(3);
        });
        until(|| matches!(client.health().problem, Some(Problem::Login(_)))).await;
        let error = client.command(args!["PING"], &mut [0; 64]).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { cause: Some(Problem::Login(_)) }), "{error}");
        assert!(error.to_string().contains("WRONGPASS"), "{error}");
    });
}

#[test]
fn errors_and_large_replies_leave_the_connection_as_it_was() {
    on_board("rsa", 3600, |board| async move {
        let client = board.client();
        let mut room = [0; 2048];
        let value = "v".repeat(400);
        client.command(args!["SET", "k", &*value], &mut room).await.unwrap();
        let error = client.command(args!["INCR", "k"], &mut room).await.unwrap_err();
        assert!(matches!(error, Error::Server(said) if said.code() == "ERR"), "{error}");
        let error = client.command(args!["GET", "k"], &mut [0; 100]).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
        let value = "v".repeat(600);
        let error = client.command(args!["SET", "k", &*value], &mut room).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
        let found = client.command(args!["GET", "k"], &mut room).await.unwrap();
        assert_eq!(found.bytes().unwrap().len(), 400);
        assert_eq!(board.emulator.counts().connections, 1);
    });
}

/// The names of the emulator's endpoints, in this network.
struct Rerouted(Tcp<'static>);

impl Connector for Rerouted {
    type Error = <Tcp<'static> as Connector>::Error;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, Self::Error> {
        self.0.connect(&endpoint.redirected(SERVERS, 443), session).await
    }
}

#[test]
fn a_service_principal_gets_its_token_over_https() {
    on_board("rsa", 3600, |board| async move {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        board.clock.set(UnixTime(now.as_secs())).unwrap();
        let entra = board.emulator.entra();
        let authority = Authority::at_host(board.emulator.authority(), entra.tenant.clone());
        let (id, secret) = (entra.principal.client_id.clone(), entra.secret.clone());
        let principal = ServicePrincipal::with_secret(authority, id, secret);
        let tls: Tls<Rerouted, OsRng> = board.tls(Rerouted(board.tcp()));
        let http = Http::secure(tls, memory(1024));
        let source = HttpSource::new(principal, http, memory(2048));
        let client = board.client_of(source, |_| {});
        client.command(args!["PING"], &mut [0; 64]).await.unwrap();
        assert_eq!(board.emulator.counts().logins, 1, "{}", said());
    });
}
