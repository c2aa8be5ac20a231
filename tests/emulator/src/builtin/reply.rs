//! What the small store answers.

/// A reply, in whichever version of the protocol the client speaks.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Status(&'static str),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    NullArray,
    Array(Vec<Self>),
    /// Keys and values in turn.
    Map(Vec<Self>),
    Set(Vec<Self>),
    Push(Vec<Self>),
}

pub(super) const OK: Reply = Reply::Status("OK");

impl Reply {
    pub(super) fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }

    pub(super) fn arity(name: &str) -> Self {
        let name = name.to_lowercase();
        Self::Error(format!("ERR wrong number of arguments for '{name}' command"))
    }

    pub(super) fn bulk(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bulk(bytes.into())
    }

    pub(super) fn bulk_or_null(bytes: Option<&Vec<u8>>) -> Self {
        bytes.map_or(Self::Null, |bytes| Self::bulk(bytes.clone()))
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn write(&self, resp3: bool, out: &mut Vec<u8>) {
        let (kind, items) = match self {
            Self::Status(text) => return out.extend(format!("+{text}\r\n").bytes()),
            Self::Error(text) => return out.extend(format!("-{text}\r\n").bytes()),
            Self::Int(number) => return out.extend(format!(":{number}\r\n").bytes()),
            Self::Null => return out.extend(if resp3 { "_\r\n" } else { "$-1\r\n" }.bytes()),
            Self::NullArray => return out.extend(if resp3 { "_\r\n" } else { "*-1\r\n" }.bytes()),
            Self::Bulk(bytes) => {
                out.extend(format!("${}\r\n", bytes.len()).bytes());
                out.extend(bytes);
                return out.extend(b"\r\n");
            }
            Self::Array(items) => ('*', items),
            Self::Map(items) if resp3 => ('%', items),
            Self::Set(items) if resp3 => ('~', items),
            Self::Push(items) if resp3 => ('>', items),
            Self::Map(items) | Self::Set(items) | Self::Push(items) => ('*', items),
        };
        let count = if kind == '%' { items.len() / 2 } else { items.len() };
        out.extend(format!("{kind}{count}\r\n").bytes());
        items.iter().for_each(|item| item.write(resp3, out));
    }
}
