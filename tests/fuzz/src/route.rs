//! Commands of any words, and where they go.

use redis_entraid_core::cluster::{Keys, Route, Slot, Words, keys, route};
use redis_entraid_core::command::{CommandClass, EncodedCommand};
use redis_entraid_core::resp::{Arg, encode};

/// The bytes are a command as it is sent, and its words with spaces between them.
pub fn check(data: &[u8]) {
    look(EncodedCommand::from_parts(CommandClass::Plain, data), data.len());
    let args: Vec<Arg<'_>> = data.split(|&byte| byte == b' ').map(Arg::from).collect();
    look(&*args, args.len());
    let slices: Vec<&[u8]> = data.split(|&byte| byte == b' ').collect();
    look(&*slices, slices.len());
    let mut encoded = Vec::new();
    encode(&args, &mut |piece| encoded.extend_from_slice(piece));
    let command = EncodedCommand::from_parts(CommandClass::Plain, &encoded);
    assert!(Words::from(command).eq(args.iter().copied()));
    assert_eq!(route(command), route(&*args));
}

fn look<'a>(command: impl Into<Words<'a>>, most: usize) {
    let words: Words<'a> = command.into();
    let all: Vec<Arg<'_>> = words.clone().collect();
    assert!(all.len() <= most);
    let found: Option<Vec<_>> = keys(words.clone()).map(Keys::collect);
    let mut slots = Vec::new();
    for (at, key) in found.iter().flatten() {
        assert_eq!(all[*at], *key);
        let Arg::Bytes(key) = key else { panic!("all are bytes") };
        slots.push(Slot::of(key));
    }
    let positions: Vec<_> = found.iter().flatten().map(|(at, _)| *at).collect();
    assert!(positions.is_sorted_by(|a, b| a < b) && positions.first() != Some(&0));
    slots.sort();
    slots.dedup();
    match (route(words), &*slots) {
        (Route::Slot(slot), [only]) => assert_eq!(slot, *only),
        (Route::CrossSlot, [_, _, ..]) => {}
        (Route::Unknown, []) => assert!(found.is_none()),
        (_, []) => assert!(found.is_some()),
        (route, slots) => panic!("{route:?} for {slots:?}"),
    }
}
