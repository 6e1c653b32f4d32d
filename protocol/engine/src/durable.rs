//! Durable runs: what was changed is on stable storage before success is reported (`--durable`).
//!
//! Contents are there before a file takes its name (the receiver sees to that, in batches); names
//! and attributes follow at the end, and before anything is deleted late.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bascule_wire::flist::Kind;

use crate::path::RelPath;
use crate::tree::{Stage, Synced, Target};

/// From this many files on, syncing their whole file system costs less than one after the other.
const WORTH_ALL: usize = 4;
/// Paths that may wait for the end of the run.
const MOST: usize = 16 * 1024;

/// Directories whose names, and files whose attributes, are changed and not yet on stable storage.
/// Shared by the generator and the receiver.
#[derive(Debug, Default)]
pub struct Unsynced(Mutex<HashMap<RelPath, Kind>>);

impl Unsynced {
    /// Notes that `path` was changed: the names in a directory, the attributes of anything.
    pub fn note(&self, path: RelPath, kind: Kind) {
        self.lock().insert(path, kind);
    }

    /// Whether so much waits that it should be synced before the end.
    pub fn is_full(&self) -> bool {
        self.lock().len() >= MOST
    }

    /// Puts everything noted on stable storage and forgets it. Gives what could not be, with the
    /// reasons. What has gone in the meantime is its directory's matter.
    pub fn sync(&self, tree: &dyn Target) -> Vec<(RelPath, io::Error)> {
        let changed = std::mem::take(&mut *self.lock());
        let mut done = HashSet::new();
        let mut failed = Vec::new();
        for (path, kind) in changed {
            let synced = tree.metadata(&path, false).and_then(|found| {
                if found.kind != kind || done.contains(&found.file_system) {
                    return Ok(Synced::Alone);
                }
                tree.sync(&path, kind)
            });
            match synced {
                Ok(Synced::FileSystem(id)) => drop(done.insert(id)),
                Ok(Synced::Alone) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => failed.push((path, error)),
            }
        }
        failed
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RelPath, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts files on stable storage that do not have their names yet; the results are in their order.
pub fn sync_contents<'a>(
    stages: impl ExactSizeIterator<Item = &'a mut Box<dyn Stage>>,
) -> Vec<io::Result<()>> {
    let together = stages.len() >= WORTH_ALL;
    let mut done = HashSet::new();
    let sync = |stage: &'a mut Box<dyn Stage>| {
        if !together {
            return stage.sync();
        }
        if done.contains(&stage.file_system()?) {
            return Ok(());
        }
        match stage.sync_all() {
            Ok(Synced::FileSystem(id)) => drop(done.insert(id)),
            Ok(Synced::Alone) => {}
            // It may be about any file of the file system: each is asked for itself.
            Err(_) => return stage.sync(),
        }
        Ok(())
    };
    stages.map(sync).collect()
}
