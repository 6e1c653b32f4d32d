//! `--chmod` and its daemon-side relatives: changes to the modes that travel.

use bascule_wire::flist::Kind;

/// A list of mode changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chmod(Vec<Change>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    /// `D` or `F`: only directories, or only everything else.
    only_dirs: Option<bool>,
    act: Act,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// An octal mode.
    Set(u32),
    Symbolic {
        who: u32,
        op: Op,
        bits: u32,
        search: bool,
        copy_from: Option<u32>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Assign,
}

/// Why a text is no [`Chmod`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mode change such as Du+x,Fgo-w or 640")]
pub struct ChmodError(String);

impl Chmod {
    /// Parses a comma-separated list in the form of chmod(1), each item optionally with `D` or
    /// `F` in front.
    ///
    /// # Errors
    /// [`ChmodError`] with the item that is wrong.
    pub fn parse(text: &str) -> Result<Self, ChmodError> {
        let mut changes = Vec::new();
        for item in text.split(',') {
            parse_item(item, &mut changes).ok_or_else(|| ChmodError(item.to_owned()))?;
        }
        Ok(Self(changes))
    }

    /// The changed mode; the type bits and the modes of symlinks stay.
    #[must_use]
    pub fn apply(&self, mode: u32) -> u32 {
        let kind = Kind::from_mode(mode);
        if kind == Some(Kind::Symlink) {
            return mode;
        }
        let is_dir = kind == Some(Kind::Directory);
        let mut bits = mode & 0o7777;
        for change in &self.0 {
            if change.only_dirs.is_none_or(|dirs| dirs == is_dir) {
                bits = change.act.apply(bits, is_dir);
            }
        }
        mode & !0o7777 | bits
    }
}

impl Act {
    fn apply(self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Set(bits) => bits,
            Self::Symbolic { who, op, bits, search, copy_from } => {
                let mut bits = bits;
                if search && (is_dir || mode & 0o111 != 0) {
                    bits |= 0o111;
                }
                if let Some(shift) = copy_from {
                    let copied = mode >> shift & 7;
                    bits |= copied << 6 | copied << 3 | copied;
                }
                let special = bits & 0o7000 & special_of(who);
                let bits = bits & who & 0o777 | special;
                match op {
                    Op::Add => mode | bits,
                    Op::Remove => mode & !bits,
                    Op::Assign => mode & !(who & 0o777 | special_of(who) & 0o6000) | bits,
                }
            }
        }
    }
}

/// The set-id bits that belong to some of `ugo`; the sticky bit belongs to all.
fn special_of(who: u32) -> u32 {
    let mut special = 0o1000;
    if who & 0o700 != 0 {
        special |= 0o4000;
    }
    if who & 0o070 != 0 {
        special |= 0o2000;
    }
    special
}

fn parse_item(item: &str, changes: &mut Vec<Change>) -> Option<()> {
    let (only_dirs, rest) = match item.as_bytes().first()? {
        b'D' => (Some(true), &item[1..]),
        b'F' => (Some(false), &item[1..]),
        _ => (None, item),
    };
    if rest.starts_with(|first: char| first.is_ascii_digit()) {
        let bits = u32::from_str_radix(rest, 8).ok().filter(|bits| *bits <= 0o7777)?;
        changes.push(Change { only_dirs, act: Act::Set(bits) });
        return Some(());
    }
    let mut bytes = rest.bytes().peekable();
    let mut who = 0;
    while let Some(mask) = bytes.peek().and_then(|byte| match byte {
        b'u' => Some(0o700),
        b'g' => Some(0o070),
        b'o' => Some(0o007),
        b'a' => Some(0o777),
        _ => None,
    }) {
        who |= mask;
        bytes.next();
    }
    let who = if who == 0 { 0o777 } else { who };
    bytes.peek()?;
    while let Some(op) = bytes.next() {
        let op = match op {
            b'+' => Op::Add,
            b'-' => Op::Remove,
            b'=' => Op::Assign,
            _ => return None,
        };
        let (mut bits, mut search, mut copy_from) = (0, false, None);
        while let Some(&byte) = bytes.peek() {
            match byte {
                b'r' => bits |= 0o444,
                b'w' => bits |= 0o222,
                b'x' => bits |= 0o111,
                b'X' => search = true,
                b's' => bits |= 0o6000,
                b't' => bits |= 0o1000,
                b'u' => copy_from = Some(6),
                b'g' => copy_from = Some(3),
                b'o' => copy_from = Some(0),
                b'+' | b'-' | b'=' => break,
                _ => return None,
            }
            bytes.next();
        }
        let act = Act::Symbolic { who, op, bits, search, copy_from };
        changes.push(Change { only_dirs, act });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_like_the_manual_says() {
        const DIR: u32 = 0o040_000;
        const FILE: u32 = 0o100_000;
        for (text, before, after) in [
            ("Du+x,Fgo-w", FILE | 0o666, FILE | 0o644),
            ("Du+x,Fgo-w", DIR | 0o666, DIR | 0o766),
            ("a=rw,Da+x", DIR | 0o700, DIR | 0o777),
            ("a=rw,Da+x", FILE | 0o700, FILE | 0o666),
            ("640", FILE | 0o4755, FILE | 0o640),
            ("D2775,F664", DIR | 0o700, DIR | 0o2775),
            ("ug=rwX,o=", FILE | 0o744, FILE | 0o770),
            ("ug=rwX,o=", FILE | 0o644, FILE | 0o660),
            ("u+s", FILE | 0o755, FILE | 0o4755),
            ("+t", DIR | 0o777, DIR | 0o1777),
            ("g=u", FILE | 0o640, FILE | 0o660),
        ] {
            let changed = Chmod::parse(text).expect("a mode change").apply(before);
            assert_eq!(changed, after, "{text} on {before:o} gave {changed:o}");
        }
        assert_eq!(Chmod::parse("000").expect("octal").apply(0o120_777), 0o120_777);
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["", "u", "z+x", "u+q", "9", "77777", "u+x,,"] {
            assert!(Chmod::parse(text).is_err(), "{text:?}");
        }
    }
}
