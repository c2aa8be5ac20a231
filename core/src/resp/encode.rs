//! Commands as Redis takes them: arrays of strings.

/// One argument of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arg<'a> {
    /// Bytes as they are.
    Bytes(&'a [u8]),
    /// A whole number, written in decimal.
    Int(i64),
}

impl<'a> Arg<'a> {
    /// The bytes to send; a number is written to `digits`.
    pub(crate) fn bytes<'b>(&'b self, digits: &'b mut Digits) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Int(number) => digits.write(number.unsigned_abs(), *number < 0),
        }
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Arg<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

#[cfg(feature = "alloc")]
impl<'a> From<&'a alloc::string::String> for Arg<'a> {
    fn from(text: &'a alloc::string::String) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

#[cfg(feature = "alloc")]
impl<'a> From<&'a alloc::vec::Vec<u8>> for Arg<'a> {
    fn from(bytes: &'a alloc::vec::Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

macro_rules! int_args {
    ($($int:ty)*) => {$(
        impl From<$int> for Arg<'_> {
            fn from(number: $int) -> Self {
                Self::Int(i64::from(number))
            }
        }
    )*};
}

int_args!(i8 i16 i32 i64 u8 u16 u32);

/// The arguments of a command, of any types that have a way into [`Arg`].
///
/// ```
/// use redis_entraid_core::{args, resp::Arg};
///
/// let key = String::from("counter");
/// let command = args!["INCRBY", &*key, 21];
/// assert_eq!(command[2], Arg::Int(21));
/// ```
#[macro_export]
macro_rules! args {
    ($($arg:expr),+ $(,)?) => {
        &[$($crate::resp::Arg::from($arg)),+] as &[$crate::resp::Arg<'_>]
    };
}

/// A number in decimal, in place.
#[derive(Debug)]
pub(crate) struct Digits {
    /// A byte that says what it is, 20 digits, and the end of a line.
    text: [u8; 23],
}

impl Default for Digits {
    fn default() -> Self {
        Self { text: *b"                     \r\n" }
    }
}

impl Digits {
    /// Writes a number that may be negative.
    pub(crate) fn write(&mut self, number: u64, negative: bool) -> &[u8] {
        let start = if negative { self.place(number, b'-') } else { self.place(number, b' ') + 1 };
        self.text.get(start..21).unwrap_or_default()
    }

    /// Writes a line of a number, `kind` before it.
    fn line(&mut self, number: usize, kind: u8) -> &[u8] {
        let start = self.place(number as u64, kind);
        self.text.get(start..).unwrap_or_default()
    }

    /// Puts `before` and a number before the end of the line, and says where.
    #[inline(never)]
    fn place(&mut self, mut number: u64, before: u8) -> usize {
        let (mut start, mut done) = (21, false);
        for slot in self.text.iter_mut().take(21).rev() {
            start -= 1;
            if done {
                *slot = before;
                break;
            }
            *slot = b'0' + (number % 10) as u8;
            number /= 10;
            done = number == 0;
        }
        start
    }
}

const fn decimals(mut number: usize) -> usize {
    let mut len = 1;
    while number >= 10 {
        number /= 10;
        len += 1;
    }
    len
}

/// The length of `$5\r\nhello\r\n` for a text of `len` bytes.
pub(crate) const fn bulk_len(len: usize) -> usize {
    len.saturating_add(decimals(len) + 5)
}

/// How many bytes [`encode`] will write.
pub fn encoded_len(args: &[Arg<'_>]) -> usize {
    let mut digits = Digits::default();
    args.iter().fold(3 + decimals(args.len()), |sum, arg| {
        sum.saturating_add(bulk_len(arg.bytes(&mut digits).len()))
    })
}

/// Writes the command `args` to `put`, a piece at a time.
pub fn encode(args: &[Arg<'_>], put: &mut impl FnMut(&[u8])) {
    let (mut line, mut digits) = (Digits::default(), Digits::default());
    put(line.line(args.len(), b'*'));
    for arg in args {
        let bytes = arg.bytes(&mut digits);
        put(line.line(bytes.len(), b'$'));
        put(bytes);
        put(b"\r\n");
    }
}
