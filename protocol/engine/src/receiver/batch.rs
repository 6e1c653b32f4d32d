//! Complete files on their way to their names. In a durable run a batch of them is put on stable
//! storage at once first, so that none takes its name before its content is there for good.

use std::io;

use bascule_wire::flist::Entry;
use bascule_wire::record::RecordHead;

use super::Receiver;
use crate::durable::sync_contents;
use crate::generator::FromReceiver;
use crate::observe::Event;
use crate::outcome::Fatal;
use crate::path::RelPath;
use crate::run::add;
use crate::tree::Stage;

/// Most files of one batch: each holds a handle.
const FILES: usize = 256;
/// Bytes of one batch: what a loss of power costs at most, beside the file on its way.
const BYTES: u64 = 64 << 20;

/// A file with its content and its attributes, but without its name.
pub(super) struct Complete {
    pub(super) stage: Box<dyn Stage>,
    /// Its final name.
    pub(super) path: RelPath,
    /// What it was rebuilt from.
    pub(super) basis_path: RelPath,
    pub(super) head: RecordHead,
    pub(super) entry: Entry,
    /// Its length in bytes, and how many of them travelled.
    pub(super) len: u64,
    pub(super) literal: u64,
    pub(super) matched: u64,
}

/// Files that wait for their names.
#[derive(Default)]
pub(super) struct Batch {
    files: Vec<Complete>,
    bytes: u64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether another file of `size` bytes has to wait for the next batch.
    pub(super) fn has_no_room_for(&self, size: u64) -> bool {
        !self.is_empty() && self.bytes.saturating_add(size) > BYTES
    }

    fn push(&mut self, file: Complete) {
        self.bytes = self.bytes.saturating_add(file.len);
        self.files.push(file);
    }

    fn is_full(&self, handles: usize) -> bool {
        self.files.len() >= FILES.min(handles) || self.bytes >= BYTES
    }
}

impl Receiver<'_> {
    /// Gives a complete file its name: at once, or with its batch in a durable run.
    pub(super) fn finish(&mut self, file: Complete) -> Result<(), Fatal> {
        self.batch.push(file);
        let handles = self.tree.abilities().spare_handles;
        if !self.run.options.durable || self.batch.is_full(handles) {
            return self.place_batch();
        }
        Ok(())
    }

    /// Gives all files that wait their names. Trouble with one is reported; the others are placed
    /// even when the run is ending.
    pub(super) fn place_batch(&mut self) -> Result<(), Fatal> {
        let Batch { mut files, .. } = std::mem::take(&mut self.batch);
        let synced: Vec<io::Result<()>> = if self.run.options.durable {
            sync_contents(files.iter_mut().map(|file| &mut file.stage))
        } else if self.run.options.fsync {
            files.iter_mut().map(|file| file.stage.sync()).collect()
        } else {
            files.iter().map(|_| Ok(())).collect()
        };
        let mut ended = Ok(());
        for (file, synced) in files.into_iter().zip(synced) {
            let placed = self.place(file, synced);
            ended = ended.and(placed);
        }
        ended
    }

    fn place(&mut self, file: Complete, synced: io::Result<()>) -> Result<(), Fatal> {
        let Complete { stage, path, basis_path, head, entry, len, literal, matched } = file;
        let is_placed = self.put_in_place(stage, synced, &path, &basis_path)?;
        // The generator may have put the directory on stable storage since the file was begun.
        self.changed.name_changed(&path);
        if !is_placed {
            return self.tell(FromReceiver::Failed(head.index));
        }
        add(&self.run.tally().transferred, 1);
        add(&self.run.tally().transferred_bytes, entry.size);
        self.itemize(&head, &entry);
        self.run.on(&Event::TransferDone { path: path.as_bytes(), size: len, literal, matched });
        self.tell(FromReceiver::Done(head.index))
    }
}
