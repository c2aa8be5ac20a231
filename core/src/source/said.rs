//! What a service says for a person, when it gives no token.

use core::fmt;

use crate::json;

/// The service's own words: up to 200 bytes of a description, or of a page that is no JSON. What is so
/// long that it may be a secret which was echoed is left out. Without the feature `error-text` it
/// is empty: it costs a kilobyte of a device's flash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServiceText {
    text: [u8; TEXT],
    len: u8,
}

const TEXT: usize = if cfg!(feature = "error-text") { 200 } else { 0 };

/// The longest word that is shown: a GUID is as long.
const WORD: usize = 36;

impl ServiceText {
    /// Nothing.
    pub const EMPTY: Self = Self { text: [0; TEXT], len: 0 };

    /// What the body of an answer says, which may be cut.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut found = Self::EMPTY;
        if TEXT == 0 {
            return found;
        }
        let mut is_json = false;
        for (key, value) in json::members(body).map_while(Result::ok) {
            is_json = true;
            // Some endpoints have a `message` instead.
            if json::text_is(key, "error_description") || json::text_is(key, "message") {
                found = Self::EMPTY;
                found.take(value.strip_prefix(b"\"").unwrap_or(value));
            }
        }
        if !is_json && !body.starts_with(b"{") {
            found.take(body);
        }
        found
    }

    /// What it says, without ends of lines.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }

    /// Whether it says nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the words of `text`: up to a quote, with escapes as in JSON.
    fn take(&mut self, text: &[u8]) {
        let mut bytes = text.iter();
        let mut word = Word::default();
        while let Some(&byte) = bytes.next() {
            let byte = match byte {
                b'"' => break,
                b'\\' => match bytes.next() {
                    Some(&quoted @ (b'"' | b'\\' | b'/')) => quoted,
                    _ => b' ',
                },
                byte => byte,
            };
            if byte.is_ascii_graphic() {
                word.push(byte);
            } else {
                self.append(&core::mem::take(&mut word));
            }
        }
        self.append(&word);
    }

    fn append(&mut self, word: &Word) {
        let word =
            if word.len > WORD { b"[...]" } else { word.text.get(..word.len).unwrap_or_default() };
        let space = usize::from(self.len > 0);
        let start = usize::from(self.len);
        let end = start + space + word.len();
        let Some(room) = self.text.get_mut(start..end).filter(|_| !word.is_empty()) else { return };
        let text = [b' '].into_iter().take(space).chain(word.iter().copied());
        for (to, from) in room.iter_mut().zip(text) {
            *to = from;
        }
        self.len = u8::try_from(end).unwrap_or(self.len);
    }
}

/// A word, as far as it is shown.
struct Word {
    text: [u8; WORD],
    len: usize,
}

impl Default for Word {
    fn default() -> Self {
        Self { text: [0; WORD], len: 0 }
    }
}

impl Word {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.len) {
            *place = byte;
        }
        self.len = self.len.saturating_add(1);
    }
}

impl fmt::Debug for ServiceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for ServiceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(all(test, feature = "error-text"))]
mod tests {
    use super::*;

    #[test]
    fn the_services_words_are_kept_cut_and_without_what_may_be_a_secret() {
        let said = |body: &str| std::format!("{}", ServiceText::of(body.as_bytes()));
        let several = "Multiple user assigned identities exist, please specify the clientId";
        let body = std::format!(r#"{{"error":"invalid_request","error_description":"{several}"}}"#);
        assert_eq!(said(&body), several);
        assert_eq!(said(r#"{"error_description":"one\r\ntwo \"three\""}"#), "one two \"three\"");
        assert_eq!(said("pod list is empty\r\n"), "pod list is empty");
        assert_eq!(said("<html>\n<p>Sign in</p>"), "<html> <p>Sign in</p>");
        assert_eq!(said(r#"{"error":"x"}"#), "");
        assert_eq!(said(""), "");
        let echoed = std::format!("bad secret {} given", "s".repeat(40));
        assert_eq!(said(&echoed), "bad secret [...] given");
        let long = said(&"word ".repeat(100));
        assert!(long.len() <= TEXT && long.ends_with("word"), "{long}");
        let cut = r#"{"error_description":"AADSTS90033: A transient error has occ"#;
        assert_eq!(said(cut), "");
    }
}
