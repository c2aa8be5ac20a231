//! The scripts once more, beside real servers. `MODEL_SCRIPTS` says how many.

use model::real::{Real, programs};
use model::{Kind, Script, replay, shown, shrink};

#[test]
fn real_servers_do_the_same_and_the_connection_knows() {
    let count = std::env::var("MODEL_SCRIPTS").ok().and_then(|text| text.parse().ok());
    let count = count.unwrap_or(100);
    let mut runs = 0;
    for program in programs() {
        for cluster in [false, true] {
            let start = std::time::Instant::now();
            let real = Real::start(&program, cluster).unwrap_or_else(|error| panic!("{error}"));
            let name = real.name();
            let mut real = Some(real);
            let mut play = |script: &Script| {
                let (played, server) = replay(script, real.take().expect("it was given back"));
                real = Some(server);
                played
            };
            let mut operations = 0;
            for seed in 1..=count {
                let script = Script::draw(seed, 100, Kind::Real { cluster });
                match play(&script) {
                    Ok(played) => (operations, runs) = (operations + played, runs + 1),
                    Err(broken) => {
                        let (script, broken) = shrink(&script, &broken, &mut play);
                        panic!("{name}: {}", shown(&script, &broken));
                    }
                }
            }
            let time = start.elapsed();
            println!("{name}: {count} scripts, {operations} operations in {time:.1?}");
        }
    }
    println!("\n{runs} runs of scripts");
}
