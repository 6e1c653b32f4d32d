//! Names as texts for people have them.

use std::fmt::{self, Write as _};

/// Shows a name in an error, a report or a log: what is UTF-8 and has a shape as it is, all else
/// escaped (`\n`, `\x1b`, `\u{202e}`, `\xe9`, and `\\` for a backslash), so that no name looks like
/// another, or like more than a name.
pub fn shown(name: &[u8]) -> Shown<'_> {
    Shown(name)
}

/// What [`shown`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match u8::try_from(c) {
                    Ok(byte) if c == '\\' || byte.is_ascii_control() => {
                        write!(f, "{}", byte.escape_ascii())?;
                    }
                    _ if is_hidden(c) => write!(f, "{}", c.escape_unicode())?,
                    _ => f.write_char(c)?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

/// Whether a character controls a terminal, turns the direction of text or has no shape.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_can_read_stays_as_it_is() {
        for (name, expected) in [
            ("Envoyés/日本 \"😀\"".as_bytes(), "Envoyés/日本 \"😀\""),
            (b"a\\b", "a\\\\b"),
            (b"a\nb\x1b[2J\x7f", "a\\nb\\x1b[2J\\x7f"),
            (b"\xe9t\xe9", "\\xe9t\\xe9"),
            ("a\u{202e}b\u{85}".as_bytes(), "a\\u{202e}b\\u{85}"),
            (b"", ""),
        ] {
            assert_eq!(shown(name).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_name_looks_like_another(one: Vec<u8>, other: Vec<u8>) {
            let (seen, also) = (shown(&one).to_string(), shown(&other).to_string());
            prop_assert_eq!(seen == also, one == other);
            // The name that another looks like is shown as something else.
            let alike = seen.as_bytes();
            prop_assert_eq!(shown(alike).to_string() == seen, alike == one);
            prop_assert!(!seen.chars().any(is_hidden));
        }
    }
}
