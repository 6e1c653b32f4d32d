//! Room on the target: a file that would not fit is not asked for, so that the disk never fills up
//! to the last byte and the smaller files still arrive.

use bascule_wire::flist::Entry;

use super::Generator;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::tree::Metadata;

/// Bytes that stay free: what directories, journals and other programs need.
const RESERVE: u64 = 16 << 20;
/// The target is looked at again after this many bytes: others write there as well.
const LOOK_EVERY: u64 = 256 << 20;
/// Files that are reported by name; the rest is summed up.
const NAMED: u64 = 20;

/// What is known of the room on the target's file system. Others may be mounted below it: what does
/// not fit there is noticed when it is written.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Bytes of the files that are asked for and not yet in place.
    on_the_way: u64,
    /// Bytes that may be asked for until the next look.
    left: u64,
    refused_files: u64,
    refused_bytes: u64,
    /// Bytes that a dry run would have needed.
    would_need: u64,
}

impl Generator {
    /// Whether `entry` fits beside what is on its way; trouble is reported. Near the end of the
    /// room this waits for what is on its way: only then is it known.
    pub(super) fn has_room_for(
        &mut self,
        entry: &Entry,
        path: &RelPath,
        local: Option<&Metadata>,
    ) -> Result<bool, Fatal> {
        let options = &self.run.options;
        let needed = match local {
            // How much of it is holes is not known.
            _ if options.sparse => 0,
            Some(local) if options.inplace => entry.size.saturating_sub(local.size),
            _ => entry.size,
        };
        while needed > self.room.left {
            let Some(free) = self.tree.room(&RelPath::root()).unwrap_or(None) else {
                self.room.left = LOOK_EVERY.max(needed);
                break;
            };
            let available = free.saturating_sub(RESERVE).saturating_sub(self.room.on_the_way);
            self.room.left = available.min(LOOK_EVERY.max(needed));
            if needed <= self.room.left {
                break;
            }
            if self.room.on_the_way == 0 {
                self.refuse_for_room(path, needed, free)?;
                return Ok(false);
            }
            self.wait()?;
        }
        self.room.left -= needed;
        Ok(true)
    }

    /// A dry run would have asked for `entry`.
    pub(super) fn would_ask_for(&mut self, entry: &Entry, local: Option<&Metadata>) {
        let there = local.map_or(0, |local| local.size);
        // What is replaced is freed again, one file after the other.
        self.room.would_need += entry.size.saturating_sub(there);
    }

    /// A file of `size` bytes has been asked for.
    pub(super) fn is_on_the_way(&mut self, size: u64) {
        self.room.on_the_way = self.room.on_the_way.saturating_add(size);
    }

    /// The file with this index is in place, or will not come.
    pub(super) fn has_arrived(&mut self, index: u32) {
        let position = self.live_position(index);
        let entry = position.and_then(|position| self.live[position].segment.get(index));
        let size = entry.map_or(0, |entry| entry.size);
        self.room.on_the_way = self.room.on_the_way.saturating_sub(size);
    }

    fn refuse_for_room(&mut self, path: &RelPath, needed: u64, free: u64) -> Result<(), Fatal> {
        self.room.refused_files += 1;
        self.room.refused_bytes = self.room.refused_bytes.saturating_add(needed);
        if self.room.refused_files > NAMED {
            return Ok(());
        }
        let text = format!(
            "it was not received: it needs {needed} bytes and the target has {free} left, of which \
             {RESERVE} stay free"
        );
        self.run.problem(Severity::Partial, path.as_bytes(), text)
    }

    /// Sums up what did not fit, or in a dry run: would not.
    pub(super) fn report_room(&self) -> Result<(), Fatal> {
        let Room { refused_files, refused_bytes, would_need, .. } = self.room;
        if would_need > 0
            && let Ok(Some(free)) = self.tree.room(&RelPath::root())
            && free.saturating_sub(RESERVE) < would_need
        {
            let text = format!(
                "the target has too little room: {would_need} bytes would be needed, and it has \
                 {free} left, of which {RESERVE} stay free"
            );
            self.run.problem(Severity::Warning, b"", text)?;
        }
        if refused_files == 0 {
            return Ok(());
        }
        let text = format!(
            "the target is full: {refused_files} files with {refused_bytes} bytes were not \
             received; make room there and run again"
        );
        self.run.problem(Severity::Partial, b"", text)
    }
}
