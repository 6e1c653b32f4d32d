//! Texts as editors save them: those of Windows mark UTF-8, and PowerShell writes UTF-16.

use std::borrow::Cow;
use std::io;

use zeroize::Zeroizing;

/// The content of a text file without a byte order mark, UTF-16 as UTF-8; all else as it is.
///
/// # Errors
/// When it is marked as UTF-16, and is not.
pub fn unmarked(content: &[u8]) -> io::Result<Cow<'_, [u8]>> {
    let decoded = match content {
        [0xef, 0xbb, 0xbf, text @ ..] => return Ok(text.into()),
        [0xff, 0xfe, text @ ..] => decode(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => decode(text, u16::from_be_bytes),
        _ => return Ok(content.into()),
    };
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-16: save it as UTF-8");
    Ok(decoded.ok_or_else(wrong)?.into_bytes().into())
}

/// The same for a secret: no copy of it stays in memory.
///
/// # Errors
/// As [`unmarked`].
pub fn unmarked_secret(content: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    Ok(match unmarked(&content)? {
        Cow::Borrowed(text) if text.len() == content.len() => content,
        text => Zeroizing::new(text.into_owned()),
    })
}

fn decode(text: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = text.as_chunks();
    // Room for all of it at once: a string that grows leaves copies behind.
    let mut decoded = String::with_capacity(3 * pairs.len());
    for found in char::decode_utf16(pairs.iter().copied().map(unit)) {
        decoded.push(found.ok()?);
    }
    rest.is_empty().then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_utf_16_is_read() {
        for (content, expected) in [
            (&b"\xe9t\xe9"[..], &b"\xe9t\xe9"[..]),
            (b"", b""),
            ("\u{feff}été".as_bytes(), "été".as_bytes()),
            (b"\xff\xfe\xe9\x00\r\x00\n\x00", "é\r\n".as_bytes()),
            (b"\xfe\xff\xd8\x3d\xde\x00", "😀".as_bytes()),
        ] {
            assert_eq!(unmarked(content).expect("a text").as_ref(), expected);
            let secret = Zeroizing::new(content.to_vec());
            assert_eq!(unmarked_secret(secret).expect("a text").as_slice(), expected);
        }
    }

    #[test]
    fn what_only_looks_like_utf_16_is_refused() {
        for content in [&b"\xff\xfea"[..], b"\xff\xfe\x3d\xd8a\x00", b"\xfe\xff\xd8\x3d"] {
            let error = unmarked(content).expect_err("refused").to_string();
            assert!(error.contains("save it as UTF-8"), "{error}");
        }
    }
}
