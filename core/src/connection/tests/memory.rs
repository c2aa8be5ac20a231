//! What buffers that grow keep, and when they give it back.

use super::*;
use crate::resp::{encode, encoded_len};
use crate::storage::tests::Grows;

/// A connection whose memory grows, logged in, and its token manager.
struct Grower {
    now: Instant,
    manager: Manager,
    connection: Connection<Grows<u8>, Grows<Pending>>,
}

impl Grower {
    fn new() -> Self {
        let mut manager = TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 64]; 2]);
        let token = Token::new(Secret::new("token")).with_user("oid");
        manager.push(secs(0), &token.with_expires_in(Duration::from_secs(3600))).unwrap();
        let memory = || Grows::new(1024, 64 << 20);
        let config = Config { set_info: false, ..Config::new(0) };
        let ring = Grows::new(8, 1 << 20);
        let connection = Connection::new(config, memory(), memory(), ring);
        let mut grower = Self { now: secs(0), manager, connection };
        grower.update();
        grower.send();
        grower.receive(HELLO.as_bytes());
        grower
    }

    fn update(&mut self) {
        self.connection.update(self.now, &mut self.manager);
    }

    fn at(&mut self, now: Instant) {
        self.now = now;
        if now >= self.connection.next_deadline() {
            self.update();
        }
    }

    fn send(&mut self) {
        while let len @ 1.. = self.connection.transmit().len() {
            self.connection.sent(len);
        }
    }

    /// Takes `bytes` in. Says how many replies there were.
    fn receive(&mut self, mut bytes: &[u8]) -> usize {
        let mut replies = 0;
        while !bytes.is_empty() {
            let room = self.connection.receive_space();
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            self.connection.received(self.now, len);
            while let Some(output) = self.connection.next(self.now) {
                replies += usize::from(matches!(output, Output::Reply { reply: Ok(_), .. }));
            }
        }
        replies
    }

    /// Sends a command of about `command` bytes, and has it answered with as many as `reply`.
    fn exchange(&mut self, command: usize, reply: usize) {
        self.connection.submit(self.now, 7, args!["SET", "k", &"x".repeat(command)]).unwrap();
        self.send();
        assert_eq!(self.receive(&bulk(reply)), 1);
    }

    /// What it has room for: to receive, to send and to wait for.
    fn room(&self) -> (usize, usize, String) {
        let Connection { machine, receiver, transmitter } = &self.connection;
        (receiver.capacity(), transmitter.capacity(), format!("{:?}", machine.ring))
    }

    fn least(&self) -> bool {
        self.room() == (128, 0, "Ring(0 of 0)".into())
    }
}

fn bulk(len: usize) -> Vec<u8> {
    let mut reply = format!("${len}\r\n").into_bytes();
    reply.resize(reply.len() + len, b'x');
    reply.extend_from_slice(b"\r\n");
    reply
}

#[test]
fn what_a_large_reply_took_is_given_back_when_it_is_over() {
    let mut grower = Grower::new();
    grower.exchange(10, 4 << 20);
    assert!(grower.connection.receiver.capacity() <= 64 << 10);
    for _ in 0..1000 {
        grower.exchange(10, 10);
    }
    assert!(grower.connection.receiver.capacity() <= 512);
}

#[test]
fn what_a_large_command_took_is_given_back_when_it_is_over() {
    let mut grower = Grower::new();
    grower.exchange(4 << 20, 10);
    assert!(grower.connection.transmitter.capacity() <= 64 << 10);
    for _ in 0..1000 {
        grower.exchange(10, 10);
    }
    assert!(grower.connection.transmitter.capacity() <= 512);
}

#[test]
fn what_a_long_pipeline_took_is_given_back() {
    let mut grower = Grower::new();
    for _ in 0..10_000 {
        grower.connection.submit(grower.now, 7, args!["GET", "k"]).unwrap();
        grower.send();
    }
    assert_eq!(grower.receive(&bulk(5).repeat(10_000)), 10_000);
    for _ in 0..1000 {
        grower.exchange(10, 10);
    }
    let (receive, transmit, ring) = grower.room();
    assert!(receive <= 1024 && transmit <= 2048 && ring == "Ring(0 of 8)", "{:?}", grower.room());
}

#[test]
fn memory_is_given_back_after_seconds_of_quiet_and_nobody_is_woken_any_more() {
    let mut grower = Grower::new();
    grower.at(secs(10));
    grower.update();
    let ping_at = grower.connection.next_deadline();
    assert!(ping_at > secs(200), "there is nothing to give back yet");
    for _ in 0..12 {
        grower.connection.submit(grower.now, 7, args!["SET", "k", &"x".repeat(1000)]).unwrap();
    }
    grower.send();
    assert_eq!(grower.receive(&bulk(1000).repeat(12)), 12);
    let (receive, transmit, ring) = grower.room();
    assert!(receive > 2048 && transmit > 2048 && ring != "Ring(0 of 8)", "{:?}", grower.room());
    assert_eq!(grower.connection.next_deadline(), secs(15));
    grower.at(secs(15).minus(Duration::from_millis(1)));
    assert_eq!(grower.room(), (receive, transmit, ring), "a moment earlier");
    grower.at(secs(15));
    assert!(grower.least(), "{:?}", grower.room());
    assert_eq!(grower.connection.next_deadline(), secs(250), "the next ping");
}

#[test]
fn what_a_message_took_is_given_back_after_seconds_of_quiet() {
    let mut grower = Grower::new();
    grower.at(secs(10));
    let mut push = b">1\r\n".to_vec();
    push.extend_from_slice(&bulk(100_000));
    grower.receive(&push);
    assert!(grower.connection.receiver.capacity() > 100_000);
    grower.at(secs(15));
    assert!(grower.least(), "{:?}", grower.room());
}

#[test]
fn what_every_command_needs_is_kept_between_them() {
    let mut grower = Grower::new();
    grower.exchange(10_000, 10_000);
    let room = grower.room();
    for second in 1..1000 {
        grower.at(secs(second));
        assert_eq!(grower.room(), room, "at {second} s");
        grower.exchange(10_000, 10_000);
        assert_eq!(grower.room(), room, "at {second} s");
    }
}

#[test]
fn what_is_under_way_stays() {
    let mut grower = Grower::new();
    // The first half of a reply, and then silence.
    grower.connection.submit(grower.now, 7, args!["GET", "k"]).unwrap();
    grower.send();
    let reply = bulk(5000);
    assert_eq!(grower.receive(&reply[..3000]), 0);
    grower.at(secs(4));
    grower.update();
    assert_eq!(grower.receive(&reply[3000..]), 1);
    // A command that nobody sends.
    grower.connection.submit(grower.now, 7, args!["SET", "k", &"x".repeat(5000)]).unwrap();
    grower.at(secs(8));
    grower.update();
    let sent = grower.connection.transmit().to_vec();
    let mut expected = Vec::new();
    encode(args!["SET", "k", &"x".repeat(5000)], &mut |piece| expected.extend_from_slice(piece));
    assert_eq!(sent, expected);
}

#[test]
fn a_reply_that_is_skipped_is_reported_with_the_limit() {
    let memory = || Grows::new(1024, 4096);
    let mut grower = Grower::new();
    let config = Config { set_info: false, ..Config::new(0) };
    grower.connection = Connection::new(config, memory(), memory(), Grows::new(8, 64));
    grower.update();
    grower.send();
    grower.receive(HELLO.as_bytes());
    grower.connection.submit(grower.now, 7, args!["GET", "k"]).unwrap();
    grower.send();
    let reply = bulk(100_000);
    let mut errors = Vec::new();
    for part in reply.chunks(700) {
        let mut part = part;
        while !part.is_empty() {
            let room = grower.connection.receive_space();
            let len = room.len().min(part.len());
            room[..len].copy_from_slice(&part[..len]);
            part = &part[len..];
            grower.connection.received(grower.now, len);
            while let Some(output) = grower.connection.next(grower.now) {
                if let Output::Reply { reply: Err(error), .. } = output {
                    errors.push(error);
                }
            }
        }
    }
    let expected = ReplyTooLarge { size: reply.len() as u64, capacity: 4096 };
    assert_eq!(errors, [expected]);
}

#[test]
fn a_command_without_a_time_limit_keeps_no_memory_when_it_is_answered() {
    let mut grower = Grower::new();
    grower.at(secs(10));
    grower.update();
    assert!(grower.least());
    let value = "x".repeat(5000);
    let args = args!["SET", "k", value.as_str()];
    let mut memory = std::vec![0; encoded_len(args)];
    let command = EncodedCommand::encode(args, &mut memory).unwrap();
    let (now, by) = (grower.now, Instant::FAR_FUTURE);
    grower.connection.submit_encoded(now, by, 7, command).unwrap();
    grower.send();
    // It is looked at when something is due, and only then.
    for second in 11..=100 {
        grower.at(secs(second));
    }
    assert_eq!(grower.receive(b"+OK\r\n"), 1);
    for second in 101..=110 {
        grower.at(secs(second));
    }
    assert!(grower.least(), "{:?}", grower.room());
}
