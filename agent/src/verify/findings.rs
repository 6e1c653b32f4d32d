//! What a verification has found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bascule_wire::flist::Entry;
use serde::{Deserialize, Serialize};

/// Differences that are kept to be listed; all are counted.
const MOST_LISTED: usize = 100_000;
/// Texts of the other end that are kept.
const MOST_TEXTS: usize = 1000;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The first that was named.
    Source,
    /// The second.
    Target,
}

impl End {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }

    /// The end across.
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }
}

/// In what a name differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// It is at the source alone.
    Missing,
    /// It is at the target alone.
    Extra,
    /// A directory here, a file there.
    Kind,
    /// Size or bytes of a file, target of a symlink, number of a device.
    Content,
    /// The modification time.
    Time,
    /// The permissions, when they are compared.
    Permissions,
    /// Owner or group, when they are compared.
    Owner,
    /// One end could not be read.
    Unreadable,
    /// It changed while it was compared: nothing can be said about it.
    InMotion,
}

impl Aspect {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::Extra,
        Self::Kind,
        Self::Content,
        Self::Time,
        Self::Permissions,
        Self::Owner,
        Self::Unreadable,
        Self::InMotion,
    ];

    /// The aspect of a name that `end` alone has.
    pub fn only_at(end: End) -> Self {
        match end {
            End::Source => Self::Missing,
            End::Target => Self::Extra,
        }
    }
}

/// A name that is not the same at both ends.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The path relative to both ends.
    pub path: Vec<u8>,
    /// In what it differs.
    pub aspects: Vec<Aspect>,
    /// What the source has.
    pub source: Option<Entry>,
    /// What the target has.
    pub target: Option<Entry>,
    /// What happened, where there is more to say.
    pub why: Option<String>,
}

impl Difference {
    /// What one end has.
    pub fn at(&self, end: End) -> Option<&Entry> {
        match end {
            End::Source => self.source.as_ref(),
            End::Target => self.target.as_ref(),
        }
    }

    /// Turns it into one about which nothing can be said.
    pub fn set_in_motion(&mut self) {
        self.aspects = vec![Aspect::InMotion];
    }

    /// Whether it is one.
    pub fn is_in_motion(&self) -> bool {
        self.aspects == [Aspect::InMotion]
    }
}

/// All that was found, from all threads.
#[derive(Debug, Default)]
pub struct Findings(Mutex<Found>);

/// The sum of what was found.
#[derive(Debug, Default, Clone)]
pub struct Found {
    /// How many names differ in each aspect.
    pub counts: BTreeMap<Aspect, u64>,
    /// The differences, as many as are listed.
    pub differences: Vec<Difference>,
    /// Differences that are not in that list.
    pub unlisted: u64,
    /// Paths that could not be read at one end: nothing is known of what is there.
    unreadable: HashSet<Vec<u8>>,
    /// What the other end had to say.
    pub texts: Vec<String>,
}

impl Findings {
    fn lock(&self) -> MutexGuard<'_, Found> {
        // A panic elsewhere must not hide what was found.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a difference; one without aspects is none.
    pub fn add(&self, difference: Difference) {
        if difference.aspects.is_empty() {
            return;
        }
        let mut found = self.lock();
        if difference.aspects.contains(&Aspect::Unreadable) {
            found.unreadable.insert(difference.path.clone());
        }
        for aspect in &difference.aspects {
            *found.counts.entry(*aspect).or_default() += 1;
        }
        if found.differences.len() < MOST_LISTED {
            found.differences.push(difference);
        } else {
            found.unlisted += 1;
        }
    }

    /// Adds a text of the other end.
    pub fn say(&self, text: String) {
        let mut found = self.lock();
        if found.texts.len() < MOST_TEXTS {
            found.texts.push(text);
        }
    }

    /// Whether a path, or a directory that it is in, could not be read: that it is not there is
    /// then no difference of its own.
    pub fn is_in_the_dark(&self, path: &[u8]) -> bool {
        let found = self.lock();
        if found.unreadable.is_empty() {
            return false;
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let above = slashes.map(|(at, _)| &path[..at]);
        above.chain([path, b"."]).any(|path| found.unreadable.contains(path))
    }

    /// The listed paths that differ and hold still.
    pub fn settled_paths(&self) -> HashSet<Vec<u8>> {
        let found = self.lock();
        let settled = found.differences.iter().filter(|difference| !difference.is_in_motion());
        settled.map(|difference| difference.path.clone()).collect()
    }

    /// Looks at the listed differences again with what a remote `end` has `now`: one whose entry is
    /// another one by now is in motion.
    pub fn look_again(&self, end: End, now: &HashMap<Vec<u8>, Entry>) {
        let mut found = self.lock();
        let Found { counts, differences, .. } = &mut *found;
        for difference in differences.iter_mut().filter(|difference| !difference.is_in_motion()) {
            let is_same = match (difference.at(end), now.get(&difference.path)) {
                (Some(before), Some(now)) => is_same_version(before, now),
                (None, None) => true,
                _ => false,
            };
            if !is_same {
                for aspect in &difference.aspects {
                    counts.entry(*aspect).and_modify(|count| *count -= 1);
                }
                difference.set_in_motion();
                *counts.entry(Aspect::InMotion).or_default() += 1;
            }
        }
        counts.retain(|_, count| *count > 0);
    }

    /// The sum, sorted by path.
    pub fn sum(&self) -> Found {
        let mut found = self.lock().clone();
        found.differences.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

/// Whether an entry has not changed, as far as a list tells.
fn is_same_version(before: &Entry, now: &Entry) -> bool {
    let told = |entry: &Entry| (entry.mode, entry.size, entry.mtime, entry.nanos, entry.device());
    told(before) == told(now) && before.link() == now.link()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: u64) -> Entry {
        Entry {
            dir: (*b"").into(),
            base: (*b"x").into(),
            mode: 0o100_644,
            size,
            mtime: 5,
            nanos: 0,
            uid: 0,
            gid: 0,
            top_dir: false,
            content_dir: false,
            extra: None,
        }
    }

    fn difference(path: &[u8], aspects: &[Aspect]) -> Difference {
        let (source, target) = (Some(entry(1)), Some(entry(2)));
        Difference { path: path.to_vec(), aspects: aspects.to_vec(), source, target, why: None }
    }

    #[test]
    fn what_moves_is_no_difference() {
        let findings = Findings::default();
        findings.add(difference(b"b", &[Aspect::Content, Aspect::Time]));
        findings.add(difference(b"a", &[Aspect::Content]));
        findings.add(difference(b"c", &[Aspect::Time]));
        let now = HashMap::from([(b"a".to_vec(), entry(2)), (b"b".to_vec(), entry(3))]);
        findings.look_again(End::Target, &now);
        let sum = findings.sum();
        let counts: Vec<_> = sum.counts.into_iter().collect();
        assert_eq!(counts, [(Aspect::Content, 1), (Aspect::InMotion, 2)]);
        let paths: Vec<_> = sum.differences.iter().map(|found| &found.path[..]).collect();
        assert_eq!(paths, [b"a", b"b", b"c"]);
    }

    #[test]
    fn nothing_is_known_below_what_cannot_be_read() {
        let findings = Findings::default();
        assert!(!findings.is_in_the_dark(b"a/b"));
        findings.add(difference(b"a/b", &[Aspect::Unreadable]));
        for (path, dark) in [("a/b", true), ("a/b/c", true), ("a/bc", false), ("a", false)] {
            assert_eq!(findings.is_in_the_dark(path.as_bytes()), dark, "{path}");
        }
    }
}
