//! What a server may send that no real one does.

mod content;
mod fake;
mod hostile;
