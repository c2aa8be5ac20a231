//! Nothing: what is subtracted from the others.
#![no_std]
#![no_main]

#[cortex_m_rt::entry]
fn main() -> ! {
    device::board::end(true, 0, 0)
}
