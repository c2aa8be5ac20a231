//! A connector whose dials have memory of their own.

use alloc::boxed::Box;

use redis_entraid_core::transport::{Connector, Endpoint, TransportUser};

/// Allocates the future of each dial, with the transport in it, and frees it when the connection ends:
/// the place of a connection that isn't there takes no memory.
pub(super) struct Boxed<K>(pub(super) K);

impl<K: Connector> Connector for Boxed<K> {
    type Error = K::Error;

    async fn connect<S: TransportUser>(
        &mut self,
        endpoint: &Endpoint<'_>,
        session: S,
    ) -> Result<S::Output, K::Error> {
        Box::pin(self.0.connect(endpoint, session)).await
    }
}
