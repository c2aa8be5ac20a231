//! The transport as embedded-tls sees it.

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

use crate::error::Error;
use crate::halves::Halves;
use crate::inner::Progress;

/// The transport as embedded-tls sees it. There are two at a time, one for each direction.
#[derive(Debug)]
pub(crate) struct Guard<'a, R, W>(pub(crate) &'a Halves<R, W>);

impl<R, W> Clone for Guard<'_, R, W> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

/// It does not pass; why is in [`Shared`](crate::shared::Shared).
#[derive(Debug)]
pub(crate) struct Stopped;

impl core::fmt::Display for Stopped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("stopped")
    }
}

impl core::error::Error for Stopped {}

impl embedded_io_async::Error for Stopped {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl<R, W> ErrorType for Guard<'_, R, W> {
    type Error = Stopped;
}

// There is one reader and one writer, and neither does two things at once, so that nobody else
// borrows in the meantime.
#[allow(clippy::await_holding_refcell_ref)]
impl<R: Read, W> Read for Guard<'_, R, W> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Stopped> {
        let shared = &self.0.shared;
        shared.check().map_err(|_| Stopped)?;
        let mut incoming = self.0.reader.try_borrow_mut().map_err(|_| Stopped)?;
        let read = incoming.read(shared, buf).await;
        read.map_err(|error| {
            shared.fail(error);
            Stopped
        })
    }
}

#[allow(clippy::await_holding_refcell_ref)]
impl<R, W: Write> Write for Guard<'_, R, W> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Stopped> {
        let shared = &self.0.shared;
        // There is nothing to say to a server between its hello and its proof.
        if matches!(
            shared.progress(),
            Progress::Extensions | Progress::Certificate | Progress::Proof
        ) {
            shared.fail(Error::Unverified);
            return Err(Stopped);
        }
        shared.send().map_err(|_| Stopped)?;
        let mut writer = self.0.writer.try_borrow_mut().map_err(|_| Stopped)?;
        match writer.write(buf).await {
            Ok(0) => Err(Error::Transport(ErrorKind::WriteZero)),
            Ok(len) => Ok(len),
            Err(error) => Err(Error::Transport(error.kind())),
        }
        .map_err(|error| {
            shared.fail(error);
            Stopped
        })
    }

    async fn flush(&mut self) -> Result<(), Stopped> {
        let mut writer = self.0.writer.try_borrow_mut().map_err(|_| Stopped)?;
        writer.flush().await.map_err(|error| {
            self.0.shared.fail(Error::Transport(error.kind()));
            Stopped
        })
    }
}
