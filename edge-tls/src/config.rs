//! Whom to connect to, and whom to trust.

pub use embedded_tls::MaxFragmentLength;
use rustls_pki_types::{TrustAnchor, UnixTime};

/// Whom to connect to, and whom to trust.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config<'a> {
    /// The name that the server must have a certificate for, and that it is asked for. It has
    /// nothing to do with the address that the transport is connected to. An IP address is
    /// possible too, and is not sent.
    pub server_name: &'a str,
    /// The roots to trust: any of them may be the one.
    pub roots: &'a [TrustAnchor<'a>],
    /// The time by which to judge. A device must know it anyway, since tokens expire; but it must
    /// not take it from a server that it has not verified.
    pub now: UnixTime,
    /// The largest records to ask for (RFC 6066 section 4), so that the buffer for them can be
    /// smaller: 4,608 bytes for 4,096, for example. A server need not heed it, and most do not
    /// fit their certificates into less than that. By default it is not asked.
    pub max_fragment_length: Option<MaxFragmentLength>,
}

impl<'a> Config<'a> {
    /// The name to verify, the roots to trust, and the time.
    pub const fn new(server_name: &'a str, roots: &'a [TrustAnchor<'a>], now: UnixTime) -> Self {
        Self { server_name, roots, now, max_fragment_length: None }
    }
}
