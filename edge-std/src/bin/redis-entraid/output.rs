//! What is printed: aligned lines for people, JSON for programs.

use std::fmt::Display;
use std::io::{IsTerminal, Result, Write, stderr, stdout};

use serde_json::{Value, json};

use crate::failure::{Exit, Failure};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON, instead of lines for people.
    pub(crate) json: bool,
    /// The output is a terminal.
    pub(crate) terminal: bool,
    /// It may be drawn over: a terminal that can do that.
    pub(crate) drawn: bool,
    /// It may have colours.
    colour: bool,
}

/// What a word means, shown as a colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// Less important.
    Faint,
}

impl Output {
    /// By what was asked for, and where the output goes. <https://no-color.org>
    pub(crate) fn new(json: bool) -> Self {
        let terminal = stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let drawn = terminal && !dumb;
        Self { json, terminal, drawn: drawn && !json, colour: drawn && !no_colour }
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: impl Display) -> Result<()> {
        let mut out = stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<()> {
        let mut out = stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Prints names and values, the values below each other; or one object of them.
    pub(crate) fn table(&self, rows: &[(&str, String)], object: Value) -> Result<()> {
        if self.json {
            return self.line(object);
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in rows {
            self.line(format_args!(
                "{}  {value}",
                self.paint(Tone::Faint, &format!("{name:width$}"))
            ))?;
        }
        Ok(())
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Faint => 2,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Prints why the program ends, unless that was said already.
    pub(crate) fn failure(&self, failure: &Failure) -> Result<()> {
        if matches!(failure, Failure::Said(_)) {
            return Ok(());
        }
        if self.json {
            let kind = failure.exit().name();
            return self.line(json!({ "error": { "kind": kind, "message": failure.to_string() } }));
        }
        let mut err = stderr().lock();
        writeln!(err, "redis-entraid: {failure}")?;
        match failure.exit() {
            Exit::Server | Exit::Usage => Ok(()),
            _ => writeln!(err, "`redis-entraid doctor` looks for the cause"),
        }
    }
}

/// The words of `text` in lines of up to `width` columns.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_they_may_be_and_words_stay_whole() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible it is", 5), ["incomprehensible", "it is"]);
        assert!(wrapped(" ", 5).is_empty());
    }
}
