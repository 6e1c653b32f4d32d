//! Which files have been asked for: the sender answers each request once, and nothing else.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The indexes of the requests that wait for their answer. Shared by the generator, which asks, and
/// the receiver, which reads the answers.
#[derive(Debug, Default)]
pub(crate) struct Requested(Mutex<HashSet<u32>>);

impl Requested {
    /// Notes a request that is about to be written.
    pub(crate) fn ask(&self, index: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(index);
    }

    /// Takes an answer; `false` when nothing like it was asked for.
    pub(crate) fn answer(&self, index: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&index)
    }
}
