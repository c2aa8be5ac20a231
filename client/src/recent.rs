//! Lists that give back what recent uses didn't need.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use redis_entraid_core::storage::Recent;

/// Less is not worth giving back, in bytes.
const LEAST: usize = 4 << 10;

/// Empties `items`, and gives back what `recent` uses, in bytes, didn't need.
pub(crate) fn clear<T>(recent: Recent, items: &mut Vec<T>) {
    items.clear();
    if let Some(keep) = keep::<T>(recent, items.capacity()) {
        items.shrink_to(keep);
    }
}

/// The same for a queue.
pub(crate) fn clear_queue<T>(recent: Recent, items: &mut VecDeque<T>) {
    items.clear();
    if let Some(keep) = keep::<T>(recent, items.capacity()) {
        items.shrink_to(keep);
    }
}

fn keep<T>(recent: Recent, room: usize) -> Option<usize> {
    let size = size_of::<T>().max(1);
    recent.keep(room.saturating_mul(size), LEAST).map(|keep| keep / size)
}
