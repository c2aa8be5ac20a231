//! The token manager, a connection, and a managed identity.
#![no_std]
#![no_main]

use cortex_m::singleton;
use device::source::{self, Buffers, REQUEST, RESPONSE};

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut buffers = singleton!(: Buffers = Buffers([0; REQUEST], [0; RESPONSE]));
    device::commands::run(
        &mut |manager, now, number| match &mut buffers {
            Some(buffers) => source::take(buffers, manager, now, number),
            None => false,
        },
        size_of::<Buffers>(),
    )
}
