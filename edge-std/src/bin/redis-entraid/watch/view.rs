//! What is drawn: the token's life as a bar, round trips and counts.

use std::fmt::Write;
use std::io::Result;
use std::time::{Duration, Instant};

use redis_entraid::entraid_core::manager::{Generation, TokenHealth};
use redis_entraid::{Event, Health};
use rustyline::DefaultEditor;

use super::round_trips::{RoundTrips, Spread};
use crate::output::Output;
use crate::time::{millis, number, span};

/// The columns of the bar.
const BAR: usize = 32;

/// The columns of a terminal that doesn't say how many it has.
const COLUMNS: usize = 80;

/// What was seen so far.
pub(crate) struct View {
    /// The server's name and port.
    pub(crate) server: String,
    /// When it began.
    pub(crate) begun: Instant,
    /// The newest login: with which token, and when.
    pub(crate) login: Option<(Generation, Instant)>,
    /// Round trips.
    pub(crate) round_trips: RoundTrips,
}

impl View {
    /// All of it, in lines that are drawn anew.
    pub(crate) fn lines(&self, health: &Health) -> Vec<String> {
        let state = match &health.connection {
            Some(connection) if connection.ready => format!("logged in, {}", connection.protocol),
            Some(_) => "logging in".to_owned(),
            None => "not connected".to_owned(),
        };
        let (count, failed) = self.round_trips.counts();
        let pings = match self.round_trips.spread() {
            Some(Spread { newest, least, median, most }) => format!(
                "{}; least {}, median {}, most {}",
                millis(newest),
                millis(least),
                millis(median),
                millis(most)
            ),
            None => "none yet".to_owned(),
        };
        let count = number(count, "ping");
        let counts = format!("{}, {count}, {failed} without a reply", summary(health));
        vec![
            format!("{}  {state}, {}", self.server, span(self.begun.elapsed())),
            self.token(health),
            format!("ping {pings}"),
            counts,
        ]
    }

    /// The token's life, in a line.
    pub(crate) fn token(&self, health: &Health) -> String {
        let TokenHealth { generation, age, expires_in, next_fetch_in, .. } = health.token;
        let (Some(generation), Some(age), Some(left)) = (generation, age, expires_in) else {
            return "no token yet".to_owned();
        };
        let login = self.login.filter(|(of, _)| *of == generation);
        let login = login.map(|(_, at)| age.saturating_sub(at.elapsed()));
        let bar = bar(age, left, next_fetch_in, login);
        let (Generation(number), ends, next) = (generation, span(left), span(next_fetch_in));
        format!("token {number} {bar} ends in {ends}, next in {next}")
    }
}

/// The life of a token from left to right: what has passed, `>` for now, `|` where the next one is due, and
/// `A` where a connection has logged in with it.
fn bar(age: Duration, left: Duration, next: Duration, login: Option<Duration>) -> String {
    let whole = (age + left).as_secs_f64();
    let column = |time: Duration| {
        // It is small, and not negative.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let column = (time.as_secs_f64() / whole * BAR as f64) as usize;
        column.min(BAR - 1)
    };
    let (now, due) = (column(age), column(age + next));
    let login = login.map(column);
    let cells = (0..BAR).map(|at| match at {
        at if at == now => '>',
        at if Some(at) == login => 'A',
        at if at == due => '|',
        at if at < now => '=',
        _ => ' ',
    });
    format!("[{}]", cells.collect::<String>())
}

/// How many tokens, logins and connections there were.
pub(crate) fn summary(health: &Health) -> String {
    let [tokens, reauths, reconnects] = [
        (health.token.refreshes, "token"),
        (health.reauths, "re-AUTH"),
        (health.reconnects, "reconnect"),
    ]
    .map(|(count, what)| number(count.into(), what));
    format!("{tokens}, {reauths}, {reconnects}")
}

/// What an event is about, in a word.
pub(crate) const fn mark(event: &Event) -> &'static str {
    match event {
        Event::Refreshed { .. } | Event::SameToken { .. } => "refresh",
        Event::FetchFailed { .. } => "no token",
        Event::LoggedIn { .. } => "login",
        Event::Reauthenticated { .. } => "re-AUTH",
        Event::Rejected { .. } => "refused",
        Event::DialFailed { .. } => "no dial",
        Event::Disconnected { .. } => "lost",
        _ => "",
    }
}

/// Lines on a terminal that are drawn in place of each other.
#[derive(Default)]
pub(crate) struct Screen {
    drawn: usize,
    /// Knows the terminal.
    editor: Option<DefaultEditor>,
}

impl Screen {
    /// Draws `lines` in place of the last ones, cut where the terminal would wrap them.
    pub(crate) fn draw(&mut self, lines: &[String], output: &Output) -> Result<()> {
        let mut text = self.erasing();
        let width = self.columns().saturating_sub(1);
        for line in lines {
            text.extend(line.chars().take(width));
            text.push('\n');
        }
        self.drawn = lines.len();
        output.raw(text.as_bytes())
    }

    /// Removes what is drawn.
    pub(crate) fn erase(&mut self, output: &Output) -> Result<()> {
        let text = self.erasing();
        self.drawn = 0;
        output.raw(text.as_bytes())
    }

    /// How many columns the terminal has now.
    fn columns(&mut self) -> usize {
        if self.editor.is_none() {
            self.editor = DefaultEditor::new().ok();
        }
        let size = self.editor.as_mut().and_then(DefaultEditor::dimensions);
        size.map_or(COLUMNS, |(columns, _)| columns.into())
    }

    /// Moves to the first of the lines, and clears what follows.
    fn erasing(&self) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_now_the_login_and_where_the_next_token_is_due() {
        let secs = Duration::from_secs;
        let shown = |age, left, next, login: Option<u64>| {
            bar(secs(age), secs(left), secs(next), login.map(secs))
        };
        assert_eq!(shown(0, 320, 224, None), "[>                     |         ]");
        assert_eq!(shown(100, 220, 124, Some(20)), "[==A=======>           |         ]");
        assert_eq!(shown(224, 96, 0, Some(0)), "[A=====================>         ]");
        // A token that has ended, and one that never lived.
        assert_eq!(shown(320, 0, 0, None), "[===============================>]");
        assert_eq!(shown(0, 0, 0, None).len(), BAR + 2);
    }
}
