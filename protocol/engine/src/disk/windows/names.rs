//! Names: UTF-8 on the wire, UTF-16 on the disk. Windows takes some names for others or for
//! devices; such a name is refused, never altered.

use std::io::{self, ErrorKind};

/// The longest name, in UTF-16 units.
const LONGEST: usize = 255;

/// One component as the disk has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    units: Vec<u16>,
    /// Why programs could not work with a file of that name.
    unusable: Option<&'static str>,
}

impl Name {
    /// Turns a component into a name to look for.
    ///
    /// # Errors
    /// `InvalidInput` for a name that no file can have, or that would mean something else than one
    /// file of that name.
    pub(super) fn of(component: &[u8]) -> io::Result<Self> {
        let Ok(text) = std::str::from_utf8(component) else {
            return Err(impossible("it is not UTF-8"));
        };
        if let Some(odd) = text.chars().find(|char| is_forbidden(*char)) {
            return Err(impossible(&match odd {
                ':' => "it contains ':', which would name a part of another file".to_owned(),
                odd => format!("it contains '{}'", odd.escape_default()),
            }));
        }
        if text.is_empty() || text == "." || text == ".." {
            return Err(impossible("it names no file"));
        }
        let units: Vec<u16> = text.encode_utf16().collect();
        if units.len() > LONGEST {
            return Err(impossible("it is longer than 255 characters"));
        }
        Ok(Self { units, unusable: unusable(text) })
    }

    /// The name in UTF-16.
    pub(super) fn units(&self) -> &[u16] {
        &self.units
    }

    /// The same for a file that is about to be made.
    ///
    /// # Errors
    /// `InvalidInput` for a name that programs would take for a device or for another name. A
    /// file that has such a name can be read and removed.
    pub(super) fn for_new(self) -> io::Result<Self> {
        self.unusable.map_or(Ok(()), |reason| Err(impossible(reason)))?;
        Ok(self)
    }
}

/// A name of the disk as it travels; `Err` with a readable form when it is no Unicode.
pub(super) fn from_disk(units: &[u16]) -> Result<Vec<u8>, Vec<u8>> {
    if let Ok(name) = String::from_utf16(units) {
        return Ok(name.into_bytes());
    }
    let shown: String = char::decode_utf16(units.iter().copied())
        .map(|unit| match unit {
            Ok(char) => char.to_string(),
            Err(lone) => format!("\\u{{{:04x}}}", lone.unpaired_surrogate()),
        })
        .collect();
    Err(shown.into_bytes())
}

fn is_forbidden(char: char) -> bool {
    char < ' ' || matches!(char, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
}

fn unusable(name: &str) -> Option<&'static str> {
    if name.ends_with('.') {
        return Some("it ends with a dot, which programs would leave out");
    }
    if name.ends_with(' ') {
        return Some("it ends with a space, which programs would leave out");
    }
    is_device(name).then_some("programs would take it for a device")
}

/// `NUL`, `com1.txt` and the like: devices in every directory, whatever follows a dot.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let upper = stem.to_uppercase();
    if matches!(upper.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let mut chars = upper.chars();
    let port: String = chars.by_ref().take(3).collect();
    let number = matches!(chars.next(), Some('0'..='9' | '¹' | '²' | '³'));
    matches!(port.as_str(), "COM" | "LPT") && number && chars.next().is_none()
}

fn impossible(reason: &str) -> io::Error {
    let text = format!("Windows cannot have a file of that name: {reason}");
    io::Error::new(ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_be_another_file() {
        for name in ["a:b", ":", "a\\b", "a*", "a?", "<", ">", "|", "\"", "a\nb", "\u{1}", "a\t"] {
            assert!(Name::of(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(Name::of(b"\xff").is_err());
        assert!(Name::of(b"").is_err());
        assert!(Name::of("ä".repeat(256).as_bytes()).is_err());
        let longest = Name::of("ä".repeat(255).as_bytes()).expect("as long as can be");
        assert_eq!(longest.units().len(), 255);
        let text = Name::of(b"f:s").expect_err("a stream").to_string();
        assert!(text.contains("part of another file"), "{text}");
    }

    #[test]
    fn refuses_to_make_devices_and_what_programs_cannot_name() {
        for name in [
            "CON",
            "con",
            "Nul",
            "PRN",
            "aux",
            "aux.txt",
            "NUL.tar.gz",
            "COM1",
            "com9.log",
            "lpt1",
            "COM0",
            "LPT¹",
            "com³.x",
            "CONIN$",
            "conout$",
            "nul .txt",
            "a.",
            "a ",
            "...",
            "nul.",
        ] {
            let found = Name::of(name.as_bytes()).expect("a file can be looked for");
            assert!(found.for_new().is_err(), "{name}");
        }
        for name in ["console", "com10", "com", "xnul", "a.nul", ".aux", "COMa", "con_", " a", ".a"]
        {
            let found = Name::of(name.as_bytes()).expect("a file can be looked for");
            assert!(found.for_new().is_ok(), "{name}");
        }
    }

    #[test]
    fn names_come_back_as_they_were() {
        for name in ["plain", "ä€😀", "e\u{301}", "é"] {
            let units = Name::of(name.as_bytes()).expect("a legal name");
            assert_eq!(from_disk(units.units()), Ok(name.as_bytes().to_vec()));
        }
        let lone = [u16::from(b'a'), 0xd800, u16::from(b'b')];
        assert_eq!(from_disk(&lone), Err(b"a\\u{d800}b".to_vec()));
    }
}
