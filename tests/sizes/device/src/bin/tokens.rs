//! The token manager.
#![no_std]
#![no_main]

use cortex_m::singleton;
use device::tokens::{self, Manager, SLOT};

#[cortex_m_rt::entry]
fn main() -> ! {
    let good = run().unwrap_or(false);
    device::board::end(good, 2 * SLOT, tokens::texts())
}

fn run() -> Option<bool> {
    let first = singleton!(: [u8; SLOT] = [0; SLOT])?;
    let second = singleton!(: [u8; SLOT] = [0; SLOT])?;
    let manager = singleton!(: Manager = tokens::manager([first, second]))?;
    Some(tokens::hours(manager, &mut tokens::take))
}
