//! The words of a line, by the rules of `redis-cli`; and bytes as it shows them.

use std::iter::Peekable;
use std::slice::Iter;

/// A quote has no end, or something follows its end without a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unbalanced quotes")]
pub(crate) struct Unbalanced;

/// Splits `line` at spaces. In double quotes `\n`, `\r`, `\t`, `\b`, `\a` and `\x00` are what they mean
/// elsewhere; in single quotes all stands for itself, but for `\'`.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    let mut words = Vec::new();
    let mut bytes = line.trim_ascii().iter().peekable();
    while let Some(first) = bytes.next_if(|byte| !byte.is_ascii_whitespace()) {
        words.push(word(*first, &mut bytes)?);
        while bytes.next_if(|byte| byte.is_ascii_whitespace()).is_some() {}
    }
    Ok(words)
}

fn word(first: u8, bytes: &mut Peekable<Iter<'_, u8>>) -> Result<Vec<u8>, Unbalanced> {
    let mut word = Vec::new();
    let mut next = Some(first);
    while let Some(byte) = next {
        match byte {
            b'"' | b'\'' => {
                quoted(byte, bytes, &mut word)?;
                let is_over = bytes.peek().is_none_or(|byte| byte.is_ascii_whitespace());
                return if is_over { Ok(word) } else { Err(Unbalanced) };
            }
            byte => word.push(byte),
        }
        next = bytes.next_if(|byte| !byte.is_ascii_whitespace()).copied();
    }
    Ok(word)
}

fn quoted(
    quote: u8,
    bytes: &mut Peekable<Iter<'_, u8>>,
    word: &mut Vec<u8>,
) -> Result<(), Unbalanced> {
    loop {
        match *bytes.next().ok_or(Unbalanced)? {
            byte if byte == quote => return Ok(()),
            b'\\' if quote == b'"' => word.push(escaped(bytes)?),
            b'\\' if bytes.peek() == Some(&&b'\'') => word.extend(bytes.next()),
            byte => word.push(byte),
        }
    }
}

fn escaped(bytes: &mut Peekable<Iter<'_, u8>>) -> Result<u8, Unbalanced> {
    Ok(match *bytes.next().ok_or(Unbalanced)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        b'x' => {
            let mut ahead = bytes.clone();
            let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
            match (digit(ahead.next()), digit(ahead.next())) {
                (Some(high), Some(low)) => {
                    *bytes = ahead;
                    // Two hexadecimal digits are a byte.
                    u8::try_from(high * 16 + low).unwrap_or_default()
                }
                _ => b'x',
            }
        }
        byte => byte,
    })
}

/// `bytes` in double quotes, so that [`split`] gives them back.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\x08' => text.push_str("\\b"),
                '\x07' => text.push_str("\\a"),
                letter if letter.is_control() => {
                    let mut encoded = [0; 4];
                    hex(letter.encode_utf8(&mut encoded).as_bytes(), &mut text);
                }
                letter => text.push(letter),
            }
        }
        hex(chunk.invalid(), &mut text);
    }
    text.push('"');
    text
}

fn hex(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Whether a line may hold a password, so that it must not be kept.
pub(crate) fn is_secret(line: &str) -> bool {
    let plain = line.split(|letter: char| !letter.is_ascii_alphanumeric()).map(str::to_owned);
    let words = split(line.as_bytes()).unwrap_or_default();
    let words = words.iter().map(|word| String::from_utf8_lossy(word).into_owned());
    let all: Vec<String> = plain.chain(words).map(|word| word.to_ascii_uppercase()).collect();
    let has = |word: &str| all.iter().any(|known| known == word);
    ["AUTH", "AUTH2", "HELLO"].into_iter().any(has)
        || has("ACL") && has("SETUSER")
        || has("CONFIG") && has("SET")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<String>, Unbalanced> {
        let text = |word: Vec<u8>| String::from_utf8(word).unwrap();
        split(line.as_bytes()).map(|words| words.into_iter().map(text).collect())
    }

    #[test]
    fn a_line_is_split_as_redis_cli_does() {
        for (line, expected) in [
            ("", &[][..]),
            ("  GET  key ", &["GET", "key"]),
            (r#"SET k "a b""#, &["SET", "k", "a b"]),
            (r#"SET k "a\"b\n\x41\xzz\\""#, &["SET", "k", "a\"b\nAxzz\\"]),
            (r"SET k 'a\'b\n'", &["SET", "k", r"a'b\n"]),
            (r#"SET k """#, &["SET", "k", ""]),
            ("SET k ä", &["SET", "k", "ä"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for line in [r#"GET "a"#, r#"GET "a"b"#, "GET 'a", r#"GET "a\"#] {
            assert_eq!(split(line.as_bytes()), Err(Unbalanced), "{line}");
        }
    }

    #[test]
    fn what_is_shown_in_quotes_can_be_typed() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&all[..], b"", b"\x00\"\\'", "ä\u{85}\u{1f980}".as_bytes()] {
            assert_eq!(split(quote(bytes).as_bytes()).unwrap(), [bytes]);
        }
        assert_eq!(quote(b"a\n\x00\xff"), r#""a\n\x00\xff""#);
    }

    #[test]
    fn lines_with_passwords_are_known() {
        for line in [
            "AUTH me secret",
            "hello 3 auth me secret",
            r#""AUTH" me secret"#,
            r#""\x41UTH" me secret"#,
            "MIGRATE h 1 k 0 1 AUTH2 me secret",
            "ACL SETUSER me >secret",
            "config set requirepass secret",
            "AUTH me \"secret",
        ] {
            assert!(is_secret(line), "{line}");
        }
        for line in ["GET author", "ACL WHOAMI", "CONFIG GET x", "SET k v"] {
            assert!(!is_secret(line), "{line}");
        }
    }
}
