//! Base64 as JWTs have it: for URLs, without padding (RFC 4648 section 5).

/// Marks a byte in the table that is not a base64 digit.
const NONE: u8 = 0xff;

/// The value of each digit.
const VALUES: [u8; 128] = {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut values = [NONE; 128];
    let mut at = 0;
    #[allow(clippy::indexing_slicing, reason = "when this is compiled")]
    while at < digits.len() {
        values[digits[at] as usize] = at as u8;
        at += 1;
    }
    values
};

/// Decodes `text` into the front of `out`. `None` if it is not base64, if it ends with bits that
/// are not zero, or if `out` is too small.
pub(crate) fn decode<'o>(text: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let out = out.get_mut(..text.len() / 4 * 3 + text.len() % 4 * 3 / 4)?;
    let (groups, last) = text.as_chunks::<4>();
    let (room, end) = out.as_chunks_mut::<3>();
    for (group, to) in groups.iter().zip(room) {
        *to = bytes(group)?;
    }
    if !last.is_empty() {
        let bytes = bytes(last)?;
        let (whole, over) = bytes.split_at_checked(last.len() - 1)?;
        if last.len() == 1 || over.iter().any(|byte| *byte != 0) {
            return None;
        }
        end.iter_mut().zip(whole).for_each(|(to, from)| *to = *from);
    }
    Some(out)
}

/// The bytes of up to four digits.
fn bytes(group: &[u8]) -> Option<[u8; 3]> {
    let (mut bits, mut all) = (0, 0);
    for digit in group {
        let value = VALUES.get(usize::from(*digit)).copied().unwrap_or(NONE);
        all |= value;
        bits = bits << 6 | u32::from(value);
    }
    let [_, bytes @ ..] = (bits << (6 * (4 - group.len()))).to_be_bytes();
    (all != NONE).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::base64::Engine;
    use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn what_the_crate_decodes_is_decoded(text in "[A-Za-z0-9_+/=-]{0,40}|[ -~]{0,9}|[A-Z_-]{0,9}") {
            let mut out = [0; 64];
            let decoded = decode(text.as_bytes(), &mut out).map(Vec::from);
            prop_assert_eq!(decoded, URL_SAFE_NO_PAD.decode(&text).ok());
        }

        #[test]
        fn what_the_crate_encodes_is_decoded(bytes: Vec<u8>) {
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            let mut out = std::vec![0; bytes.len()];
            prop_assert_eq!(decode(text.as_bytes(), &mut out), Some(&bytes[..]));
            // Without a byte of room there is nothing.
            if let Some((_, short)) = out.split_first_mut() {
                prop_assert_eq!(decode(text.as_bytes(), short), None);
            }
        }
    }
}
