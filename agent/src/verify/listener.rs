//! Who hears the lists of a daemon: the comparison, the survey before it, the second look after it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::Fatal;
use bascule_engine::run::interrupted;
use bascule_wire::flist::{Entry, Kind};

use super::compare::Comparison;
use super::context::Context;
use super::findings::End;
use super::state::remote_mark;

/// Directories that a daemon is told to leave out at most: each costs a little for every name.
const MOST_SPARED: usize = 10_000;

/// Passes a daemon's list to the comparison.
pub struct Listener {
    context: Arc<Context>,
    end: End,
    /// The daemon's end, as it is called in the state.
    root: String,
    hearing: Mutex<Hearing>,
}

struct Hearing {
    comparison: Result<Comparison, Fatal>,
    entries: u64,
    /// Directories whose files the daemon need not read again.
    spared: HashSet<Vec<u8>>,
    /// Whether the list is the one of those directories.
    hears_spared: bool,
}

impl Listener {
    /// For a comparison whose listed end is a daemon's.
    pub fn new(
        context: Arc<Context>,
        end: End,
        root: String,
        comparison: Comparison,
        spared: HashSet<Vec<u8>>,
    ) -> Self {
        let hearing =
            Hearing { comparison: Ok(comparison), entries: 0, spared, hears_spared: false };
        Self { context, end, root, hearing: Mutex::new(hearing) }
    }

    fn hearing(&self) -> MutexGuard<'_, Hearing> {
        self.hearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what counts is what is in the directories that were spared: it comes without
    /// digests, which are known.
    pub fn hear_spared(&self) {
        self.hearing().hears_spared = true;
    }

    /// The comparison with all that was heard, and how many entries that were; once.
    ///
    /// # Errors
    /// What ended the comparison meanwhile.
    pub fn heard(&self) -> Result<(Comparison, u64), Fatal> {
        let mut hearing = self.hearing();
        let taken = std::mem::replace(&mut hearing.comparison, Err(interrupted()));
        taken.map(|comparison| (comparison, hearing.entries))
    }

    fn hear(&self, entry: &Entry) {
        let mut hearing = self.hearing();
        let is_file = entry.kind() == Kind::File;
        let path = entry.path();
        let state = self.context.state.as_ref();
        let digest_name = self.context.digest_name();
        let mut known = None;
        if hearing.hears_spared {
            if !up_from(&path).any(|dir| hearing.spared.contains(dir)) {
                return;
            }
            if is_file {
                let mark = remote_mark(&self.root, digest_name, &path, entry);
                if let Some(digest) = state.and_then(|state| state.recall(&mark)) {
                    let mut entry = entry.clone();
                    entry.extra.get_or_insert_default().checksum = Some(digest.into());
                    known = Some(entry);
                    self.context.tally.recalled();
                }
            }
        } else if let (Some(state), Some(digest)) = (state, entry.checksum()) {
            if digest.iter().any(|byte| *byte != 0) {
                let mark = remote_mark(&self.root, digest_name, &path, entry);
                state.note(&mark, entry.mtime, digest);
            }
            state.tick();
        }
        let entry = known.as_ref().unwrap_or(entry);
        hearing.entries += 1;
        self.context.count(self.end, entry);
        if let Ok(comparison) = &mut hearing.comparison
            && let Err(fatal) = comparison.take(entry, None)
        {
            hearing.comparison = Err(fatal);
        }
    }
}

impl Observer for Listener {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Agreed(negotiated) => {
                self.context.agree(negotiated);
                if let Ok(comparison) = &mut self.hearing().comparison {
                    comparison.judge.adapt(negotiated, self.context.keeps_ticks());
                }
            }
            Event::Entry(entry) => self.hear(entry),
            Event::Problem(problem) => self.context.findings.say(problem.to_string()),
            _ => {}
        }
    }
}

/// A path and the directories that it is in, except the root.
fn up_from(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
    std::iter::once(path).chain(slashes.map(|(at, _)| &path[..at]))
}

/// Finds, before a verification goes on, what a daemon need not read again.
pub struct Survey {
    context: Arc<Context>,
    root: String,
    surveyed: Mutex<Surveyed>,
}

#[derive(Default)]
struct Surveyed {
    dirs: Vec<Vec<u8>>,
    /// Directories with files below them.
    full: HashSet<Vec<u8>>,
    /// Directories that have to be listed: a file below them has to be read, or they were named.
    open: HashSet<Vec<u8>>,
}

impl Survey {
    /// For the end of a daemon that is called `root` in the state.
    pub fn new(context: Arc<Context>, root: String) -> Self {
        Self { context, root, surveyed: Mutex::default() }
    }

    /// The directories below which no file has to be read, without those that are in others.
    pub fn spared(&self) -> HashSet<Vec<u8>> {
        let surveyed = self.surveyed.lock().unwrap_or_else(PoisonError::into_inner);
        surveyed.spared()
    }
}

impl Surveyed {
    fn note(&mut self, entry: &Entry, is_known: impl FnOnce(&[u8]) -> bool) {
        let path = entry.path();
        let above = |set: &mut HashSet<Vec<u8>>| {
            for dir in up_from(&path).skip(1) {
                if !set.insert(dir.to_vec()) {
                    break;
                }
            }
        };
        match entry.kind() {
            Kind::Directory if entry.is_root() => {}
            Kind::Directory => {
                if entry.top_dir {
                    self.open.insert(path.clone());
                }
                self.dirs.push(path);
            }
            Kind::File => {
                above(&mut self.full);
                if !is_known(&path) {
                    above(&mut self.open);
                }
            }
            _ => {}
        }
    }

    fn spared(&self) -> HashSet<Vec<u8>> {
        let is_spared = |dir: &&Vec<u8>| {
            let parent = up_from(dir).nth(1);
            self.full.contains(*dir)
                && !self.open.contains(*dir)
                && parent.is_none_or(|parent| self.open.contains(parent))
        };
        self.dirs.iter().filter(is_spared).take(MOST_SPARED).cloned().collect()
    }
}

impl Observer for Survey {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Agreed(negotiated) => self.context.agree(negotiated),
            Event::Entry(entry) => {
                let is_known = |path: &[u8]| {
                    let digest = self.context.digest_name();
                    let mark = remote_mark(&self.root, digest, path, entry);
                    self.context.state.as_ref().is_some_and(|state| state.recall(&mark).is_some())
                };
                let mut surveyed = self.surveyed.lock().unwrap_or_else(PoisonError::into_inner);
                surveyed.note(entry, is_known);
            }
            _ => {}
        }
    }
}

/// Takes from a daemon's list those names that differ.
pub struct SecondLook {
    wanted: HashSet<Vec<u8>>,
    seen: Mutex<HashMap<Vec<u8>, Entry>>,
}

impl SecondLook {
    /// For the differences found so far; `None` when there is nothing to look at.
    pub fn at(context: &Context) -> Option<Self> {
        let wanted = context.findings.settled_paths();
        (!wanted.is_empty()).then(|| Self { wanted, seen: Mutex::default() })
    }

    /// Tells the findings what has changed.
    pub fn conclude(&self, context: &Context, end: End) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        context.findings.look_again(end, &seen);
    }
}

impl Observer for SecondLook {
    fn on(&self, event: &Event<'_>) {
        if let Event::Entry(entry) = event {
            let path = entry.path();
            if self.wanted.contains(&path) {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.insert(path, (*entry).clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, is_dir: bool) -> Entry {
        let (dir, base) = path.rsplit_once('/').unwrap_or(("", path));
        Entry {
            dir: dir.as_bytes().into(),
            base: base.as_bytes().into(),
            mode: if is_dir { 0o040_755 } else { 0o100_644 },
            size: 0,
            mtime: 0,
            nanos: 0,
            uid: 0,
            gid: 0,
            top_dir: path == "." || path == "top",
            content_dir: is_dir,
            extra: None,
        }
    }

    fn spared(dirs: &[&str], known: &[&str], unknown: &[&str]) -> Vec<String> {
        let mut surveyed = Surveyed::default();
        for dir in dirs {
            surveyed.note(&entry(dir, true), |_| true);
        }
        for (files, is_known) in [(known, true), (unknown, false)] {
            for file in files {
                surveyed.note(&entry(file, false), |_| is_known);
            }
        }
        let mut spared: Vec<_> =
            surveyed.spared().iter().map(|dir| String::from_utf8_lossy(dir).into_owned()).collect();
        spared.sort();
        spared
    }

    #[test]
    fn only_what_is_known_to_the_last_file_is_spared() {
        let dirs = [".", "a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"];
        let known = ["a/b/1", "a/b/c/2", "e/f/3", "h"];
        assert_eq!(spared(&dirs, &known, &[]), ["a", "e"]);
        assert_eq!(spared(&dirs, &known, &["a/d/4", "e/5"]), ["a/b", "e/f"]);
        assert_eq!(spared(&dirs, &known, &["a/b/c/4"]), ["e"]);
        assert_eq!(spared(&["top", "top/a"], &["top/a/1", "top/2"], &[]), ["top/a"]);
    }
}
