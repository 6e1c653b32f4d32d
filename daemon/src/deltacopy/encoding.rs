//! The text of a file as Windows programs write it.

use std::borrow::Cow;

use anyhow::{Context as _, bail};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// The text and the name of the encoding that it was read as. UTF-8 and what a byte order mark says
/// are found by themselves; all else is `given`, or the ANSI code page of western Europe.
///
/// # Errors
/// That `given` is unknown, or that the text is not in that encoding.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    given: Option<&str>,
) -> anyhow::Result<(Cow<'a, str>, &'static str)> {
    let given = given
        .map(|label| {
            let found = Encoding::for_label(label.as_bytes());
            found.with_context(|| format!("the encoding \"{label}\" is unknown: windows-1252, windows-1250, utf-8 and others of the WHATWG's list are known"))
        })
        .transpose()?;
    let (encoding, mark) = match (Encoding::for_bom(bytes), given) {
        (Some((encoding, length)), _) => (encoding, length),
        (None, Some(encoding)) => (encoding, 0),
        (None, None) if std::str::from_utf8(bytes).is_ok() => (UTF_8, 0),
        (None, None) => (WINDOWS_1252, 0),
    };
    let (text, damaged) = encoding.decode_without_bom_handling(&bytes[mark..]);
    if damaged {
        bail!("it is not {}: name its encoding with --encoding", encoding.name());
    }
    Ok((text, encoding.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_windows_programs_write() {
        for (bytes, given, text, name) in [
            (&b"donn\xe9es \x80"[..], None, "données €", "windows-1252"),
            ("données".as_bytes(), None, "données", "UTF-8"),
            (b"\xef\xbb\xbfx", None, "x", "UTF-8"),
            (b"\xff\xfe\xe9\0", None, "é", "UTF-16LE"),
            (b"\xb3\xf3d\x9f", Some("windows-1250"), "łódź", "windows-1250"),
        ] {
            let (read, as_what) = read(bytes, given).expect("readable");
            assert_eq!((&*read, as_what), (text, name));
        }
        for (bytes, given, reason) in
            [(&b"\xe9"[..], "utf-8", "it is not UTF-8"), (b"x", "ansi-ish", "unknown")]
        {
            let error = read(bytes, Some(given)).expect_err(given).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
