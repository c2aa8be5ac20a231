//! What a firmware needs of the board `mps2-an385`, as QEMU has it: the clock, the network, and
//! what only an emulated board has. On others that is the HAL's.
#![no_std]

pub mod host;
mod lan9118;
pub mod time_driver;

pub use lan9118::Lan9118;
