//! One rule, ready to match paths.

use std::borrow::Cow;

use bascule_wire::filter::Rule;

use super::pattern::Wild;

/// A rule with its pattern compiled. Paths are relative to the transfer root.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    pub(super) rule: Rule,
    /// The directory to which an anchored pattern is relative; empty for the root.
    dir: Vec<u8>,
    place: Place,
    /// It begins with `**`: that may stand for nothing in front of a slash.
    from_anywhere: bool,
    /// It ends with `***`: `/***` means the directory as well.
    with_dir: bool,
    wild: Wild,
}

/// Which part of a path the pattern is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The last component.
    Base,
    /// The whole path.
    Whole,
    /// That many components at the end.
    Tail(usize),
    /// The whole path, or what follows any slash.
    AnyTail,
}

impl Matcher {
    /// Compiles a rule found in `dir` (empty for the transfer root).
    pub(super) fn new(rule: &Rule, dir: &[u8]) -> Self {
        let pattern = &rule.pattern[..];
        let is_wild = pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
        let crosses_slashes = pattern.windows(2).any(|pair| pair == b"**");
        let from_anywhere = pattern.starts_with(b"**");
        let slashes = pattern.iter().filter(|byte| **byte == b'/').count();
        let (pattern, anchored) = match pattern.strip_prefix(b"/") {
            Some(below) => (below, true),
            None => (pattern, false),
        };
        let place = if anchored || from_anywhere {
            Place::Whole
        } else if crosses_slashes {
            Place::AnyTail
        } else if slashes > 0 {
            Place::Tail(slashes + 1)
        } else {
            Place::Base
        };
        Self {
            dir: if anchored { dir.to_vec() } else { Vec::new() },
            place,
            from_anywhere,
            with_dir: rule.pattern.ends_with(b"***"),
            wild: if is_wild { Wild::new(pattern) } else { Wild::literal(pattern) },
            rule: rule.clone(),
        }
    }

    /// What it counts as where rules are limited, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.rule.weight() + self.dir.len()
    }

    pub(super) fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        let has_form = (is_dir || !self.rule.directory_only) && self.has_form(path, is_dir);
        has_form != self.rule.negate
    }

    fn has_form(&self, path: &[u8], is_dir: bool) -> bool {
        let Some(path) = self.below_dir(path) else {
            return false;
        };
        let text: Cow<'_, [u8]> = match (self.from_anywhere, self.with_dir && is_dir) {
            (false, false) => path.into(),
            (true, false) => [b"/", path].concat().into(),
            (false, true) => [path, b"/"].concat().into(),
            (true, true) => [b"/", path, b"/"].concat().into(),
        };
        match self.place {
            Place::Base => self.wild.matches(super::base_of(&text)),
            Place::Whole => self.wild.matches(&text),
            Place::Tail(components) => {
                tail(&text, components).is_some_and(|tail| self.wild.matches(tail))
            }
            Place::AnyTail => {
                self.wild.matches(&text)
                    || slashes(&text).any(|slash| self.wild.matches(&text[slash + 1..]))
            }
        }
    }

    /// The path as an anchored pattern sees it: from the rule's directory.
    fn below_dir<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        if self.dir.is_empty() {
            return Some(path);
        }
        path.strip_prefix(&self.dir[..])?.strip_prefix(b"/")
    }
}

/// The last `components` of a path that has at least so many.
fn tail(path: &[u8], components: usize) -> Option<&[u8]> {
    let mut before = slashes(path).rev().skip(components - 1);
    match before.next() {
        Some(slash) => Some(&path[slash + 1..]),
        None if slashes(path).count() + 1 == components => Some(path),
        None => None,
    }
}

fn slashes(path: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at)
}
