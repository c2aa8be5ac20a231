//! RSA signatures: PKCS#1 v1.5 and PSS (RFC 8017 sections 8.1.2 and 8.2.2), with the hashes of the
//! SHA-2 family.
//!
//! Both begin with the same public operation; then PKCS#1 v1.5 builds the one block that is right
//! and compares, so that there is nothing to parse, and PSS is checked as RFC 8017 section 9.1.2
//! says, with a salt as long as the hash and nothing else, as TLS 1.3 wants.

use sha2::Digest;
use sha2::digest::generic_array::typenum::Unsigned;
use sha2::digest::{Output, OutputSizeUser};
use sha2::{Sha256, Sha384, Sha512};

use crate::der;
use crate::montgomery::{LIMBS, Number, power};

/// The bytes of the smallest and of the largest modulus: 2,048 and 4,096 bits.
const LEAST: usize = 256;
const MOST: usize = 512;

type Block = [u8; MOST];

/// A hash as it is named in a block of PKCS#1 v1.5 (RFC 8017 section 9.2, note 1).
pub(crate) trait Hash: Digest {
    const PREFIX: [u8; 19];
}

/// DigestInfo up to the hash: the last byte of the identifier and the length are what differs.
const fn prefix(hash: u8, len: u8) -> [u8; 19] {
    let (whole, rest) = (len + 17, [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02]);
    let [a, b, c, d, e, f, g, h, i, j] = rest;
    [0x30, whole, 0x30, 0x0d, a, b, c, d, e, f, g, h, i, j, hash, 0x05, 0x00, 0x04, len]
}

impl Hash for Sha256 {
    const PREFIX: [u8; 19] = prefix(1, 32);
}

impl Hash for Sha384 {
    const PREFIX: [u8; 19] = prefix(2, 48);
}

impl Hash for Sha512 {
    const PREFIX: [u8; 19] = prefix(3, 64);
}

/// Verifies RSASSA-PKCS1-v1_5; `key` is an RSAPublicKey in DER.
pub(crate) fn pkcs1<D: Hash>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let mut block = [0; MOST];
    let block = open(key, signature, &mut block)?;
    let hash = D::digest(message);
    // 0, 1, eight or more of 255, 0, DigestInfo: with these lengths there are always enough.
    let padding = block.len().checked_sub(3 + D::PREFIX.len() + hash.len())?;
    let expected = [0, 1].into_iter().chain(core::iter::repeat_n(0xff, padding));
    let expected = expected.chain([0]).chain(D::PREFIX).chain(hash);
    expected.eq(block.iter().copied()).then_some(())
}

/// Verifies RSASSA-PSS with MGF1 and a salt as long as the hash; `key` is an RSAPublicKey in DER.
pub(crate) fn pss<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let mut block = [0; MOST];
    let block = open(key, signature, &mut block)?;
    let len = <D as OutputSizeUser>::OutputSize::USIZE;
    let (rest, trailer) = block.split_last_chunk_mut::<1>()?;
    let (masked, seed) = rest.split_at_mut_checked(rest.len().checked_sub(len)?)?;
    // The modulus has a multiple of eight bits, so that the block has one bit less than the bytes.
    if *trailer != [0xbc] || masked.first()? & 0x80 != 0 {
        return None;
    }
    for (counter, chunk) in (0u32..).zip(masked.chunks_mut(len)) {
        let mask = D::new().chain_update(&*seed).chain_update(counter.to_be_bytes()).finalize();
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    *masked.first_mut()? &= 0x7f;
    let (padding, salt) = masked.split_at_checked(masked.len().checked_sub(len)?)?;
    let (one, zeros) = padding.split_last()?;
    if *one != 1 || zeros.iter().any(|byte| *byte != 0) {
        return None;
    }
    let hash: Output<D> = D::digest(message);
    let expected = D::new().chain_update([0; 8]).chain_update(hash).chain_update(salt).finalize();
    (expected.as_slice() == seed).then_some(())
}

/// The modulus of `key`, and how often the exponent squares: `None` if nothing here can be done with
/// such a key.
fn parts(key: &[u8]) -> Option<(&[u8], u32)> {
    let (modulus, exponent) = der::rsa_key(key)?;
    // The only two that are in use. Others would only add work for who checks.
    let squarings = match exponent {
        [3] => 1,
        [1, 0, 1] => 16,
        _ => return None,
    };
    let len = modulus.len();
    ((LEAST..=MOST).contains(&len) && len % 4 == 0).then_some((modulus, squarings))
}

/// Whether the key in the SubjectPublicKeyInfo `info` is one of RSA that is too small, too large, or
/// has another exponent than those in use: no signature can be checked with it.
pub(crate) fn is_unsupported(info: &[u8]) -> bool {
    der::rsa_public_key(info).is_some_and(|key| parts(key).is_none())
}

/// The public operation: what was signed, as long as the modulus.
fn open<'b>(key: &[u8], signature: &[u8], block: &'b mut Block) -> Option<&'b mut [u8]> {
    let (modulus, squarings) = parts(key)?;
    let len = modulus.len();
    if signature.len() != len {
        return None;
    }
    let (mut n, mut s, mut m) = ([0; LIMBS], [0; LIMBS], [0; LIMBS]);
    let (n, s) = (number(modulus, &mut n)?, number(signature, &mut s)?);
    let message = power(s, squarings, n, &mut m)?;
    let block = block.get_mut(..len)?;
    for (bytes, limb) in block.rchunks_exact_mut(4).zip(message) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    Some(block)
}

/// A big-endian number in limbs.
fn number<'n>(bytes: &[u8], number: &'n mut Number) -> Option<&'n [u32]> {
    let limbs = number.get_mut(..bytes.len() / 4)?;
    for (limb, bytes) in limbs.iter_mut().zip(bytes.rchunks_exact(4)) {
        *limb = u32::from_be_bytes(*bytes.first_chunk()?);
    }
    Some(limbs)
}
