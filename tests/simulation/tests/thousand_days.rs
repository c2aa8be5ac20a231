//! A thousand days of two hundred connections, in less than a minute.

use simulation::{Settings, simulate};

#[test]
fn two_hundred_connections_stay_logged_in_for_a_thousand_days() {
    let settings = Settings { seed: 20_261_121, connections: 200, days: 1000 };
    let start = std::time::Instant::now();
    let report = simulate(&settings);
    println!("{report:?}");
    // Optimized, as the suite runs it.
    assert!(cfg!(debug_assertions) || start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    // It did happen: refreshes about every 52 minutes, each on all connections.
    assert!(report.refreshes > 20_000 && report.reauths > 3_000_000, "{report:?}");
    assert!(report.refused > 1000 && report.expired > 0 && report.cut > 100, "{report:?}");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let settings = Settings { seed: 7, connections: 20, days: 20 };
    assert_eq!(simulate(&settings), simulate(&settings));
    assert_ne!(simulate(&settings), simulate(&Settings { seed: 8, ..settings }));
}
