//! JSON documents, held against `serde_json`.

use redis_entraid_core::json::{self, JsonError, MAX_DEPTH};
use serde_json::Value;

/// All but the first byte is a document. Core's own test reads the corpus in pieces of that size: how a
/// document comes in pieces is private there.
pub fn check(data: &[u8]) {
    let Some((_, text)) = data.split_first() else { return };
    let whole: Result<Vec<_>, _> = json::members(text).collect();

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
