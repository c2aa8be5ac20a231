//! Whole numbers in decimal. Formatting and parsing of the language's own would cost a device ten
//! times as much.

/// Reads digits, which may have a plus before them; `None` if there is anything else or it is too
/// large.
pub(crate) fn unsigned(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let mut number: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        number = number.checked_mul(10)?.checked_add((digit < 10).then_some(digit)?.into())?;
    }
    (!digits.is_empty()).then_some(number)
}

/// The same, also with a minus.
pub(crate) fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some([b'+', ..]) => None,
        Some(digits) => 0_i64.checked_sub_unsigned(unsigned(digits)?),
        None => i64::try_from(unsigned(text)?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_the_language_does() {
        for text in [
            "0",
            "7",
            "007",
            "+5",
            "-5",
            "-0",
            "",
            "+",
            "-",
            "-+1",
            "+-1",
            "--1",
            "1 ",
            " 1",
            "1.0",
            "x",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999",
        ] {
            assert_eq!(signed(text.as_bytes()), text.parse().ok(), "{text}");
            if !text.starts_with('-') {
                assert_eq!(unsigned(text.as_bytes()), text.parse().ok(), "{text}");
            }
        }
        assert_eq!(unsigned(b"-0"), None);
    }
}
