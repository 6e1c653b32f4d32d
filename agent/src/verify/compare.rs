//! Compares the names of two ends as they are listed.
//!
//! One end is *listed*: its entries come here in any order that names a directory before what is in
//! it, as a daemon sends them. The other is *held*: a tree of this machine, in which the directory
//! of each entry is looked up. What is left of the held end at the close is at that end alone.

use std::collections::HashMap;
use std::sync::Arc;

use bascule_engine::observe::Event;
use bascule_engine::outcome::Fatal;
use bascule_engine::path::RelPath;
use bascule_engine::run::interrupted;
use bascule_engine::tree::Metadata;
use bascule_engine::walk::Found;
use bascule_wire::flist::{Entry, Kind};

use super::context::Context;
use super::findings::{Aspect, Difference, End};
use super::hash::{Pair, Pool, Version};
use super::judge::Judge;
use super::tree::Tree;

/// The comparison of one end with the other.
pub struct Comparison {
    context: Arc<Context>,
    held: Tree,
    /// What counts as the same.
    pub judge: Judge,
    pool: Pool,
    /// Names of the held end that no entry was listed for yet, by directory.
    waiting: HashMap<Vec<u8>, HashMap<Box<[u8]>, Found>>,
    /// Directories that both ends have and that are not looked into yet.
    unopened: HashMap<Vec<u8>, Found>,
}

impl Comparison {
    /// Begins: looks at the top of the held end.
    ///
    /// # Errors
    /// When the verification was interrupted.
    pub fn begin(
        context: Arc<Context>,
        mut held: Tree,
        judge: Judge,
        pool: Pool,
    ) -> Result<Self, Fatal> {
        let top = held.first()?;
        let waiting = HashMap::from([(Vec::new(), by_name(top))]);
        Ok(Self { context, held, judge, pool, waiting, unopened: HashMap::new() })
    }

    /// Compares an entry of the listed end. `seen` is what it is on disk, at an end of this machine.
    ///
    /// # Errors
    /// When the verification was interrupted.
    pub fn take(&mut self, entry: &Entry, seen: Option<&Metadata>) -> Result<(), Fatal> {
        let bytes = if entry.kind() == Kind::File { entry.size } else { 0 };
        self.context.progress.note(&Event::Listed { entries: 1, bytes });
        self.open(&entry.dir)?;
        let held = self.waiting.get_mut(&*entry.dir).and_then(|names| names.remove(&entry.base));
        match held {
            Some(held) => self.both(entry, seen, held),
            None => self.only(self.held.end().other(), entry, seen),
        }
        self.context.progress.note(&Event::Checked { entries: 1, bytes });
        Ok(())
    }

    /// Everything was listed: waits for the readers. What is left is at the held end alone.
    ///
    /// # Errors
    /// When the verification was interrupted, or a reader failed.
    pub fn finish(mut self) -> Result<(), Fatal> {
        let mut left: Vec<Found> = Vec::new();
        for (_, names) in std::mem::take(&mut self.waiting) {
            left.extend(names.into_values());
        }
        for (_, dir) in std::mem::take(&mut self.unopened) {
            left.extend(self.held.contents(&dir)?);
        }
        self.only_held(left)?;
        self.context.progress.note(&Event::ListComplete);
        self.pool.finish()?;
        // Readers that were interrupted have left something out.
        if self.context.stop.is_stopped() { Err(interrupted()) } else { Ok(()) }
    }

    /// Looks into a directory of the held end, once.
    fn open(&mut self, dir: &[u8]) -> Result<(), Fatal> {
        if let Some(found) = self.unopened.remove(dir) {
            let names = by_name(self.held.contents(&found)?);
            self.waiting.insert(dir.to_vec(), names);
        }
        Ok(())
    }

    fn both(&mut self, entry: &Entry, seen: Option<&Metadata>, held: Found) {
        let listed = Version { entry: entry.clone(), seen: seen.copied() };
        let ours = Version { entry: held.entry.clone(), seen: Some(held.metadata) };
        let (source, target) = match self.held.end() {
            End::Source => (ours, listed),
            End::Target => (listed, ours),
        };
        let mut aspects = self.judge.aspects(&source.entry, &target.entry);
        let path = entry.path();
        if entry.kind() == Kind::Directory && held.entry.kind() == Kind::Directory {
            // The top with its contents is looked into already.
            if !entry.is_root() && held.entry.content_dir {
                self.unopened.insert(path.clone(), held);
            }
        } else if held.entry.kind() == Kind::Directory {
            // No entry will be listed for what is in it.
            self.unopened.insert(path.clone(), held);
        }
        let is_file = source.entry.kind() == Kind::File && target.entry.kind() == Kind::File;
        if is_file && source.entry.size == target.entry.size {
            if let Ok(path) = RelPath::of_entry(entry) {
                self.context.progress.note(&Event::Requested { bytes: entry.size });
                self.pool.compare(Pair { path, source, target, aspects });
            }
            return;
        }
        aspects.sort_unstable();
        let seen = [source.seen.as_ref(), target.seen.as_ref()];
        let (source, target) = (Some(source.entry.clone()), Some(target.entry.clone()));
        self.context.report(Difference { path, aspects, source, target, why: None }, seen);
    }

    /// A name that one end alone has; what is below it follows by itself.
    fn only(&self, end: End, entry: &Entry, seen: Option<&Metadata>) {
        let path = entry.path();
        if self.context.findings.is_in_the_dark(&path) {
            return;
        }
        let mut difference = Difference {
            path,
            aspects: vec![Aspect::only_at(end)],
            source: None,
            target: None,
            why: None,
        };
        let seen = match end {
            End::Source => {
                difference.source = Some(entry.clone());
                [seen, None]
            }
            End::Target => {
                difference.target = Some(entry.clone());
                [None, seen]
            }
        };
        self.context.report(difference, seen);
    }

    /// Names of the held end that were not listed, with all that is below them.
    fn only_held(&mut self, mut left: Vec<Found>) -> Result<(), Fatal> {
        while let Some(found) = left.pop() {
            self.only(self.held.end(), &found.entry, Some(&found.metadata));
            // The root's contents came with it.
            if found.entry.content_dir && !found.entry.is_root() {
                left.extend(self.held.contents(&found)?);
            }
        }
        Ok(())
    }
}

fn by_name(found: Vec<Found>) -> HashMap<Box<[u8]>, Found> {
    found.into_iter().map(|found| (found.entry.base.clone(), found)).collect()
}
