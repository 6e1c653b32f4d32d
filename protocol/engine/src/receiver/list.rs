//! Reads the file list: whole, or one directory at a time (§9, §10).

use std::sync::Arc;

use bascule_wire::flist::{Entry, IdListDecoder, Kind, ListItem, Segment};

use super::Receiver;
use crate::folders::Folder;
use crate::generator::FromReceiver;
use crate::observe::Event;
use crate::outcome::{ExitCode, Fatal};
use crate::run::add;
use crate::symlinks::SymlinkTargets;
use crate::tree::Target;
use bascule_wire::shown;

/// Entries between two events about the growing list.
const TELL_EVERY: u64 = 1000;

impl Receiver<'_> {
    /// Reads the first list with what follows it: all of the tree, or with incremental recursion
    /// its first segment.
    pub(super) fn first_list(&mut self) -> Result<Arc<Segment>, Fatal> {
        let start = u32::from(self.run.negotiated.incremental());
        let mut entries = self.read_entries(start)?;
        if !self.run.negotiated.incremental() {
            let mut decoder = IdListDecoder::new(&self.run.negotiated, &self.run.options);
            let ids = self.reader.next(&mut decoder)?;
            for entry in entries.iter_mut().filter(|_| !self.numeric_ids) {
                if let Some(name) = ids.user(entry.uid) {
                    entry.uid = self.tree.user_id(name).unwrap_or(entry.uid);
                }
                if let Some(name) = ids.group(entry.gid) {
                    entry.gid = self.tree.group_id(name).unwrap_or(entry.gid);
                }
            }
        }
        let first = Segment::new(start, None, entries, self.run.negotiated.version);
        check_parents(&first)?;
        Ok(Arc::new(first))
    }

    /// Gives the first list to the generator.
    pub(super) fn announce(&mut self, first: Arc<Segment>) -> Result<(), Fatal> {
        let own = first.iter().map(|(_, entry)| entry).find(|entry| entry.is_root()).cloned();
        self.take_in(first, own)?;
        if !self.run.negotiated.incremental() {
            self.list_complete()?;
        }
        Ok(())
    }

    /// Reads the segment of the directory with the index `dir` in the directory table.
    pub(super) fn segment(&mut self, dir: u32) -> Result<(), Fatal> {
        let own = self.unlisted.remove(&dir);
        let Some(own) = own.filter(|_| !self.list_complete) else {
            return Err(Fatal::new(
                ExitCode::Protocol,
                format!("the peer listed directory number {dir} twice, or it does not exist"),
            ));
        };
        let start = self.lists.next_start();
        let entries = self.read_entries(start)?;
        let path = if own.is_root() { Vec::new() } else { own.path() };
        if let Some(stray) = entries.iter().find(|entry| *entry.dir != *path) {
            return Err(Fatal::new(
                ExitCode::Protocol,
                format!(
                    "the peer listed \"{}\" among the contents of \"{}\"",
                    shown(&stray.path()),
                    shown(&path)
                ),
            ));
        }
        let version = self.run.negotiated.version;
        self.take_in(Arc::new(Segment::new(start, Some(dir), entries, version)), Some(own))
    }

    pub(super) fn list_complete(&mut self) -> Result<(), Fatal> {
        self.list_complete = true;
        self.tell(FromReceiver::ListComplete)
    }

    fn take_in(&mut self, segment: Arc<Segment>, own: Option<Entry>) -> Result<(), Fatal> {
        if self.run.negotiated.incremental() {
            for (number, entry) in self.dirs.append(&segment) {
                if entry.content_dir && !entry.is_root() {
                    self.unlisted.insert(number, entry.clone());
                }
            }
            if let Some(own) = &own {
                self.own.insert(segment.start, own.clone());
            }
        }
        if self.run.options.list_only {
            for (_, entry) in segment.iter() {
                self.run.on(&Event::Entry(entry));
            }
        }
        self.lists.push(Arc::clone(&segment));
        self.tell(FromReceiver::Segment(segment, own))
    }

    fn read_entries(&mut self, start: u32) -> Result<Vec<Entry>, Fatal> {
        self.entries.start_segment(start);
        self.ledger.begin_segment();
        let mut entries = Vec::new();
        let (mut told, mut bytes) = (0, 0);
        let mut folder = Folder::new();
        loop {
            match self.reader.next(&mut self.entries)? {
                ListItem::Entry(mut entry) => {
                    if entry.kind() == Kind::File {
                        bytes += entry.size;
                        add(&self.run.tally().listed_files, 1);
                    }
                    if let Some(asked) = &self.asked {
                        asked.check(&entry)?;
                    }
                    folder.count(&entry, &self.run);
                    self.accept(&mut entry);
                    self.ledger.add(&entry)?;
                    entries.push(entry);
                    let count = entries.len() as u64;
                    if count - told >= TELL_EVERY {
                        self.tell_listed(count - told, bytes);
                        (told, bytes) = (count, 0);
                        self.run.check_stop()?;
                    }
                }
                ListItem::End { io_error } => {
                    self.run.add_io_error(io_error);
                    self.tell_listed(entries.len() as u64 - told, bytes);
                    folder.tell(&self.run);
                    return Ok(entries);
                }
            }
        }
    }

    fn tell_listed(&self, entries: u64, bytes: u64) {
        add(&self.run.tally().listed, entries);
        add(&self.run.tally().listed_bytes, bytes);
        self.run.on(&Event::Listed { entries, bytes });
    }

    /// Adapts an entry to this side: ids, modes, symlink targets.
    fn accept(&self, entry: &mut Entry) {
        if !self.numeric_ids {
            map_inline_ids(entry, &*self.tree);
        }
        if let Some(chmod) = &self.chmod {
            entry.mode = chmod.apply(entry.mode);
        }
        if self.symlink_targets != SymlinkTargets::Verbatim
            && let Some(extra) = &mut entry.extra
            && let Some(link) = &mut extra.link
        {
            *link = self.symlink_targets.store(&entry.dir, link);
        }
    }
}

/// What is in a directory may be listed only together with that directory (§19.2).
fn check_parents(segment: &Segment) -> Result<(), Fatal> {
    let mut known: Option<&Arc<[u8]>> = None;
    for (_, entry) in segment.iter().filter(|(_, entry)| !entry.dir.is_empty()) {
        // Neighbours share their directory's name.
        if known.is_some_and(|known| Arc::ptr_eq(known, &entry.dir)) {
            continue;
        }
        let (above, base) = match entry.dir.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&entry.dir[..slash], &entry.dir[slash + 1..]),
            None => (&entry.dir[..0], &entry.dir[..]),
        };
        if segment.find(above, base, true).is_none() {
            return Err(Fatal::new(
                ExitCode::Protocol,
                format!(
                    "the peer listed \"{}\" without the directory that it is in",
                    shown(&entry.path())
                ),
            ));
        }
        known = Some(&entry.dir);
    }
    Ok(())
}

fn map_inline_ids(entry: &mut Entry, tree: &dyn Target) {
    let Some(extra) = &mut entry.extra else {
        return;
    };
    if let Some(uid) = extra.user.take().and_then(|name| tree.user_id(&name)) {
        entry.uid = uid;
    }
    if let Some(gid) = extra.group.take().and_then(|name| tree.group_id(&name)) {
        entry.gid = gid;
    }
}
