//! What a device is told of where it is.

use redis_entraid_embassy::edge_tls::anchor;
use redis_entraid_embassy::edge_tls::pki_types::{CertificateDer, TrustAnchor};
use static_cell::{ConstStaticCell, StaticCell};

static TEXT: ConstStaticCell<[u8; 8192]> = ConstStaticCell::new([0; 8192]);
static ROOT: ConstStaticCell<[u8; 2048]> = ConstStaticCell::new([0; 2048]);
static CERTIFICATE: StaticCell<CertificateDer<'static>> = StaticCell::new();
static ANCHORS: StaticCell<[TrustAnchor<'static>; 1]> = StaticCell::new();

/// Variables that are still being set.
pub(super) struct Empty {
    text: &'static mut [u8],
    len: usize,
}

/// Variables.
#[derive(Clone, Copy)]
pub(super) struct Settings(&'static str);

impl Settings {
    /// None yet.
    pub(super) fn empty() -> Empty {
        Empty { text: TEXT.take(), len: 0 }
    }

    /// The value of `name`, or nothing.
    pub(super) fn get(self, name: &str) -> &'static str {
        let mut all = self.0.lines().filter_map(|line| line.split_once(' '));
        all.find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The root to trust, which is written in hexadecimal.
    pub(super) fn root(self) -> &'static [TrustAnchor<'static>] {
        let (room, mut len) = (ROOT.take(), 0);
        for (slot, pair) in room.iter_mut().zip(self.get("ROOT").as_bytes().chunks(2)) {
            let digits = core::str::from_utf8(pair).unwrap_or_default();
            *slot = u8::from_str_radix(digits, 16).unwrap_or_default();
            len += 1;
        }
        let der: &'static [u8] = room.get(..len).unwrap_or_default();
        match anchor(CERTIFICATE.init(CertificateDer::from_slice(der))) {
            Ok(anchor) => ANCHORS.init([anchor]),
            // Then nobody is trusted.
            Err(_) => &[],
        }
    }
}

impl Empty {
    /// Takes in a line: `set NAME VALUE`.
    pub(super) fn set(&mut self, line: &str) -> Option<()> {
        let line = line.strip_prefix("set ")?;
        let end = self.len + line.len();
        self.text.get_mut(self.len..end)?.copy_from_slice(line.as_bytes());
        *self.text.get_mut(end)? = b'\n';
        self.len = end + 1;
        Some(())
    }

    /// These were all.
    pub(super) fn freeze(self) -> Settings {
        let text: &'static [u8] = self.text;
        Settings(core::str::from_utf8(text.get(..self.len).unwrap_or_default()).unwrap_or_default())
    }
}
