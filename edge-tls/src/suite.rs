//! Cipher suites whose cipher looks at what it has decrypted.

use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::generic_array::typenum::{Sum, U12, U16, U22, U32, U48, Unsigned};
use aes_gcm::aead::{
    AeadCore, AeadInPlace, Buffer, Error, KeyInit, KeySizeUser, Nonce, Result, Tag,
};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use embedded_tls::TlsCipherSuite;
use sha2::{Sha256, Sha384};

use crate::inner::{Progress, RecordAction, judge};

/// A cipher suite that can be used here.
///
/// It can't be implemented elsewhere: a connection is only as safe as its suite is watchful.
pub trait Suite: TlsCipherSuite + sealed::Sealed + 'static {}

pub(crate) mod sealed {
    // What can't be named can't be implemented.
    #[allow(unnameable_types)]
    pub trait Sealed {}
}

/// TLS_AES_128_GCM_SHA256, which any server with TLS 1.3 must have (RFC 8446 section 9.1).
#[derive(Debug)]
pub struct Aes128GcmSha256;

/// TLS_AES_256_GCM_SHA384.
#[derive(Debug)]
pub struct Aes256GcmSha384;

/// A cipher that passes on only what may be inside of a record.
// Users don't name it, but it belongs to public suites.
#[allow(unnameable_types)]
#[derive(Clone, Debug)]
pub struct Checked<A>(A);

impl TlsCipherSuite for Aes128GcmSha256 {
    const CODE_POINT: u16 = 0x1301;
    type Cipher = Checked<Aes128Gcm>;
    type KeyLen = U16;
    type IvLen = U12;
    type Hash = Sha256;
    type LabelBufferSize = Sum<U32, U22>;
}

impl TlsCipherSuite for Aes256GcmSha384 {
    const CODE_POINT: u16 = 0x1302;
    type Cipher = Checked<Aes256Gcm>;
    type KeyLen = U32;
    type IvLen = U12;
    type Hash = Sha384;
    type LabelBufferSize = Sum<U48, U22>;
}

impl sealed::Sealed for Aes128GcmSha256 {}
impl sealed::Sealed for Aes256GcmSha384 {}
impl Suite for Aes128GcmSha256 {}
impl Suite for Aes256GcmSha384 {}

impl<A: KeySizeUser> KeySizeUser for Checked<A> {
    type KeySize = A::KeySize;
}

impl<A: KeyInit> KeyInit for Checked<A> {
    fn new(key: &GenericArray<u8, A::KeySize>) -> Self {
        Self(A::new(key))
    }
}

impl<A: AeadCore> AeadCore for Checked<A> {
    type NonceSize = A::NonceSize;
    type TagSize = A::TagSize;
    type CiphertextOverhead = A::CiphertextOverhead;
}

impl<A: AeadInPlace + KeySizeUser> AeadInPlace for Checked<A> {
    fn encrypt_in_place_detached(
        &self,
        nonce: &Nonce<Self>,
        header: &[u8],
        buffer: &mut [u8],
    ) -> Result<Tag<Self>> {
        self.0.encrypt_in_place_detached(nonce, header, buffer)
    }

    fn decrypt_in_place(
        &self,
        nonce: &Nonce<Self>,
        header: &[u8],
        buffer: &mut dyn Buffer,
    ) -> Result<()> {
        // Without the guard's mark there is no guard.
        let &[kind, major, mark, high, low] = header else { return Err(Error) };
        let progress = Progress::of_mark(mark).ok_or(Error)?;
        self.0.decrypt_in_place(nonce, &[kind, major, 3, high, low], buffer)?;
        // The suites with the longer key are those with the longer hash.
        let finished = if A::KeySize::USIZE == 32 { 48 } else { 32 };
        if let RecordAction::Replace(content) = judge(buffer.as_ref(), progress, finished) {
            buffer.truncate(0);
            buffer.extend_from_slice(content)?;
        }
        Ok(())
    }

    /// What is decrypted this way can't be replaced, so that nothing is.
    fn decrypt_in_place_detached(
        &self,
        _: &Nonce<Self>,
        _: &[u8],
        _: &mut [u8],
        _: &Tag<Self>,
    ) -> Result<()> {
        Err(Error)
    }
}
