//! Whatever a server says, in any order and at any point, is no panic and no way in.

use std::vec;
use std::vec::Vec;

use proptest::collection::vec as many;
use proptest::prelude::*;

use super::fake::{Clear, Server, converse, encrypted, record};

/// A part of what a server says after its hello.
#[derive(Clone, Debug)]
enum Part {
    /// The next message of a good handshake, in a record of its own.
    Next,
    /// All that is left of a good handshake, in one record.
    Rest,
    /// Any record, with its header's kind, version and length as they are.
    Record(u8, Vec<u8>),
    /// Any content, as if it were encrypted.
    Encrypted(u8, Vec<u8>),
    /// A message whose length may be wrong.
    Message(u8, u32, Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
}

fn part() -> impl Strategy<Value = Part> {
    let kind = prop_oneof![4 => 20u8..=24, 1 => any::<u8>()];
    let message = prop_oneof![
        8 => prop::sample::select(vec![1u8, 2, 4, 5, 8, 11, 13, 15, 20, 24, 254]),
        1 => any::<u8>()
    ];
    let small = || many(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..60);
    prop_oneof![
        6 => Just(Part::Next),
        4 => Just(Part::Rest),
        1 => (kind.clone(), small()).prop_map(|(kind, content)| Part::Record(kind, content)),
        3 => (kind, small()).prop_map(|(kind, content)| Part::Encrypted(kind, content)),
        4 => (message, 0u32..80, small()).prop_map(|(kind, len, body)| {
            Part::Message(kind, if len < 40 { body.len() as u32 } else { len - 40 }, body)
        }),
        1 => small().prop_map(Part::Bytes),
    ]
}

fn say(server: &mut Server, parts: &[Part]) -> Vec<u8> {
    let steps = [Server::extensions, Server::certificate, Server::proof, Server::finished];
    let mut steps = steps.into_iter();
    for part in parts {
        match part {
            Part::Next => {
                if let Some(step) = steps.next() {
                    let message = step(server);
                    server.send(22, &message);
                }
            }
            Part::Rest => {
                let all = steps.by_ref().flat_map(|step| step(server)).collect::<Vec<_>>();
                if !all.is_empty() {
                    server.send(22, &all);
                }
            }
            Part::Record(kind, content) => server.out.extend_from_slice(&record(*kind, content)),
            Part::Encrypted(kind, content) => server.send(*kind, content),
            Part::Message(kind, len, body) => {
                let [_, len @ ..] = len.to_be_bytes();
                server.send(22, &[&[*kind][..], &len, body].concat());
            }
            Part::Bytes(bytes) => server.out.extend_from_slice(bytes),
        }
    }
    core::mem::take(&mut server.out)
}

/// More where it is quick.
const CASES: u32 = if cfg!(debug_assertions) { 300 } else { 20_000 };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn whatever_a_server_says_after_its_hello_is_no_panic(
        parts in many(part(), 0..12),
        chunk in 1usize..100,
    ) {
        let mut finished = false;
        let outcome = converse::<Clear>(chunk, |sent| {
            let mut server = Server::new(sent);
            let said = say(&mut server, &parts);
            let steps = parts.iter().filter(|part| matches!(part, Part::Next)).count();
            finished = steps >= 4 || parts.iter().any(|part| matches!(part, Part::Rest));
            said
        });
        // Only the real messages, all four of them, convince.
        prop_assert!(finished || !outcome.opened);
        prop_assert!(finished || outcome.answered == 0);
        prop_assert!(outcome.opened || outcome.error.is_some());
    }

    #[test]
    fn whatever_a_server_says_after_the_handshake_is_no_panic(
        parts in many(part(), 0..12),
        chunk in 1usize..100,
    ) {
        let outcome = converse::<Clear>(chunk, |sent| {
            let mut server = Server::new(sent);
            let all = server.handshake();
            server.send(22, &all);
            let mut said = core::mem::take(&mut server.out);
            said.extend(say(&mut server, &parts));
            said
        });
        prop_assert!(outcome.opened);
    }

    #[test]
    fn whatever_a_server_answers_is_no_panic(
        answer in many(any::<u8>(), 0..300),
        kind in 20u8..=23,
        header in any::<bool>(),
    ) {
        let answer = if header { record(kind, &answer) } else { answer };
        let outcome = converse::<Clear>(usize::MAX, |_| answer);
        prop_assert!(!outcome.opened);
        prop_assert_eq!(outcome.answered, 0);
    }

    #[test]
    fn a_hello_that_was_changed_is_no_panic(
        changes in many((0usize..200, any::<u8>()), 1..4),
        cut in 0usize..200,
    ) {
        let outcome = converse::<Clear>(usize::MAX, |sent| {
            let mut server = Server::new(sent);
            let len = server.out.len() - 5;
            for (at, byte) in &changes {
                server.out[5 + at % len] = *byte;
            }
            let cut = if cut < len { cut } else { len };
            let mut said = record(22, &server.out[5..][..cut]);
            let all = server.handshake();
            said.extend(encrypted(22, &all));
            said
        });
        prop_assert!(outcome.opened || outcome.error.is_some());
    }
}
