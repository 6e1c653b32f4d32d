//! Where a source finds files that other programs keep to themselves.

use std::io;
use std::path::PathBuf;

/// Shows volumes as they were at one moment. A function that does is one.
pub trait Snapshots: Send + Sync {
    /// The root folder of a snapshot of `volume`, which is named as Windows names volumes:
    /// `\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\`. A tree asks once, when it first needs it.
    ///
    /// # Errors
    /// Why there is none; each file that needed it is reported with this.
    fn root_of(&self, volume: &str) -> io::Result<PathBuf>;
}

impl<F: Fn(&str) -> io::Result<PathBuf> + Send + Sync> Snapshots for F {
    fn root_of(&self, volume: &str) -> io::Result<PathBuf> {
        self(volume)
    }
}
