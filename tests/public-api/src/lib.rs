//! What each crate shows to its users: `core.txt` and its neighbours list every public item with all
//! features on, without what is derived or blanket. `tests/snapshots.rs` compares.
