//! Where a connection would stand still, or go around in circles.

use super::*;

const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";

/// Takes what is to be sent, and looks as often as is wanted, but not for ever.
fn settles(bench: &mut Bench) {
    for _ in 0..10 {
        while let len @ 1.. = bench.connection.transmit().len() {
            bench.connection.sent(len);
        }
        if !bench.connection.wants_look() {
            return;
        }
        bench.look();
    }
    panic!("it wants to be looked at for ever: {:?}", bench.connection);
}

#[test]
fn a_server_that_answers_a_command_and_does_not_take_the_rest_of_it_is_given_up() {
    let mut bench = Bench::ready();
    bench.connection.submit(bench.now, 1, args!["SET", "k", "v"]).unwrap();
    assert!(bench.connection.transmit().len() > 4);
    bench.connection.sent(4);
    assert_eq!(bench.answer_unsent("-ERR Protocol error\r\n"), ["1 error ERR"]);
    for at in [5, 10] {
        assert!(!bench.connection.has_ended());
        assert_eq!(bench.connection.next_deadline(), secs(at));
        bench.now = secs(at);
        bench.look();
    }
    bench.look();
    assert_eq!(bench.outputs(), [ended(CloseReason::Unresponsive)]);
}
