//! A token that is kept and taken in again.

use super::*;
use crate::storage::Buffer;

/// Whose tokens they are.
const ID: Fingerprint = Fingerprint::new();

/// The wall clock when the token was asked for.
const THEN: UnixTime = UnixTime(1_800_000_000);

/// A snapshot of a token that lives for an hour, taken at once.
fn kept() -> Vec<u8> {
    let mut manager = manager(bare());
    manager.unix_time(secs(0), THEN);
    manager.gets(secs(0), &token("token-1", 3_600_000)).unwrap();
    let mut memory = [0; 128];
    manager.snapshot(secs(0), ID, &mut memory).unwrap().unwrap().to_vec()
}

fn later(seconds: u64) -> Option<UnixTime> {
    Some(UnixTime(THEN.0 + seconds))
}

#[test]
fn with_a_wall_clock_the_schedule_goes_on_where_it_was() {
    let kept = kept();
    let now = ms(3);
    let mut restored = manager(bare());
    restored.restore(&kept, ID, now, later(1000)).unwrap();
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
    restored.restore(&kept, ID, ms(3), later(1000)).unwrap();
    let mut memory = [0; 128];
    // The date is the wall clock's, in whole seconds.
    let again = restored.snapshot(ms(3), ID, &mut memory).unwrap().unwrap();
    assert_eq!(again, kept);
}

#[test]
fn what_is_late_is_fetched_at_once_and_what_has_ended_is_of_no_use() {
    let kept = kept();
    let mut restored = manager(bare());
    assert_eq!(restored.restore(&kept, ID, ms(3), later(3600)), Err(SnapshotError::Expired));
    assert!(restored.login(ms(3)).is_none());
    restored.restore(&kept, ID, ms(3), later(3599)).unwrap();
    assert_eq!(restored.pull(ms(3)), Pull::UseThenRefresh);
}

#[test]
fn a_clock_that_is_behind_lets_no_token_live_longer() {
    let mut restored = manager(bare());
    restored.restore(&kept(), ID, ms(3), Some(UnixTime(0))).unwrap();
    let end = ms(3).plus(Duration::from_secs(3600));
    assert!(restored.login(end.minus(Duration::from_millis(1))).is_some());
    assert!(restored.login(end).is_none());
}

#[test]
fn without_a_wall_clock_it_is_tried_while_a_fresh_one_is_fetched() {
    let mut restored = manager(bare());
    let generation = restored.restore(&kept(), ID, ms(3), None).unwrap();
    assert!(matches!(restored.poll(ms(3)), Action::Fetch { .. }));
    assert_eq!(restored.login(ms(3)).unwrap().expose(), "token-1");
    // One try is all it has.
    restored.rejected(ms(4), generation);
    assert_eq!(restored.pull(ms(4)), Pull::FetchFirst);
}

#[test]
fn without_a_date_there_is_nothing_to_keep() {
    let mut manager = manager(bare());
    assert!(manager.snapshot(secs(0), ID, &mut [0; 99]).unwrap().is_none(), "there is no token");
    manager.gets(secs(0), &token("token-1", 3_600_000)).unwrap();
    assert!(manager.snapshot(secs(0), ID, &mut [0; 99]).unwrap().is_none(), "it has no date");
}

#[test]
fn what_was_damaged_is_refused_or_harmless() {
    let kept = kept();
    for len in 0..kept.len() {
        let error = manager(bare()).restore(&kept[..len], ID, ms(3), later(0)).unwrap_err();
        assert_eq!(error, SnapshotError::Damaged, "{len}");
    }
    let longer = [&kept[..], &[0]].concat();
    assert_eq!(manager(bare()).restore(&longer, ID, ms(3), later(0)), Err(SnapshotError::Damaged));
    for at in 0..kept.len() {
        let mut changed = kept.clone();
        changed[at] ^= 0x81;
        let result = manager(bare()).restore(&changed, ID, ms(3), later(0));
        assert!(at > 0 || result == Err(SnapshotError::Version));
    }
}

#[test]
fn too_little_room_is_said() {
    let mut manager = manager(bare());
    manager.unix_time(secs(0), THEN);
    manager.gets(secs(0), &token("token-1", 3_600_000)).unwrap();
    let error = manager.snapshot(secs(0), ID, &mut [0; 10]).unwrap_err();
    assert_eq!((error.buffer, error.capacity), (Buffer::Snapshot, 10));
    manager.snapshot(secs(0), ID, &mut std::vec![0; error.needed]).unwrap().unwrap();
    let mut small = TokenManager::new(bare(), Jitter::none(), [[0; 4]; 2]);
    let result = small.restore(&kept(), ID, ms(3), later(0));
    assert!(matches!(result, Err(SnapshotError::TooLarge(_))), "{result:?}");
    assert!(small.login(ms(3)).is_none());
}

#[test]
fn a_snapshot_of_another_identity_is_not_used() {
    use crate::source::{Authority, ManagedIdentity, Selector, ServicePrincipal, Source};
    let of = |source: &dyn Source| Fingerprint::of(|feed| source.identify(feed));
    let principal = |tenant, client, secret| {
        let source = ServicePrincipal::with_secret(Authority::tenant(tenant), client, secret);
        of(&source)
    };
    let managed = |selector| {
        let source = ManagedIdentity::imds(selector);
        of(&source)
    };
    let app = |endpoint| {
        let source = ManagedIdentity::app_service(endpoint, "header", Selector::System);
        of(&source)
    };
    let all = [
        ID,
        principal("tenant", "client", "secret"),
        principal("other", "client", "secret"),
        principal("tenant", "other", "secret"),
        principal("tenantc", "lient", "secret"),
        managed(Selector::System),
        managed(Selector::ClientId("id")),
        managed(Selector::ObjectId("id")),
        managed(Selector::ObjectId("other")),
        app("http://localhost:1/token"),
    ];
    let mut first = manager(bare());
    first.unix_time(secs(0), THEN);
    first.push(secs(0), &token("token-1", 3_600_000)).unwrap();
    for (at, identity) in all.into_iter().enumerate() {
        let mut memory = [0; 128];
        let kept = first.snapshot(secs(0), identity, &mut memory).unwrap().unwrap();
        for (other_at, other) in all.into_iter().enumerate() {
            let mut restored = manager(bare());
            let result = restored.restore(kept, other, ms(3), later(0));
            if at == other_at {
                result.unwrap();
            } else {
                assert_eq!(result, Err(SnapshotError::OtherIdentity), "{at} {other_at}");
                assert_eq!(restored.pull(ms(3)), Pull::FetchFirst);
            }
        }
    }
    // What changes from one start to the next doesn't matter.
    assert_eq!(all[1], principal("tenant", "client", "rotated"));
    assert_eq!(all[9], app("http://localhost:2/token"));
}

#[test]
fn a_token_that_was_refused_is_not_kept() {
    let mut manager = manager(bare());
    manager.unix_time(secs(0), THEN);
    manager.push(secs(0), &token("token-1", 3_600_000)).unwrap();
    manager.rejected(secs(1), Generation(1));
    assert!(manager.login(secs(1)).is_some(), "there is nothing better to connect with");
    assert!(manager.snapshot(secs(1), ID, &mut [0; 128]).unwrap().is_none());
    // The one before is, if it serves.
    manager.accepted(Generation(1));
    manager.push(secs(2), &token("token-2", 3_600_000)).unwrap();
    manager.rejected(secs(3), Generation(2));
    let mut memory = [0; 128];
    let kept = manager.snapshot(secs(3), ID, &mut memory).unwrap().unwrap();
    assert!(kept.windows(7).any(|part| part == b"token-1"));
}

#[test]
fn what_was_restored_without_a_clock_is_judged_when_the_time_is_known() {
    let kept = kept();
    let restored = |at: Instant, seconds| {
        let mut restored = manager(bare());
        restored.restore(&kept, ID, ms(3), None).unwrap();
        restored.unix_time(at, UnixTime(THEN.0 + seconds));
        restored
    };
    // It has ended: there is none, and the next one is due.
    let mut ended = restored(secs(5), 3600);
    assert!(ended.login(secs(5)).is_none());
    assert!(matches!(ended.poll(secs(5)), Action::Fetch { .. }));
    // It lives: its schedule goes on where it was.
    let mut lives = restored(secs(5), 1000);
    let end = secs(5 + 2600);
    assert_eq!(lives.login(secs(5)).unwrap().expires_at(), end);
    let due = bare().refresh_after(Duration::from_secs(3600), None) - Duration::from_secs(1000);
    fetches_at(&mut lives, secs(5).plus(due));
    // A clock that is behind lets it live no longer than it could.
    let behind = restored(secs(5), 0);
    assert_eq!(behind.login(secs(5)).unwrap().expires_at(), ms(3_600_003));
    // That is done once: what the clock says later is another matter.
    lives.unix_time(secs(6), UnixTime(THEN.0 + 99));
    assert_eq!(lives.login(secs(6)).unwrap().expires_at(), end);
}
