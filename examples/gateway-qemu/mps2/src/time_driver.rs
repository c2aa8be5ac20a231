//! embassy's clock: the time from a free-running counter of the board, and a look at it each
//! millisecond, by the core's own timer. HALs bring drivers that let the core sleep for longer.

use core::cell::{Cell, RefCell};
use core::task::Waker;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

/// The frequency of the core and of the counter.
const HZ: u32 = 25_000_000;
const PER_MILLISECOND: u64 = HZ as u64 / 1000;

/// TIMER0, which counts down 32 bits.
mod counter {
    const CTRL: *mut u32 = 0x4000_0000 as *mut u32;
    const VALUE: *mut u32 = 0x4000_0004 as *mut u32;
    const RELOAD: *mut u32 = 0x4000_0008 as *mut u32;

    pub fn start() {
        // SAFETY: the registers are there, and nothing else uses them.
        unsafe {
            RELOAD.write_volatile(u32::MAX);
            VALUE.write_volatile(u32::MAX);
            CTRL.write_volatile(1);
        }
    }

    /// How far it has come.
    pub fn elapsed() -> u32 {
        // SAFETY: as above.
        u32::MAX - unsafe { VALUE.read_volatile() }
    }
}

struct Ticks {
    /// What the counter said, and what all of its counting came to by then. A tick that comes late,
    /// or not at all, loses no time.
    seen: Mutex<Cell<(u32, u64)>>,
    alarm: Mutex<Cell<u64>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static DRIVER: Ticks = Ticks {
    seen: Mutex::new(Cell::new((0, 0))),
    alarm: Mutex::new(Cell::new(u64::MAX)),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

/// Starts the clock.
pub fn start(mut timer: SYST) {
    counter::start();
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(HZ / 1000 - 1);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();
}

impl Ticks {
    fn read(&self, cs: CriticalSection<'_>) -> u64 {
        let (before, total) = self.seen.borrow(cs).get();
        let now = counter::elapsed();
        let total = total + u64::from(now.wrapping_sub(before));
        self.seen.borrow(cs).set((now, total));
        total / PER_MILLISECOND
    }
}

impl Driver for Ticks {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.read(cs))
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut queue = self.queue.borrow_ref_mut(cs);
            if queue.schedule_wake(at, waker) {
                self.alarm.borrow(cs).set(queue.next_expiration(self.read(cs)));
            }
        });
    }
}

#[cortex_m_rt::exception]
fn SysTick() {
    critical_section::with(|cs| {
        let now = DRIVER.read(cs);
        if now >= DRIVER.alarm.borrow(cs).get() {
            let next = DRIVER.queue.borrow_ref_mut(cs).next_expiration(now);
            DRIVER.alarm.borrow(cs).set(next);
        }
    });
}
