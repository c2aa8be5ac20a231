//! A guide, from the first command to what goes wrong.

#[doc = include_str!("../guide/quickstart.md")]
pub mod quickstart {}

#[doc = include_str!("../guide/identities.md")]
pub mod identities {}

#[doc = include_str!("../guide/cluster.md")]
pub mod cluster {}

#[doc = include_str!("../guide/configuration.md")]
pub mod configuration {}

#[doc = include_str!("../guide/troubleshooting.md")]
pub mod troubleshooting {}
