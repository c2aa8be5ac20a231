//! Leaves out of a script what its end doesn't need.

use crate::Broken;
use crate::script::{Script, Settings, Step};

/// The smallest script found that breaks the same rule as this one, and how.
pub fn shrink(
    script: &Script,
    broken: &Broken,
    mut play: impl FnMut(&Script) -> Result<usize, Broken>,
) -> (Script, Broken) {
    let (mut script, mut broken) = (script.clone(), broken.clone());
    let mut tries = 1000;
    let mut attempt = |smaller: Script, script: &mut Script| match play(&smaller) {
        Err(found) if found.rule == broken.rule => {
            broken = found;
            *script = smaller;
            true
        }
        _ => false,
    };
    loop {
        let before = (script.steps.len(), format!("{:?}", script.settings));
        let mut piece = script.steps.len().max(1);
        while piece > 0 && tries > 0 {
            let mut at = 0;
            while at < script.steps.len() && tries > 0 {
                tries -= 1;
                let mut smaller = script.clone();
                smaller.steps.drain(at..(at + piece).min(script.steps.len()));
                if !attempt(smaller, &mut script) {
                    at += piece;
                }
            }
            piece /= 2;
        }
        for simpler in CHOICES {
            let mut settings = script.settings;
            simpler(&mut settings);
            attempt(Script { settings, ..script.clone() }, &mut script);
        }
        for at in 0..script.steps.len() {
            for step in [Step::Drain, Step::Flow(usize::MAX, usize::MAX)] {
                if script.steps[at] != step {
                    let mut smaller = script.clone();
                    smaller.steps[at] = step;
                    if attempt(smaller, &mut script) {
                        break;
                    }
                }
            }
        }
        if tries == 0 || before == (script.steps.len(), format!("{:?}", script.settings)) {
            return (script, broken);
        }
    }
}

/// Each takes one choice back.
const CHOICES: &[fn(&mut Settings)] = &[
    |settings| *settings = Settings::PLAIN,
    |settings| settings.resp2 = Settings::PLAIN.resp2,
    |settings| settings.old_server = Settings::PLAIN.old_server,
    |settings| settings.cluster = Settings::PLAIN.cluster,
    |settings| settings.receive = Settings::PLAIN.receive,
    |settings| settings.transmit = Settings::PLAIN.transmit,
    |settings| settings.ring = Settings::PLAIN.ring,
    |settings| settings.eager = Settings::PLAIN.eager,
    |settings| settings.set_info = Settings::PLAIN.set_info,
    |settings| settings.named = Settings::PLAIN.named,
    |settings| settings.overlap = Settings::PLAIN.overlap,
    |settings| settings.idle = Settings::PLAIN.idle,
    |settings| settings.max_block = Settings::PLAIN.max_block,
    |settings| settings.life = Settings::PLAIN.life,
];
