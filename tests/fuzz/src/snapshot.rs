//! Tokens that come back from a cache that anybody may have written to.

use redis_entraid_core::manager::{Fingerprint, Pull, TokenManager};
use redis_entraid_core::policy::{Jitter, RefreshPolicy};
use redis_entraid_core::time::{Instant, UnixTime};

/// Whose they are.
const ID: Fingerprint = Fingerprint::new();

/// The first two bytes say what time it is, if there is a clock; the others are a snapshot.
pub fn check(data: &[u8]) {
    let [clock, time, snapshot @ ..] = data else { return };
    let unix_time = (*clock > 0).then(|| UnixTime(u64::from(*time) << (clock % 64)));
    let now = Instant::from_millis(1000);
    let manager = || TokenManager::new(RefreshPolicy::default(), Jitter::none(), [[0; 256]; 2]);
    let mut restored = manager();
    if restored.restore(snapshot, ID, now, unix_time).is_err() {
        assert_eq!(restored.pull(now), Pull::FetchFirst);
        return;
    }
    let login = restored.login(now).expect("it was taken");
    assert!(login.expires_at() > now && !login.user().is_empty());
    let _ = format!("{restored:?}");
    // What was taken can be kept again, and is the same then.
    let mut memory = [0; 512];
    let again =
        restored.snapshot(now, ID, &mut memory).expect("there is room").expect("it has a date");
    let mut second = manager();
    second.restore(again, ID, now, unix_time).expect("we have made it");
    let texts = |manager: &TokenManager<_>| {
        let login = manager.login(now).expect("it was taken");
        (login.user().to_owned(), login.expose().to_owned(), login.expires_at())
    };
    assert_eq!(texts(&restored), texts(&second));
    // When the time becomes known, it lives no longer than before.
    restored.unix_time(now, UnixTime(u64::from(*time) << 24));
    let still = restored.login(now).map(|login| login.expires_at());
    assert!(still.is_none_or(|end| end > now && end <= texts(&second).2));
}
