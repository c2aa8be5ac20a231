//! An emulated Cortex-M3 with nothing on it. What it has to say goes out by semihosting, without
//! the formatting of the language, which would be counted.

use core::panic::PanicInfo;

use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::{nr, syscall1};

/// Ends the emulator with the result. Says how much of the stack was used, how many bytes of RAM are
/// `buffers`, which a user chooses, and how many of flash are `texts` that only this test needs.
pub fn end(good: bool, buffers: usize, texts: usize) -> ! {
    let (used, room) = stack();
    say(b"stack ", used);
    say(b"buffers ", buffers);
    say(b"texts ", texts);
    // A stack that is full to its end may have been fuller.
    let good = good && used < room;
    loop {
        debug::exit(if good { EXIT_SUCCESS } else { EXIT_FAILURE });
    }
}

/// Writes a line of a word and a number.
fn say(word: &[u8], mut number: usize) {
    let mut text = [0; 24];
    for (to, from) in text.iter_mut().zip(word) {
        *to = *from;
    }
    // Eight digits, a new line and the zero at the end.
    if let Some(digits) = text.get_mut(word.len()..word.len() + 9) {
        for (at, to) in digits.iter_mut().rev().enumerate() {
            *to = if at == 0 { b'\n' } else { b'0' + (number % 10) as u8 };
            number /= if at == 0 { 1 } else { 10 };
        }
    }
    // SAFETY: the text ends with a zero.
    unsafe { syscall1(nr::WRITE0, text.as_ptr() as usize) };
}

/// Bytes of the stack that were used at some time, and bytes that there are: it was painted before
/// anything ran.
fn stack() -> (usize, usize) {
    const PAINT: u32 = 0xcccc_cccc;
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
    }
    let (mut at, top) = (&raw const _stack_end, &raw const _stack_start);
    let room = top as usize - at as usize;
    // SAFETY: all of it is RAM.
    while at < top && unsafe { at.read_volatile() } == PAINT {
        at = at.wrapping_add(1);
    }
    (top as usize - at as usize, room)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        debug::exit(EXIT_FAILURE);
    }
}

#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    loop {
        debug::exit(EXIT_FAILURE);
    }
}
