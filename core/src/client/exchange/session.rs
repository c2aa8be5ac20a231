//! A transaction or a `WATCH` that spans batches.

use crate::command::Class;

/// It belongs to one handle, and to one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    /// Its number; later ones have higher ones.
    pub(super) id: u32,
    /// Whose it is.
    pub(super) owner: Option<u32>,
    multi: bool,
    watch: bool,
    /// It came to nothing, and its owner wasn't told yet.
    pub(super) lost: bool,
}

impl Session {
    /// What it is after the commands of a batch of `slot`.
    pub(super) fn after(mut self, slot: u32, commands: &[(Class, usize)]) -> Self {
        for (class, _) in commands {
            match class {
                Class::Multi => self.multi = true,
                Class::Exec | Class::Discard => (self.multi, self.watch) = (false, false),
                Class::Watch => self.watch = true,
                Class::Unwatch => self.watch = false,
                _ => {}
            }
        }
        if !self.multi && !self.watch {
            return self.over();
        }
        Self { owner: Some(slot), ..self }
    }

    /// What it is when it is over: the next one may begin.
    pub(super) fn over(self) -> Self {
        let id = self.id + u32::from(self.owner.is_some());
        Self { id, ..Self::default() }
    }
}
