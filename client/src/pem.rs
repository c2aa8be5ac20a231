//! Root certificates from PEM.

use alloc::string::ToString;
use alloc::vec::Vec;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::ConfigError;

/// Returns what `root` makes of each certificate in `pem`, in order.
///
/// # Errors
/// [`ConfigError::Roots`] if there is no certificate, or one that can't be read.
pub fn roots_from_pem<T, E: ToString>(
    pem: &[u8],
    mut root: impl FnMut(CertificateDer<'static>) -> Result<T, E>,
) -> Result<Vec<T>, ConfigError> {
    let mut roots = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| ConfigError::Roots(error.to_string()))?;
        roots.push(root(certificate).map_err(|error| ConfigError::Roots(error.to_string()))?);
    }
    match roots.is_empty() {
        true => Err(ConfigError::Roots("the PEM contains no certificate".to_string())),
        false => Ok(roots),
    }
}
