//! Files that arrive while a directory of the target has their name. What is in it goes with the
//! deletions, once all of them are known; until then the files wait in their partial dirs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::path::RelPath;

/// Shared by the generator, which sees the directory, and the receiver, which has the file.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// Whether there is any: nearly never, and every file asks.
    any: AtomicBool,
    expected: Mutex<HashSet<RelPath>>,
    arrived: Mutex<Vec<Waiting>>,
}

/// A file that has all but its name.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Where it is.
    pub(crate) at: RelPath,
    /// Where it shall be.
    pub(crate) path: RelPath,
}

impl Behind {
    /// The file for `path` is to wait.
    pub(crate) fn expect(&self, path: RelPath) {
        lock(&self.expected).insert(path);
        self.any.store(true, Ordering::Release);
    }

    /// Whether the file for `path` is to wait.
    pub(crate) fn expects(&self, path: &RelPath) -> bool {
        self.any.load(Ordering::Acquire) && lock(&self.expected).contains(path)
    }

    /// A file waits.
    pub(crate) fn arrived(&self, waiting: Waiting) {
        lock(&self.arrived).push(waiting);
    }

    /// Takes all that wait.
    pub(crate) fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut lock(&self.arrived))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
