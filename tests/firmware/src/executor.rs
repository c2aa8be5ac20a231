//! embassy's executor, with another sleep: QEMU takes `WFE`, which the usual one sleeps by, for a
//! pause of no length, and each board would keep a core of the host busy all the time.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::asm::wfi;
use embassy_executor::{Spawner, raw};
use static_cell::StaticCell;

static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();

/// Some task has something to do.
static PENDED: AtomicBool = AtomicBool::new(false);

#[unsafe(export_name = "__pender")]
fn pend(_: *mut ()) {
    PENDED.store(true, Ordering::Relaxed);
}

/// Runs the tasks that `begin` spawns, for ever.
pub fn run(begin: impl FnOnce(Spawner)) -> ! {
    let executor = EXECUTOR.init(raw::Executor::new(null_mut()));
    begin(executor.spawner());
    loop {
        PENDED.store(false, Ordering::Relaxed);
        // SAFETY: nobody else polls it, and the pender only takes a note.
        unsafe { executor.poll() };
        // What comes in between is held back, and ends the sleep.
        cortex_m::interrupt::free(|_| {
            if !PENDED.load(Ordering::Relaxed) {
                wfi();
            }
        });
    }
}
