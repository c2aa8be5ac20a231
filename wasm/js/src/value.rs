//! Replies as JavaScript's own values.

use js_sys::{Array, Map, Set, Uint8Array};
use redis_entraid_client::Error;
use redis_entraid_core::resp::{Value, ValueKind};
use wasm_bindgen::JsValue;

use crate::failure::thrown;
use crate::host::Host;

/// The value of a reply; `bytes` asks for strings as they are.
pub(crate) fn value(host: &Host, reply: Value<'_>, bytes: bool) -> JsValue {
    let inner = |item| value(host, item, bytes);
    let text = || reply.str().unwrap_or_default();
    match reply.kind() {
        ValueKind::Integer | ValueKind::BigNumber => host.number(text(), true),
        ValueKind::Double => host.number(text(), false),
        ValueKind::Boolean => JsValue::from_bool(reply.bool().unwrap_or_default()),
        ValueKind::Null => JsValue::NULL,
        // Among others it is a value like them.
        ValueKind::Error => {
            reply.error().map_or(JsValue::NULL, |error| thrown(host, &Error::Server(error.into())))
        }
        ValueKind::Array | ValueKind::Push => {
            let array = Array::new();
            for item in reply.items() {
                array.push(&inner(item));
            }
            array.into()
        }
        ValueKind::Set => {
            let set = Set::new(&JsValue::UNDEFINED);
            for item in reply.items() {
                set.add(&inner(item));
            }
            set.into()
        }
        ValueKind::Map => {
            let map = Map::new();
            let mut items = reply.items();
            while let (Some(key), Some(item)) = (items.next(), items.next()) {
                map.set(&inner(key), &inner(item));
            }
            map.into()
        }
        ValueKind::Simple => JsValue::from_str(text()),
        _ => string(reply.bytes().unwrap_or_default(), bytes),
    }
}

/// What is no text comes as bytes, asked for or not: nothing is lost.
pub(crate) fn string(raw: &[u8], bytes: bool) -> JsValue {
    match core::str::from_utf8(raw) {
        Ok(text) if !bytes => JsValue::from_str(text),
        _ => Uint8Array::from(raw).into(),
    }
}
