//! The order in which both ends index a list (§9.5). It has to be exact: every index depends on it.

use std::cmp::Ordering;

use super::entry::Entry;
use crate::version::Version;

/// Compares two entries by the order of `version`.
pub fn compare(a: &Entry, b: &Entry, version: Version) -> Ordering {
    if !version.sorts_dirs_last() {
        return a.path().cmp(&b.path());
    }
    compare_names(Name::of(a), Name::of(b))
}

/// A name as the order sees it: parent, last component, and whether it is a directory.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// The parent's path; empty at the root.
    pub dir: &'a [u8],
    /// The last component.
    pub base: &'a [u8],
    /// Whether it names a directory.
    pub is_dir: bool,
}

impl<'a> Name<'a> {
    /// The name of an entry.
    pub fn of(entry: &'a Entry) -> Self {
        Self { dir: &entry.dir, base: &entry.base, is_dir: entry.is_dir() }
    }

    fn is_root(self) -> bool {
        self.is_dir && self.dir.is_empty() && self.base == b"."
    }
}

/// Compares two names since protocol 29: `.` first; within a directory everything else before the
/// directories, each directory as if its name ended in a slash and followed by its contents.
pub fn compare_names(a: Name<'_>, b: Name<'_>) -> Ordering {
    match (a.is_root(), b.is_root()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (false, false) => {}
    }
    if a.dir == b.dir {
        return compare_components(component(a.base, a.is_dir), component(b.base, b.is_dir));
    }
    let mut left = components(a);
    let mut right = components(b);
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match compare_components(a, b) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
}

#[derive(Clone, Copy)]
struct Component<'a> {
    name: &'a [u8],
    is_dir: bool,
}

fn component(name: &[u8], is_dir: bool) -> Component<'_> {
    Component { name, is_dir }
}

fn components(name: Name<'_>) -> impl Iterator<Item = Component<'_>> {
    name.dir
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .map(|part| component(part, true))
        .chain(std::iter::once(component(name.base, name.is_dir)))
}

fn compare_components(a: Component<'_>, b: Component<'_>) -> Ordering {
    match (a.is_dir, b.is_dir) {
        (false, true) => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, false) => a.name.cmp(b.name),
        (true, true) => {
            let shared = a.name.len().min(b.name.len());
            a.name[..shared].cmp(&b.name[..shared]).then_with(|| {
                let rest = |name: &[u8]| name.get(shared).copied().unwrap_or(b'/');
                // Equal lengths end in the same slash; otherwise the shorter one's slash meets
                // the longer one's next byte.
                rest(a.name).cmp(&rest(b.name)).then(a.name.len().cmp(&b.name.len()))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &'static str) -> Name<'static> {
        let is_dir = text.ends_with('/');
        let text = text.trim_end_matches('/');
        let (dir, base) = text.rsplit_once('/').unwrap_or(("", text));
        Name { dir: dir.as_bytes(), base: base.as_bytes(), is_dir }
    }

    #[test]
    fn sorts_like_the_reference() {
        let expected = [
            "./",
            "a.txt",
            "dir-x",
            "z",
            "dir1-x/",
            "dir1/",
            "dir1/b.txt",
            "dir1/sub/",
            "dir1/sub/c.txt",
            "dir10/",
            "dir10/e.txt",
            "dir2/",
        ];
        let mut sorted = expected.map(name);
        sorted.reverse();
        sorted.sort_by(|a, b| compare_names(*a, *b));
        for (got, wanted) in sorted.iter().zip(expected) {
            let wanted = name(wanted);
            assert_eq!((got.dir, got.base), (wanted.dir, wanted.base));
        }
    }

    fn any_name() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, bool)> {
        let part = proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'-'), Just(b'0')], 1..3);
        (proptest::collection::vec(part.clone(), 0..3), part, any::<bool>())
            .prop_map(|(dir, base, is_dir)| (dir.join(&b'/'), base, is_dir))
    }

    /// The rule of §9.5 written as sort keys, the slow way.
    fn key((dir, base, is_dir): &(Vec<u8>, Vec<u8>, bool)) -> Vec<(bool, Vec<u8>)> {
        let dirs = dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        let mut key: Vec<_> = dirs.map(|part| (true, [part, b"/"].concat())).collect();
        key.push((*is_dir, if *is_dir { [&base[..], b"/"].concat() } else { base.clone() }));
        key
    }

    proptest! {
        #[test]
        fn agrees_with_the_rule_as_keys(a in any_name(), b in any_name()) {
            let fast = compare_names(
                Name { dir: &a.0, base: &a.1, is_dir: a.2 },
                Name { dir: &b.0, base: &b.1, is_dir: b.2 },
            );
            prop_assert_eq!(fast, key(&a).cmp(&key(&b)));
        }
    }
}
