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

/// Text and bytes by reference: `&str`, `&[u8]`, `&String`, `&Vec<u8>` and what else has them.
impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Arg<'a> {
    fn from(bytes: &'a T) -> Self {
        Self::Bytes(bytes.as_ref())
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

/// The arguments of a command, of any types that have a way into [`Arg`]: texts and bytes by reference,
/// also those that are made on the spot, and whole numbers.
///
/// ```
/// use redis_entraid_core::{args, resp::Arg};
///
/// let user = 7;
/// assert_eq!(args!["INCRBY", &*format!("hits:{user}"), 21][1..], args!["hits:7", 21][..]);
/// ```
#[macro_export]
macro_rules! args {
    ($($arg:expr),+ $(,)?) => {
        &[$($crate::resp::Arg::from($arg)),+] as &[$crate::resp::Arg<'_>]
    };
}

/// A number in decimal, in place.
#[derive(Debug, Default)]
pub(crate) struct Digits {
    text: [u8; 20],
}

impl Digits {
    pub(crate) fn write(&mut self, mut number: u64, negative: bool) -> &[u8] {
        // 19 digits and a sign, or 20 digits.
        let mut start = self.text.len();
        for (at, slot) in self.text.iter_mut().enumerate().rev() {
            *slot = b'0' + (number % 10) as u8;
            number /= 10;
            start = at;
            if number == 0 {
                break;
            }
        }
        if negative && start > 0 {
            start -= 1;
            if let Some(slot) = self.text.get_mut(start) {
                *slot = b'-';
            }
        }
        self.text.get(start..).unwrap_or_default()
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
    let mut digits = Digits::default();
    put(b"*");
    put(digits.write(args.len() as u64, false));
    for arg in args {
        // What a number says is needed twice: for its length, and as it is.
        let len = arg.bytes(&mut digits).len();
        put(b"\r\n$");
        put(digits.write(len as u64, false));
        put(b"\r\n");
        put(arg.bytes(&mut digits));
    }
    put(b"\r\n");
}
