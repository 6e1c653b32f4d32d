//! One rule, ready to match paths.

use bascule_wire::filter::Rule;

use super::pattern::Wild;

/// A rule with its pattern compiled. Paths are relative to the transfer root.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    pub(super) rule: Rule,
    /// The directory to which an anchored pattern is relative; empty for the root.
    dir: Vec<u8>,
    anchored: bool,
    form: Form,
    wild: Wild,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Against the last component.
    Base,
    /// Against the whole path, or any part of it behind a slash.
    Path,
    /// `dir/***`: the directory and everything in it.
    Everything,
}

impl Matcher {
    /// Compiles a rule found in `dir` (empty for the transfer root).
    pub(super) fn new(rule: &Rule, dir: &[u8]) -> Self {
        let pattern = &rule.pattern[..];
        let anchored = pattern.first() == Some(&b'/');
        let mut pattern = if anchored { &pattern[1..] } else { pattern };
        // At any depth, which an unanchored pattern means anyway.
        while let Some(rest) = pattern.strip_prefix(b"**/").filter(|_| !anchored) {
            pattern = rest;
        }
        let form = if let Some(head) = pattern.strip_suffix(b"/***") {
            pattern = head;
            Form::Everything
        } else if pattern.contains(&b'/') || contains_double_star(pattern) {
            Form::Path
        } else {
            Form::Base
        };
        Self { rule: rule.clone(), dir: dir.to_vec(), anchored, form, wild: Wild::new(pattern) }
    }

    pub(super) fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.rule.directory_only && !is_dir {
            return false;
        }
        self.has_form(path, is_dir) != self.rule.negate
    }

    fn has_form(&self, path: &[u8], is_dir: bool) -> bool {
        let Some(path) = self.below_dir(path) else {
            return false;
        };
        match self.form {
            Form::Base if self.anchored => self.wild.matches(path),
            Form::Base => self.wild.matches(super::base_of(path)),
            Form::Path => self.tails(path).any(|tail| self.wild.matches(tail)),
            Form::Everything => self.tails(path).any(|tail| {
                (is_dir && self.wild.matches(tail))
                    || slashes(tail).any(|slash| self.wild.matches(&tail[..slash]))
            }),
        }
    }

    /// The path as seen from the rule's directory; a rule reaches only what is below it.
    fn below_dir<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        if self.dir.is_empty() {
            return Some(path);
        }
        path.strip_prefix(&self.dir[..])?.strip_prefix(b"/")
    }

    /// The whole path and, unless the pattern is anchored, what follows each slash.
    fn tails<'a>(&self, path: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let inner = !self.anchored;
        std::iter::once(path)
            .chain(slashes(path).filter(move |_| inner).map(move |slash| &path[slash + 1..]))
            // The slash itself stands for what `**` has eaten.
            .chain(slashes(path).filter(move |_| inner).map(move |slash| &path[slash..]))
    }
}

fn slashes(path: &[u8]) -> impl Iterator<Item = usize> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at)
}

fn contains_double_star(pattern: &[u8]) -> bool {
    pattern.windows(2).any(|pair| pair == b"**")
}
