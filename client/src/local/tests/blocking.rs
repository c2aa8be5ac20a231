//! Commands that block for longer than one may at once.

use std::string::String;
use std::vec;

use super::wire::{Bench, HELLO, Rule, Wire};
use super::*;

/// What was said, but for the login.
fn said(wire: &Wire) -> Vec<String> {
    wire.said.borrow().iter().filter(|said| !said.starts_with("HELLO")).cloned().collect()
}

/// Runs a command at a server that follows `rule`. Answers with its reply and with what was sent.
fn run(rule: Rule, max_block: u64, args: &[Arg<'_>]) -> (Result<String, Error>, Vec<String>) {
    let mut bench = Bench::new(Rc::default(), rule);
    bench.settings.config.max_block = Duration::from_secs(max_block);
    bench.run(async |mut client, wire, _| {
        client.logged_in().await.unwrap();
        let reply = client.command(args).await.map(|reply| std::format!("{:?}", reply.raw()));
        (reply, said(wire))
    })
}

#[test]
fn no_slice_is_longer_than_a_connection_takes() {
    let rule: Rule = |wire, words| match &*words[0] {
        "HELLO" => HELLO,
        _ if wire.count("BLPOP") < 3 => b"_\r\n",
        _ => b"*2\r\n+q\r\n+job\r\n",
    };
    let (reply, sent) = run(rule, 2, args!["BLPOP", "q", 0]);
    assert!(reply.is_ok());
    assert_eq!(sent, vec!["BLPOP q 2.000"; 3]);
}

#[test]
fn a_slice_that_is_refused_for_want_of_a_login_is_sent_again() {
    let rule: Rule = |wire, words| match (&*words[0], wire.count("BLPOP")) {
        ("HELLO", _) => HELLO,
        (_, 1) => b"_\r\n",
        (_, 2) => b"-NOAUTH Authentication required.\r\n",
        _ => b"*2\r\n+q\r\n+job\r\n",
    };
    let (reply, sent) = run(rule, 2, args!["BLPOP", "q", 0]);
    assert!(reply.is_ok());
    assert_eq!(sent, vec!["BLPOP q 2.000"; 3]);
}

#[test]
fn what_can_not_be_sent_in_slices_is_sent_as_it_is_if_it_is_short() {
    let rule: Rule = |_, words| if words[0] == "HELLO" { HELLO } else { b":1\r\n" };
    for (command, text) in [
        (args!["WAIT", 1, 2000], "WAIT 1 2000"),
        (args!["XREAD", "BLOCK", 2000, "STREAMS", "s", "$"], "XREAD BLOCK 2000 STREAMS s $"),
    ] {
        let (reply, sent) = run(rule, 2, command);
        assert!(reply.is_ok());
        assert_eq!(sent, [text]);
    }
    let (reply, sent) = run(rule, 2, args!["WAIT", 1, 2001]);
    assert!(matches!(reply, Err(Error::Refused(_))) && sent.is_empty());
}

#[test]
fn a_stream_is_read_from_its_end_on_as_that_was_at_first() {
    let read = args!["XREAD", "BLOCK", 0, "STREAMS", "a", "b", "c", "$", "0-7", "$"];
    for rule in [resp3 as Rule, resp2] {
        let (reply, sent) = run(rule, 10, read);
        assert!(reply.is_ok());
        let slice = "XREAD BLOCK 10000 STREAMS a b c 5-1 0-7 0-0";
        assert_eq!(sent, ["XINFO STREAM a", "XINFO STREAM c", slice, slice]);
    }
}

fn resp3(wire: &Wire, words: &[String]) -> &'static [u8] {
    match (&*words[0], &*words[words.len() - 1]) {
        ("HELLO", _) => HELLO,
        ("XINFO", "a") => b"%2\r\n+length\r\n:1\r\n+last-generated-id\r\n$3\r\n5-1\r\n",
        ("XINFO", _) => b"-ERR no such key\r\n",
        _ if wire.count("XREAD") == 1 => b"_\r\n",
        _ => b"%1\r\n+a\r\n*0\r\n",
    }
}

fn resp2(wire: &Wire, words: &[String]) -> &'static [u8] {
    match (&*words[0], &*words[words.len() - 1]) {
        ("XINFO", "a") => b"*4\r\n+length\r\n:1\r\n+last-generated-id\r\n$3\r\n5-1\r\n",
        _ if wire.count("XREAD") == 1 => b"*-1\r\n",
        _ => resp3(wire, words),
    }
}

#[test]
fn who_may_not_ask_for_the_end_of_a_stream_is_told_what_to_do() {
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        _ => b"-NOPERM User oid has no permissions to run the 'xinfo|stream' command\r\n",
    };
    let (reply, sent) = run(rule, 10, args!["XREAD", "BLOCK", 0, "STREAMS", "s", "$"]);
    let error = reply.unwrap_err();
    assert_eq!((error.code(), sent.len()), (Some("NOPERM"), 1));
    assert!(error.to_string().ends_with("give an id instead of $"), "{error}");
    // What else is wrong is the server's to say.
    let rule: Rule = |_, words| match &*words[0] {
        "HELLO" => HELLO,
        _ => b"-WRONGTYPE no stream\r\n",
    };
    let (reply, _) = run(rule, 10, args!["XREAD", "BLOCK", 0, "STREAMS", "s", "$"]);
    assert_eq!(reply.unwrap_err().code(), Some("WRONGTYPE"));
}
