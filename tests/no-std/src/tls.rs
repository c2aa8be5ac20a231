//! What a device uses of TLS.

use core::convert::Infallible;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use redis_entraid_tls::embedded_io_async::{ErrorType, Read, Write};
use redis_entraid_tls::pki_types::{CertificateDer, UnixTime};
use redis_entraid_tls::rand_core::{CryptoRng, Error, RngCore};
use redis_entraid_tls::{Buffers, Config, Halves, RECORDS_IN, Tls, anchor};

// What a board brings, besides the rest.
unsafe extern "C" {
    safe fn board_random() -> u32;
    safe fn board_root(bytes: *mut u8, room: usize) -> usize;
}

struct Board;

impl ErrorType for Board {
    type Error = Infallible;
}

impl Read for Board {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        Ok(super::board_receive(buf.as_mut_ptr(), buf.len()))
    }
}

impl Write for Board {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        Ok(super::board_send(buf.as_ptr(), buf.len()))
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl CryptoRng for Board {}

impl RngCore for Board {
    fn next_u32(&mut self) -> u32 {
        board_random()
    }

    fn next_u64(&mut self) -> u64 {
        u64::from(board_random()) << 32 | u64::from(board_random())
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        dest.fill_with(|| board_random() as u8);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

/// Says PING to a server that has shown who it is, and returns the first byte of the answer.
#[unsafe(no_mangle)]
pub extern "C" fn tls_ping(unix_time: u64) -> i32 {
    let mut root = [0; 2048];
    let len = board_root(root.as_mut_ptr(), root.len());
    let root = CertificateDer::from_slice(root.get(..len).unwrap_or_default());
    let Ok(root) = anchor(&root) else { return -1 };
    let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(unix_time));
    let roots = [root];
    let mut ping = pin!(ping(Config::new("cache.example", &roots, now)));
    match ping.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(byte)) => i32::from(byte),
        Poll::Ready(Err(_)) => -2,
        Poll::Pending => -3,
    }
}

async fn ping(config: Config<'_>) -> Result<u8, redis_entraid_tls::Error> {
    let (mut records_in, mut records_out) = ([0; RECORDS_IN], [0; 1024]);
    let halves = Halves::new(Board, Board);
    let buffers = Buffers { records_in: &mut records_in, records_out: &mut records_out };
    let mut tls = Tls::connect(&halves, buffers, &config, &mut Board).await?;
    let (mut reader, mut writer) = tls.split();
    writer.write_all(b"PING\r\n").await?;
    writer.flush().await?;
    let mut pong = [0; 1];
    reader.read(&mut pong).await?;
    let [byte] = pong;
    tls.close().await?;
    Ok(byte)
}
