//! What only an emulated board has: a command line, files, and an end. By semihosting.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::{nr, syscall};
use defmt::{error, info};

/// The words of the command line, `name=value` each.
#[derive(Clone, Copy)]
pub struct Arguments(&'static str);

impl Arguments {
    /// Reads the command line into `room`.
    pub fn read(room: &'static mut [u8]) -> Option<Self> {
        let mut block = [room.as_mut_ptr() as usize, room.len()];
        let asked = block.as_mut_ptr();
        // SAFETY: the block names memory that is there and is ours.
        let failed = unsafe { syscall(nr::GET_CMDLINE, &*asked.cast::<[usize; 2]>()) };
        // SAFETY: the host has written it.
        let len = unsafe { asked.add(1).read_volatile() };
        let line = room.get(..len).filter(|_| failed == 0)?;
        core::str::from_utf8(line).ok().map(Self)
    }

    /// The value of `name`, or nothing.
    pub fn text(&self, name: &str) -> &'static str {
        let mut words = self.0.split([' ', '\0']).filter_map(|word| word.split_once('='));
        words.find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The same as a number, or zero.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }
}

/// Reads the file `name` of the host into `room`.
pub fn read_file(name: &str, room: &'static mut [u8]) -> Option<&'static [u8]> {
    let mut path = [0; 128];
    path.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    let open = [path.as_ptr() as usize, nr::open::R_BINARY, name.len()];
    // SAFETY: the path is there, and ends with a zero.
    let file = unsafe { syscall(nr::OPEN, &open) };
    if file == usize::MAX {
        return None;
    }
    let read = [file, room.as_mut_ptr() as usize, room.len()];
    // SAFETY: the room is there and is ours.
    let missing = unsafe { syscall(nr::READ, &read) };
    // A file that fills the room may have more.
    room.get(..room.len().checked_sub(missing)?).filter(|_| missing > 0)
}

/// Ends the emulator with the result, and says how much of the stack was used.
pub fn exit(good: bool) -> ! {
    let (used, room) = stack();
    info!("stack: {} of {} bytes", used, room);
    // A stack that is full to its end may have been fuller.
    let good = good && used < room;
    loop {
        debug::exit(if good { EXIT_SUCCESS } else { EXIT_FAILURE });
    }
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

/// Who fails while failing is not to say so for ever.
static PANICS: AtomicU32 = AtomicU32::new(0);

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // Where it was and what it has to say are not looked at, so that no text of any panic is in the
    // flash: that would be an eighth of it.
    let before = PANICS.load(Ordering::Relaxed);
    PANICS.store(before + 1, Ordering::Relaxed);
    if before == 0 {
        error!("a panic");
    }
    loop {
        debug::exit(EXIT_FAILURE);
    }
}

#[defmt::panic_handler]
fn defmt_panic() -> ! {
    loop {
        debug::exit(EXIT_FAILURE);
    }
}

#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    error!("a hard fault");
    loop {
        debug::exit(EXIT_FAILURE);
    }
}
