//! How a stream to the server is opened: by TCP and TLS, or by something of your own.

use core::future::Future;

use redis_entraid_core::transport::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::ConnectError;

/// Opens streams. Any of tokio's will do, so a client runs over what you have: a Unix socket, a
/// tunnel, the sockets of another runtime.
pub trait Connect: Send + Sync + 'static {
    /// What it opens. A stream that is not `Unpin` goes into a `Pin<Box<_>>`.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin;

    /// Dials `endpoint` and makes sure that its `server_name` is there.
    ///
    /// # Errors
    /// [`ConnectError`] with its kind.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time.
    fn connect(
        &self,
        endpoint: Endpoint<'_>,
    ) -> impl Future<Output = Result<Self::Stream, ConnectError>> + Send;
}
