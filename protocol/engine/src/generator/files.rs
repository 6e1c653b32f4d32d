//! Regular files: the quick check, the basis, the request.

use std::io;

use bascule_wire::flist::{Entry, Kind};
use bascule_wire::names::ChecksumName;
use bascule_wire::record::{BasisType, ItemFlags, Record, RecordHead};
use bascule_wire::sums::SumHead;

use super::Generator;
use super::behind::Room;
use super::decide::Content;
use super::entries::Looked;
use super::signature::{read_full, send_sums};
use crate::observe::Event;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::receiver::partial_path;
use crate::run::add;
use crate::tree::{Metadata, ReadAt};

/// How much of a file is read at once to compare digests, in bytes.
const READ: usize = 256 * 1024;

impl Generator {
    /// Compares a regular file with the target and asks for it if it differs.
    pub(super) fn file(&mut self, index: u32, entry: &Entry) -> Result<(), Fatal> {
        let path = self.path_of(entry)?;
        let Looked::At(mut local) = self.look(&path)? else {
            return self.out_of_reach(entry);
        };
        if self.is_left_out(entry, local.as_ref()) {
            return self.out_of_reach(entry);
        }
        // Anything else goes when the new file takes its name; in place it has to go first.
        let in_place = self.run.options.inplace;
        let blocks = |local: &Metadata| {
            local.kind == Kind::Directory || (in_place && local.kind != Kind::File)
        };
        if let Some(other) = local.filter(blocks) {
            match self.make_room(entry, &path, &other)? {
                Room::Kept => return self.out_of_reach(entry),
                Room::Later => self.behind.expect(path.clone()),
                Room::Free => {}
            }
            local = None;
        }
        let local = local.filter(|local| local.kind == Kind::File);
        if let Some(local) = &local
            && self.has_content(entry, &path, local)?
        {
            if !self.run.options.dry_run {
                self.drop_partial(&path);
            }
            return self.unchanged(index, entry, &path, local);
        }
        self.request(index, entry, &path, local.as_ref(), false)
    }

    /// Asks again, with full sums, for a file that failed its whole-file sum.
    pub(super) fn redo_file(&mut self, index: u32, entry: &Entry) -> Result<(), Fatal> {
        let path = self.path_of(entry)?;
        let Looked::At(local) = self.look(&path)? else {
            return self.file_failed(index);
        };
        let local = local.filter(|local| local.kind == Kind::File);
        // It is open already; asking again opens it once more.
        self.close(index);
        self.request(index, entry, &path, local.as_ref(), true)
    }

    /// The receiver has put a file in place.
    pub(super) fn file_done(&mut self, index: u32) -> Result<(), Fatal> {
        self.has_arrived(index);
        if let Some(entry) = self.live_entry(index) {
            let path = self.path_of(&entry)?;
            self.in_place(&entry, &path)?;
        }
        self.close(index);
        Ok(())
    }

    /// The receiver could not get a file.
    pub(super) fn file_failed(&mut self, index: u32) -> Result<(), Fatal> {
        self.has_arrived(index);
        if let Some(entry) = self.live_entry(index) {
            self.out_of_reach(&entry)?;
        }
        self.close(index);
        Ok(())
    }

    /// Options that leave a file alone whatever its content.
    fn is_left_out(&self, entry: &Entry, local: Option<&Metadata>) -> bool {
        let options = &self.run.options;
        options.max_size.is_some_and(|max| entry.size > max)
            || options.min_size.is_some_and(|min| entry.size < min)
            || (options.update
                && local.is_some_and(|local| {
                    local.kind == Kind::File && self.policy.is_newer_there(entry, local)
                }))
    }

    fn has_content(&self, entry: &Entry, path: &RelPath, local: &Metadata) -> Result<bool, Fatal> {
        match self.policy.content(entry, local) {
            Content::Same => Ok(true),
            Content::Differs => Ok(false),
            Content::CompareDigests => {
                let Some(wanted) = entry.checksum() else {
                    return Ok(false);
                };
                let digest = self.tree.open(path).and_then(|file| self.list_digest(&*file));
                // A file that cannot be read cannot be known to be right: it is asked for.
                Ok(digest.is_ok_and(|digest| digest == wanted))
            }
        }
    }

    fn list_digest(&self, file: &dyn ReadAt) -> io::Result<Vec<u8>> {
        let mut hasher = self.strong.list();
        let mut buffer = vec![0; READ];
        let mut offset = 0;
        loop {
            let read = read_full(file, offset, &mut buffer)?;
            hasher.update(&buffer[..read]);
            offset += read as u64;
            if read < buffer.len() {
                return Ok(hasher.finish().as_ref().to_vec());
            }
        }
    }

    /// Sends a request for a file's data, with the sums of the basis if there is one.
    fn request(
        &mut self,
        index: u32,
        entry: &Entry,
        path: &RelPath,
        local: Option<&Metadata>,
        redo: bool,
    ) -> Result<(), Fatal> {
        if self.run.options.dry_run {
            self.would_ask_for(entry, local);
        } else if !self.has_room_for(entry, path, local)? {
            return self.out_of_reach(entry);
        }
        let mut flags = ItemFlags::TRANSFER;
        if self.run.options.checksum {
            flags |= ItemFlags::REPORT_CHANGE;
        }
        let partial = self.partial_basis(path);
        // Blocks need a strong sum: without one every file travels whole.
        let has_sums = self.run.negotiated.checksum != ChecksumName::None;
        let whole = !has_sums || self.run.options.whole_file.unwrap_or(false);
        let basis = match &partial {
            Some((partial, length)) if has_sums => self.basis(partial, *length),
            None if !whole => local.and_then(|local| self.basis(path, local.size)),
            _ => None,
        };
        // What cannot be read counts for nothing.
        let local =
            local.filter(|local| whole || partial.is_some() || local.size == 0 || basis.is_some());
        let mut flags = self.policy.report(entry, local, flags, false);
        if !redo && local.is_none() {
            add(&self.run.tally().created, 1);
        }
        let mut basis_type = None;
        if partial.is_some() {
            flags |= ItemFlags::BASIS_TYPE_FOLLOWS;
            basis_type = Some(BasisType::PARTIAL_DIR);
        }
        self.requested.ask(index);
        let head = RecordHead { index, flags, basis: basis_type, xname: None };
        let records = &mut self.records;
        self.run.writer.data(|out| records.put(&Record::File(head), out))?;
        if self.run.options.dry_run {
            return self.in_place(entry, path);
        }
        self.open(index);
        self.is_on_the_way(entry.size);
        self.run.on(&Event::Requested { bytes: entry.size });
        let Some((basis, length)) = basis else {
            return self.run.writer.data(|out| SumHead::EMPTY.put(out));
        };
        let version = self.run.negotiated.version;
        let sum_head = SumHead::for_basis(
            length,
            self.run.options.block_size,
            redo,
            self.strong.digest_len(),
            version,
        );
        self.run.writer.data(|out| sum_head.put(out))?;
        match send_sums(&*basis, &sum_head, &self.strong, &self.run.writer)? {
            Ok(()) => Ok(()),
            Err(error) => self.run.problem(
                Severity::Warning,
                partial.as_ref().map_or(path, |(partial, _)| partial).as_bytes(),
                format!("the target's old version could not be read ({error}): more data are sent"),
            ),
        }
    }

    /// An old version to take blocks from, with its length; none of an empty one, or of one that
    /// cannot be read.
    fn basis(&self, path: &RelPath, length: u64) -> Option<(Box<dyn ReadAt>, u64)> {
        if length == 0 {
            return None;
        }
        self.tree.open(path).ok().map(|file| (file, length))
    }

    /// Removes what an interrupted run has kept of a file that is whole by now.
    fn drop_partial(&self, path: &RelPath) {
        if let Some((partial, _)) = self.partial_basis(path) {
            self.changed.drop_partial(&*self.tree, &partial);
        }
    }

    /// A file kept by an interrupted run, to resume from.
    fn partial_basis(&self, path: &RelPath) -> Option<(RelPath, u64)> {
        let dir = self.run.options.partial_dir.as_deref()?;
        let partial = partial_path(path, dir, self.module.as_ref())?;
        let metadata = self.tree.metadata(&partial, false).ok()?;
        (metadata.kind == Kind::File).then_some((partial, metadata.size))
    }
}
