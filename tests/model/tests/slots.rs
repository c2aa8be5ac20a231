//! The map of slots that real servers give, and what they say of a slot that was moved.

use model::real::{Real, SLOT, Wire, programs};
use model::script::Slot as Place;
use redis_entraid_core::cluster::{
    Change, MapError, Moved, Policy, Primary, Route, Slot, SlotMap, SlotRange, route,
};
use redis_entraid_core::resp::{Arg, Redirect, Value};

type Map = SlotMap<[SlotRange; 8], [Primary; 4]>;

/// Takes in what the server says, and returns how many primaries are new and gone.
fn update(map: &mut Map, wire: &mut Wire) -> (u32, u32) {
    let reply = wire.call(&["CLUSTER", "SLOTS"]).expect("an answer");
    let reply = Value::new(&reply).expect("a reply");
    assert_eq!(Policy::of(reply), Policy::Oss);
    let (mut new, mut gone) = (0, 0);
    let updated = map.update(reply, "", |change| {
        *if change.is_new() { &mut new } else { &mut gone } += 1;
    });
    assert_eq!(updated.expect("a map").skipped, 0);
    (new, gone)
}

fn owner(map: &Map, slot: Slot) -> &Primary {
    map.primary(map.primary_of(slot).expect("it has a primary")).expect("it is there")
}

#[test]
fn the_map_is_what_a_cluster_says_before_and_after_a_slot_has_moved() {
    for program in programs() {
        let mut real = Real::start(&program, true).expect("it starts");
        for hello in ["2", "3"] {
            real.admin().call(&["HELLO", hello]).expect("an answer");
            let (slot, number) = (Slot::of(b"{b}"), SLOT.parse().expect("a number"));
            assert_eq!(Some(slot), Slot::new(number));
            let mut map = Map::new([SlotRange::default(); 8], [Primary::default(); 4]);
            assert_eq!(update(&mut map, real.admin()), (1, 0));
            let first = *owner(&map, slot);

            real.set_slot(Place::Moved).expect("it can be moved");
            let refused = real.admin().call(&["GET", "{b}"]).expect("an answer");
            let error = Value::new(&refused).expect("a reply").error().expect("an error");
            let Some(Redirect::Moved(node)) = error.redirect() else { panic!("{error}") };
            let mut new = None;
            let moved = map.moved(&node, "", |change| {
                assert!(change.is_new() && new.is_none(), "{change:?}");
                if let Change::New(id, primary) = change {
                    new = Some((id, *primary));
                }
            });
            let second = *owner(&map, slot);
            let id = map.primary_of(slot).expect("it has a primary");
            assert_eq!((moved, new), (Moved::News(id), Some((id, second))), "{}", real.name());
            assert_ne!(first, second);
            assert_eq!(update(&mut map, real.admin()), (0, 0), "the redirection was right");
            assert_eq!(*owner(&map, slot), second);
            for beside in [number - 1, number + 1, 0, 16_383] {
                assert_eq!(*owner(&map, Slot::new(beside).expect("a slot")), first);
            }
            real.set_slot(Place::Here).expect("it can be moved");
            assert_eq!(update(&mut map, real.admin()), (0, 1));
        }
    }
}

#[test]
fn a_server_alone_says_so() {
    for program in programs() {
        let mut real = Real::start(&program, false).expect("it starts");
        let reply = real.admin().call(&["CLUSTER", "SLOTS"]).expect("an answer");
        let reply = Value::new(&reply).expect("a reply");
        assert_eq!(Policy::of(reply), Policy::Single, "{reply:?}");
        let mut map = Map::new([SlotRange::default(); 8], [Primary::default(); 4]);
        assert!(matches!(map.update(reply, "", |_| ()), Err(MapError::Type(_))));
    }
}

#[test]
fn keys_of_several_slots_are_refused_with_the_server_s_words() {
    for program in programs() {
        let mut real = Real::start(&program, true).expect("it starts");
        let words = ["MSET", "a", "1", "b", "2"];
        let reply = real.admin().call(&words).expect("an answer");
        assert_eq!(Value::new(&reply).expect("a reply").error(), Some(Route::CROSS_SLOT));
        assert_eq!(route(&words.map(Arg::from)[..]), Route::CrossSlot);
        for key in ["", "a", "{}", "a{b}c", "{a", "a}{b}{c}", "{{a}}"] {
            let reply = real.admin().call(&["CLUSTER", "KEYSLOT", key]).expect("an answer");
            let slot = Value::new(&reply).expect("a reply").int().expect("a number");
            assert_eq!(i64::from(Slot::of(key.as_bytes()).number()), slot, "{key}");
        }
    }
}
