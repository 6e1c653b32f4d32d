//! Validated relative paths: the only paths that a peer can name.

use std::fmt;

use bascule_wire::flist::{Entry, entry::join};
use bascule_wire::limits::MAX_NAME;
use bascule_wire::shown;

/// A path beneath a root, in bytes, with `/` between components.
///
/// It cannot be absolute, cannot contain `..`, `.`, an empty component or a NUL, and is at most
/// 4096 bytes long. The root itself is the empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Vec<u8>);

/// Why bytes are no [`RelPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It begins with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// It climbs out with `..`.
    #[error("the path contains '..'")]
    ParentComponent,
    /// It has an empty component or a `.` inside.
    #[error("the path has an empty component")]
    EmptyComponent,
    /// It contains a NUL byte.
    #[error("the path contains a NUL byte")]
    Nul,
    /// It is longer than 4096 bytes.
    #[error("the path is longer than 4096 bytes")]
    TooLong,
}

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// Checks `bytes`; `.` and the empty string are the root.
    ///
    /// # Errors
    /// A [`PathError`] when the bytes could name something outside the root.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() || bytes == b"." {
            return Ok(Self::root());
        }
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute);
        }
        if bytes.len() > MAX_NAME {
            return Err(PathError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => return Err(PathError::EmptyComponent),
                b".." => return Err(PathError::ParentComponent),
                _ => {}
            }
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The path of a list entry. Decoders refuse entries for which this would fail.
    ///
    /// # Errors
    /// A [`PathError`] for an entry that no decoder made.
    pub fn of_entry(entry: &Entry) -> Result<Self, PathError> {
        if entry.is_root() { Ok(Self::root()) } else { Self::parse(&join(&entry.dir, &entry.base)) }
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The parent; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(self.split().0)
    }

    /// Parent and last component; two empty ones for the root.
    pub fn split(&self) -> (Self, &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (Self(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (Self::root(), &self.0),
        }
    }

    /// The last component; empty for the root.
    pub fn base(&self) -> &[u8] {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => &self.0[slash + 1..],
            None => &self.0,
        }
    }

    /// Whether this is `dir` or something below it.
    pub fn is_within(&self, dir: &Self) -> bool {
        let rest = self.0.strip_prefix(&dir.0[..]);
        rest.is_some_and(|rest| dir.is_root() || rest.is_empty() || rest[0] == b'/')
    }

    /// Adds one component or a relative path below this one; nothing added changes nothing.
    ///
    /// # Errors
    /// A [`PathError`] when the result would be no [`RelPath`].
    pub fn join(&self, below: &[u8]) -> Result<Self, PathError> {
        if below.is_empty() {
            return Ok(self.clone());
        }
        Self::parse(&join(&self.0, below))
    }

    /// The components from the top.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }
}

/// The name of a temporary file for `path`: `.NAME.XXXXXX` in the same directory. `attempt` tells
/// apart the names tried for the same path.
pub fn temporary_name(path: &RelPath, attempt: u32) -> RelPath {
    use std::hash::{BuildHasher as _, RandomState};

    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyzABCDEFGH";
    const SUFFIX: usize = 6;
    let (parent, base) = path.split();
    let mut random = RandomState::new().hash_one((base, attempt));
    let mut kept = &base[..base.len().min(255 - 2 - SUFFIX)];
    // A name in UTF-8 stays one: some disks take no other.
    if kept.len() < base.len()
        && std::str::from_utf8(base).is_ok()
        && let Err(error) = std::str::from_utf8(kept)
    {
        kept = &kept[..error.valid_up_to()];
    }
    let mut name = Vec::with_capacity(kept.len() + 2 + SUFFIX);
    name.push(b'.');
    name.extend_from_slice(kept);
    name.push(b'.');
    for _ in 0..SUFFIX {
        name.push(ALPHABET[(random % 32) as usize]);
        random /= 32;
    }
    RelPath(join(&parent.0, &name))
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { write!(f, "{}", shown(&self.0)) }
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_every_way_out() {
        assert_eq!(RelPath::parse(b"/etc"), Err(PathError::Absolute));
        assert_eq!(RelPath::parse(b".."), Err(PathError::ParentComponent));
        assert_eq!(RelPath::parse(b"a/../b"), Err(PathError::ParentComponent));
        assert_eq!(RelPath::parse(b"a//b"), Err(PathError::EmptyComponent));
        assert_eq!(RelPath::parse(b"a/./b"), Err(PathError::EmptyComponent));
        assert_eq!(RelPath::parse(b"a/"), Err(PathError::EmptyComponent));
        assert_eq!(RelPath::parse(b"a\0b"), Err(PathError::Nul));
        assert_eq!(RelPath::parse(&[b'a'; 5000]), Err(PathError::TooLong));
    }

    #[test]
    fn keeps_every_other_byte() {
        for name in [&b"..."[..], b"..x", b"-rf", b"a\nb", b"\xff\xfe", b"a/b/c", b" "] {
            let path = RelPath::parse(name).expect("a legal name");
            assert_eq!(path.as_bytes(), name);
        }
    }

    #[test]
    fn temporary_names_fit_and_differ() {
        let long = RelPath::parse(&[b'n'; 255]).expect("legal");
        assert_eq!(temporary_name(&long, 0).base().len(), 255);
        let accents = RelPath::parse("é".repeat(127).as_bytes()).expect("legal");
        assert!(std::str::from_utf8(temporary_name(&accents, 0).base()).is_ok());
        let path = RelPath::parse(b"dir/name").expect("legal");
        let temporary = temporary_name(&path, 1);
        assert!(temporary.as_bytes().starts_with(b"dir/.name."));
    }

    #[test]
    fn a_longer_name_is_not_within() {
        let path = |text: &str| RelPath::parse(text.as_bytes()).expect("legal");
        for (inner, outer) in [("a", "a"), ("a/b", "a"), ("a/b", "."), (".", ".")] {
            assert!(path(inner).is_within(&path(outer)), "{inner} {outer}");
        }
        for (inner, outer) in [("ab", "a"), ("a", "a/b"), (".", "a"), ("b/a", "a")] {
            assert!(!path(inner).is_within(&path(outer)), "{inner} {outer}");
        }
    }

    #[test]
    fn splits_and_joins() {
        let path = RelPath::parse(b"a/b/c").expect("legal");
        assert_eq!(path.base(), b"c");
        assert_eq!(path.parent(), Some(RelPath::parse(b"a/b").expect("legal")));
        assert_eq!(RelPath::parse(b"a").expect("legal").parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert_eq!(RelPath::root().join(b"x/y").expect("legal").as_bytes(), b"x/y");
        assert!(path.join(b"..").is_err());
        assert_eq!(path.join(b""), Ok(path));
    }
}
