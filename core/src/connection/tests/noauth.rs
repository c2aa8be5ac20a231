//! Logins that a server forgets, and the end of a login.

use super::*;

const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";

#[test]
fn a_server_that_forgot_the_login_is_told_again_who_this_is() {
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.submit(1, args!["GET", "a"]);
    bench.submit(2, args!["GET", "b"]);
    bench.heard.clear();
    assert_eq!(bench.answer(NOAUTH), ["1 error NOAUTH"]);
    // What comes now would only hear the same.
    assert!(!bench.connection.is_ready());
    assert_eq!(bench.answer(NOAUTH), ["2 error NOAUTH"]);
    bench.hears(&["AUTH oid token-1"]);
    let again = event(Event::Reauthenticated { generation: ONE });
    assert_eq!(bench.answer("+OK\r\n"), [again]);
    bench.submit(3, args!["GET", "a"]);
    assert_eq!(bench.answer("+v\r\n"), ["3 v"]);
}

#[test]
fn a_server_that_forgets_each_login_gets_no_hot_loop() {
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.submit(1, args!["GET", "a"]);
    bench.answer(NOAUTH);
    bench.answer("+OK\r\n");
    bench.submit(2, args!["GET", "a"]);
    let end = ended(CloseReason::LoginLost);
    assert_eq!(bench.answer(NOAUTH), ["2 error NOAUTH".to_string(), end]);
    assert!(!CloseReason::LoginLost.is_planned(), "the next dial waits");
}

#[test]
fn a_login_that_is_forgotten_where_none_can_be_sent_ends_the_connection() {
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.submit(1, args!["MULTI"]);
    bench.answer("+OK\r\n");
    bench.submit(2, args!["GET", "a"]);
    let lost = LostState { transaction: true, ..LostState::default() };
    let end = [event(Event::StateLost(lost)), ended(CloseReason::LoginLost)];
    assert_eq!(bench.answer(NOAUTH)[1..], end);
    // Nor without a token.
    let mut bench = Bench::ready();
    bench.now = secs(60);
    bench.submit(1, args!["GET", "a"]);
    bench.manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
    assert_eq!(bench.answer(NOAUTH)[1..], [ended(CloseReason::LoginLost)]);
}

#[test]
fn the_side_that_failed_is_named_when_a_login_ends() {
    let ends = |bench: &mut Bench| {
        bench.now = secs(3600);
        bench.update();
        bench.outputs().pop()
    };
    // Nobody had a newer token.
    let mut bench = Bench::ready();
    assert_eq!(ends(&mut bench), Some(ended(CloseReason::LoginExpired)));
    // The server owes replies, for which the login had to wait.
    let mut bench = Bench::ready();
    let command = b"*1\r\n$4\r\nSLOW\r\n";
    let (now, by) = (bench.now, Instant::FAR_FUTURE);
    bench
        .connection
        .submit_encoded(now, by, 1, EncodedCommand::from_parts(CommandClass::Plain, command))
        .unwrap();
    due(&mut bench, "token-2");
    assert_eq!(ends(&mut bench), Some(ended(CloseReason::Unresponsive)));
    // A transaction was left open.
    let mut bench = Bench::ready();
    bench.submit(1, args!["MULTI"]);
    bench.answer("+OK\r\n");
    due(&mut bench, "token-2");
    assert_eq!(ends(&mut bench), Some(ended(CloseReason::TransactionOpen)));
    // The server refused the newer token.
    let mut bench = Bench::ready();
    due(&mut bench, "token-2");
    bench.answer("-LOADING Redis is loading the dataset in memory\r\n");
    let refused = CloseReason::Refused(LoginError::Unavailable);
    assert_eq!(ends(&mut bench), Some(ended(refused)));
}
