//! A token that is kept and taken in again.

use super::*;
use crate::storage::Buffer;

/// The wall clock when the token was asked for.
const THEN: UnixTime = UnixTime(1_800_000_000);

/// A snapshot of a token that lives for an hour, taken at once.
fn kept() -> Vec<u8> {
    let mut manager = manager(bare());
    manager.unix_time(secs(0), THEN);
    manager.token(secs(0), &token("token-1", 3_600_000)).unwrap();
    let mut memory = [0; 128];
    manager.snapshot(secs(0), &mut memory).unwrap().unwrap().to_vec()
}

fn later(seconds: u64) -> Option<UnixTime> {
    Some(UnixTime(THEN.0 + seconds))
}

#[test]
fn with_a_wall_clock_the_schedule_goes_on_where_it_was() {
    let kept = kept();
    let now = ms(3);
    let mut restored = manager(bare());
    restored.restore(&kept, now, later(1000)).unwrap();
    let due = |policy: RefreshPolicy| policy.refresh_after(Duration::from_secs(3600), None);
    let due = now.plus(due(bare())).minus(Duration::from_secs(1000));
    fetches_at(&mut restored, due);
    let end = now.plus(Duration::from_secs(2600));
    assert!(restored.login(end.minus(Duration::from_millis(1))).is_some());
    assert!(restored.login(end).is_none());
}

#[test]
fn a_snapshot_of_what_was_restored_is_the_same() {
    let kept = kept();
    let mut restored = manager(bare());
    restored.restore(&kept, ms(3), later(1000)).unwrap();
    let mut memory = [0; 128];
    // The date is the wall clock's, in whole seconds.
    let again = restored.snapshot(ms(3), &mut memory).unwrap().unwrap();
    assert_eq!(again, kept);
}

#[test]
fn what_is_late_is_fetched_at_once_and_what_has_ended_is_of_no_use() {
    let kept = kept();
    let mut restored = manager(bare());
    assert_eq!(restored.restore(&kept, ms(3), later(3600)), Err(SnapshotError::Expired));
    assert!(restored.login(ms(3)).is_none());
    restored.restore(&kept, ms(3), later(3599)).unwrap();
    assert_eq!(restored.pull(ms(3)), Pull::UseThenRefresh);
}

#[test]
fn a_clock_that_is_behind_lets_no_token_live_longer() {
    let mut restored = manager(bare());
    restored.restore(&kept(), ms(3), Some(UnixTime(0))).unwrap();
    let end = ms(3).plus(Duration::from_secs(3600));
    assert!(restored.login(end.minus(Duration::from_millis(1))).is_some());
    assert!(restored.login(end).is_none());
}

#[test]
fn without_a_wall_clock_it_is_tried_while_a_fresh_one_is_fetched() {
    let mut restored = manager(bare());
    let generation = restored.restore(&kept(), ms(3), None).unwrap();
    assert!(matches!(restored.poll(ms(3)), Action::Fetch { .. }));
    assert_eq!(restored.login(ms(3)).unwrap().expose(), "token-1");
    // One try is all it has.
    restored.rejected(ms(4), generation);
    assert_eq!(restored.pull(ms(4)), Pull::FetchFirst);
}

#[test]
fn without_a_date_there_is_nothing_to_keep() {
    let mut manager = manager(bare());
    assert!(manager.snapshot(secs(0), &mut [0; 99]).unwrap().is_none(), "there is no token");
    manager.token(secs(0), &token("token-1", 3_600_000)).unwrap();
    assert!(manager.snapshot(secs(0), &mut [0; 99]).unwrap().is_none(), "it has no date");
}

#[test]
fn what_was_damaged_is_refused_or_harmless() {
    let kept = kept();
    for len in 0..kept.len() {
        let error = manager(bare()).restore(&kept[..len], ms(3), later(0)).unwrap_err();
        assert_eq!(error, SnapshotError::Damaged, "{len}");
    }
    let longer = [&kept[..], &[0]].concat();
    assert_eq!(manager(bare()).restore(&longer, ms(3), later(0)), Err(SnapshotError::Damaged));
    for at in 0..kept.len() {
        let mut changed = kept.clone();
        changed[at] ^= 0x81;
        let result = manager(bare()).restore(&changed, ms(3), later(0));
        assert!(at > 0 || result == Err(SnapshotError::Version));
    }
}

#[test]
fn too_little_room_is_said() {
    let mut manager = manager(bare());
    manager.unix_time(secs(0), THEN);
    manager.token(secs(0), &token("token-1", 3_600_000)).unwrap();
    let error = manager.snapshot(secs(0), &mut [0; 10]).unwrap_err();
    assert_eq!((error.buffer, error.capacity), (Buffer::Snapshot, 10));
    manager.snapshot(secs(0), &mut std::vec![0; error.needed]).unwrap().unwrap();
    let mut small = TokenManager::new(bare(), [[0; 4]; 2]);
    let result = small.restore(&kept(), ms(3), later(0));
    assert!(matches!(result, Err(SnapshotError::TooLarge(_))), "{result:?}");
    assert!(small.login(ms(3)).is_none());
}
