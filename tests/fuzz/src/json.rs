//! JSON documents, held against `serde_json`.

use redis_entraid_core::json::{self, JsonError, MAX_DEPTH, Scanner};
use serde_json::Value;

/// The first byte says how large the pieces are, the others are a document.
pub fn check(data: &[u8]) {
    let Some((&size, text)) = data.split_first() else { return };
    let whole: Result<Vec<_>, _> = json::members(text).collect();
    assert_eq!(in_pieces(text, usize::from(size).max(1)), whole.clone().map(|all| all.len()));

    let oracle = serde_json::from_slice::<Value>(text).ok();
    let Some(Value::Object(oracle)) = oracle else { return };
    let members = match whole {
        Ok(members) => members,
        // What is too deep for us may not be for others.
        Err(JsonError::TooDeep) => return assert!(text.len() > MAX_DEPTH as usize),
        Err(error) => panic!("{error} in what serde_json takes"),
    };
    let mut memory = vec![0; text.len()];
    for (key, value) in &members {
        let key = json::text(key, &mut memory).expect("a key is a string").to_owned();
        // Of keys that come twice, the oracle keeps the last.
        let last = members.iter().rev().find(|(other, _)| json::text_is(other, &key));
        if last.is_none_or(|(_, last)| !core::ptr::eq(*last, *value)) {
            continue;
        }
        match &oracle[&key] {
            Value::String(wanted) => {
                assert_eq!(json::text(value, &mut memory), Some(&**wanted));
                assert!(json::text_is(value, wanted));
            }
            Value::Number(wanted) if wanted.is_u64() => {
                assert_eq!(json::number(value), wanted.as_u64());
            }
            _ => assert_eq!(json::text(value, &mut memory), None),
        }
    }
    assert!(oracle.len() <= members.len());
}

/// How many members are found in pieces of `size`.
fn in_pieces(text: &[u8], size: usize) -> Result<usize, JsonError> {
    let (mut scanner, mut found) = (Scanner::new(), 0);
    for mut piece in text.chunks(size) {
        while !piece.is_empty() {
            let (used, member) = scanner.feed(piece)?;
            // The byte that ends a number may be looked at again.
            assert!(used > 0 || member.is_some(), "it stands still");
            assert!(member.is_some() || used == piece.len(), "it stops without a member");
            piece = &piece[used..];
            found += usize::from(member.is_some());
        }
    }
    scanner.finish()?;
    Ok(found)
}
