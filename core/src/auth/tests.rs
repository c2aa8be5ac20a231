use super::*;
use std::string::String;
use std::vec::Vec;

const OID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

fn written(mut handshake: Handshake, token: &str, name: Option<&str>, room: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while !handshake.is_written() {
        let mut out = std::vec![0; room];
        let len = handshake.write(OID, token, name, &mut out);
        assert!(len > 0);
        all.extend_from_slice(&out[..len]);
    }
    all
}

fn verdict(handshake: Handshake, reply: &[u8]) -> Verdict {
    handshake.clone().reply(Value::new(reply).unwrap())
}

#[test]
fn a_login_is_one_frame_of_few_bytes() {
    let token = "t".repeat(1619);
    let frame = written(Handshake::first(Protocol::Resp3), &token, None, 4096);
    let expected = std::format!(
        "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$36\r\n{OID}\r\n$1619\r\n{token}\r\n"
    );
    assert_eq!(String::from_utf8(frame).unwrap(), expected);
    assert!(expected.len() <= 1720, "{}", expected.len());
}

#[test]
fn pieces_of_any_size_make_the_same_frame() {
    let token = "0123456789".repeat(20);
    for handshake in [Handshake::first(Protocol::Resp3), Handshake::again(Protocol::Resp3)] {
        let whole = written(handshake.clone(), &token, Some("me"), 1000);
        for room in 1..300 {
            assert_eq!(written(handshake.clone(), &token, Some("me"), room), whole, "{room}");
        }
    }
}

#[test]
fn another_login_is_auth_alone() {
    let frame = written(Handshake::again(Protocol::Resp3), "token", Some("me"), 1000);
    let expected = std::format!("*3\r\n$4\r\nAUTH\r\n$36\r\n{OID}\r\n$5\r\ntoken\r\n");
    assert_eq!(String::from_utf8(frame).unwrap(), expected);
}

#[test]
fn hello_is_answered_by_a_map_or_by_an_array() {
    let hello = Handshake::first(Protocol::Resp3);
    let map = b"%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n";
    let logged_in = |protocol, client_id| Verdict::LoggedIn { protocol, client_id };
    assert_eq!(verdict(hello.clone(), map), logged_in(Protocol::Resp3, Some(7)));
    let array = b"*4\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:7\r\n";
    assert_eq!(verdict(hello.clone(), array), logged_in(Protocol::Resp2, Some(7)));
    assert_eq!(verdict(hello, b"%0\r\n"), logged_in(Protocol::Resp3, None));
    let auth = Handshake::again(Protocol::Resp3);
    assert_eq!(verdict(auth.clone(), b"+OK\r\n"), logged_in(Protocol::Resp3, None));
    assert_eq!(verdict(auth, b"+QUEUED\r\n"), Verdict::Refused(LoginError::Unexpected));
}

#[test]
fn only_a_server_without_hello_is_asked_again() {
    for (reply, expected) in [
        ("-NOPROTO unsupported protocol version\r\n", Verdict::Again),
        ("-ERR unknown command 'HELLO', with args beginning with: '3' \r\n", Verdict::Again),
        ("-WRONGPASS invalid username-password pair\r\n", Verdict::Refused(LoginError::WrongPass)),
    ] {
        let hello = Handshake::first(Protocol::Resp3);
        assert_eq!(verdict(hello, reply.as_bytes()), expected, "{reply}");
    }
    let auth = verdict(Handshake::first(Protocol::Resp2), b"-ERR unknown command 'AUTH'\r\n");
    assert_eq!(auth, Verdict::Refused(LoginError::Other(ErrorCode::new("ERR"))));
}

#[test]
fn refusals_are_told_apart_by_their_code() {
    for (reply, expected) in [
        ("-WRONGPASS invalid username-password pair or user is disabled.", LoginError::WrongPass),
        ("-ERR WRONGPASS invalid username-password pair", LoginError::WrongPass),
        ("-NOPERM User x has no permissions to run the 'auth' command", LoginError::NoPerm),
        ("-LOADING Redis is loading the dataset in memory", LoginError::Unavailable),
        ("-ERR max number of clients reached", LoginError::MaxClients),
        ("-DENIED Redis is running in protected mode", LoginError::Denied),
        ("-eyJ0eXAi", LoginError::Other(ErrorCode::new(""))),
        ("-STRANGE eyJ0eXAi", LoginError::Other(ErrorCode::new("STRANGE"))),
    ] {
        let reply = std::format!("{reply}\r\n");
        let verdict = verdict(Handshake::again(Protocol::Resp3), reply.as_bytes());
        assert_eq!(verdict, Verdict::Refused(expected), "{reply}");
    }
    let other = LoginError::Other(ErrorCode::new("ACODELONGERTHANSIXTEENBYTES"));
    assert_eq!(std::format!("{other}"), "ACODELONGERTHANS: the login was refused");
}
