//! Counts listed files by folder, for observers that tell accounts apart.

use std::sync::Arc;

use bascule_wire::flist::{Entry, Kind};

use crate::observe::Event;
use crate::run::Run;

/// The files listed in one folder so far. Entries of a folder come one after the other, so each
/// folder is told about once, or a few times where sub-folders stand between.
pub(crate) struct Folder {
    path: Arc<[u8]>,
    files: u64,
    bytes: u64,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { path: Arc::default(), files: 0, bytes: 0 }
    }

    /// Counts an entry of the list; tells about the last folder when this one is in another.
    pub(crate) fn count(&mut self, entry: &Entry, run: &Run) {
        if entry.kind() != Kind::File {
            return;
        }
        if !Arc::ptr_eq(&self.path, &entry.dir) && self.path != entry.dir {
            self.tell(run);
            self.path = Arc::clone(&entry.dir);
        }
        self.files += 1;
        self.bytes += entry.size;
    }

    /// Tells what was counted since the last time.
    pub(crate) fn tell(&mut self, run: &Run) {
        if self.files > 0 {
            let Self { path, files, bytes } = self;
            run.on(&Event::ListedIn { folder: path, files: *files, bytes: *bytes });
            (*files, *bytes) = (0, 0);
        }
    }
}
