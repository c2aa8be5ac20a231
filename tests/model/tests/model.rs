//! A hundred thousand operations. `MODEL_SCRIPTS` has it play more.

use model::{Kind, Script, play, queue, shown, shrink};

/// How many to play.
fn scripts(usually: u64) -> u64 {
    let asked = std::env::var("MODEL_SCRIPTS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(usually)
}

#[test]
fn a_connection_keeps_its_promises_whatever_happens() {
    let start = std::time::Instant::now();
    let mut operations = 0;
    for seed in 1..=scripts(1000) {
        let script = Script::draw(seed, 100, Kind::Any);
        match play(&script) {
            Ok(played) => operations += played,
            Err(broken) => {
                let (script, broken) = shrink(&script, &broken, play);
                panic!("{}", shown(&script, &broken));
            }
        }
    }
    let time = start.elapsed();
    println!("{operations} operations in {time:.1?}");
    assert!(operations >= 100_000, "only {operations}");
}

#[test]
fn the_same_seed_is_the_same_script() {
    let steps = |seed| Script::draw(seed, 100, Kind::Any).steps;
    assert_eq!(steps(7), steps(7));
    assert_ne!(steps(7), steps(8));
}

#[test]
fn who_has_gone_has_withdrawn_and_nothing_is_executed_twice() {
    let mut operations = 0;
    for seed in 1..=scripts(500) {
        let script = queue::draw(seed, 100);
        operations += queue::play(&script).unwrap_or_else(|broken| {
            let (script, broken) = queue::shrink(script, broken);
            panic!("seed {seed}: {broken:?}: {script:#?}")
        });
    }
    assert!(operations >= 50_000, "only {operations}");
}
