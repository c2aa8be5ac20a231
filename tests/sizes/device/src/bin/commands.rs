//! The token manager and a connection.
#![no_std]
#![no_main]

use device::tokens;

#[cortex_m_rt::entry]
fn main() -> ! {
    device::commands::run(&mut tokens::take, 0)
}
