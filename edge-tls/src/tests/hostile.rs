//! A server that does not keep to the rules gets an error, and never a panic.

use std::vec;
use std::vec::Vec;

use super::fake::{
    Careless, Clear, Outcome, Server, converse, encrypted, message, pki, record, vector,
};
use crate::error::{Error, Violation};
use crate::suite::Suite;

const MESSAGE: Error = Error::Violation(Violation::Message);

/// Lets a server say something after its hello.
fn talk<S: Suite>(script: impl FnOnce(&mut Server)) -> Outcome {
    converse::<S>(usize::MAX, |sent| {
        let mut server = Server::new(sent);
        script(&mut server);
        server.out
    })
}

fn clear(script: impl FnOnce(&mut Server)) -> Outcome {
    talk::<Clear>(script)
}

/// Lets a server say something after the handshake.
fn afterwards(script: impl FnOnce(&mut Server)) -> Outcome {
    let outcome = clear(|server| {
        let all = server.handshake();
        server.send(22, &all);
        script(server);
    });
    assert!(outcome.opened, "{outcome:?}");
    outcome
}

fn refused(outcome: &Outcome, error: Error) {
    assert!(!outcome.opened);
    assert_eq!(outcome.error, Some(error));
    assert_eq!(outcome.answered, 0, "nothing is said to such a server");
}

#[test]
fn a_server_that_keeps_to_the_rules_is_accepted() {
    let outcome = afterwards(|server| {
        server.send(23, b"PONG");
        server.send(21, &[1, 0]);
    });
    assert_eq!(outcome.data, b"PONG");
    assert_eq!(outcome.error, None);
}

#[test]
fn messages_may_come_in_records_of_their_own() {
    let outcome = clear(|server| {
        // As servers send it that think of old middleboxes.
        server.out.extend_from_slice(&record(20, &[1]));
        for say in [Server::extensions, Server::certificate, Server::proof, Server::finished] {
            let message = say(server);
            server.send(22, &message);
        }
        server.send(21, &[1, 0]);
    });
    assert_eq!((outcome.opened, outcome.error), (true, None));
}

#[test]
fn a_server_that_says_not_who_it_is_is_refused() {
    // Everything else about this handshake is right, down to the last message.
    let skip = |server: &mut Server| {
        let all = [server.extensions(), server.finished()].concat();
        server.send(22, &all);
    };
    refused(&clear(skip), MESSAGE);
    // The second line of defence, behind the cipher's.
    refused(&talk::<Careless>(skip), Error::Unverified);
}

#[test]
fn a_certificate_without_a_proof_is_refused() {
    let skip = |server: &mut Server| {
        let all = [server.extensions(), server.certificate(), server.finished()].concat();
        server.send(22, &all);
    };
    refused(&clear(skip), MESSAGE);
    refused(&talk::<Careless>(skip), Error::Unverified);
}

#[test]
fn a_proof_before_the_certificate_is_refused() {
    let swap = |server: &mut Server| {
        let first = [server.extensions(), server.proof()].concat();
        let all = [first, server.certificate(), server.finished()].concat();
        server.send(22, &all);
    };
    refused(&clear(swap), MESSAGE);
    refused(&talk::<Careless>(swap), Error::Unverified);
}

#[test]
fn two_certificates_or_two_proofs_are_refused() {
    let certificates = |server: &mut Server| {
        let twice = [server.extensions(), server.certificate(), server.certificate()].concat();
        let all = [twice, server.proof(), server.finished()].concat();
        server.send(22, &all);
    };
    let proofs = |server: &mut Server| {
        let once = [server.extensions(), server.certificate(), server.proof()].concat();
        let all = [once, server.proof(), server.finished()].concat();
        server.send(22, &all);
    };
    refused(&clear(certificates), MESSAGE);
    refused(&clear(proofs), MESSAGE);
    refused(&talk::<Careless>(certificates), Error::Unverified);
    refused(&talk::<Careless>(proofs), Error::Unverified);
}

#[test]
fn nothing_comes_before_the_extensions_or_after_the_end() {
    refused(
        &clear(|server| {
            let message = server.certificate();
            server.send(22, &message);
        }),
        MESSAGE,
    );
    refused(
        &clear(|server| {
            let all = [server.handshake(), server.certificate(), server.proof()].concat();
            server.send(22, &all);
        }),
        MESSAGE,
    );
}

#[test]
fn nothing_hides_behind_the_fields_of_a_message() {
    // The length of the extensions says that the end of the handshake belongs to them.
    refused(
        &clear(|server| {
            let hidden = server.finished();
            let all = message(8, &[vec![0, 0], hidden].concat());
            server.send(22, &all);
        }),
        MESSAGE,
    );
}

#[test]
fn a_server_that_has_other_keys_is_refused() {
    let outcome = clear(|server| {
        let mut all = server.handshake();
        *all.last_mut().unwrap() ^= 1;
        server.send(22, &all);
    });
    refused(&outcome, Error::Forged);
}

#[test]
fn no_record_comes_in_the_clear_after_the_hello() {
    let in_the_clear = Error::Violation(Violation::InTheClear);
    for (kind, content) in [(22, message(8, &[0, 0])), (22, vec![]), (21, vec![2, 40])] {
        let outcome = clear(|server| server.out.extend_from_slice(&record(kind, &content)));
        refused(&outcome, in_the_clear);
    }
    for (kind, content) in [
        (22, message(8, &[0, 0])),
        (22, message(4, &[0; 13])),
        (22, vec![]),
        (21, vec![1, 0]),
        (21, vec![2, 40]),
        (20, vec![1]),
    ] {
        let outcome = afterwards(|server| {
            server.send(23, b"before");
            server.out.extend_from_slice(&record(kind, &content));
            server.send(23, b"after");
        });
        assert_eq!((outcome.data, outcome.error), (b"before".to_vec(), Some(in_the_clear)));
    }
}

#[test]
fn a_change_of_ciphers_comes_once_and_says_nothing() {
    let twice = [record(20, &[1]), record(20, &[1])].concat();
    for records in [twice, record(20, &[2]), record(20, &[1, 1]), record(20, &[])] {
        let outcome = clear(|server| server.out.extend_from_slice(&records));
        refused(&outcome, Error::Violation(Violation::Record));
    }
}

#[test]
fn records_of_other_types_versions_and_lengths_are_refused() {
    let long = |kind: u8, len: u16| [&[kind, 3, 3][..], &len.to_be_bytes(), &[0; 17_000]].concat();
    for records in [
        record(24, &[0; 20]),
        record(0, &[0; 20]),
        [&[23, 3, 4, 0, 20][..], &[0; 20]].concat(),
        [&[23, 2, 3, 0, 20][..], &[0; 20]].concat(),
        long(23, 16_641),
        long(23, 65_535),
    ] {
        let outcome = clear(|server| server.out.extend_from_slice(&records));
        refused(&outcome, Error::Violation(Violation::Record));
    }
    for first in [record(23, &[0; 40]), record(20, &[1]), record(21, &[2]), long(22, 16_385)] {
        let outcome = converse::<Clear>(usize::MAX, |_| first);
        refused(&outcome, Error::Violation(Violation::Record));
    }
}

#[test]
fn an_alert_instead_of_a_hello_says_why() {
    let outcome = converse::<Clear>(usize::MAX, |_| record(21, &[2, 70]));
    refused(&outcome, Error::Refused(70));
}

#[test]
fn hellos_that_are_none_are_refused() {
    let hello = Error::Violation(Violation::Hello);
    let good = converse_hello();
    for len in 0..good.len() - 5 {
        let outcome = converse::<Clear>(usize::MAX, |_| record(22, &good[5..][..len]));
        refused(&outcome, hello);
    }
    for kind in (0..=255).filter(|kind| *kind != 2) {
        let outcome = converse::<Clear>(usize::MAX, |_| record(22, &message(kind, &good[9..])));
        refused(&outcome, hello);
    }
}

/// A good hello, as a record.
fn converse_hello() -> Vec<u8> {
    let mut hello = Vec::new();
    converse::<Clear>(usize::MAX, |sent| {
        hello = Server::new(sent).out;
        Vec::new()
    });
    hello
}

#[test]
fn an_empty_record_is_refused() {
    for content in [&[][..], &[0; 30]] {
        let outcome = clear(|server| server.send(0, content));
        refused(&outcome, MESSAGE);
        let outcome = afterwards(|server| server.send(0, content));
        assert_eq!(outcome.error, Some(MESSAGE));
    }
    // Not even a tag.
    for len in 0..16 {
        let outcome = clear(|server| server.out.extend_from_slice(&record(23, &vec![0; len])));
        refused(&outcome, Error::Forged);
    }
    // A tag and nothing else.
    let outcome = clear(|server| server.out.extend_from_slice(&record(23, &[0; 16])));
    refused(&outcome, MESSAGE);
}

#[test]
fn padding_is_no_data() {
    let outcome = afterwards(|server| {
        server.out.extend_from_slice(&encrypted(0, b"PONG\x17\0\0\0\0\0"));
        server.send(23, b"");
        server.send(21, &[1, 0]);
    });
    assert_eq!((outcome.data, outcome.error), (b"PONG".to_vec(), None));
}

#[test]
fn a_message_in_pieces_is_an_error() {
    for cut in [1, 3, 4, 5, 40] {
        let outcome = clear(|server| {
            let all = server.handshake();
            server.send(22, &all[..cut]);
            server.send(22, &all[cut..]);
        });
        refused(&outcome, Error::Fragmented);
    }
    let outcome = afterwards(|server| server.send(22, &message(4, &[0; 100])[..50]));
    assert_eq!(outcome.error, Some(Error::Fragmented));
}

#[test]
fn no_message_but_a_ticket_comes_after_the_handshake() {
    for kind in 0..=255 {
        for body in [vec![], vec![0], vec![0; 13], vec![0; 100], vector(2, &[0; 6])] {
            let outcome = afterwards(|server| {
                server.send(22, &message(kind, &body));
                server.send(23, b"PONG");
                server.send(21, &[1, 0]);
            });
            let expected = match kind {
                4 => None,
                24 => Some(Error::KeyUpdate),
                _ => Some(MESSAGE),
            };
            assert_eq!(outcome.error, expected, "{kind} {body:?}");
            assert_eq!(outcome.data, if kind == 4 { &b"PONG"[..] } else { b"" });
        }
    }
}

#[test]
fn nothing_hides_behind_a_ticket() {
    let hidden = [message(4, &[0; 13]), message(8, &[0, 0])].concat();
    let outcome = afterwards(|server| server.send(22, &hidden));
    assert_eq!(outcome.error, Some(MESSAGE));
    // To some this is a ticket of 13 bytes and a message after it.
    let inside = message(4, &[vec![0; 13], message(8, &[0, 0])].concat());
    let outcome = afterwards(|server| {
        server.send(22, &inside);
        server.send(21, &[1, 0]);
    });
    assert_eq!(outcome.error, None);
}

#[test]
fn alerts_end_the_connection() {
    for alert in 1..=255 {
        for level in [0, 1, 2, 255] {
            let outcome = afterwards(|server| server.send(21, &[level, alert]));
            assert_eq!(outcome.error, Some(Error::Alert));
        }
    }
    for level in [0, 1, 2, 255] {
        let outcome = afterwards(|server| server.send(21, &[level, 0]));
        assert_eq!(outcome.error, None);
        refused(&clear(|server| server.send(21, &[level, 0])), Error::Alert);
    }
    for content in [&[][..], &[1], &[1, 0, 0]] {
        let outcome = afterwards(|server| server.send(21, content));
        assert_eq!(outcome.error, Some(MESSAGE));
    }
}

#[test]
fn certificates_in_strange_forms_are_refused() {
    let leaf = &pki().leaf;
    let entry = [vector(3, leaf), vec![0, 0]].concat();
    for list in [
        vec![],
        vec![0],
        vector(3, leaf),
        [vector(3, &leaf[1..]), vec![0, 0]].concat(),
        [vector(3, &[]), vec![0, 0]].concat(),
        [vector(3, leaf), vector(2, &[0, 5, 0, 200])].concat(),
        [vector(3, leaf), vector(2, &[0, 43, 0, 0])].concat(),
        entry.repeat(9),
        entry.repeat(20),
    ] {
        let outcome = clear(|server| {
            let extensions = server.extensions();
            let list = message(11, &[vec![0], vector(3, &list)].concat());
            server.send(22, &[extensions, list].concat());
        });
        assert!(!outcome.opened, "{list:?}");
        assert_eq!(outcome.answered, 0, "nothing is said to such a server");
        let error = outcome.error.unwrap();
        assert!(matches!(error, MESSAGE | Error::Certificate(_) | Error::Unverified), "{error:?}");
    }
}
