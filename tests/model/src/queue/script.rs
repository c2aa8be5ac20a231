//! What callers do, drawn from a seed, and made small.

use simulation::Chance;

use super::{CALLERS, play};
use crate::server::Broken;

/// Something that happens. Numbers choose handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A caller sends what the letters say, one behind the other: `p`ing, `s`et, `m`ulti, `e`xec,
    /// `d`iscard. With a time limit in milliseconds, or not.
    Send(usize, &'static str, Option<u64>),
    /// A caller gives up.
    Drop(usize),
    /// So many bytes flow.
    Flow(usize, usize),
    /// Time passes.
    Pass(u64),
    /// The server does nothing for so long.
    Silence(u64),
    /// The server forgets who has logged in.
    Logout,
    /// The server closes the connection.
    Cut,
}

/// What callers send.
const PIPELINES: [&str; 9] = ["p", "s", "ps", "sss", "mse", "smspes", "m", "e", "msd"];

/// A script of so many steps.
pub fn draw(seed: u64, len: usize) -> Vec<Step> {
    let mut chance = Chance::new(seed);
    let mut pick = move |below: u64| chance.between(0, below) as usize;
    let flows = [0, 1, 30, 100, usize::MAX];
    (0..len)
        .map(|_| match pick(40) {
            0..14 => {
                let limit = [None, None, Some(50), Some(20_000)][pick(4)];
                Step::Send(pick(CALLERS as u64), PIPELINES[pick(PIPELINES.len() as u64)], limit)
            }
            14..20 => Step::Drop(pick(CALLERS as u64)),
            20..32 => Step::Flow(flows[pick(5)], flows[pick(5)]),
            32..36 => Step::Pass([1, 60, 1000, 6000][pick(4)]),
            36 => Step::Silence(pick(30_000) as u64),
            37 => Step::Logout,
            38 => Step::Cut,
            _ => Step::Flow(usize::MAX, usize::MAX),
        })
        .collect()
}

/// The smallest script found that breaks the same rule.
pub fn shrink(mut steps: Vec<Step>, mut broken: Broken) -> (Vec<Step>, Broken) {
    let mut piece = steps.len();
    while piece > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + piece).min(steps.len()));
            match play(&fewer) {
                Err(found) if found.rule == broken.rule => (steps, broken) = (fewer, found),
                _ => at += piece,
            }
        }
        piece /= 2;
    }
    (steps, broken)
}
