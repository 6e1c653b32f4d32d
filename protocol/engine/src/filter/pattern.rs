//! Patterns of filter rules (§7): `*`, `**`, `?`, `[set]`, backslashes.

/// A compiled wildcard pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wild {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    /// Any byte but a slash.
    One,
    /// Any bytes but slashes.
    Star,
    /// Any bytes.
    DoubleStar,
    /// Nothing at all: the pattern is malformed.
    Never,
    /// One byte (never a slash) that is, or is not, among these.
    Set {
        members: Box<Members>,
        negated: bool,
    },
}

/// A set of bytes, one bit each: a peer's patterns may be full of sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Members([u64; 4]);

impl Members {
    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }
}

/// Whether `text` has the form of `pattern`.
pub fn wildmatch(pattern: &[u8], text: &[u8]) -> bool {
    Wild::new(pattern).matches(text)
}

impl Wild {
    /// A pattern without wildcards, in which backslashes escape nothing.
    pub(super) fn literal(text: &[u8]) -> Self {
        Self { pieces: text.iter().copied().map(Piece::Byte).collect() }
    }

    /// Compiles wildcards. A set that is not closed, an unknown `[:class:]` and a backslash at the
    /// end match nothing, as in rsync.
    pub(super) fn new(pattern: &[u8]) -> Self {
        let mut pieces = Vec::with_capacity(pattern.len());
        let mut rest = pattern;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            pieces.push(match byte {
                b'*' => {
                    let stars = rest.iter().take_while(|byte| **byte == b'*').count();
                    rest = &rest[stars..];
                    if stars == 0 { Piece::Star } else { Piece::DoubleStar }
                }
                b'?' => Piece::One,
                b'[' => match parse_set(rest) {
                    Some((set, after)) => {
                        rest = after;
                        set
                    }
                    None => Piece::Never,
                },
                b'\\' => match rest.split_first() {
                    Some((&escaped, after)) => {
                        rest = after;
                        Piece::Byte(escaped)
                    }
                    None => Piece::Never,
                },
                other => Piece::Byte(other),
            });
        }
        Self { pieces }
    }

    /// Matches in time proportional to pattern length × text length, whatever the pattern.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        // `reached[i]`: the pieces so far match the first i bytes.
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        let mut any = true;
        for piece in &self.pieces {
            if !any {
                return false;
            }
            any = match piece {
                Piece::Star | Piece::DoubleStar => {
                    let crosses = *piece == Piece::DoubleStar;
                    let mut on = false;
                    for at in 0..=text.len() {
                        if at > 0 && !crosses && text[at - 1] == b'/' {
                            on = false;
                        }
                        on |= reached[at];
                        reached[at] = on;
                    }
                    true
                }
                single => {
                    let mut some = false;
                    for at in (0..text.len()).rev() {
                        reached[at + 1] = reached[at] && single.takes(text[at]);
                        some |= reached[at + 1];
                    }
                    reached[0] = false;
                    some
                }
            };
        }
        reached[text.len()]
    }
}

impl Piece {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::One => byte != b'/',
            Self::Set { members, negated } => byte != b'/' && members.contains(byte) != *negated,
            Self::Star | Self::DoubleStar | Self::Never => false,
        }
    }
}

/// Parses a set behind its opening bracket; `None` when it is not closed.
fn parse_set(text: &[u8]) -> Option<(Piece, &[u8])> {
    let mut members = Box::<Members>::default();
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut rest = if negated { &text[1..] } else { text };
    let mut first = true;
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        if byte == b']' && !first {
            return Some((Piece::Set { members, negated }, rest));
        }
        first = false;
        if byte == b'['
            && let Some(named) = rest.strip_prefix(b":")
        {
            let end = named.iter().position(|byte| *byte == b']')?;
            if let Some(name) = named[..end].strip_suffix(b":") {
                let class = class(name)?;
                (0..=u8::MAX).filter(class).for_each(|member| members.insert(member));
                rest = &named[end + 1..];
                continue;
            }
        }
        let low = if byte == b'\\' { take(&mut rest)? } else { byte };
        let high = match rest {
            [b'-', b']', ..] => low,
            [b'-', ..] => {
                rest = &rest[1..];
                let high = take(&mut rest)?;
                if high == b'\\' { take(&mut rest)? } else { high }
            }
            _ => low,
        };
        for member in low..=high {
            members.insert(member);
        }
    }
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, after) = rest.split_first()?;
    *rest = after;
    Some(byte)
}

fn class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| byte.is_ascii_graphic() || *byte == b' ',
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| byte.is_ascii_whitespace() || *byte == 0x0b,
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matches_like_the_manual_says() {
        for (pattern, text, expected) in [
            ("*.o", "x.o", true),
            ("*.o", "a/x.o", false),
            ("**.o", "a/x.o", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[[:digit:]]*", "7up", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("a\\*b", "a*b", true),
            ("a\\*b*", "a*bc", true),
            ("a\\b", "ab", true),
            ("a\\", "a\\", false),
            ("[", "[", false),
            ("[a", "a", false),
            ("[[:nope:]]*", "x", false),
            ("[[:a]", "[", true),
            ("[a\\-c]", "b", false),
            ("a/**/b", "a/x/y/b", true),
            ("", "", true),
            ("*", "", true),
        ] {
            let matched = wildmatch(pattern.as_bytes(), text.as_bytes());
            assert_eq!(matched, expected, "{pattern} against {text}");
        }
    }

    /// The obvious definition, exponential in the worst case.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            [b'*', rest @ ..] => (0..=text.len())
                .take_while(|at| !text[..*at].contains(&b'/'))
                .any(|at| naive(rest, &text[at..])),
            [b'?', rest @ ..] => {
                text.first().is_some_and(|byte| *byte != b'/') && naive(rest, &text[1..])
            }
            [byte, rest @ ..] => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab/?*]{0,7}", text in "[ab/]{0,8}") {
            // Three stars are two: the naive matcher would see one more.
            let pattern = pattern.replace("***", "**");
            prop_assert_eq!(
                wildmatch(pattern.as_bytes(), text.as_bytes()),
                naive(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
