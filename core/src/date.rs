//! Dates as Entra, managed-identity endpoints and HTTP write them.
//!
//! One lenient reader for all of the forms that were seen: the IMF date of HTTP
//! (RFC 9110 section 5.6.7), RFC 3339, `yyyy-MM-dd HH:mm:ss`, and `M/d/yyyy H:mm:ss`, of 24 hours or
//! of 12 with `AM` or `PM`.
//!
//! ```
//! use redis_entraid_core::{date, time::UnixTime};
//!
//! assert_eq!(date::parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(UnixTime(784_111_777)));
//! assert_eq!(date::parse("1994-11-06T08:49:37.5Z"), Some(UnixTime(784_111_777)));
//! assert_eq!(date::parse("11/06/1994 08:49:37 +00:00"), Some(UnixTime(784_111_777)));
//! ```

use crate::time::UnixTime;

/// Reads a date and time; what names no zone is UTC. `None` if it is none of the known forms
/// or lies before 1970.
pub fn parse(text: &str) -> Option<UnixTime> {
    read(text.as_bytes())
}

pub(crate) fn read(text: &[u8]) -> Option<UnixTime> {
    let mut text = Text(text.trim_ascii());
    let (year, month, day);
    if text.peek()?.is_ascii_alphabetic() {
        text.until(b' ')?;
        day = text.number()?;
        text.skip(b' ')?;
        month = text.month_name()?;
        text.skip(b' ')?;
        year = text.number()?;
    } else {
        (year, month, day) = match text.three()? {
            ([year, month, day], b'-') => (year, month, day),
            ([month, day, year], b'/') => (year, month, day),
            _ => return None,
        };
    }
    matches!(text.next()?, b' ' | b'T' | b't').then_some(())?;
    let ([hour, minute, second], b':') = text.three()? else { return None };
    text.skip_fraction();
    text.eat(b' ');
    let hour = text.half_of_day(hour)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_from_civil(year, month, day)?;
    let seconds = u64::from(days) * 86_400 + u64::from(hour * 3600 + minute * 60 + second);
    seconds.checked_add_signed(-i64::from(text.zone()?)).map(UnixTime)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// Counts years from March, so that the leap day is the last of a year.
fn days_from_civil(year: u32, month: u32, day: u32) -> Option<u32> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    const EPOCH: u32 = 719_468; // the same count for 1970-01-01
    Some(days - EPOCH)
}

struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    #[inline(never)]
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Takes `byte` if it is next.
    #[inline(never)]
    fn eat(&mut self, byte: u8) -> bool {
        let same = self.peek() == Some(byte);
        if same {
            self.next();
        }
        same
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    fn until(&mut self, byte: u8) -> Option<()> {
        while self.next()? != byte {}
        Some(())
    }

    /// One to four digits.
    #[inline(never)]
    fn number(&mut self) -> Option<u32> {
        let mut value = None;
        for _ in 0..4 {
            match self.peek() {
                Some(digit @ b'0'..=b'9') => {
                    value = Some(value.unwrap_or(0) * 10 + u32::from(digit - b'0'));
                    self.next();
                }
                _ => break,
            }
        }
        value
    }

    /// Three numbers, and what stands between them.
    #[inline(never)]
    fn three(&mut self) -> Option<([u32; 3], u8)> {
        let first = self.number()?;
        let separator = self.next()?;
        let second = self.number()?;
        self.skip(separator)?;
        Some(([first, second, self.number()?], separator))
    }

    fn month_name(&mut self) -> Option<u32> {
        let name = [self.next()?, self.next()?, self.next()?].map(|c| c.to_ascii_lowercase());
        let names = b"janfebmaraprmayjunjulaugsepoctnovdec";
        let index = names.chunks(3).position(|month| month == name)?;
        u32::try_from(index).ok().map(|index| index + 1)
    }

    fn skip_fraction(&mut self) {
        if self.eat(b'.') {
            while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                self.next();
            }
        }
    }

    /// The hour of the day, if `AM` or `PM` follows one of twelve hours.
    fn half_of_day(&mut self, hour: u32) -> Option<u32> {
        let noon = match self.peek() {
            Some(b'A' | b'a') => 0,
            Some(b'P' | b'p') => 12,
            _ => return Some(hour),
        };
        self.next();
        matches!(self.next()?, b'M' | b'm').then_some(())?;
        self.eat(b' ');
        (1..=12).contains(&hour).then_some(hour % 12 + noon)
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Option<i32> {
        let sign = match self.0 {
            b"" | b"Z" | b"z" | b"GMT" | b"UTC" => return Some(0),
            _ => match self.next()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            },
        };
        let hours = self.number()?;
        self.skip(b':')?;
        let minutes = self.number()?;
        let seconds = (hours * 3600 + minutes * 60).cast_signed();
        (self.0.is_empty() && hours < 24 && minutes < 60).then_some(sign * seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_seen_in_the_field_is_read() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("2026-11-21T22:32:38Z", 1_795_300_358),
            ("2026-11-21T22:32:38.1234567+00:00", 1_795_300_358),
            ("2026-11-22T00:02:38+01:30", 1_795_300_358),
            ("2026-11-21 22:32:38", 1_795_300_358),
            ("11/21/2026 22:32:38", 1_795_300_358),
            ("11/21/2026 22:32:38 +00:00", 1_795_300_358),
            ("11/21/2026 10:32:38 PM +00:00", 1_795_300_358),
            ("11/21/2026 10:32:38 AM +00:00", 1_795_257_158),
            ("1/2/2026 12:00:00 AM +00:00", 1_767_312_000),
            ("1/2/2026 12:00:01 pm", 1_767_355_201),
        ] {
            assert_eq!(parse(text), Some(UnixTime(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "x",
            "1506484173",
            "2026-13-01 00:00:00",
            "2026-11-21",
            "1969-12-31 23:59:59",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "2026-11-21 24:00:00",
            "2026-11-21T22:32:38+1",
            "99999-01-01 00:00:00",
            "2026-11-21T22:32:38 CET",
            "11/21/2026 13:00:00 PM",
            "11/21/2026 0:00:00 AM",
            "11/21/2026 1:00:00 XM",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
