//! What a server may send that no real one does.

mod arbitrary;
mod content;
mod fake;
mod hostile;
