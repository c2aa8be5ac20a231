//! The certificate of an application, which signs assertions with its key.

use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize};

use super::dated;

/// A self-signed certificate.
pub(crate) struct Made {
    /// It and its key, in PEM.
    pub(crate) pem: String,
    /// It in DER.
    pub(crate) certificate: Vec<u8>,
    /// Its public key as PKCS #1 has it.
    pub(crate) public_key: Vec<u8>,
}

/// Makes one of RSA-2048, as Entra wants them.
pub(crate) fn make() -> Result<Made, rcgen::Error> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let certificate = dated("application.emulator.test").self_signed(&key)?;
    Ok(Made {
        pem: format!("{}{}", key.serialize_pem(), certificate.pem()),
        certificate: certificate.der().to_vec(),
        public_key: key.der_bytes().to_vec(),
    })
}
