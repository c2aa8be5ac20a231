//! The memory of the module. It grows in large steps: each time, JavaScript makes its views of it
//! again, and counts all of it as a reason to collect garbage.

use core::alloc::Layout;
use core::arch::wasm32::{memory_grow, memory_size};
use core::ptr::NonNull;

use talc::base::Talc;
use talc::base::binning::Binning;
use talc::cell::TalcSyncCell;
use talc::source::Source;
use talc::wasm::WasmBinning;

#[global_allocator]
static ALLOCATOR: TalcSyncCell<Steps, WasmBinning> = TalcSyncCell::new_wasm(Steps { end: None });

const PAGE: usize = 64 << 10;

/// What the allocator keeps beside what it gives.
const OVERHEAD: usize = 64;

/// The allocator's memory, grown by half each time.
#[derive(Debug)]
struct Steps {
    /// Of what was given so far.
    end: Option<NonNull<u8>>,
}

// SAFETY: it allocates nothing.
unsafe impl Source for Steps {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let needed = layout.size().saturating_add(layout.align()).saturating_add(OVERHEAD);
        let needed = needed.div_ceil(PAGE);
        let step = needed.max(memory_size::<0>() / 2);
        let grown = [step, needed].into_iter().find_map(|pages| {
            let before = memory_grow::<0>(pages);
            (before != usize::MAX).then_some((before * PAGE, pages * PAGE))
        });
        let (start, size) = grown.ok_or(())?;
        let start = start as *mut u8;
        // SAFETY: the memory is new and not shared, and `size` is its length.
        talc.source.end = match talc.source.end {
            Some(end) if end.as_ptr() == start => unsafe {
                Some(talc.extend(end, start.wrapping_add(size)))
            },
            _ => unsafe { talc.claim(start, size) },
        };
        talc.source.end.map(drop).ok_or(())
    }
}
