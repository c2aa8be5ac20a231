//! What a connection was dialed as, and whether a redirection leads there.

use alloc::boxed::Box;

use redis_entraid_core::transport::{Endpoint, IpText};

/// The addresses of the connection of a queue, in all the ways that a server may call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dialed {
    server_name: Box<str>,
    /// What was dialed, if that is not the server name.
    address: Option<Box<str>>,
    port: u16,
    /// What the name was resolved to, where the connector says so.
    peer: Option<IpText>,
}

impl Dialed {
    /// As a connection to `endpoint` was made.
    pub(super) fn new(endpoint: &Endpoint<'_>) -> Self {
        let Endpoint { address, server_name, port, .. } = *endpoint;
        let address = (address != server_name).then(|| address.into());
        Self { server_name: server_name.into(), address, port, peer: endpoint.peer() }
    }

    /// Whether `address` and `port` lead there too; no address is the same one. All nodes have the name of the service, which
    /// says something of the client's `own` connection alone.
    pub(super) fn is(&self, address: Option<&str>, port: u16, own: bool) -> bool {
        self.port == port && address.is_none_or(|address| self.has(address, own))
    }

    fn has(&self, address: &str, own: bool) -> bool {
        let is = |known: &str| known.eq_ignore_ascii_case(address);
        let dialed = self.address.as_deref().unwrap_or(&self.server_name);
        is(dialed) || own && is(&self.server_name) || self.peer.as_deref().is_some_and(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_entraid_core::transport::Progress;

    #[test]
    fn a_connection_is_known_by_its_name_and_by_the_address_that_it_has() {
        let progress = Progress::new();
        let endpoint = Endpoint::new("cache.redis.azure.net", 10_000).with_progress(&progress);
        let is = |address, port| Dialed::new(&endpoint).is(Some(address), port, true);
        assert!(is("cache.redis.azure.net", 10_000) && is("CACHE.redis.azure.net", 10_000));
        assert!(!is("cache.redis.azure.net", 8501) && !is("other.redis.azure.net", 10_000));
        assert!(!is("20.1.2.3", 10_000), "nobody has said what the name is resolved to");
        endpoint.reached("20.1.2.3");
        assert!(is("20.1.2.3", 10_000) && !is("20.1.2.4", 10_000) && !is("20.1.2.3", 8501));
        endpoint.reached("2603:1020::5");
        assert!(is("2603:1020::5", 10_000) && !is("20.1.2.3", 10_000));
        endpoint.reached(&"5".repeat(46));
        assert_eq!(endpoint.peer(), None);
    }

    #[test]
    fn a_node_is_not_known_by_the_name_that_all_nodes_have() {
        let node = Dialed::new(&Endpoint::new("cache", 10_000).redirected("20.1.2.3", 8501));
        let is = |address, own| node.is(address, 8501, own);
        assert!(is(Some("20.1.2.3"), false) && is(None, false) && !is(Some("cache"), false));
        // A client of that name dials the address that it was told to.
        assert!(is(Some("cache"), true));
    }
}
