#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
// Single-threaded hosts have no `Send` futures.
#![allow(async_fn_in_trait)]
#![deny(
    clippy::expect_used,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

#[cfg(test)]
extern crate std;

mod algorithms;
mod azure;
mod certificate;
mod config;
mod connection;
mod der;
mod error;
mod guard;
mod halves;
mod incoming;
mod inner;
#[cfg(feature = "rsa")]
mod montgomery;
#[cfg(feature = "rsa")]
mod rsa;
mod shared;
mod suite;
mod verifier;

#[cfg(test)]
mod tests;

pub use algorithms::ALGORITHMS;
pub use azure::AZURE;
pub use certificate::{CertificateError, anchor};
pub use config::{Config, MaxFragmentLength};
pub use connection::{Buffers, MIN_RECORDS_OUT, RECORDS_IN, Reader, Tls, Writer};
pub use embedded_io_async;
pub use error::{Error, Violation};
pub use halves::Halves;
pub use rand_core;
pub use rustls_pki_types as pki_types;
pub use suite::{Aes128GcmSha256, Aes256GcmSha384, Suite};
