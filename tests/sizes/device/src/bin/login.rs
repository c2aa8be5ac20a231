//! The token manager, the login and the wire format.
#![no_std]
#![no_main]

use cortex_m::singleton;
use device::login::{BUFFER, talk, texts};
use device::tokens::{self, Manager, SLOT};

#[cortex_m_rt::entry]
fn main() -> ! {
    let texts = tokens::texts() + texts();
    device::board::end(run().is_some(), 2 * SLOT + 2 * BUFFER, texts)
}

fn run() -> Option<()> {
    let first = singleton!(: [u8; SLOT] = [0; SLOT])?;
    let second = singleton!(: [u8; SLOT] = [0; SLOT])?;
    let manager = singleton!(: Manager = tokens::manager([first, second]))?;
    let send = singleton!(: [u8; BUFFER] = [0; BUFFER])?;
    let receive = singleton!(: [u8; BUFFER] = [0; BUFFER])?;
    talk(send, receive, manager, &mut tokens::take)
}
