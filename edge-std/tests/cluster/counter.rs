//! A counter that one task increments: what a server may say that it is.

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Counter {
    /// The last value that a server has said.
    known: i64,
    /// Increments since then that it may have executed.
    unknown: i64,
}

impl Counter {
    /// An increment was answered. Returns how many were executed more often than they were sent, and how many a server has
    /// acknowledged and lost.
    pub(crate) fn answered(&mut self, value: i64) -> (u64, u64) {
        let most = self.known + self.unknown + 1;
        let doubled = u64::try_from(value - most).unwrap_or(0);
        let lost = u64::try_from(self.known + 1 - value).unwrap_or(0);
        *self = Self { known: value, unknown: 0 };
        (doubled, lost)
    }

    /// An increment failed, and was perhaps executed.
    pub(crate) const fn perhaps_executed(&mut self) {
        self.unknown += 1;
    }
}
