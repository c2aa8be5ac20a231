//! Replies, as `redis-cli` prints them and as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis_entraid::entraid_core::resp::{Value, ValueKind};
use serde_json::{Map, Number, json};

use crate::words::quote;

/// `value` as `redis-cli` shows it on a terminal, without the end of the last line.
pub(crate) fn pretty(value: &Value<'_>) -> String {
    let mut text = String::new();
    show(value, "", &mut text);
    text.truncate(text.trim_end_matches('\n').len());
    text
}

/// Appends lines to `text`; all but the first begin with `indent`.
fn show(value: &Value<'_>, indent: &str, text: &mut String) {
    let plain = String::from_utf8_lossy(value.bytes().unwrap_or_default());
    match value.kind() {
        ValueKind::Simple => text.push_str(&plain),
        ValueKind::Error => text.push_str(&error(value)),
        ValueKind::Integer => text.push_str(&format!("(integer) {plain}")),
        ValueKind::Double => text.push_str(&format!("(double) {plain}")),
        ValueKind::BigNumber => text.push_str(&format!("(big number) {plain}")),
        ValueKind::Null => text.push_str("(nil)"),
        ValueKind::Boolean => {
            text.push_str(if value.bool() == Ok(true) { "(true)" } else { "(false)" });
        }
        ValueKind::Bulk => text.push_str(&quote(value.bytes().unwrap_or_default())),
        // A report for a person, with lines of its own.
        ValueKind::Verbatim => text.push_str(&plain),
        ValueKind::Map => return list(value, '#', indent, text),
        ValueKind::Set => return list(value, '~', indent, text),
        _ => return list(value, ')', indent, text),
    }
    text.push('\n');
}

/// Shows items with their numbers; those of a map in pairs.
fn list(value: &Value<'_>, mark: char, indent: &str, text: &mut String) {
    let is_map = value.kind() == ValueKind::Map;
    let items: Vec<Value<'_>> = value.items().collect();
    let count = if is_map { items.len() / 2 } else { items.len() };
    if count == 0 {
        text.push_str(match mark {
            '#' => "(empty hash)\n",
            '~' => "(empty set)\n",
            _ => "(empty array)\n",
        });
        return;
    }
    let width = count.to_string().len();
    let mut items = items.iter();
    for number in 1..=count {
        if number > 1 {
            text.push_str(indent);
        }
        text.push_str(&format!("{number:>width$}{mark} "));
        let deeper = format!("{indent}{:1$}", "", width + 2);
        let Some(item) = items.next() else { return };
        if is_map {
            let mut key = String::new();
            show(item, &deeper, &mut key);
            text.push_str(key.trim_end_matches('\n'));
            text.push_str(" => ");
            let Some(value) = items.next() else { return };
            show(value, &deeper, text);
        } else {
            show(item, &deeper, text);
        }
    }
}

fn error(value: &Value<'_>) -> String {
    let said = value.error().map(|error| String::from_utf8_lossy(error.text()).into_owned());
    format!("(error) {}", said.unwrap_or_default())
}

/// `value` as it is: what it says, with a line for each item.
pub(crate) fn raw(value: &Value<'_>, out: &mut Vec<u8>) {
    match value.kind() {
        ValueKind::Array | ValueKind::Set | ValueKind::Map | ValueKind::Push => {
            for (at, item) in value.items().enumerate() {
                if at > 0 {
                    out.push(b'\n');
                }
                raw(&item, out);
            }
        }
        ValueKind::Error => out.extend(value.error().map(|error| error.text()).unwrap_or_default()),
        ValueKind::Boolean => {
            out.extend(if value.bool() == Ok(true) { &b"true"[..] } else { b"false" })
        }
        _ => out.extend(value.bytes().unwrap_or_default()),
    }
}

/// `value` as JSON. Strings that are not UTF-8 are `{"base64": ...}`, errors `{"error": ...}`; a map
/// whose keys aren't all text is a list of pairs.
pub(crate) fn as_json(value: &Value<'_>) -> serde_json::Value {
    let text = || value.str().unwrap_or_default();
    match value.kind() {
        ValueKind::Null => serde_json::Value::Null,
        ValueKind::Boolean => (value.bool() == Ok(true)).into(),
        ValueKind::Integer => value.int().map_or_else(|_| text().into(), Into::into),
        // Infinity is no number in JSON.
        ValueKind::Double => text()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or_else(|| text().into(), serde_json::Value::Number),
        ValueKind::Error => {
            let said =
                value.error().map(|error| String::from_utf8_lossy(error.text()).into_owned());
            json!({ "error": said })
        }
        ValueKind::Map => map(value),
        ValueKind::Array | ValueKind::Set | ValueKind::Push => {
            value.items().map(|item| as_json(&item)).collect()
        }
        _ => match value.str() {
            Ok(text) => text.into(),
            Err(_) => json!({ "base64": STANDARD.encode(value.bytes().unwrap_or_default()) }),
        },
    }
}

fn map(value: &Value<'_>) -> serde_json::Value {
    let items: Vec<Value<'_>> = value.items().collect();
    let pairs = || items.chunks_exact(2).filter_map(|pair| Some((pair.first()?, pair.last()?)));
    let named = pairs().map(|(key, value)| Some((key.str().ok()?.to_owned(), as_json(value))));
    let named: Option<Map<_, _>> = named.collect();
    match named {
        Some(named) => named.into(),
        None => pairs().map(|(key, value)| json!([as_json(key), as_json(value)])).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of a map, a set, and each simple kind.
    const ALL: &[u8] = b"*11\r\n:1\r\n$3\r\na\"b\r\n+OK\r\n-ERR no\r\n_\r\n#t\r\n,1.5\r\n(99999999999999999999\r\n\
        %2\r\n$1\r\nk\r\n*2\r\n:1\r\n:2\r\n+s\r\n*0\r\n~1\r\n$1\r\n\xff\r\n=6\r\ntxt:hi\r\n";

    #[test]
    fn replies_look_as_in_redis_cli() {
        let value = Value::new(ALL).unwrap();
        let expected = concat!(
            " 1) (integer) 1\n",
            " 2) \"a\\\"b\"\n",
            " 3) OK\n",
            " 4) (error) ERR no\n",
            " 5) (nil)\n",
            " 6) (true)\n",
            " 7) (double) 1.5\n",
            " 8) (big number) 99999999999999999999\n",
            " 9) 1# \"k\" => 1) (integer) 1\n",
            "       2) (integer) 2\n",
            "    2# s => (empty array)\n",
            "10) 1~ \"\\xff\"\n",
            "11) hi",
        );
        assert_eq!(pretty(&value), expected);
        let mut out = Vec::new();
        raw(&value, &mut out);
        assert_eq!(
            out,
            b"1\na\"b\nOK\nERR no\n\ntrue\n1.5\n99999999999999999999\nk\n1\n2\ns\n\n\xff\nhi"
        );
    }

    #[test]
    fn replies_are_json() {
        let value = as_json(&Value::new(ALL).unwrap());
        let expected = json!([
            1, "a\"b", "OK", { "error": "ERR no" }, null, true, 1.5, "99999999999999999999",
            { "k": [1, 2], "s": [] }, [{ "base64": "/w==" }], "hi"
        ]);
        assert_eq!(value, expected);
        let value = as_json(&Value::new(b"%1\r\n$1\r\n\xff\r\n,inf\r\n").unwrap());
        assert_eq!(value, json!([[{ "base64": "/w==" }, "inf"]]));
    }
}
