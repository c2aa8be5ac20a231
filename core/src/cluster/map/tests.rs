use super::*;
use crate::storage::tests::Grows;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

type Map = SlotMap<[SlotRange; 8], [Primary; 4]>;

fn map() -> Map {
    SlotMap::new([SlotRange::default(); 8], [Primary::default(); 4])
}

/// A host and a port as a node.
fn node(host: &str, port: u16) -> String {
    format!("*2\r\n${}\r\n{host}\r\n:{port}\r\n", host.len())
}

fn reply(ranges: &[(i64, i64, String)]) -> String {
    let entry =
        |(first, last, node): &(i64, i64, String)| format!("*3\r\n:{first}\r\n:{last}\r\n{node}");
    format!("*{}\r\n{}", ranges.len(), ranges.iter().map(entry).collect::<String>())
}

fn update<R, P>(map: &mut SlotMap<R, P>, reply: &str) -> Result<(Updated, Vec<String>), MapError>
where
    R: Storage<SlotRange>,
    P: Storage<Primary>,
{
    let mut changes = Vec::new();
    let updated = map.update(Value::new(reply.as_bytes()).unwrap(), "here", |change| {
        changes.push(written(change));
    })?;
    Ok((updated, changes))
}

fn written(change: Change<'_>) -> String {
    match change {
        Change::Gone(id, primary) => format!("-{}={primary:?}", id.index()),
        Change::New(id, primary) => format!("+{}={primary:?}", id.index()),
    }
}

/// Who serves the slots at and beside the borders of ranges.
fn shown<R: Storage<SlotRange>, P: Storage<Primary>>(map: &SlotMap<R, P>) -> String {
    let show = |range: &SlotRange| {
        let primary = map.primary(PrimaryId(range.primary)).unwrap();
        format!("{}-{} {primary:?}", range.first, range.last)
    };
    map.ranges.get().iter().map(show).collect::<Vec<_>>().join(", ")
}

fn of(map: &Map, slot: u16) -> Option<String> {
    let id = map.primary_of(Slot::new(slot).unwrap())?;
    map.primary(id).map(|primary| format!("{primary:?}"))
}

#[test]
fn a_range_takes_8_bytes_at_most_and_a_primary_64() {
    assert!(size_of::<SlotRange>() <= 8);
    assert_eq!(size_of::<Primary>(), 64);
}

#[test]
fn each_slot_has_the_primary_that_the_reply_says() {
    let mut map = map();
    let slots = [(0, 99, node("a", 1)), (200, 299, node("b", 2)), (16_383, 16_383, node("a", 1))];
    let (updated, changes) = update(&mut map, &reply(&slots)).unwrap();
    assert_eq!((updated.skipped, changes), (0, ["+0=a:1", "+1=b:2"].map(String::from).to_vec()));
    for (slot, primary) in [
        (0, Some("a:1")),
        (99, Some("a:1")),
        (100, None),
        (199, None),
        (200, Some("b:2")),
        (299, Some("b:2")),
        (300, None),
        (16_382, None),
        (16_383, Some("a:1")),
    ] {
        assert_eq!(of(&map, slot).as_deref(), primary, "{slot}");
    }
    assert_eq!(map.primaries().count(), 2);
    assert_eq!(map.primary(PrimaryId(2)), None);
    assert_eq!(map.primary(PrimaryId(9)), None);
}

#[test]
fn every_form_of_node_is_read() {
    for (form, expected) in [
        (node("10.0.0.1", 8500), "10.0.0.1:8500"),
        (node("2603:1020::5", 8500), "2603:1020::5:8500"),
        (node("[2603:1020::5]", 8500), "2603:1020::5:8500"),
        (node("a.name", 1), "a.name:1"),
        (node("", 8500), "here:8500"),
        (node("?", 8500), "here:8500"),
        ("*2\r\n$-1\r\n:8500\r\n".into(), "here:8500"),
        ("*2\r\n_\r\n:8500\r\n".into(), "here:8500"),
        ("*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n".into(), "a:1"),
        ("*4\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n*0\r\n".into(), "a:1"),
        // RESP3, with a name and its address.
        ("*4\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n%1\r\n+ip\r\n+10.0.0.1\r\n".into(), "a:1"),
        ("*2\r\n+a\r\n$1\r\n1\r\n".into(), "a:1"),
        ("*2\r\n=5\r\ntxt:a\r\n:65535\r\n".into(), "a:65535"),
    ] {
        let mut map = map();
        update(&mut map, &reply(&[(0, 16_383, form.clone())])).unwrap();
        assert_eq!(of(&map, 7).as_deref(), Some(expected), "{form}");
    }
}

#[test]
fn replicas_are_left_out() {
    let mut map = map();
    let text = format!("*1\r\n*5\r\n:0\r\n:9\r\n{}{}{}", node("a", 1), node("b", 2), node("", 0));
    let (updated, changes) = update(&mut map, &text).unwrap();
    assert_eq!((updated.skipped, changes), (0, ["+0=a:1".to_string()].to_vec()));
}

#[test]
fn ranges_without_a_primary_that_can_be_reached_are_skipped_and_counted() {
    let mut map = map();
    let text = format!(
        "*3\r\n*2\r\n:0\r\n:9\r\n*3\r\n:10\r\n:19\r\n{}*3\r\n:20\r\n:29\r\n{}",
        node("a", 0),
        node("b", 2)
    );
    let (updated, changes) = update(&mut map, &text).unwrap();
    assert_eq!((updated.skipped, changes), (2, ["+0=b:2".to_string()].to_vec()));
    assert_eq!(shown(&map), "20-29 b:2");
}

#[test]
fn of_ranges_that_overlap_the_last_one_counts() {
    let mut map = map();
    let slots = [(100, 199, node("a", 1)), (0, 149, node("b", 2)), (190, 195, node("b", 2))];
    update(&mut map, &reply(&slots)).unwrap();
    assert_eq!(shown(&map), "0-149 b:2, 150-189 a:1, 190-195 b:2");
}

#[test]
fn an_update_says_what_is_gone_and_then_what_is_new_and_the_others_keep_their_ids() {
    let mut map = map();
    update(&mut map, &reply(&[(0, 9, node("a", 1)), (10, 19, node("b", 2))])).unwrap();
    let slots = [(0, 9, node("c", 3)), (10, 19, node("b", 2)), (20, 29, node("d", 4))];
    let (_, changes) = update(&mut map, &reply(&slots)).unwrap();
    assert_eq!(changes, ["-0=a:1", "+2=c:3", "+3=d:4"]);
    assert_eq!(shown(&map), "0-9 c:3, 10-19 b:2, 20-29 d:4");
    let (_, changes) = update(&mut map, &reply(&slots)).unwrap();
    assert!(changes.is_empty());
}

#[test]
fn when_memory_is_full_new_primaries_get_the_places_of_those_that_are_gone() {
    let mut map = map();
    let slots = |names: [&str; 4]| {
        let range = |(at, name): (usize, &&str)| (at as i64, at as i64, node(name, 1));
        reply(&names.iter().enumerate().map(range).collect::<Vec<_>>())
    };
    update(&mut map, &slots(["a", "b", "c", "d"])).unwrap();
    let (_, changes) = update(&mut map, &slots(["e", "b", "f", "e"])).unwrap();
    assert_eq!(changes, ["-0=a:1", "-2=c:1", "-3=d:1", "+0=e:1", "+2=f:1"]);
    assert_eq!(shown(&map), "0-0 e:1, 1-1 b:1, 2-2 f:1, 3-3 e:1");
}

#[test]
fn what_does_not_fit_names_its_buffer_and_the_map_stays() {
    let mut map = map();
    update(&mut map, &reply(&[(0, 9, node("a", 1)), (10, 19, node("b", 2))])).unwrap();
    let before = shown(&map);
    let many = |count: i64, nodes: i64| {
        let range = |at: i64| (at * 2, at * 2, node(&format!("n{}", at % nodes), 1));
        reply(&(0..count).map(range).collect::<Vec<_>>())
    };
    let long = "x".repeat(61);
    for (reply, buffer, needed, capacity) in [
        (many(9, 2), Buffer::SlotMap, 54, 48),
        (many(8, 5), Buffer::SlotMap, 320, 256),
        (reply(&[(0, 9, node("new", 1)), (10, 19, node(&long, 1))]), Buffer::SlotMap, 61, 60),
    ] {
        let error = update(&mut map, &reply).unwrap_err();
        assert_eq!(error, MapError::TooSmall(CapacityError::new(buffer, needed, capacity)));
        assert_eq!((shown(&map), map.primaries().count()), (before.clone(), 2));
    }
    update(&mut map, &many(8, 4)).unwrap();
    let longest = "x".repeat(60);
    update(&mut map, &reply(&[(0, 9, node(&longest, 1))])).unwrap();
    assert_eq!(of(&map, 9), Some(format!("{longest}:1")));
}

#[test]
fn what_is_no_map_is_an_error_and_the_map_stays() {
    let mut map = map();
    update(&mut map, &reply(&[(0, 9, node("a", 1))])).unwrap();
    for text in [
        "-ERR This instance has cluster support disabled\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "_\r\n",
        "+OK\r\n",
        "*0\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*1\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:x\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:9\r\n*1\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:0\r\n:9\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$1\r\na\r\n_\r\n",
        &reply(&[(0, 16_384, node("b", 1))]),
        &reply(&[(-1, 9, node("b", 1))]),
        &reply(&[(9, 8, node("b", 1))]),
        &reply(&[(0, 9, node("b", 0))]),
        &reply(&[(0, 9, node("b", 1)), (0, 99_999, node("b", 1))]),
        "*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$1\r\na\r\n:65536\r\n",
    ] {
        let error = update(&mut map, text).unwrap_err();
        assert!(error.to_string().starts_with("CLUSTER SLOTS: "), "{error}");
        assert_eq!(shown(&map), "0-9 a:1", "{text}");
    }
}

#[test]
fn two_hundred_primaries_fit_where_memory_grows() {
    let mut map = SlotMap::new(Grows::new(0, 1000), Grows::new(0, 400));
    let range = |at: i64| (at * 80, at * 80 + 79, node(&format!("10.0.0.{at}"), 8500));
    let slots: Vec<_> = (0..200).rev().map(range).collect();
    let (_, changes) = update(&mut map, &reply(&slots)).unwrap();
    assert_eq!((changes.len(), map.primaries().count()), (200, 200));
    for slot in [0, 79, 80, 15_999] {
        let id = map.primary_of(Slot::new(slot).unwrap()).unwrap();
        assert_eq!(map.primary(id).unwrap().host(), format!("10.0.0.{}", slot / 80));
    }
    assert_eq!(map.primary_of(Slot::new(16_000).unwrap()), None);
}

/// What a `MOVED` is to the map, and the changes.
fn moved<R, P>(map: &mut SlotMap<R, P>, slot: u16, address: &str, port: u16) -> (Moved, Vec<String>)
where
    R: Storage<SlotRange>,
    P: Storage<Primary>,
{
    let mut changes = Vec::new();
    let told = |change: Change<'_>| changes.push(written(change));
    let moved = map.moved(&Node { slot, address, port }, "here", told);
    (moved, changes)
}

#[test]
fn a_redirection_counts_until_the_next_update() {
    let mut map = map();
    let slots = reply(&[(0, 99, node("a", 1)), (100, 199, node("b", 2))]);
    update(&mut map, &slots).unwrap();
    let [a, b, new] = [0, 1, 2].map(PrimaryId);
    assert_eq!(moved(&mut map, 50, "a", 1), (Moved::Known(a), [].into()));
    assert_eq!(moved(&mut map, 50, "b", 2), (Moved::News(b), [].into()));
    assert_eq!(moved(&mut map, 51, "b", 2), (Moved::News(b), [].into()));
    assert_eq!(moved(&mut map, 51, "b", 2), (Moved::Known(b), [].into()));
    assert_eq!(shown(&map), "0-49 a:1, 50-51 b:2, 52-99 a:1, 100-199 b:2");
    assert_eq!(moved(&mut map, 0, "", 3), (Moved::News(new), ["+2=here:3".to_string()].into()));
    assert_eq!(moved(&mut map, 16_383, "here", 3), (Moved::News(new), [].into()));
    assert_eq!(of(&map, 0).as_deref(), Some("here:3"));
    assert_eq!(of(&map, 16_383).as_deref(), Some("here:3"));
    let no_slot = MapError::Slots { first: 16_384, last: 16_384 };
    assert_eq!(moved(&mut map, 16_384, "a", 1), (Moved::NotTaken(no_slot), [].into()));
    let (_, changes) = update(&mut map, &slots).unwrap();
    assert_eq!(changes, ["-2=here:3"]);
    assert_eq!(shown(&map), "0-99 a:1, 100-199 b:2");
}

#[test]
fn a_redirection_that_does_not_fit_changes_nothing_and_is_news() {
    let mut one = SlotMap::new([SlotRange::default(); 3], [Primary::default(); 1]);
    let mut two = SlotMap::new([SlotRange::default(); 2], [Primary::default(); 2]);
    let slots = reply(&[(0, 99, node("a", 1))]);
    update(&mut one, &slots).unwrap();
    update(&mut two, &slots).unwrap();
    let long = "x".repeat(61);
    for ((moved, changes), needed, capacity) in [
        (moved(&mut one, 5, "b", 1), 128, 64),
        (moved(&mut one, 5, &long, 1), 61, 60),
        (moved(&mut two, 5, "b", 1), 18, 12),
    ] {
        let full = CapacityError::new(Buffer::SlotMap, needed, capacity);
        assert_eq!(moved, Moved::NotTaken(MapError::TooSmall(full)));
        assert!(moved.is_news() && moved.primary().is_none() && changes.is_empty());
    }
    assert_eq!((shown(&one), shown(&two)), ("0-99 a:1".into(), "0-99 a:1".into()));
    assert_eq!((one.primaries().count(), two.primaries().count()), (1, 1));
}

#[test]
fn a_redirection_in_full_memory_takes_the_place_of_a_primary_without_slots() {
    let mut full = SlotMap::new([SlotRange::default(); 8], [Primary::default(); 2]);
    let mut grows = SlotMap::new([SlotRange::default(); 8], Grows::new(0, 400));
    let slots = reply(&[(0, 99, node("a", 1))]);
    update(&mut full, &slots).unwrap();
    update(&mut grows, &slots).unwrap();
    let mut story = |slot, address| {
        let both = (moved(&mut full, slot, address, 1), moved(&mut grows, slot, address, 1));
        assert_eq!(both.0, both.1);
        both.0
    };
    let id = PrimaryId(1);
    assert_eq!(story(5, "b"), (Moved::News(id), ["+1=b:1".to_string()].into()));
    // Its only slot is the one that goes elsewhere.
    let changes = ["-1=b:1", "+1=c:1"].map(String::from).to_vec();
    assert_eq!(story(5, "c"), (Moved::News(id), changes));
    assert_eq!(story(5, "a"), (Moved::News(PrimaryId(0)), [].into()));
    let changes = ["-1=c:1", "+1=d:1"].map(String::from).to_vec();
    assert_eq!(story(7, "d"), (Moved::News(id), changes));
    assert_eq!((shown(&full), shown(&grows)), {
        let shown = "0-6 a:1, 7-7 d:1, 8-99 a:1".to_string();
        (shown.clone(), shown)
    });
}

#[test]
fn commands_for_any_primary_take_turns() {
    let mut map = map();
    assert_eq!(map.any(0), None);
    update(&mut map, &reply(&[(0, 9, node("a", 1)), (10, 19, node("b", 2))])).unwrap();
    update(&mut map, &reply(&[(0, 9, node("b", 2)), (10, 19, node("c", 3))])).unwrap();
    let turns = [0, 1, 2, 3, usize::MAX].map(|turn| map.any(turn).unwrap().index());
    assert_eq!(turns, [1, 2, 1, 2, 2]);
}

#[test]
fn more_ranges_than_slots_are_no_map() {
    let ranges = |count: i64| {
        let range = |at: i64| (at % 16_384, at % 16_384, node("a", 1));
        reply(&(0..count).map(range).collect::<Vec<_>>())
    };
    let mut map = SlotMap::new(Grows::new(0, 20_000), [Primary::default(); 1]);
    update(&mut map, &ranges(16_384)).unwrap();
    assert_eq!(update(&mut map, &ranges(16_385)), Err(MapError::TooManyRanges));
    assert_eq!(shown(&map), "0-16383 a:1");
}

#[test]
fn a_host_that_is_too_long_changes_nothing_in_full_memory_either() {
    let mut map = SlotMap::new([SlotRange::default(); 4], [Primary::default(); 2]);
    let first = reply(&[(0, 9, node("a", 1)), (10, 19, node("c", 1))]);
    map.update(Value::new(first.as_bytes()).unwrap(), "", |_| ()).unwrap();
    let before = format!("{map:?}");
    let long = "x".repeat(61);
    let second = reply(&[(0, 9, node("b", 1)), (10, 19, node(&long, 1))]);
    let told = |change: Change<'_>| panic!("{change:?}");
    assert!(map.update(Value::new(second.as_bytes()).unwrap(), "", told).is_err());
    assert_eq!(format!("{map:?}"), before);
}
