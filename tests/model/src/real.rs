//! A real server beside the small one.

use crate::script::Other;
use crate::server::{Broken, Frame};

/// A real server.
#[derive(Debug)]
pub struct Real {}

impl Real {
    pub(crate) fn accept(&mut self) -> Result<(), Broken> {
        Ok(())
    }
    pub(crate) fn exchange(&mut self, _raw: Option<&[u8]>, _frames: &mut [Frame]) -> Result<(), Broken> {
        Ok(())
    }
    pub(crate) fn forbid(&mut self, _word: &str) {}
    pub(crate) fn other(&mut self, _other: Other, _number: usize) -> Result<(), Broken> {
        Ok(())
    }
}
