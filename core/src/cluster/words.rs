//! The words of a command, wherever they are.

use crate::command::EncodedCommand;
use crate::number::unsigned;
use crate::resp::Arg;

/// The words of a command in order, its name first: from arguments, from slices of bytes, or from an
/// encoded command.
///
/// ```
/// use redis_entraid_core::args;
/// use redis_entraid_core::cluster::Words;
/// use redis_entraid_core::command::EncodedCommand;
///
/// let mut memory = [0; 64];
/// let command = EncodedCommand::encode(args!["GET", "foo"], &mut memory).unwrap();
/// assert!(Words::from(command).eq(args!["GET", "foo"].iter().copied()));
/// assert!(Words::from(&[&b"GET"[..], b"foo"][..]).eq(Words::from(command)));
/// ```
#[derive(Clone, Debug)]
pub struct Words<'a>(Form<'a>);

#[derive(Clone)]
enum Form<'a> {
    Args(&'a [Arg<'a>]),
    Slices(&'a [&'a [u8]]),
    /// Bulk strings, as many as `left` says.
    Encoded {
        left: usize,
        rest: &'a [u8],
    },
}

// Without the words, which may be a user's secrets.
impl core::fmt::Debug for Form<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Args(args) => write!(f, "{} words", args.len()),
            Self::Slices(slices) => write!(f, "{} words", slices.len()),
            Self::Encoded { left, .. } => write!(f, "{left} words"),
        }
    }
}

impl<'a> From<&'a [Arg<'a>]> for Words<'a> {
    fn from(args: &'a [Arg<'a>]) -> Self {
        Self(Form::Args(args))
    }
}

impl<'a> From<&'a [&'a [u8]]> for Words<'a> {
    fn from(words: &'a [&'a [u8]]) -> Self {
        Self(Form::Slices(words))
    }
}

impl<'a> From<EncodedCommand<'a>> for Words<'a> {
    fn from(command: EncodedCommand<'a>) -> Self {
        let (left, rest) = match line(command.bytes(), b'*') {
            // No word takes less than that, so that nobody counts to a number that isn't true.
            Some((count, rest)) => (count.min(rest.len() / b"$0\r\n\r\n".len()), rest),
            None => (0, &[][..]),
        };
        Self(Form::Encoded { left, rest })
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Arg<'a>;

    fn next(&mut self) -> Option<Arg<'a>> {
        match &mut self.0 {
            Form::Args(args) => {
                let (first, rest) = args.split_first()?;
                *args = rest;
                Some(*first)
            }
            Form::Slices(slices) => {
                let (first, rest) = slices.split_first()?;
                *slices = rest;
                Some(Arg::Bytes(first))
            }
            Form::Encoded { left, rest } => {
                *left = left.checked_sub(1)?;
                let (len, behind) = line(rest, b'$')?;
                let (word, behind) = behind.split_at_checked(len)?;
                *rest = behind.strip_prefix(b"\r\n")?;
                Some(Arg::Bytes(word))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Form::Args(args) => (args.len(), Some(args.len())),
            Form::Slices(slices) => (slices.len(), Some(slices.len())),
            Form::Encoded { left, .. } => (0, Some(*left)),
        }
    }
}

impl Words<'_> {
    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.size_hint().1.unwrap_or(0)
    }
}

/// The number behind `kind`, and what is behind its line.
fn line(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let text = bytes.strip_prefix(&[kind])?;
    let end = text.iter().position(|&byte| byte == b'\r')?;
    let number = usize::try_from(unsigned(text.get(..end)?)?).ok()?;
    Some((number, text.get(end..)?.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;
    use crate::command::CommandClass;

    #[test]
    fn encoded_words_are_the_arguments_that_were_encoded() {
        let args = args!["SET", "", "a\r\n$1\r\n", -7];
        let mut memory = [0; 64];
        let words = Words::from(EncodedCommand::encode(args, &mut memory).unwrap());
        assert_eq!(words.left(), 4);
        let expected = args!["SET", "", "a\r\n$1\r\n", "-7"];
        assert!(words.eq(expected.iter().copied()));
        assert!(Words::from(args).eq(args.iter().copied()));
        let slices = [&b"SET"[..], b"", b"a\r\n$1\r\n", b"-7"];
        let words = Words::from(&slices[..]);
        assert_eq!(words.left(), 4);
        assert!(words.eq(expected.iter().copied()));
    }

    #[test]
    fn bytes_that_are_no_command_have_no_more_words_than_bytes() {
        for (bytes, count) in [
            (&b""[..], 0),
            (b"PING\r\n", 0),
            (b"*1000000000\r\n$1\r\na\r\n", 1),
            (b"*2\r\n$1\r\na\r\n$9\r\nb\r\n", 1),
            (b"*1\r\n$1\r\nab\r\n", 0),
            (b"*-1\r\n", 0),
            (b"*1\r\n$99999999999999999999\r\na\r\n", 0),
        ] {
            let words = Words::from(EncodedCommand::from_parts(CommandClass::Plain, bytes));
            assert!(words.left() <= bytes.len());
            assert_eq!(words.count(), count, "{}", bytes.escape_ascii());
        }
    }
}
