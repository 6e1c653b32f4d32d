//! Sizes as users and older clients write them.

/// Reads a size such as `5000`, `1.5m`, `2GB`, `1k-1`: bytes. A bare number counts in
/// `default_unit` (a lower-case letter of `bkmgtp`). `None` when it is no size or does not
/// fit 63 bits.
pub fn parse_size(text: &str, default_unit: u8) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, mut rest) = text.split_at_checked(digits)?;
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        (fraction, rest) = after.split_at_checked(digits)?;
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let rest = rest.to_ascii_lowercase();
    let (unit, adjust) = match rest.find(['+', '-']) {
        Some(at) => rest.split_at_checked(at)?,
        None => (&rest[..], ""),
    };
    let multiplier = multiplier(unit, default_unit)?;
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut bytes = whole.checked_mul(u128::from(multiplier))?;
    // Digits beyond the twelfth cannot change a result below 2^63 by a byte that anyone means.
    let fraction = fraction.get(..12).unwrap_or(fraction);
    if let Ok(numerator) = fraction.parse::<u128>() {
        let denominator = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        bytes = bytes.checked_add(numerator * u128::from(multiplier) / denominator)?;
    }
    bytes = match adjust {
        "" => bytes,
        "+1" => bytes.checked_add(1)?,
        "-1" => bytes.checked_sub(1)?,
        _ => return None,
    };
    u64::try_from(bytes).ok().filter(|&bytes| i64::try_from(bytes).is_ok())
}

/// `k`, `kib` and so on count in powers of 1024, `kb` in powers of 1000.
fn multiplier(unit: &str, default_unit: u8) -> Option<u64> {
    let (letter, base) = match unit.as_bytes() {
        [] => (default_unit, 1024_u64),
        [letter] | [letter, b'i', b'b'] => (*letter, 1024),
        [letter, b'b'] => (*letter, 1000),
        _ => return None,
    };
    let exponent = b"bkmgtp".iter().position(|&known| known == letter)?;
    base.checked_pow(u32::try_from(exponent).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_users_mean_them() {
        for (text, unit, bytes) in [
            ("5000", b'b', Some(5000)),
            ("0", b'b', Some(0)),
            ("100", b'k', Some(102_400)),
            ("1.5m", b'b', Some(1_572_864)),
            ("2GB", b'b', Some(2_000_000_000)),
            ("1MiB-1", b'b', Some(1_048_575)),
            (".5k+1", b'b', Some(513)),
            ("1p", b'b', Some(1 << 50)),
            ("0-1", b'b', None),
            ("", b'b', None),
            (".", b'b', None),
            ("-5", b'b', None),
            ("1x", b'b', None),
            ("1kk", b'b', None),
            ("9p9", b'b', None),
            ("99999999999999999999", b'b', None),
            ("9999999p", b'b', None),
        ] {
            assert_eq!(parse_size(text, unit), bytes, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text: String, unit: u8) {
            let _ = parse_size(&text, unit);
        }
    }
}
