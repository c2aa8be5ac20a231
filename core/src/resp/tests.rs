use super::*;
use proptest::prelude::*;
use redis_protocol::resp2::types::{OwnedFrame as Frame2, Resp2Frame};
use redis_protocol::resp3::types::{OwnedFrame as Frame3, Resp3Frame};
use std::collections::{HashMap, HashSet};
use std::string::{String, ToString};
use std::vec::Vec;

/// Feeds `bytes` in pieces of `size`, and answers with the ends of the replies in them.
fn ends(bytes: &[u8], size: usize) -> Result<Vec<usize>, RespError> {
    let mut framer = Framer::new();
    let mut ends = Vec::new();
    let mut at = 0;
    for mut piece in bytes.chunks(size) {
        while !piece.is_empty() {
            let framed = framer.feed(piece)?;
            assert!(framed.used > 0 && (framed.complete || framed.used == piece.len()));
            at += framed.used;
            piece = &piece[framed.used..];
            if framed.complete {
                ends.push(at);
            }
        }
    }
    Ok(ends)
}

/// What our view makes of a value, in the oracle's terms.
fn as_frame3(value: Value<'_>) -> Frame3 {
    let attributes = None;
    let text = |value: Value<'_>| value.str().unwrap().to_string();
    match value.kind() {
        ValueKind::Simple => {
            Frame3::SimpleString { data: value.bytes().unwrap().to_vec(), attributes }
        }
        ValueKind::Error => {
            let error = value.error().unwrap().text().to_vec();
            match value.raw()[0] {
                b'!' => Frame3::BlobError { data: error, attributes },
                _ => Frame3::SimpleError { data: String::from_utf8(error).unwrap(), attributes },
            }
        }
        ValueKind::Integer => Frame3::Number { data: value.int().unwrap(), attributes },
        ValueKind::Bulk => Frame3::BlobString { data: value.bytes().unwrap().to_vec(), attributes },
        ValueKind::Null => Frame3::Null,
        ValueKind::Double => Frame3::Double { data: text(value).parse().unwrap(), attributes },
        ValueKind::Boolean => Frame3::Boolean { data: value.bool().unwrap(), attributes },
        ValueKind::BigNumber => {
            Frame3::BigNumber { data: value.bytes().unwrap().to_vec(), attributes }
        }
        ValueKind::Array => {
            Frame3::Array { data: value.items().map(as_frame3).collect(), attributes }
        }
        ValueKind::Push => {
            Frame3::Push { data: value.items().map(as_frame3).collect(), attributes }
        }
        ValueKind::Set => {
            let data: HashSet<_> = value.items().map(as_frame3).collect();
            Frame3::Set { data: data.into_iter().collect(), attributes }
        }
        ValueKind::Map => {
            let items: Vec<_> = value.items().map(as_frame3).collect();
            let pairs = items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            let data: HashMap<_, _> = pairs.collect();
            Frame3::Map { data: data.into_iter().collect(), attributes }
        }
        ValueKind::Verbatim => unreachable!("not generated"),
    }
}

fn as_frame2(value: Value<'_>) -> Frame2 {
    match value.kind() {
        ValueKind::Simple => Frame2::SimpleString(value.bytes().unwrap().to_vec()),
        ValueKind::Error => {
            Frame2::Error(String::from_utf8(value.error().unwrap().text().to_vec()).unwrap())
        }
        ValueKind::Integer => Frame2::Integer(value.int().unwrap()),
        ValueKind::Bulk => Frame2::BulkString(value.bytes().unwrap().to_vec()),
        ValueKind::Null => Frame2::Null,
        ValueKind::Array => Frame2::Array(value.items().map(as_frame2).collect()),
        other => panic!("{other:?} is not RESP2"),
    }
}

fn line() -> impl Strategy<Value = String> {
    "[ -~]{0,20}"
}

fn frame2() -> impl Strategy<Value = Frame2> {
    let leaf = prop_oneof![
        line().prop_map(|text| Frame2::SimpleString(text.into_bytes())),
        line().prop_map(Frame2::Error),
        any::<i64>().prop_map(Frame2::Integer),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Frame2::BulkString),
        Just(Frame2::Null),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop::collection::vec(inner, 0..6).prop_map(Frame2::Array)
    })
}

fn frame3() -> impl Strategy<Value = Frame3> {
    let attributes = None;
    let leaf = prop_oneof![
        line().prop_map(|t| Frame3::SimpleString { data: t.into_bytes(), attributes: None }),
        line().prop_map(|data| Frame3::SimpleError { data, attributes: None }),
        any::<i64>().prop_map(|data| Frame3::Number { data, attributes: None }),
        (-1e9..1e9).prop_map(|data| Frame3::Double { data, attributes: None }),
        any::<bool>().prop_map(|data| Frame3::Boolean { data, attributes: None }),
        "-?[1-9][0-9]{18,30}"
            .prop_map(|t| Frame3::BigNumber { data: t.into_bytes(), attributes: None }),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|data| Frame3::BlobString { data, attributes: None }),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|data| Frame3::BlobError { data, attributes: None }),
        Just(Frame3::Null),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..6);
        let key = any::<i64>().prop_map(|data| Frame3::Number { data, attributes: None });
        let map = prop::collection::hash_map(key.clone(), inner, 0..4);
        let set = prop::collection::hash_set(key, 0..4);
        let attributes = attributes.clone();
        prop_oneof![
            list.prop_map(move |data| Frame3::Array { data, attributes: attributes.clone() }),
            map.prop_map(|data| Frame3::Map { data: data.into_iter().collect(), attributes: None }),
            set.prop_map(|data| Frame3::Set { data: data.into_iter().collect(), attributes: None }),
        ]
    })
}

fn encode2(frame: &Frame2) -> Vec<u8> {
    let mut out = std::vec![0; frame.encode_len(false)];
    let len = redis_protocol::resp2::encode::encode(&mut out, frame, false).unwrap();
    out.truncate(len);
    out
}

fn encode3(frame: &Frame3) -> Vec<u8> {
    let mut out = std::vec![0; frame.encode_len(false)];
    let len = redis_protocol::resp3::encode::complete::encode(&mut out, frame, false).unwrap();
    out.truncate(len);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn resp2_reads_as_the_oracle_wrote_it(frames in prop::collection::vec(frame2(), 1..4), size in 1..9_usize) {
        let encoded: Vec<_> = frames.iter().map(encode2).collect();
        let bytes = encoded.concat();
        let found = ends(&bytes, size).unwrap();
        prop_assert_eq!(found.len(), frames.len());
        let mut start = 0;
        for (end, frame) in found.into_iter().zip(&frames) {
            let value = Value::new(&bytes[start..end]).unwrap();
            prop_assert_eq!(&as_frame2(value), frame);
            let (oracle, used) =
                redis_protocol::resp2::decode::decode(&bytes[start..]).unwrap().unwrap();
            prop_assert_eq!((&oracle, start + used), (frame, end));
            start = end;
        }
    }

    #[test]
    fn resp3_reads_as_the_oracle_wrote_it(frame in frame3(), size in 1..9_usize) {
        let bytes = encode3(&frame);
        prop_assert_eq!(ends(&bytes, size).unwrap(), [bytes.len()]);
        prop_assert_eq!(as_frame3(Value::new(&bytes).unwrap()), frame);
    }

    #[test]
    fn any_split_finds_what_the_whole_does(bytes in prop::collection::vec(any::<u8>(), 0..60), size in 1..9_usize) {
        let whole = ends(&bytes, usize::MAX);
        let split = ends(&bytes, size);
        prop_assert_eq!(whole, split);
        let _ = Value::new(&bytes).map(|value| std::format!("{value:?} {:?}", value.items().count()));
    }

    #[test]
    fn commands_read_as_arrays_of_strings(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..6)) {
        let command: Vec<_> = args.iter().map(|arg| Arg::from(&**arg)).collect();
        let mut bytes = Vec::new();
        encode(&command, &mut |piece| bytes.extend_from_slice(piece));
        prop_assert_eq!(bytes.len(), encoded_len(&command));
        let items: Vec<_> = Value::new(&bytes).unwrap().items().map(|item| item.bytes().unwrap().to_vec()).collect();
        prop_assert_eq!(items, args);
    }

    #[test]
    fn numbers_are_written_in_decimal(number in any::<i64>()) {
        let mut bytes = Vec::new();
        encode(&[Arg::Int(number)], &mut |piece| bytes.extend_from_slice(piece));
        let value = Value::new(&bytes).unwrap();
        prop_assert_eq!(value.items().next().unwrap().int().unwrap(), number);
    }
}

/// Replies of every kind, one behind the other.
const ALL_KINDS: &[u8] = b"+OK\r\n-ERR no\r\n:-7\r\n$5\r\nhello\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n\
    *2\r\n+a\r\n*1\r\n:1\r\n_\r\n#t\r\n#f\r\n,3.25\r\n,inf\r\n(12345678901234567890\r\n!8\r\nERR a\r\nb\r\n\
    =8\r\ntxt:text\r\n%1\r\n+k\r\n~1\r\n:1\r\n>2\r\n+message\r\n+x\r\n|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n";

#[test]
fn every_kind_is_found_in_every_split() {
    let whole = ends(ALL_KINDS, usize::MAX).unwrap();
    assert_eq!(whole.len(), 20);
    assert_eq!(*whole.last().unwrap(), ALL_KINDS.len());
    for size in 1..ALL_KINDS.len() {
        assert_eq!(ends(ALL_KINDS, size).unwrap(), whole, "{size}");
    }
    let mut start = 0;
    let mut kinds = Vec::new();
    for end in whole {
        kinds.push(Value::new(&ALL_KINDS[start..end]).unwrap().kind());
        start = end;
    }
    use ValueKind::*;
    assert_eq!(
        kinds,
        [
            Simple, Error, Integer, Bulk, Bulk, Null, Null, Array, Array, Null, Boolean, Boolean,
            Double, Double, BigNumber, Error, Verbatim, Map, Push, Bulk,
        ]
    );
}

#[test]
fn attributes_are_taken_off() {
    let value = Value::new(b"|2\r\n+a\r\n*1\r\n:1\r\n+b\r\n_\r\n|0\r\n:7\r\n").unwrap();
    assert_eq!(value.int().unwrap(), 7);
    let nested = Value::new(b"*2\r\n|1\r\n+a\r\n:1\r\n:2\r\n:3\r\n").unwrap();
    assert_eq!(nested.items().map(|item| item.int().unwrap()).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn what_no_redis_sends_is_refused() {
    for bytes in [
        &b"x"[..],
        b"\r\n",
        b"$\r\n",
        b"$-2\r\n",
        b"$--1\r\n",
        b"$1x\r\n",
        b"*-0\r\n",
        b":1\n",
        b"+a\rb",
        b"$?\r\n",
        b"*?\r\n",
        b"%-1\r\n",
        b"$1\r\nab\r\n",
        b"$1\r\na\n\n",
        b"*99999999999999999999\r\n",
        b"$999999999999999\r\n",
        b"~-1\r\n",
        b"GET / HTTP/1.1\r\n",
    ] {
        assert_eq!(ends(bytes, 1), Err(RespError), "{}", String::from_utf8_lossy(bytes));
        assert_eq!(ends(bytes, 99), Err(RespError), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn nesting_costs_neither_stack_nor_memory() {
    let deep = [b"*1\r\n".repeat(1_000_000), b":7\r\n".to_vec()].concat();
    assert_eq!(ends(&deep, 4096).unwrap(), [deep.len()]);
    let mut value = Value::new(&deep[deep.len() - 44..]).unwrap();
    for _ in 0..10 {
        value = value.items().next().unwrap();
    }
    assert_eq!(value.int().unwrap(), 7);
    // So are attributes of attributes.
    let odd = [b"|1\r\n".repeat(20_000), b"_\r\n".repeat(40_001)].concat();
    assert!(Value::new(&odd).unwrap().is_null());
    // Sums of counts that would overflow are refused, not wrapped.
    let wide = b"*281474976710656\r\n".repeat(70_000);
    assert_eq!(ends(&wide, 4096), Err(RespError));
}

#[test]
fn values_are_read_by_what_they_are() {
    let value = |bytes: &'static [u8]| Value::new(bytes).unwrap();
    assert_eq!(value(b"$2\r\n42\r\n").int(), Ok(42));
    assert_eq!(value(b"=7\r\ntxt:abc\r\n").str(), Ok("abc"));
    assert_eq!(value(b",3.25\r\n").str(), Ok("3.25"));
    assert_eq!(value(b":1\r\n").bool(), Ok(true));
    let error = value(b"*0\r\n").int().unwrap_err();
    assert_eq!((error.found, error.wanted), (ValueKind::Array, "an integer"));
    assert!(value(b"$1\r\n\xff\r\n").str().is_err());
    let map = value(b"%2\r\n+a\r\n:1\r\n$1\r\nb\r\n:2\r\n");
    assert_eq!(map.get("b").unwrap().int(), Ok(2));
    assert!(map.get("c").is_none());
    let error = value(b"-WRONGPASS invalid username\r\n").error().unwrap();
    assert_eq!((error.code(), error.message()), ("WRONGPASS", "invalid username"));
    let error = value(b"!5\r\nERR x\r\n").error().unwrap();
    assert_eq!((error.code(), error.message()), ("ERR", "x"));
    assert_eq!(value(b"-\r\n").error().unwrap().code(), "");
}

#[test]
fn debug_shows_a_value_and_cuts_what_is_long_or_deep() {
    let shown = |raw: &str| std::format!("{:?}", Value::new(raw.as_bytes()).unwrap());
    assert_eq!(shown("*3\r\n$2\r\nhi\r\n:7\r\n_\r\n"), r#"["hi", 7, nil]"#);
    assert_eq!(shown("%1\r\n+a\r\n#t\r\n"), "[a, true]");
    assert_eq!(shown("$4\r\na\"\r\n\r\n"), r#""a\"\r\n""#);
    assert!(shown("-NOPERM no\r\n").contains("NOPERM"));
    let long = std::format!("$100\r\n{}\r\n", "x".repeat(100));
    assert_eq!(shown(&long), std::format!("\"{}\"...", "x".repeat(64)));
    assert_eq!(shown(&std::format!("{}+a\r\n", "*1\r\n".repeat(9))), "[[[[[...]]]]]");
    let many = shown(&std::format!("*20\r\n{}", ":1\r\n".repeat(20)));
    assert!(many.ends_with(", 1, ...]"), "{many}");
}

#[test]
fn a_boolean_may_come_as_text() {
    for (raw, value) in [("$1\r\n1\r\n", true), ("+0\r\n", false), (":1\r\n", true)] {
        assert_eq!(Value::new(raw.as_bytes()).unwrap().bool(), Ok(value), "{raw}");
    }
    assert!(Value::new(b"$3\r\nyes\r\n").unwrap().bool().is_err());
}

#[cfg(feature = "error-text")]
#[test]
fn an_error_inside_of_a_reply_is_an_error_where_it_is_read() {
    let exec = "*3\r\n:1\r\n-WRONGTYPE Operation against a key\r\n*1\r\n!5\r\nERR x\r\n";
    let items: Vec<_> = Value::new(exec.as_bytes()).unwrap().items().collect();
    assert_eq!(items[0].int(), Ok(1));
    for error in [items[1].int().unwrap_err(), items[1].bool().unwrap_err()] {
        let said = error.error().unwrap();
        assert_eq!((said.code(), said.message()), ("WRONGTYPE", "Operation against a key"));
        assert_eq!(
            error.to_string(),
            "the server reported an error: WRONGTYPE Operation against a key"
        );
    }
    let nested = items[2].items().next().unwrap().str().unwrap_err();
    assert_eq!(nested.error().unwrap().code(), "ERR");
    // Who looks into a list or a map finds it too, instead of nothing.
    let found: Vec<_> = items[1].items().map(|item| item.str().unwrap_err()).collect();
    assert_eq!(found[0].error().unwrap().code(), "WRONGTYPE");
    assert_eq!((found.len(), items[1].items().count()), (1, 1));
    let field = items[1].get("field").unwrap().str().unwrap_err();
    assert_eq!(field.error().unwrap().code(), "WRONGTYPE");
    // What is long is cut, and what is no error says what it is.
    let long = std::format!("-ERR {}\r\n", "x".repeat(200));
    let long = Value::new(long.as_bytes()).unwrap().bytes().unwrap_err();
    assert_eq!(long.error().unwrap().text().len(), 80);
    assert!(items[2].str().unwrap_err().error().is_none());
}
