//! Replies to `CLUSTER SLOTS`, one after the other, and a map that is kept.

use redis_entraid_core::cluster::{
    Change, MapError, Moved, Policy, Primary, PrimaryId, Slot, SlotMap, SlotRange,
};
use redis_entraid_core::resp::{Framer, Node, Value};

type Map<'m> = SlotMap<&'m mut [SlotRange], &'m mut [Primary]>;

/// The first byte says how much memory the map has, the others are what the server sends. A status
/// that comes among the replies is where a `MOVED` leads.
pub fn check(data: &[u8]) {
    let Some((&size, mut bytes)) = data.split_first() else { return };
    let mut ranges = vec![SlotRange::default(); usize::from(size & 31)];
    let mut primaries = vec![Primary::default(); usize::from(size >> 5)];
    let mut map = SlotMap::new(&mut *ranges, &mut *primaries);
    let mut known = Vec::new();
    while let Ok(framed) = Framer::new().feed(bytes)
        && framed.complete
    {
        let (reply, rest) = bytes.split_at(framed.used);
        let reply = Value::new(reply).expect("it was framed");
        let _ = Policy::of(reply);
        match reply.raw() {
            [b'+', slot, port, host @ ..] => moved(&mut map, &mut known, *slot, *port, host),
            _ => update(&mut map, &mut known, reply),
        }
        bytes = rest;
    }
}

/// What is known of each id, as the changes said.
type Known = Vec<(PrimaryId, String)>;

fn update(map: &mut Map<'_>, known: &mut Known, reply: Value<'_>) {
    let (before, mut changed, mut was_new) = (shown(map), known.clone(), false);
    let updated = map.update(reply, "here", |change| note(&mut changed, &mut was_new, change));
    if let Err(error) = updated {
        let _ = error.to_string();
        assert_eq!((shown(map), &changed), (before, &*known), "an error changes something");
        return;
    }
    *known = changed;
    agree(map, known);
    let entries: Vec<(i64, i64, Option<String>)> = reply.items().map(entry).collect();
    let usable = |(first, last, primary): &(i64, i64, Option<String>)| {
        primary.clone().map(|primary| (*first, *last, primary))
    };
    let entries: Vec<_> = entries.iter().filter_map(usable).collect();
    for slot in 0..i64::from(Slot::COUNT) {
        let covers: Vec<_> =
            entries.iter().filter(|(first, last, _)| (*first..=*last).contains(&slot)).collect();
        let found = at(map, slot as u16);
        match covers.last() {
            None => assert_eq!(found, None, "nobody has slot {slot}"),
            // Behind an overlap, a slot may have nobody.
            Some((.., last)) if found.is_none() => {
                let others = |(first, end, other): &&(i64, i64, String)| {
                    other != last && entries.iter().any(|(a, b, _)| first <= b && a <= end)
                };
                assert!(entries.iter().any(|one| others(&one)), "slot {slot} is lost");
            }
            Some((.., last)) => assert_eq!(found.as_ref(), Some(last), "slot {slot}"),
        }
    }
}

/// A range and its primary, read once more.
fn entry(item: Value<'_>) -> (i64, i64, Option<String>) {
    let items: Vec<_> = item.items().collect();
    let primary = items.get(2).and_then(|node| {
        let node: Vec<_> = node.items().collect();
        let host = if node[0].is_null() { "" } else { node[0].str().expect("a text") };
        let host = host.trim_matches(['[', ']']);
        let port = node[1].int().expect("a port");
        let host = if host.is_empty() || host == "?" { "here" } else { host };
        (port > 0).then(|| format!("{host}:{port}"))
    });
    (items[0].int().expect("a slot"), items[1].int().expect("a slot"), primary)
}

/// Takes a change in.
fn note(known: &mut Known, was_new: &mut bool, change: Change<'_>) {
    match change {
        Change::Gone(id, primary) => {
            assert!(!*was_new, "what is gone comes first");
            let gone = known.iter().position(|one| *one == (id, format!("{primary:?}")));
            known.remove(gone.expect("it was there"));
        }
        Change::New(id, primary) => {
            *was_new = true;
            assert!(known.iter().all(|(other, _)| *other != id), "its place was free");
            known.push((id, format!("{primary:?}")));
        }
        _ => unreachable!("there is no other change"),
    }
}

fn moved(map: &mut Map<'_>, known: &mut Known, slot: u8, port: u8, host: &[u8]) {
    let slot = u16::from(slot) * 67;
    let (before, mut was_new) = (beside(map, slot), false);
    let address = std::str::from_utf8(host).unwrap_or_default().trim_end();
    let port = u16::from(port) + 1;
    let node = Node { slot, address, port };
    let moved = map.moved(&node, "here", |change| note(known, &mut was_new, change));
    let address = if address.is_empty() { "here" } else { address };
    match moved {
        Moved::Known(id) => {
            assert_eq!(at(map, slot), Some(format!("{address}:{port}")));
            assert_eq!(beside(map, slot), before);
            assert_eq!(map.primary_of(Slot::new(slot).expect("a slot")), Some(id));
        }
        Moved::NotTaken(error) => {
            let too_small = matches!(error, MapError::TooSmall(_));
            assert!(too_small || Slot::new(slot).is_none(), "{error}");
            assert_eq!(beside(map, slot), before);
        }
        Moved::News(id) => {
            assert_eq!(at(map, slot), Some(format!("{address}:{port}")));
            assert_eq!(map.primary_of(Slot::new(slot).expect("a slot")), Some(id));
            // No other slot has changed.
            let mut changed = beside(map, slot).into_iter().zip(before);
            assert!(changed.all(|(new, old)| new == old || new.0 == slot));
        }
    }
    agree(map, known);
}

/// The changes have told all that is there.
fn agree(map: &Map<'_>, known: &Known) {
    let mut known = known.clone();
    known.sort();
    assert_eq!(primaries(map), known);
    let mut names: Vec<_> = known.iter().map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), known.len(), "one is there twice");
}

fn at(map: &Map<'_>, slot: u16) -> Option<String> {
    let id = map.primary_of(Slot::new(slot)?)?;
    Some(format!("{:?}", map.primary(id).expect("a slot's primary is there")))
}

/// Who has the slots around this one, and some of the others: all of them take a while.
fn beside(map: &Map<'_>, slot: u16) -> Vec<(u16, Option<PrimaryId>)> {
    let some = (0..Slot::COUNT).step_by(67).flat_map(|at| [at, at + 1]);
    let slots = some.chain(slot.saturating_sub(2)..slot + 3);
    let primary = |at| Some((at, map.primary_of(Slot::new(at)?)));
    slots.filter_map(primary).collect()
}

/// The primaries, and the one of each slot.
fn shown(map: &Map<'_>) -> (Known, Vec<Option<PrimaryId>>) {
    let slots = (0..Slot::COUNT).filter_map(Slot::new).map(|slot| map.primary_of(slot));
    (primaries(map), slots.collect())
}

fn primaries(map: &Map<'_>) -> Known {
    map.primaries().map(|(id, primary)| (id, format!("{primary:?}"))).collect()
}
