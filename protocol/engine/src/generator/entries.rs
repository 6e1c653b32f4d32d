//! What happens to each entry of the list, one segment after the other. Each kind has a file of
//! its own: [`super::dirs`], [`super::files`], [`super::special`], [`super::linked`].

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bascule_wire::flist::{Entry, Kind, Segment};
use bascule_wire::record::{ItemFlags, Record, RecordHead};

use super::Generator;
use crate::observe::Event;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::tree::{Attributes, Metadata};

impl Generator {
    /// Compares one segment with the target: first its own directory, then its entries.
    pub(super) fn segment(
        &mut self,
        segment: &Arc<Segment>,
        own: Option<&Entry>,
    ) -> Result<(), Fatal> {
        if self.run.options.list_only {
            return Ok(());
        }
        if own.is_some_and(|own| !own.is_root() && self.is_below_refused(own)) {
            return Ok(());
        }
        if let Some(own) = own.filter(|_| self.incremental()) {
            self.directory(own, segment.start.wrapping_sub(1), segment)?;
        }
        for (index, entry) in segment.iter() {
            self.run.check_stop()?;
            if self.is_refused(entry)? {
                self.out_of_reach(entry)?;
            } else {
                self.entry(index, entry, segment)?;
            }
        }
        Ok(())
    }

    /// Whether the module's own filter keeps an entry from being received; told once.
    fn is_refused(&mut self, entry: &Entry) -> Result<bool, Fatal> {
        if self.is_below_refused(entry) {
            return Ok(true);
        }
        let Some(module) = self.module.clone().filter(|_| !entry.is_root()) else {
            return Ok(false);
        };
        let path = self.path_of(entry)?;
        if !module.hides(&path, entry.is_dir()) {
            return Ok(false);
        }
        self.run.problem(
            Severity::Partial,
            path.as_bytes(),
            "it was not received: the module's filter excludes this name",
        )?;
        if entry.is_dir() {
            self.refused.insert(path);
        }
        Ok(true)
    }

    fn is_below_refused(&self, entry: &Entry) -> bool {
        if self.refused.is_empty() {
            return false;
        }
        let mut at = RelPath::of_entry(entry).ok();
        while let Some(path) = at {
            if self.refused.contains(&path) {
                return true;
            }
            at = path.parent();
        }
        false
    }

    fn entry(&mut self, index: u32, entry: &Entry, segment: &Segment) -> Result<(), Fatal> {
        let kind = entry.kind();
        let bytes = if kind == Kind::File { entry.size } else { 0 };
        if kind == Kind::Directory {
            if self.incremental() && entry.content_dir {
                // Its own segment reports it; the root is the destination itself.
                if !entry.is_root() {
                    self.create_early(entry)?;
                }
            } else {
                self.directory(entry, index, segment)?;
            }
        } else if self.is_skipped(entry)? {
            self.out_of_reach(entry)?;
        } else if let Some(link) = entry.hard_link().filter(|_| self.run.options.hard_links > 0) {
            self.linked(index, entry, link.group)?;
        } else {
            self.single(index, entry)?;
        }
        self.run.on(&Event::Checked { entries: 1, bytes });
        Ok(())
    }

    /// Whether `--existing` or `--ignore-existing` leaves an entry alone that is no directory.
    fn is_skipped(&self, entry: &Entry) -> Result<bool, Fatal> {
        let options = &self.run.options;
        if !options.existing && !options.ignore_existing {
            return Ok(false);
        }
        Ok(match self.look(&self.path_of(entry)?)? {
            Looked::At(Some(_)) => options.ignore_existing,
            Looked::At(None) => options.existing,
            Looked::Failed => true,
        })
    }

    /// Treats an entry that is no directory and not a further name of something.
    pub(super) fn single(&mut self, index: u32, entry: &Entry) -> Result<(), Fatal> {
        match entry.kind() {
            Kind::File => self.file(index, entry),
            Kind::Symlink => self.symlink(index, entry),
            _ => self.node(index, entry),
        }
    }

    /// Looks at the target; trouble other than absence is reported.
    pub(super) fn look(&self, path: &RelPath) -> Result<Looked, Fatal> {
        self.looked(path, self.tree.metadata(path, false))
    }

    /// The same for a directory. When the target can have none of that name, nothing below it is
    /// received either, which is told once.
    pub(super) fn look_at_dir(&mut self, path: &RelPath) -> Result<Looked, Fatal> {
        let found = self.tree.metadata(path, false);
        let is_impossible =
            |kind| matches!(kind, ErrorKind::InvalidInput | ErrorKind::InvalidFilename);
        match found {
            Err(error) if is_impossible(error.kind()) => {
                self.run.problem(
                    Severity::Partial,
                    path.as_bytes(),
                    format!(
                        "the directory cannot be on the target, so nothing in it was received: \
                         {error}"
                    ),
                )?;
                self.refused.insert(path.clone());
                Ok(Looked::Failed)
            }
            found => self.looked(path, found),
        }
    }

    fn looked(&self, path: &RelPath, found: io::Result<Metadata>) -> Result<Looked, Fatal> {
        match found {
            Ok(local) => Ok(Looked::At(Some(local))),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(Looked::At(None))
            }
            Err(error) => {
                self.run.problem(
                    Severity::Partial,
                    path.as_bytes(),
                    format!("the target could not be examined: {error}"),
                )?;
                Ok(Looked::Failed)
            }
        }
    }

    pub(super) fn set_attributes(
        &self,
        path: &RelPath,
        kind: Kind,
        attributes: &Attributes,
    ) -> Result<(), Fatal> {
        if attributes.is_empty() || self.run.options.dry_run {
            return Ok(());
        }
        let failed = attributes.set_each(|one| self.tree.set_attributes(path, kind, one));
        if let Some(unsynced) = self.changed.unsynced() {
            unsynced.note(path.clone(), kind);
            if unsynced.is_full() {
                self.sync_changes()?;
            }
        }
        for (attribute, error) in failed {
            self.run.problem(
                Severity::Partial,
                path.as_bytes(),
                format!("its {attribute} could not be set: {error}"),
            )?;
        }
        Ok(())
    }

    /// Sends a record without data, if it tells anything or the user wants to see all.
    pub(super) fn report(
        &mut self,
        index: u32,
        flags: ItemFlags,
        xname: Option<&[u8]>,
    ) -> Result<(), Fatal> {
        let tells = flags.is_significant()
            || self.run.options.itemize > 1
            || xname.is_some_and(|name| !name.is_empty());
        if !tells {
            return Ok(());
        }
        let head = RecordHead { index, flags, basis: None, xname: xname.map(<[u8]>::to_vec) };
        let records = &mut self.records;
        self.run.writer.data(|out| records.put(&Record::File(head), out))
    }
}

/// What a look at the target gave.
pub(super) enum Looked {
    /// What is there, if anything.
    At(Option<Metadata>),
    /// It could not be seen; reported.
    Failed,
}
