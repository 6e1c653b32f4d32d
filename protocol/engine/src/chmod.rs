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
    Symbolic(Symbolic),
}

/// Masks are modes: `who` is 0700 for the owner and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Symbolic {
    who: u32,
    op: Op,
    what: What,
    /// Set-id and sticky bits that are named.
    special: u32,
    /// Set-id and sticky bits that an assignment takes away first: those of the classes named, if
    /// one is assigned itself or a whole class is copied.
    cleared: u32,
    /// What is never given, because nobody was named: the process's mask.
    umask: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Permissions of all three classes; with `search`, `x` for directories and for files that
    /// were executable before any change.
    Bits { bits: u32, search: bool },
    /// The permissions of the class that many bits up.
    Copy { shift: u32 },
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
    /// `F` in front. Where an item names nobody, `umask` limits what is given.
    ///
    /// # Errors
    /// [`ChmodError`] with the item that is wrong.
    pub fn parse(text: &str, umask: u32) -> Result<Self, ChmodError> {
        let change = |item: &str| parse_item(item, umask).ok_or_else(|| ChmodError(item.into()));
        Ok(Self(text.split(',').map(change).collect::<Result<_, _>>()?))
    }

    /// The changed mode; the type bits and the modes of symlinks stay.
    #[must_use]
    pub fn apply(&self, mode: u32) -> u32 {
        let kind = Kind::from_mode(mode);
        if kind == Some(Kind::Symlink) {
            return mode;
        }
        let is_dir = kind == Some(Kind::Directory);
        let searchable = is_dir || mode & 0o111 != 0;
        let mut bits = mode & 0o7777;
        for change in &self.0 {
            if change.only_dirs.is_none_or(|dirs| dirs == is_dir) {
                bits = match change.act {
                    Act::Set(bits) => bits,
                    Act::Symbolic(symbolic) => symbolic.apply(bits, searchable),
                };
            }
        }
        mode & !0o7777 | bits
    }
}

impl Symbolic {
    fn apply(self, mode: u32, searchable: bool) -> u32 {
        let Self { who, op, what, special, cleared, umask } = self;
        let bits = match what {
            What::Bits { bits, search } if search && searchable => bits | 0o111,
            What::Bits { bits, .. } => bits,
            What::Copy { shift } => {
                let class = mode >> shift & 7;
                class << 6 | class << 3 | class
            }
        };
        let bits = bits & who & !umask | special;
        match op {
            Op::Add => mode | bits,
            Op::Remove => mode & !bits,
            Op::Assign => mode & !(who | cleared) | bits,
        }
    }
}

fn set_id_of(who: u32) -> u32 {
    (if who & 0o700 != 0 { 0o4000 } else { 0 }) | (if who & 0o070 != 0 { 0o2000 } else { 0 })
}

fn sticky_of(who: u32) -> u32 {
    if who & 0o007 != 0 { 0o1000 } else { 0 }
}

fn parse_item(item: &str, umask: u32) -> Option<Change> {
    let (only_dirs, rest) = match item.as_bytes().first()? {
        b'D' => (Some(true), &item[1..]),
        b'F' => (Some(false), &item[1..]),
        _ => (None, item),
    };
    if rest.starts_with(|first: char| first.is_ascii_digit()) {
        let bits = u32::from_str_radix(rest, 8).ok().filter(|bits| *bits <= 0o7777)?;
        return Some(Change { only_dirs, act: Act::Set(bits) });
    }
    let at = rest.find(['+', '-', '='])?;
    let mut named = 0;
    for class in rest[..at].bytes() {
        named |= match class {
            b'u' => 0o700,
            b'g' => 0o070,
            b'o' => 0o007,
            b'a' => 0o777,
            _ => return None,
        };
    }
    let op = match rest.as_bytes()[at] {
        b'+' => Op::Add,
        b'-' => Op::Remove,
        _ => Op::Assign,
    };
    let (who, umask) = if named == 0 { (0o777, umask) } else { (named, 0) };
    let mut special = 0;
    let permissions = &rest.as_bytes()[at + 1..];
    let what = match permissions {
        b"u" => What::Copy { shift: 6 },
        b"g" => What::Copy { shift: 3 },
        b"o" => What::Copy { shift: 0 },
        _ => {
            let (mut bits, mut search) = (0, false);
            for byte in permissions {
                match byte {
                    b'r' => bits |= 0o444,
                    b'w' => bits |= 0o222,
                    b'x' => bits |= 0o111,
                    b'X' => search = true,
                    b't' => special |= 0o1000,
                    b's' => {
                        // Of the classes that have one; the owner's where none is named.
                        let own = set_id_of(named);
                        special |= if own == 0 { 0o4000 } else { own };
                    }
                    _ => return None,
                }
            }
            What::Bits { bits, search }
        }
    };
    let cleared = match what {
        What::Copy { .. } => set_id_of(who) | sticky_of(who),
        What::Bits { .. } if special != 0 => set_id_of(named),
        What::Bits { .. } => 0,
    };
    Some(Change {
        only_dirs,
        act: Act::Symbolic(Symbolic { who, op, what, special, cleared, umask }),
    })
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
            ("g=u", FILE | 0o7640, FILE | 0o5660),
            ("o=g", FILE | 0o1644, FILE | 0o644),
            ("u=rwX,go=rX", FILE | 0o7777, FILE | 0o7755),
            ("a=t", FILE | 0o2611, FILE | 0o1000),
            ("a+s", FILE | 0o755, FILE | 0o6755),
            ("o+s", FILE | 0o755, FILE | 0o4755),
            ("+w", FILE | 0o444, FILE | 0o644),
            ("a-x,a+X", FILE | 0o755, FILE | 0o755),
        ] {
            let changed = Chmod::parse(text, 0o022).expect("a mode change").apply(before);
            assert_eq!(changed, after, "{text} on {before:o} gave {changed:o}");
        }
        assert_eq!(Chmod::parse("000", 0).expect("octal").apply(0o120_777), 0o120_777);
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["", "u", "z+x", "u+q", "9", "77777", "u+x,,", "o=gx", "u+X-w"] {
            assert!(Chmod::parse(text, 0).is_err(), "{text:?}");
        }
    }
}
