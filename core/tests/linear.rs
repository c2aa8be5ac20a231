//! Work that grows with the input, and no faster, however small the pieces are in which it comes.

use std::time::Instant as Stopwatch;

use redis_entraid_core::connection::{Config, Connection, Output, Pending};
use redis_entraid_core::manager::TokenManager;
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::resp::Framer;
use redis_entraid_core::secret::Secret;
use redis_entraid_core::storage::Storage;
use redis_entraid_core::time::Instant;
use redis_entraid_core::token::Token;

const MB: usize = 1_000_000;

/// Fails if ten times the input takes more than fifty times as long, on a machine that may be busy.
/// Squared, it would be a hundred times.
fn is_linear(work: impl Fn(usize)) {
    let seconds = |size| {
        let start = Stopwatch::now();
        work(size);
        start.elapsed().as_secs_f64()
    };
    // The best of some, since others use this machine too.
    let best = |size, times| (0..times).map(|_| seconds(size)).fold(f64::MAX, f64::min);
    let (one, ten) = (best(MB, 3), best(10 * MB, 2));
    assert!(ten < one * 50.0, "10 MB take {ten} s, 1 MB takes {one} s");
}

/// One reply of about `size` bytes, of a kind that is easy to count wrong.
fn replies(size: usize) -> Vec<Vec<u8>> {
    let strings = "$1\r\nx\r\n".repeat(size / 7);
    vec![
        format!("${size}\r\n{}\r\n", "x".repeat(size)).into_bytes(),
        format!("*{}\r\n{strings}", size / 7).into_bytes(),
        format!("{}_\r\n", "*1\r\n".repeat(size / 4)).into_bytes(),
        format!("+{}\r\n", "x".repeat(size)).into_bytes(),
    ]
}

#[test]
fn a_reply_of_10_mb_in_single_bytes_is_framed_in_linear_time() {
    for kind in 0..replies(7).len() {
        is_linear(|size| {
            let mut framer = Framer::new();
            let reply = &replies(size)[kind];
            let complete = reply.iter().filter(|byte| {
                framer.feed(core::slice::from_ref(*byte)).expect("it is RESP").complete
            });
            assert_eq!(complete.count(), 1);
        });
    }
}

/// A connection that is logged in and has asked for something.
fn asked<B: Storage<u8>>(memory: B, transmit: B) -> Connection<B, [Pending; 4]> {
    let now = Instant::from_millis(0);
    let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
    let token = Token::new(Secret::new("token")).with_user("oid");
    manager.push(now, &token.with_expires_in(core::time::Duration::from_secs(3600))).unwrap();
    let config = Config { set_info: false, ..Config::new(0) };
    let mut connection = Connection::new(config, memory, transmit, [Pending::default(); 4]);
    connection.update(now, &mut manager);
    let len = connection.transmit().len();
    connection.sent(len);
    assert_eq!(hear(&mut connection, b"%1\r\n+proto\r\n:3\r\n"), []);
    connection.submit(now, 1, redis_entraid_core::args!["GET", "k"]).unwrap();
    let len = connection.transmit().len();
    connection.sent(len);
    connection
}

/// Lets `bytes` come one by one. Answers with the sizes of the replies.
fn hear<B: Storage<u8>>(connection: &mut Connection<B, [Pending; 4]>, bytes: &[u8]) -> Vec<usize> {
    let now = Instant::from_millis(0);
    let mut sizes = Vec::new();
    for byte in bytes {
        connection.receive_space()[0] = *byte;
        connection.received(now, 1);
        while let Some(output) = connection.next(now) {
            if let Output::Reply { reply, .. } = output {
                sizes.push(reply.map_or_else(|large| large.size as usize, |r| r.raw().len()));
            }
        }
    }
    sizes
}

#[test]
fn a_connection_takes_10_mb_in_single_bytes_in_linear_time_whether_they_fit_or_not() {
    for kind in 0..replies(7).len() {
        is_linear(|size| {
            let reply = &replies(size)[kind];
            let (mut memory, mut transmit) = (vec![0; size + 100], vec![0; 256]);
            let mut connection = asked(&mut memory[..], &mut transmit[..]);
            assert_eq!(hear(&mut connection, reply), [reply.len()]);
        });
        is_linear(|size| {
            let reply = &replies(size)[kind];
            let mut connection = asked([0; 256], [0; 256]);
            assert_eq!(hear(&mut connection, reply), [reply.len()]);
        });
    }
}

#[test]
fn commands_that_take_too_long_together_are_reported_in_linear_time() {
    is_linear(|size| {
        let count = size / 100;
        let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
        let now = Instant::from_millis(0);
        let token = Token::new(Secret::new("token")).with_user("oid");
        manager.push(now, &token.with_expires_in(core::time::Duration::from_secs(3600))).unwrap();
        let config = Config { set_info: false, ..Config::new(0) };
        let (mut ring, mut transmit) = (vec![Pending::default(); count + 9], vec![0; size]);
        let mut receive = vec![0; 256];
        let mut connection =
            Connection::new(config, &mut receive[..], &mut transmit[..], &mut ring[..]);
        connection.update(now, &mut manager);
        let len = connection.transmit().len();
        connection.sent(len);
        let hello = b"%1\r\n+proto\r\n:3\r\n";
        connection.receive_space()[..hello.len()].copy_from_slice(hello);
        connection.received(now, hello.len());
        while connection.next(now).is_some() {}
        for tag in 0..count as u64 {
            connection.submit(now, tag, redis_entraid_core::args!["GET", "k"]).unwrap();
        }
        let late = now.plus(core::time::Duration::from_secs(6));
        connection.update(late, &mut manager);
        let mut lost = 0;
        while let Some(output) = connection.next(late) {
            lost += usize::from(matches!(output, Output::Lost { .. }));
        }
        assert_eq!(lost, count);
    });
}
