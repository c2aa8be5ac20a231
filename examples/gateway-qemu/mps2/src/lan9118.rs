//! The Ethernet controller of the board, a LAN9118, as QEMU has it.

use core::task::Context;

use cortex_m::peripheral::NVIC;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;

const BASE: usize = 0x4020_0000;

/// The registers, by their distance from the base.
mod at {
    pub const RX_DATA: usize = 0x00;
    pub const TX_DATA: usize = 0x20;
    pub const RX_STATUS: usize = 0x40;
    pub const TX_STATUS: usize = 0x48;
    pub const IRQ_CFG: usize = 0x54;
    pub const INT_STS: usize = 0x58;
    pub const INT_EN: usize = 0x5c;
    pub const BYTE_TEST: usize = 0x64;
    pub const FIFO_INT: usize = 0x68;
    pub const RX_CFG: usize = 0x6c;
    pub const TX_CFG: usize = 0x70;
    pub const HW_CFG: usize = 0x74;
    pub const RX_FIFO_INF: usize = 0x7c;
    pub const TX_FIFO_INF: usize = 0x80;
    pub const MAC_CSR_CMD: usize = 0xa4;
    pub const MAC_CSR_DATA: usize = 0xa8;
    pub const AFC_CFG: usize = 0xac;
}

/// A frame was received.
const RSFL: u32 = 1 << 3;
const MTU: usize = 1514;
const INTERRUPT: u16 = 13;

static NEWS: AtomicWaker = AtomicWaker::new();

fn read(register: usize) -> u32 {
    // SAFETY: the registers of the controller are there, and reading one harms no memory.
    unsafe { ((BASE + register) as *const u32).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: as above. The controller doesn't touch memory by itself.
    unsafe { ((BASE + register) as *mut u32).write_volatile(value) }
}

fn write_mac(register: u32, value: u32) {
    const BUSY: u32 = 1 << 31;
    while read(at::MAC_CSR_CMD) & BUSY != 0 {}
    write(at::MAC_CSR_DATA, value);
    write(at::MAC_CSR_CMD, BUSY | register);
    while read(at::MAC_CSR_CMD) & BUSY != 0 {}
}

#[derive(Clone, Copy)]
struct Irq;

// SAFETY: it is a number of an interrupt of this board.
unsafe impl cortex_m::interrupt::InterruptNumber for Irq {
    fn number(self) -> u16 {
        INTERRUPT
    }
}

unsafe extern "C" {
    fn ETHERNET();
    fn DefaultHandler();
}

/// The board's interrupts, of which one is used.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [unsafe extern "C" fn(); 32] = {
    let mut handlers: [unsafe extern "C" fn(); 32] = [DefaultHandler; 32];
    handlers[INTERRUPT as usize] = ETHERNET;
    handlers
};

#[unsafe(export_name = "ETHERNET")]
extern "C" fn interrupt() {
    write(at::INT_EN, 0);
    write(at::INT_STS, u32::MAX);
    NEWS.wake();
}

/// The controller.
pub struct Lan9118 {
    address: [u8; 6],
}

impl Lan9118 {
    /// Starts the controller, if it is there.
    pub fn start(address: [u8; 6]) -> Option<Self> {
        if read(at::BYTE_TEST) != 0x8765_4321 {
            return None;
        }
        write(at::HW_CFG, 1);
        while read(at::HW_CFG) & 1 != 0 {}
        // Must be one; and 5 KiB of its memory are for frames to send.
        write(at::HW_CFG, 1 << 20 | 5 << 16);
        write(at::AFC_CFG, 0x006e_3740);
        write(at::INT_STS, u32::MAX);
        write(at::RX_CFG, 0);
        // An interrupt for the first frame already.
        write(at::FIFO_INT, 0);
        let [a, b, c, d, e, f] = address;
        write_mac(2, u32::from_le_bytes([e, f, 0, 0]));
        write_mac(3, u32::from_le_bytes([a, b, c, d]));
        // Full duplex, sending, receiving.
        write_mac(1, 1 << 20 | 1 << 3 | 1 << 2);
        write(at::TX_CFG, 1 << 1);
        // Enabled, active high, push-pull.
        write(at::IRQ_CFG, 1 << 8 | 1 << 4 | 1);
        write(at::INT_EN, RSFL);
        // SAFETY: the handler is ready, and nothing relies on its not being called.
        unsafe { NVIC::unmask(Irq) };
        Some(Self { address })
    }

    fn has_frame(&self) -> bool {
        read(at::RX_FIFO_INF) & 0x00ff_0000 != 0
    }
}

impl Driver for Lan9118 {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Received, Sending)> {
        NEWS.register(cx.waker());
        if !self.has_frame() {
            write(at::INT_EN, RSFL);
            // One may have come in between.
            if !self.has_frame() {
                return None;
            }
        }
        Some((Received, Sending))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Sending> {
        NEWS.register(cx.waker());
        let room = read(at::TX_FIFO_INF) & 0xffff;
        if room as usize > MTU + 16 {
            return Some(Sending);
        }
        cx.waker().wake_by_ref();
        None
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}

/// A frame that is in the controller.
pub struct Received;

impl RxToken for Received {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, use_it: F) -> R {
        let status = read(at::RX_STATUS);
        // With four bytes of checksum.
        let len = (status >> 16 & 0x3fff) as usize;
        let mut frame = [0; MTU + 6];
        for word in 0..len.div_ceil(4) {
            let bytes = read(at::RX_DATA).to_le_bytes();
            if let Some(room) = frame.get_mut(word * 4..word * 4 + 4) {
                room.copy_from_slice(&bytes);
            }
        }
        let len = len.saturating_sub(4).min(frame.len());
        use_it(&mut frame[..len])
    }
}

/// Room for a frame in the controller.
pub struct Sending;

impl TxToken for Sending {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = [0; MTU + 6];
        let result = fill(&mut frame[..len]);
        // First and last part of a frame, of so many bytes.
        write(at::TX_DATA, 1 << 13 | 1 << 12 | len as u32);
        write(at::TX_DATA, (len as u32) << 16 | len as u32);
        for word in frame[..len.next_multiple_of(4)].chunks_exact(4) {
            write(at::TX_DATA, u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
        while read(at::TX_FIFO_INF) & 0x00ff_0000 != 0 {
            read(at::TX_STATUS);
        }
        result
    }
}
