//! What a guest without a libc lacks: two symbols that its compiler and its component's bindings
//! call by name. With std they come from the libc.
#![allow(unsafe_code)]

use alloc::alloc::{Layout, alloc, handle_alloc_error, realloc};

/// The canonical ABI's allocator: the host puts lists and strings there that it hands over.
///
/// # Safety
/// As the [canonical ABI](https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md)
/// promises: `align` is a power of two, and `old` is null or was got here with `old_len` and
/// `align`.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_len: usize,
    align: usize,
    new_len: usize,
) -> *mut u8 {
    if new_len == 0 {
        return align as *mut u8;
    }
    // SAFETY: the layouts are those of the caller, whose lengths fit the memory they lie in; the
    // new length is not zero, and if there is an old one, `old` was allocated with it here.
    unsafe {
        let layout = Layout::from_size_align_unchecked(new_len, align);
        let new = match old_len {
            0 => alloc(layout),
            _ => realloc(old, Layout::from_size_align_unchecked(old_len, align), new_len),
        };
        if new.is_null() {
            handle_alloc_error(layout);
        }
        new
    }
}

/// Compares memory, as C's does.
///
/// # Safety
/// Both pointers are good for reading `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> i32 {
    let mut at = 0;
    while at < len {
        // SAFETY: `at` is below `len`.
        let (one, other) = unsafe { (*one.add(at), *other.add(at)) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
        at += 1;
    }
    0
}
