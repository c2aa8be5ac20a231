//! What `CLUSTER SLOTS` replies.

use super::MapError;
use crate::cluster::Slot;
use crate::resp::{Value, ValueKind};

/// A range of slots and who serves it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) first: u16,
    pub(super) last: u16,
    /// `None` if nobody can be reached there.
    pub(super) primary: Option<Address<'a>>,
}

/// A host and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
}

/// The entries of `reply`, which came from the host `here`.
pub(super) fn entries<'a>(
    reply: Value<'a>,
    here: &'a str,
) -> impl Iterator<Item = Result<Entry<'a>, MapError>> {
    let is_list = matches!(reply.kind(), ValueKind::Array | ValueKind::Set);
    let error = (!is_list).then(|| Err(MapError::Type(reply.not("a list of slot ranges"))));
    let items = if is_list { Some(reply.items()) } else { None };
    error.into_iter().chain(items.into_iter().flatten().map(move |item| entry(item, here)))
}

fn entry<'a>(item: Value<'a>, here: &'a str) -> Result<Entry<'a>, MapError> {
    let mut items = item.items();
    let (Some(first), Some(last)) = (items.next(), items.next()) else {
        return Err(MapError::Type(item.not("a slot range")));
    };
    let (first, last) = (first.int()?, last.int()?);
    let number = |slot| u16::try_from(slot).ok().and_then(Slot::new).map(Slot::number);
    let (Some(from), Some(to)) = (number(first), number(last)) else {
        return Err(MapError::Slots { first, last });
    };
    if from > to {
        return Err(MapError::Slots { first, last });
    }
    // The first one is the primary; replicas are behind it.
    let primary = items.next().map(|node| address(node, here)).transpose()?.flatten();
    Ok(Entry { first: from, last: to, primary })
}

/// Reads a host, a port and what else there is. A port 0 is none: such a node can't be reached.
fn address<'a>(node: Value<'a>, here: &'a str) -> Result<Option<Address<'a>>, MapError> {
    let mut items = node.items();
    let (Some(host), Some(port)) = (items.next(), items.next()) else {
        return Err(MapError::Type(node.not("a host and a port")));
    };
    let host = if host.is_null() { "" } else { host.str()? };
    let host = host.trim_matches(['[', ']']);
    let host = if matches!(host, "" | "?") { here } else { host };
    let port = u16::try_from(port.int()?).map_err(|_| port.not("a port"))?;
    Ok((port > 0).then_some(Address { host, port }))
}
