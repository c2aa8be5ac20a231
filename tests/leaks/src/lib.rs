//! Finds secrets in text, in clear and in the disguises that they wear by accident.
//!
//! Its own tests show that it finds them. `tests/core.rs` prints every public type of the core,
//! `tests/std` those of the tokio host and what it and its libraries log, through everything
//! that can go wrong, and `tests/embassy.rs` those of the host for devices.

use std::any::type_name;
use std::collections::{BTreeSet, HashSet};
use std::fmt::{Debug, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// So many characters in a row are a part of a secret, and no chance.
const WINDOW: usize = 12;

/// In a list of numbers that says as much.
const LIST_WINDOW: usize = 48;

/// What must not be shown.
#[derive(Default)]
pub struct Secrets(HashSet<String>);

impl Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} pieces)", self.0.len())
    }
}

impl Secrets {
    /// Looks for `secret`, which is ASCII, from now on.
    pub fn add(&mut self, secret: &str) {
        assert!(secret.len() > WINDOW && secret.is_ascii(), "it can't be told from chance");
        let bytes = secret.as_bytes();
        for text in texts(secret) {
            self.0.extend(pieces(&text, WINDOW).map(str::to_owned));
        }
        for list in [format!("{bytes:?}"), format!("{bytes:x?}")] {
            self.0.extend(pieces(&list, LIST_WINDOW).map(str::to_owned));
        }
    }

    /// A piece of a secret in `text`, with what is around it.
    pub fn found_in(&self, text: &str) -> Option<String> {
        // Lists may be printed a line for each number.
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let text = words.join(" ");
        let mut pieces = pieces(&text, WINDOW).chain(pieces(&text, LIST_WINDOW));
        let piece = pieces.find(|piece| self.0.contains(*piece))?;
        let at = piece.as_ptr() as usize - text.as_ptr() as usize;
        let start = text.floor_char_boundary(at.saturating_sub(200));
        Some(text[start..text.floor_char_boundary(at + 200)].to_owned())
    }
}

/// All pieces of `text` of this size that are whole characters.
fn pieces(text: &str, size: usize) -> impl Iterator<Item = &str> {
    (0..text.len()).filter_map(move |at| text.get(at..at + size))
}

/// How a secret may be written.
fn texts(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let percent = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => {
            char::from(*byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    let mut texts = vec![
        secret.to_owned(),
        bytes.iter().map(percent).collect(),
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
    ];
    // Base64 depends on what stands before it: there are three ways to begin.
    for before in 0..3 {
        let shifted = [vec![0; before], bytes.to_vec()].concat();
        for engine in [&STANDARD, &URL_SAFE] {
            let text = engine.encode(&shifted);
            // What mixes with its neighbours is left away.
            texts.push(text[4..text.len() - 4].to_owned());
        }
    }
    texts
}

/// What was shown, and by which types.
#[derive(Debug, Default)]
pub struct Shown {
    /// All that was printed.
    pub text: String,
    types: BTreeSet<String>,
}

impl Shown {
    /// Prints `value` in each way that there is.
    pub fn value<T: Debug>(&mut self, value: &T) {
        let name = type_name::<T>();
        let name = name.split('<').next().unwrap_or_default().rsplit("::").next();
        self.types.insert(name.unwrap_or_default().to_owned());
        let _ = writeln!(self.text, "{value:?} {value:#?} {value:x?}");
    }

    /// Prints an error, and what it says of itself and its causes.
    pub fn error<T: std::error::Error>(&mut self, error: &T) {
        self.value(error);
        let _ = writeln!(self.text, "{error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            let _ = writeln!(self.text, "{error} {error:?}");
            cause = error.source();
        }
    }

    /// The public types below `folder` that were not printed.
    pub fn missing(&self, folder: &Path) -> Vec<String> {
        let mut missing = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it can be listed") {
                let path = entry.expect("it can be listed").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(path).expect("it is text");
                let declared = text.lines().filter_map(|line| {
                    line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "))
                });
                let names = declared.map(|rest| {
                    let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
                    rest[..end].to_owned()
                });
                missing.extend(names.filter(|name| !self.types.contains(name)));
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "Xy8~Qa.secret/with+all=kinds&of_characters";

    #[test]
    fn a_secret_is_found_in_every_disguise_and_in_part() {
        let mut secrets = Secrets::default();
        secrets.add(SECRET);
        #[derive(Debug)]
        struct Careless {
            _secret: &'static str,
        }
        let careless = Careless { _secret: SECRET };
        let query = format!("client_secret={}", texts(SECRET)[1]);
        for text in [
            SECRET,
            &SECRET[5..30],
            &query,
            &format!("{careless:?}"),
            &format!("{:?}", SECRET.as_bytes()),
            &format!("{:#?}", SECRET.as_bytes()),
            &format!("{:x?}", SECRET.as_bytes()),
            &format!("{:x?}", SECRET.as_bytes()).replace(", ", ""),
            &STANDARD.encode(format!("user:{SECRET}")),
            &URL_SAFE.encode(format!("users:{SECRET}")),
            &URL_SAFE.encode(format!("usersx:{SECRET}x")),
        ] {
            assert!(secrets.found_in(text).is_some(), "{text}");
        }
        for text in ["", "Xy8~Qa.", "a secret with all kinds of characters", &"x".repeat(1000)] {
            assert_eq!(secrets.found_in(text), None);
        }
    }

    #[test]
    fn a_type_that_was_not_printed_is_missed() {
        let mut shown = Shown::default();
        shown.value(&Secrets::default());
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert_eq!(shown.missing(&here), ["Shown"]);
    }
}
