//! Sorted segments of the list and the directory table (§9.5, §10).

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use super::entry::{Entry, Kind};
use super::order::{Name, compare, compare_names};
use crate::version::Version;

/// A sorted part of the list: all of it, or the contents of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The index of the first entry.
    pub start: u32,
    /// The number of the listed directory in the directory table; `None` for a first segment.
    pub parent: Option<u32>,
    /// The entries in index order, dropped duplicates included.
    pub entries: Vec<Entry>,
    /// Positions of dropped duplicates, ascending: indexes that nobody may use.
    holes: Vec<u32>,
    version: Version,
}

impl Segment {
    /// A receiving side's segment: sorts the entries (stably) and drops duplicates (§9.5).
    pub fn new(start: u32, parent: Option<u32>, entries: Vec<Entry>, version: Version) -> Self {
        let mut segment = Self::of_sender(start, parent, entries, version);
        segment.drop_duplicates();
        segment
    }

    /// A sender's segment: sorts the entries (stably) and keeps duplicates, so that both ends'
    /// indexes agree.
    pub fn of_sender(
        start: u32,
        parent: Option<u32>,
        mut entries: Vec<Entry>,
        version: Version,
    ) -> Self {
        if !entries.is_sorted_by(|a, b| compare(a, b, version) != Ordering::Greater) {
            entries.sort_by(|a, b| compare(a, b, version));
        }
        Self { start, parent, entries, holes: Vec::new(), version }
    }

    /// One past the last index.
    pub fn end(&self) -> u32 {
        self.start.saturating_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX))
    }

    /// The active entry with that index.
    pub fn get(&self, index: u32) -> Option<&Entry> {
        let position = index.checked_sub(self.start)?;
        if self.holes.binary_search(&position).is_ok() {
            return None;
        }
        self.entries.get(position as usize)
    }

    /// The active entries with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (self.start..)
            .zip(&self.entries)
            .filter(|(index, _)| self.holes.binary_search(&(index - self.start)).is_err())
    }

    /// What is listed under that name in the directory `dir`, if anything is.
    pub fn kind_of(&self, dir: &[u8], base: &[u8]) -> Option<Kind> {
        let index = self.find(dir, base, false).or_else(|| self.find(dir, base, true))?;
        self.get(index).map(Entry::kind)
    }

    /// The index of the active entry of that name.
    pub fn find(&self, dir: &[u8], base: &[u8], is_dir: bool) -> Option<u32> {
        let wanted = Name { dir, base, is_dir };
        let from = if self.version.sorts_dirs_last() {
            self.entries
                .partition_point(|entry| compare_names(Name::of(entry), wanted) == Ordering::Less)
        } else {
            let path = super::entry::join(dir, base);
            self.entries.partition_point(|entry| entry.path() < path)
        };
        let first = self.start + u32::try_from(from).ok()?;
        for (entry, index) in self.entries.get(from..)?.iter().zip(first..) {
            if (&*entry.dir, &*entry.base, entry.is_dir()) != (dir, base, is_dir) {
                return None;
            }
            if self.get(index).is_some() {
                return Some(index);
            }
        }
        None
    }

    /// Of equal names one stays: the directory if one is, else the earlier. Two directories
    /// become one with the flags of both.
    fn drop_duplicates(&mut self) {
        let mut holes = Vec::new();
        let mut kept: Option<usize> = None;
        for position in 0..self.entries.len() {
            if let Some(earlier) = kept {
                let (before, after) = self.entries.split_at_mut(position);
                if let (Some(earlier), Some(entry)) = (before.get_mut(earlier), after.first())
                    && (&earlier.dir, &earlier.base, earlier.is_dir())
                        == (&entry.dir, &entry.base, entry.is_dir())
                {
                    earlier.top_dir |= entry.top_dir;
                    earlier.content_dir |= entry.content_dir;
                    holes.extend(u32::try_from(position));
                    continue;
                }
            }
            kept = Some(position);
        }
        // A file that shares its name with a directory gives way to it.
        for position in 0..self.entries.len() {
            let Some(entry) = self.entries.get(position).filter(|entry| !entry.is_dir()) else {
                continue;
            };
            if self.find(&entry.dir, &entry.base, true).is_some() {
                holes.extend(u32::try_from(position));
            }
        }
        holes.sort_unstable();
        holes.dedup();
        self.holes = holes;
    }
}

/// The directories of all segments in the order in which both ends number them (§10).
#[derive(Debug, Clone, Default)]
pub struct DirTable {
    count: u32,
}

impl DirTable {
    /// Numbers the directories of a new segment; gives them with their numbers. Dropped
    /// duplicates have numbers too.
    pub fn append<'a>(&mut self, segment: &'a Segment) -> Vec<(u32, &'a Entry)> {
        let mut numbered = Vec::new();
        for (position, entry) in (0_u32..).zip(&segment.entries) {
            if !entry.is_dir() {
                continue;
            }
            let number = self.count;
            self.count = self.count.saturating_add(1);
            if segment.holes.binary_search(&position).is_err() {
                numbered.push((number, entry));
            }
        }
        numbered
    }
}

/// The segments that are not finished, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    live: VecDeque<Arc<Segment>>,
    next_start: Option<u32>,
}

impl Lists {
    /// Adds the next segment.
    pub fn push(&mut self, segment: Arc<Segment>) {
        self.next_start = Some(segment.end().saturating_add(1));
        self.live.push_back(segment);
    }

    /// The first index of the segment to come: one number is left out for its directory.
    pub fn next_start(&self) -> u32 {
        self.next_start.unwrap_or(1)
    }

    /// Forgets the oldest segment.
    pub fn free_oldest(&mut self) -> Option<Arc<Segment>> {
        self.live.pop_front()
    }

    /// The live segments, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.live.iter()
    }

    /// Whether no segment is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Entries in all live segments but the oldest.
    pub fn entries_after_oldest(&self) -> usize {
        self.live.iter().skip(1).map(|segment| segment.entries.len()).sum()
    }

    /// The live segment that covers an index, and the position in it.
    pub fn locate(&self, index: u32) -> Option<(&Arc<Segment>, usize)> {
        let after = self.live.partition_point(|segment| segment.start <= index);
        let segment = self.live.get(after.checked_sub(1)?)?;
        segment.get(index)?;
        Some((segment, (index - segment.start) as usize))
    }

    /// The active entry of an index.
    pub fn get(&self, index: u32) -> Option<&Entry> {
        let (segment, position) = self.locate(index)?;
        segment.entries.get(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, mode: u32) -> Entry {
        let (dir, base) = path.rsplit_once('/').unwrap_or(("", path));
        Entry {
            dir: dir.as_bytes().into(),
            base: base.as_bytes().into(),
            mode,
            size: 0,
            mtime: 0,
            nanos: 0,
            uid: 0,
            gid: 0,
            top_dir: false,
            content_dir: mode == DIR,
            extra: None,
        }
    }

    const FILE: u32 = 0o100_644;
    const DIR: u32 = 0o040_755;

    #[test]
    fn finds_what_it_lists() {
        let names = [("b", FILE), ("a", DIR), ("a/x", FILE), (".", DIR), ("a-b", FILE)];
        let entries = names.map(|(name, mode)| entry(name, mode)).to_vec();
        let segment = Segment::new(5, None, entries, Version::NEWEST);
        for (index, entry) in segment.iter() {
            assert_eq!(segment.find(&entry.dir, &entry.base, entry.is_dir()), Some(index));
        }
        assert_eq!(segment.kind_of(b"a", b"x"), Some(Kind::File));
        assert_eq!(segment.kind_of(b"", b"a"), Some(Kind::Directory));
        assert_eq!(segment.kind_of(b"", b"x"), None);
        assert_eq!(segment.kind_of(b"a", b"y"), None);
        assert_eq!(segment.end(), 10);
    }

    #[test]
    fn duplicates_leave_holes() {
        let entries = vec![entry("a", FILE), entry("d", DIR), entry("a", FILE), entry("d", FILE)];
        let segment = Segment::new(0, None, entries, Version::NEWEST);
        let active: Vec<_> = segment.iter().map(|(index, entry)| (index, entry.path())).collect();
        assert_eq!(active, vec![(0, b"a".to_vec()), (3, b"d".to_vec())]);
        assert!(segment.get(3).is_some_and(Entry::is_dir));
        assert!(segment.get(1).is_none() && segment.get(2).is_none());
    }

    #[test]
    fn lists_leave_one_number_for_each_directory() {
        let mut lists = Lists::default();
        assert_eq!(lists.next_start(), 1);
        lists.push(Arc::new(Segment::new(1, None, vec![entry("d", DIR)], Version::NEWEST)));
        assert_eq!(lists.next_start(), 3);
        let below = vec![entry("d/x", FILE), entry("d/y", FILE)];
        lists.push(Arc::new(Segment::new(3, Some(0), below, Version::NEWEST)));
        assert!(lists.get(2).is_none());
        assert_eq!(lists.get(4).map(Entry::path), Some(b"d/y".to_vec()));
        lists.free_oldest();
        assert!(lists.get(1).is_none());
        assert!(lists.get(3).is_some());
    }
}
