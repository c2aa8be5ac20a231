use super::*;
use std::string::{String, ToString};
use std::vec::Vec;

fn all(text: &[u8]) -> Result<Vec<(String, String)>, JsonError> {
    let owned = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_string();
    members(text).map(|m| m.map(|(key, value)| (owned(key), owned(value)))).collect()
}

/// The same, in pieces of `size`. Each call takes something, or finds what ended before it.
fn in_pieces(text: &[u8], size: usize) -> Result<Vec<(String, String)>, JsonError> {
    let owned = |span: Span| String::from_utf8_lossy(span.of(text)).to_string();
    let (mut scanner, mut found) = (Scanner::new(), Vec::new());
    for mut piece in text.chunks(size) {
        while !piece.is_empty() {
            let (used, member) = scanner.feed(piece)?;
            // The byte that ends a number is looked at again.
            assert!(used > 0 || member.is_some(), "it stands still");
            assert!(member.is_some() || used == piece.len(), "it stops without a member");
            piece = &piece[used..];
            found.extend(member.map(|m| (owned(m.key), owned(m.value))));
        }
    }
    scanner.finish().map(|()| found)
}

proptest::proptest! {
    #[test]
    fn pieces_of_any_size_come_to_the_same(
        text in r#"\{("[ab\\]{0,2}":?(1|-2\.5|true|"\\u0061"|\[1,\{\}\]|\{"a":0\}),? ?){0,4}\}? ?[x}]?"#,
        size in 1_usize..9,
    ) {
        proptest::prop_assert_eq!(in_pieces(text.as_bytes(), size), all(text.as_bytes()));
    }
}

#[test]
fn what_fuzzing_has_found_comes_to_the_same_in_pieces() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/json");
    let mut documents = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let document = std::fs::read(entry.unwrap().path()).unwrap();
        // The first byte is the size of the pieces.
        let Some((&size, text)) = document.split_first() else { continue };
        assert_eq!(in_pieces(text, usize::from(size).max(1)), all(text));
        documents += 1;
    }
    assert!(documents > 0, "{corpus} is empty");
}

#[test]
fn members_are_found_on_the_top_level_only() {
    let text = br#" {"a":1, "b" : {"a":2,"c":[{"a":3}]} ,"c":[1,"]"],"d":null,"e":"x\"}" } "#;
    let found = all(text).unwrap();
    let values: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        values,
        [
            (r#""a""#, "1"),
            (r#""b""#, r#"{"a":2,"c":[{"a":3}]}"#),
            (r#""c""#, r#"[1,"]"]"#),
            (r#""d""#, "null"),
            (r#""e""#, r#""x\"}""#),
        ]
    );
    assert_eq!(in_pieces(text, 1).unwrap(), found);
}

#[test]
fn what_is_no_object_is_an_error() {
    for text in [
        "",
        "[]",
        "1",
        "{",
        "}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,}"#,
        r#"{a:1}"#,
        r#"{"a":1]"#,
        r#"{"a":[1}"#,
        r#"{"a":1}x"#,
        "{\"a\":\"\n\"}",
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        "\u{feff}\u{feff}{}",
        r#"{"a":[1,]}"#,
        "<html>",
    ] {
        assert!(all(text.as_bytes()).is_err(), "{text}");
        assert_eq!(all(text.as_bytes()), in_pieces(text.as_bytes(), 1), "{text}");
    }
    assert_eq!(all(b"{}"), Ok(Vec::new()));
}

#[test]
fn depth_is_bounded_and_costs_no_stack() {
    let deep = |n: usize| [br#"{"a":"#.repeat(n), b"1".to_vec(), b"}".repeat(n)].concat();
    assert!(all(&deep(32)).is_ok());
    assert_eq!(all(&deep(33)), Err(JsonError::TooDeep));
    assert_eq!(all(&deep(200_000)), Err(JsonError::TooDeep));
}

#[test]
fn strings_are_read_through_their_escapes() {
    let mut out = [0; 8];
    assert_eq!(text(br#""o\u0069d""#, &mut out), Some("oid"));
    assert_eq!(text(br#""a\/b\"""#, &mut out), Some("a/b\""));
    assert_eq!(text(br#""123456789""#, &mut out), None);
    assert_eq!(text(b"1", &mut out), None);
    assert!(text_is(br#""\u006fid""#, "oid"));
    assert!(!text_is(br#""oidx""#, "oid"));
    assert!(!text_is(br#""oi""#, "oid"));
    assert!(!text_is(b"oid", "oid"));
}

#[test]
fn numbers_may_be_quoted() {
    assert_eq!(number(b"3599"), Some(3599));
    assert_eq!(number(br#""3599""#), Some(3599));
    assert_eq!(number(b"3599.75"), Some(3599));
    assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
    for no in ["18446744073709551616", "-1", "x", r#""""#, "null", "1.x", "1 2", "1e9"] {
        assert_eq!(number(no.as_bytes()), None, "{no}");
    }
}

#[test]
fn a_byte_order_mark_in_front_is_passed_over_and_nowhere_else() {
    let found = |text: &[u8]| members(text).filter_map(Result::ok).count();
    assert_eq!(found(b"\xef\xbb\xbf{\"a\":1}"), 1);
    assert_eq!(found(b"\xef\xbb\xbf \r\n{\"a\":1}"), 1);
    for wrong in [&b"\xef\xbb{\"a\":1}"[..], b" \xef\xbb\xbf{\"a\":1}", b"\xbb\xbf{\"a\":1}"] {
        assert_eq!(found(wrong), 0, "{wrong:?}");
    }
}
