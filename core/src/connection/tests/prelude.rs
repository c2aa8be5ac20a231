//! What follows the first login in its flight.

use super::*;

const NAME: &str = "CLIENT SETINFO LIB-NAME redis-entraid";
const VERSION: &str = concat!("CLIENT SETINFO LIB-VER ", env!("CARGO_PKG_VERSION"));
const REFUSED: &str = "-NOAUTH Authentication required.\r\n";

fn started(config: Config, transmit: usize, ring: usize) -> Bench {
    let mut bench = Bench::with(config, 256, transmit, ring);
    bench.update();
    bench.flush();
    bench
}

#[test]
fn the_prelude_is_in_the_flight_of_the_login_before_any_command() {
    let mut bench = started(Config::new(0), 256, 8);
    bench.hears(&["HELLO 3 AUTH oid token-1", NAME, VERSION]);
    bench.answer(HELLO);
    bench.submit(1, args!["MULTI"]);
    bench.hears(&["MULTI"]);
    // An old server, and one whose ACL denies it, refuse the prelude. Nobody is told.
    let replies = "-ERR unknown subcommand\r\n-NOPERM no\r\n+OK\r\n";
    assert_eq!(bench.answer(replies), ["1 OK"]);
    bench.submit(2, args!["EXEC"]);
    bench.hears(&["EXEC"]);
}

#[test]
fn a_later_login_has_no_prelude() {
    let mut bench = started(Config::new(0), 256, 8);
    bench.answer(HELLO);
    bench.answer("+OK\r\n+OK\r\n");
    bench.heard.clear();
    due(&mut bench, "token-2");
    bench.hears(&["AUTH oid token-2"]);
    let reauthenticated = event(Event::Reauthenticated { generation: TWO });
    assert_eq!(bench.answer("+OK\r\n"), [reauthenticated]);
    bench.submit(1, args!["PING"]);
    bench.hears(&["PING"]);
}

#[test]
fn behind_a_hello_that_is_unknown_the_prelude_is_sent_anew_with_auth() {
    let config = Config { name: ClientName::new("gateway-7"), ..Config::new(0) };
    let mut bench = started(config, 256, 8);
    bench.hears(&["HELLO 3 AUTH oid token-1 SETNAME gateway-7", NAME, VERSION]);
    assert!(bench.answer("-ERR unknown command 'HELLO'\r\n").is_empty());
    assert!(bench.answer(REFUSED).is_empty());
    bench.hears(&[]);
    assert!(bench.answer(REFUSED).is_empty());
    bench.hears(&["AUTH oid token-1", "CLIENT SETNAME gateway-7", NAME, VERSION]);
    let logged_in = event(Event::LoggedIn { generation: ONE, protocol: Protocol::Resp2 });
    assert_eq!(bench.answer("+OK\r\n+OK\r\n+OK\r\n+OK\r\n"), [logged_in]);
}

#[test]
fn the_prelude_holds_nothing_up_when_the_login_is_refused() {
    let mut bench = started(Config::new(0), 256, 8);
    let error = LoginError::WrongPass;
    assert_eq!(
        bench.answer("-WRONGPASS invalid username-password pair\r\n"),
        [
            event(Event::Rejected { generation: ONE, error, serving: false }),
            ended(CloseReason::Refused(error)),
        ]
    );
}

#[test]
fn a_name_goes_with_the_login_whatever_the_protocol() {
    let name = ClientName::new("gateway-7");
    let config = Config { name, set_info: false, ..Config::new(0) };
    started(config.clone(), 256, 8).hears(&["HELLO 3 AUTH oid token-1 SETNAME gateway-7"]);

    let mut bench = started(Config { protocol: Protocol::Resp2, ..config }, 256, 8);
    bench.hears(&["AUTH oid token-1", "CLIENT SETNAME gateway-7"]);
    bench.answer("+OK\r\n");
    bench.submit(1, args!["PING"]);
    assert_eq!(bench.answer("-NOPERM no\r\n+PONG\r\n"), ["1 PONG"]);
    assert_eq!(ClientName::new("a b"), None);
    assert_eq!(ClientName::new(&"x".repeat(33)), None);
}

#[test]
fn buffers_of_any_size_carry_what_fits_and_a_command_follows() {
    for transmit in (16..200).step_by(4) {
        for ring in [1, 2, 3, 8] {
            let mut bench = started(Config { eager: true, ..Config::new(0) }, transmit, ring);
            bench.answer(HELLO);
            while !bench.connection.is_ready() {
                assert!(bench.answer("+OK\r\n").is_empty(), "{transmit} {ring}");
            }
            // All that was sent behind the login is of the connection's own, in order.
            let own = bench.heard.split_off(1);
            let fits = |words: &&str| {
                let bytes = words.split(' ').map(|word| word.len() + 6 + word.len() / 10);
                bytes.sum::<usize>() + 4 <= transmit
            };
            assert_eq!(own, [NAME, VERSION].iter().copied().filter(fits).collect::<Vec<_>>());
            while bench.connection.submit(bench.now, 7, args!["PING"]).is_err() {
                assert!(bench.answer("+OK\r\n").is_empty(), "{transmit} {ring}");
            }
        }
    }
}
