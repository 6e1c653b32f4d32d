//! Directory times and modes, set again after the contents have changed (§15).

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::durable::Unsynced;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::run::Run;
use crate::tree::{Attributes, Target};

use bascule_wire::flist::Kind;

/// The directories in which names were made, replaced or removed. Shared by the generator and the
/// receiver.
#[derive(Debug, Default)]
pub struct ChangedDirs {
    dirs: Mutex<HashSet<RelPath>>,
    unsynced: Option<Unsynced>,
}

impl ChangedDirs {
    /// Nothing is changed yet. A durable run also keeps account of what is not on stable storage.
    pub fn new(durable: bool) -> Self {
        Self { dirs: Mutex::default(), unsynced: durable.then(Unsynced::default) }
    }

    /// What is not on stable storage, if the run has to care.
    pub fn unsynced(&self) -> Option<&Unsynced> {
        self.unsynced.as_ref()
    }

    /// Notes that a name in the directory of `path` was changed.
    pub fn name_changed(&self, path: &RelPath) {
        if let Some(parent) = path.parent() {
            self.note(parent);
        }
    }

    /// Notes that `dir` itself needs its attributes set again.
    pub fn note(&self, dir: RelPath) {
        if let Some(unsynced) = &self.unsynced {
            unsynced.note(dir.clone(), Kind::Directory);
        }
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner).insert(dir);
    }

    /// Removes a partial file that is not needed any more; one that cannot be removed does no harm.
    pub fn drop_partial(&self, tree: &dyn Target, partial: &RelPath) {
        let _ = tree.remove_file(partial);
        self.drop_partial_dir(tree, partial);
    }

    /// Removes the partial dir once it is empty.
    pub fn drop_partial_dir(&self, tree: &dyn Target, partial: &RelPath) {
        if let Some(dir) = partial.parent().filter(|dir| !dir.is_root()) {
            let _ = tree.remove_dir(&dir);
            self.name_changed(&dir);
        }
    }

    fn take(&self, dir: &RelPath) -> bool {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner).remove(dir)
    }
}

/// What the directories of the list shall have in the end.
#[derive(Debug, Default)]
pub struct DirTimes {
    wanted: HashMap<RelPath, Attributes>,
}

impl DirTimes {
    /// Remembers what `dir` shall have.
    pub fn want(&mut self, dir: RelPath, attributes: Attributes) {
        if !attributes.is_empty() {
            self.wanted.insert(dir, attributes);
        }
    }

    /// Sets the attributes of `dir` if its contents changed, and forgets it.
    ///
    /// # Errors
    /// When the connection broke while a problem was being reported.
    pub fn finish(
        &mut self,
        dir: &RelPath,
        changed: &ChangedDirs,
        tree: &dyn Target,
        run: &Run,
    ) -> Result<(), Fatal> {
        match self.wanted.remove(dir) {
            Some(attributes) if changed.take(dir) => set(dir, &attributes, changed, tree, run),
            _ => Ok(()),
        }
    }

    /// Sets the attributes of every directory left whose contents changed, children first.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_all(
        &mut self,
        changed: &ChangedDirs,
        tree: &dyn Target,
        run: &Run,
    ) -> Result<(), Fatal> {
        let mut left: Vec<_> = self.wanted.drain().collect();
        left.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (dir, attributes) in left {
            if changed.take(&dir) {
                set(&dir, &attributes, changed, tree, run)?;
            }
        }
        Ok(())
    }
}

fn set(
    dir: &RelPath,
    attributes: &Attributes,
    changed: &ChangedDirs,
    tree: &dyn Target,
    run: &Run,
) -> Result<(), Fatal> {
    if run.options.dry_run {
        return Ok(());
    }
    let set = tree.set_attributes(dir, Kind::Directory, attributes);
    if let Some(unsynced) = changed.unsynced() {
        unsynced.note(dir.clone(), Kind::Directory);
    }
    match set {
        Ok(()) => Ok(()),
        // A hard-linked or delayed change can come after the directory was removed again.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => run.problem(
            Severity::Partial,
            dir.as_bytes(),
            format!("the directory's time or mode could not be set: {error}"),
        ),
    }
}
