//! Sealing: a snapshot is a token in clear, and whoever can read it can use it. With `CACHE_KEY`, 32
//! bytes in hexadecimal, it goes out encrypted and authenticated; without, it doesn't go out.

use alloc::vec::Vec;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use redis_entraid_wasi::entraid_core::zeroize::Zeroizing;
use wasip2::random::random::get_random_bytes;

/// What the bytes are, and whose: they can't be taken for something else that has the same key, nor
/// for another identity's.
fn what(identity: &str) -> Vec<u8> {
    [b"redis-entraid token 1 ", identity.as_bytes()].concat()
}

/// The length of a nonce.
const NONCE: usize = 12;

/// `snapshot`, for nobody else to read; `None` without a key.
pub fn seal(identity: &str, snapshot: &[u8]) -> Option<Vec<u8>> {
    let mut sealed = get_random_bytes(NONCE as u64);
    let payload = Payload { msg: snapshot, aad: &what(identity) };
    let text = cipher()?.encrypt(Nonce::from_slice(&sealed), payload).ok()?;
    sealed.extend(text);
    Some(sealed)
}

/// What was sealed, if it was with this key and nobody has touched it.
pub fn open(identity: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = sealed.split_at_checked(NONCE)?;
    let payload = Payload { msg: text, aad: &what(identity) };
    cipher()?.decrypt(Nonce::from_slice(nonce), payload).ok().map(Zeroizing::new)
}

fn cipher() -> Option<Aes256Gcm> {
    let text = Zeroizing::new(crate::variable("CACHE_KEY")?);
    let mut key = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Aes256Gcm::new((&*key).into()))
}
