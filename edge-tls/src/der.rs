//! The little of a certificate that webpki does not hand out without an allocator: the public key,
//! and what it may be used for.
//!
//! All certificates have been parsed by webpki before, so that nothing here has to judge the
//! encoding; what can't be found is taken for malformed.

use crate::certificate::CertificateError;

const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]`, the version, and `[3]`, the extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.15
const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 0x0f];

/// Bits of KeyUsage (RFC 5280 section 4.2.1.3), of its first byte.
pub(crate) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(crate) const KEY_CERT_SIGN: u8 = 0x04;

type Result<T> = core::result::Result<T, CertificateError>;

/// The SubjectPublicKeyInfo of a certificate, and the first byte of its KeyUsage, if it has one.
pub(crate) fn key(certificate: &[u8]) -> Result<(&[u8], Option<u8>)> {
    let mut outer = expect(&mut { certificate }, SEQUENCE)?;
    let mut fields = expect(&mut outer, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        any(&mut fields)?;
    }
    // Serial number, signature algorithm, issuer, validity, subject.
    for _ in 0..5 {
        any(&mut fields)?;
    }
    let (tag, _, key) = any(&mut fields)?;
    if tag != SEQUENCE {
        return Err(CertificateError::Malformed);
    }
    let mut usage = None;
    while !fields.is_empty() {
        let (tag, mut content, _) = any(&mut fields)?;
        if tag != EXTENSIONS {
            continue;
        }
        let mut extensions = expect(&mut content, SEQUENCE)?;
        while !extensions.is_empty() {
            let mut extension = expect(&mut extensions, SEQUENCE)?;
            if expect(&mut extension, OBJECT_IDENTIFIER)? == KEY_USAGE {
                usage = Some(bits(extension)?);
            }
        }
    }
    Ok((key, usage))
}

/// The content of the SubjectPublicKeyInfo `info`.
pub(crate) fn content(mut info: &[u8]) -> Option<&[u8]> {
    expect(&mut info, SEQUENCE).ok()
}

/// That of a certificate's.
pub(crate) fn key_info(certificate: &[u8]) -> Option<&[u8]> {
    content(key(certificate).ok()?.0)
}

/// The first bits of a KeyUsage extension, after its identifier.
fn bits(mut extension: &[u8]) -> Result<u8> {
    let (tag, mut value, _) = any(&mut extension)?;
    if tag != OCTET_STRING {
        // That was whether it is critical.
        value = expect(&mut extension, OCTET_STRING)?;
    }
    // The first byte is the number of bits that the last one lacks.
    Ok(expect(&mut value, BIT_STRING)?.get(1).copied().unwrap_or(0))
}

fn expect<'a>(bytes: &mut &'a [u8], wanted: u8) -> Result<&'a [u8]> {
    let (tag, content, _) = any(bytes)?;
    if tag == wanted { Ok(content) } else { Err(CertificateError::Malformed) }
}

/// The next element: tag, content, and all of it.
fn any<'a>(bytes: &mut &'a [u8]) -> Result<(u8, &'a [u8], &'a [u8])> {
    let parse = || {
        let (tag, rest) = bytes.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut len = usize::from(*first);
        if len >= 0x80 {
            // No certificate fits into a record if this takes more than two bytes.
            let (high, low) =
                rest.split_at_checked(len & 0x7f).filter(|(high, _)| high.len() < 3)?;
            len = high.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte));
            rest = low;
        }
        let (content, after) = rest.split_at_checked(len)?;
        let whole = bytes.get(..bytes.len().checked_sub(after.len())?)?;
        Some((*tag, content, whole, after))
    };
    let (tag, content, whole, after) = parse().ok_or(CertificateError::Malformed)?;
    *bytes = after;
    Ok((tag, content, whole))
}

/// 1.2.840.113549.1.1.1
#[cfg(feature = "rsa")]
const RSA_ENCRYPTION: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// The RSAPublicKey in the content of a SubjectPublicKeyInfo, if it is for RSA.
#[cfg(feature = "rsa")]
pub(crate) fn rsa_public_key(mut info: &[u8]) -> Option<&[u8]> {
    let mut algorithm = expect(&mut info, SEQUENCE).ok()?;
    let is_rsa = expect(&mut algorithm, OBJECT_IDENTIFIER).ok()? == RSA_ENCRYPTION;
    // The first byte is the number of bits that the last one lacks.
    expect(&mut info, BIT_STRING).ok()?.get(1..).filter(|_| is_rsa)
}

/// The modulus and the exponent of an RSAPublicKey (RFC 8017 appendix A.1.1), without leading
/// zeros; `None` if it is not in DER or either is not positive.
#[cfg(feature = "rsa")]
pub(crate) fn rsa_key(mut key: &[u8]) -> Option<(&[u8], &[u8])> {
    const INTEGER: u8 = 0x02;
    fn positive<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        match expect(bytes, INTEGER).ok()? {
            [0, rest @ ..] if rest.first()? & 0x80 != 0 => Some(rest),
            number @ [1..=0x7f, ..] => Some(number),
            _ => None,
        }
    }
    let mut numbers = expect(&mut key, SEQUENCE).ok()?;
    let modulus = positive(&mut numbers)?;
    let exponent = positive(&mut numbers)?;
    (key.is_empty() && numbers.is_empty()).then_some((modulus, exponent))
}
