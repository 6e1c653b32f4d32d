//! What happens to each entry of the list: directories, symlinks, devices, hard links. Regular
//! files are in [`super::files`].

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bascule_wire::flist::{Entry, Kind, Segment};
use bascule_wire::options::DeleteTiming;
use bascule_wire::record::{ItemFlags, Record, RecordHead};

use super::Generator;
use super::links::Turn;
use crate::observe::Event;
use crate::outcome::{Fatal, Severity};
use crate::path::{RelPath, leaves_tree, temporary_name};
use crate::run::add;
use crate::tree::{Attributes, Metadata, Target};

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
        let Some(module) = self.module.clone().filter(|_| !entry.is_root()) else {
            return Ok(false);
        };
        let path = self.path_of(entry)?;
        if self.is_below_refused(entry) {
            return Ok(true);
        }
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
        } else if let Some(link) = entry.hard_link().filter(|_| self.run.options.hard_links > 0) {
            self.linked(index, entry, link.group)?;
        } else {
            self.single(index, entry)?;
        }
        self.run.on(&Event::Checked { entries: 1, bytes });
        Ok(())
    }

    /// Treats an entry that is no directory and not a further name of something.
    pub(super) fn single(&mut self, index: u32, entry: &Entry) -> Result<(), Fatal> {
        match entry.kind() {
            Kind::File => self.file(index, entry),
            Kind::Symlink => self.symlink(index, entry),
            _ => self.node(index, entry),
        }
    }

    // ---- directories ----

    /// Makes a directory of the parent's segment, so that it is there when its own comes and the
    /// parent's time can be set once its own segment is finished.
    fn create_early(&mut self, entry: &Entry) -> Result<(), Fatal> {
        let path = self.path_of(entry)?;
        if self.run.options.dry_run || self.run.options.existing {
            return Ok(());
        }
        let Looked::At(local) = self.look(&path)? else {
            return Ok(());
        };
        // What cannot be done now, its own segment tries again and reports.
        let is_free = match local {
            Some(local) if local.kind == Kind::Directory => return Ok(()),
            Some(other) => self.deleter.clear_away(&path, &other),
            None => true,
        };
        if is_free && self.tree.create_dir(&path, entry.permissions() | 0o700).is_ok() {
            self.changed.name_changed(&path);
            self.created_early.insert(path);
        }
        Ok(())
    }

    /// Makes or adjusts a directory, reports it, deletes in it.
    fn directory(&mut self, entry: &Entry, index: u32, segment: &Segment) -> Result<(), Fatal> {
        let path = self.path_of(entry)?;
        let Looked::At(mut local) = self.look(&path)? else {
            return Ok(());
        };
        if let Some(other) = local.filter(|local| local.kind != Kind::Directory) {
            if !self.deleter.make_room(&path, &other)? {
                return Ok(());
            }
            local = None;
        }
        let is_new = self.created_early.remove(&path)
            || local.is_none()
            || (path.is_root() && self.root_created);
        if local.is_none() {
            if self.run.options.existing {
                return Ok(());
            }
            if !self.run.options.dry_run
                && let Err(error) = self.tree.create_dir(&path, entry.permissions() | 0o700)
            {
                return self.run.problem(
                    Severity::Partial,
                    path.as_bytes(),
                    format!("the directory could not be made on the target: {error}"),
                );
            }
            self.changed.name_changed(&path);
        }
        let report = if is_new {
            add(&self.run.tally().created, 1);
            self.policy.report(entry, None, ItemFlags::LOCAL_CHANGE, false)
        } else {
            self.policy.report(entry, local.as_ref(), ItemFlags::default(), false)
        };
        self.report(index, report, None)?;
        self.adjust_directory(&path, entry, local.filter(|_| !is_new).as_ref())?;
        let timing = self.run.options.delete;
        if entry.content_dir
            && matches!(timing, Some(DeleteTiming::During | DeleteTiming::Delay))
            && (!is_new || local.is_some())
        {
            self.clean(entry, segment, timing == Some(DeleteTiming::Delay))?;
        }
        Ok(())
    }

    /// Sets a directory's owner now, and sees to it that its mode and time are set when its
    /// contents are complete.
    fn adjust_directory(
        &mut self,
        path: &RelPath,
        entry: &Entry,
        local: Option<&Metadata>,
    ) -> Result<(), Fatal> {
        let mut now = self.policy.attributes(entry, local);
        let mut last = self.policy.attributes(entry, None);
        last.owner = None;
        last.group = None;
        if let Some(mode) = self.policy.wanted_mode(entry, local) {
            let working = mode | 0o700;
            last.mode = (working != mode).then_some(mode);
            let current = local.map(|local| local.mode & 0o7777);
            now.mode = (current != Some(working) || now.owner.is_some() || now.group.is_some())
                .then_some(working);
        } else {
            last.mode = None;
        }
        if now.mtime.take().is_some() || last.mode.is_some() {
            self.changed.note(path.clone());
        }
        self.dir_times.want(path.clone(), last);
        if now.is_empty() || self.run.options.dry_run {
            return Ok(());
        }
        self.changed.note(path.clone());
        self.set_attributes(path, Kind::Directory, &now)
    }

    // ---- symlinks, devices, specials ----

    fn symlink(&mut self, index: u32, entry: &Entry) -> Result<(), Fatal> {
        let Some(target) = entry.link() else {
            return Ok(());
        };
        let path = self.path_of(entry)?;
        if self.run.options.safe_links && leaves_tree(&entry.dir, target) {
            return self.run.problem(
                Severity::Warning,
                path.as_bytes(),
                "the symlink points out of the tree and is left out (--safe-links)",
            );
        }
        let Looked::At(local) = self.look(&path)? else {
            return self.out_of_reach(entry);
        };
        if let Some(local) = local.filter(|local| local.kind == Kind::Symlink)
            && self.tree.read_link(&path).is_ok_and(|current| current == target)
        {
            return self.unchanged(index, entry, &path, &local);
        }
        self.replace(index, entry, &path, local, |tree, path| tree.symlink(target, path))
    }

    fn node(&mut self, index: u32, entry: &Entry) -> Result<(), Fatal> {
        let kind = entry.kind();
        let path = self.path_of(entry)?;
        let Looked::At(local) = self.look(&path)? else {
            return self.out_of_reach(entry);
        };
        let device = entry.device().unwrap_or_default();
        if let Some(local) = local
            .filter(|local| local.kind == kind && (!kind.is_device() || local.device == device))
        {
            return self.unchanged(index, entry, &path, &local);
        }
        if kind.is_device() && !self.tree.abilities().make_devices {
            self.run.problem(
                Severity::Partial,
                path.as_bytes(),
                "a device cannot be made here: the receiving side needs root for that",
            )?;
            return self.out_of_reach(entry);
        }
        let mode = entry.permissions();
        self.replace(index, entry, &path, local, |tree, path| {
            tree.make_node(path, kind, mode, device)
        })
    }

    /// Puts something new in the place of what is there, under a temporary name first so that the
    /// name is never missing.
    fn replace(
        &mut self,
        index: u32,
        entry: &Entry,
        path: &RelPath,
        local: Option<Metadata>,
        make: impl Fn(&dyn Target, &RelPath) -> io::Result<()>,
    ) -> Result<(), Fatal> {
        let options = &self.run.options;
        if (local.is_none() && options.existing) || (local.is_some() && options.ignore_existing) {
            return self.in_place(entry, path);
        }
        let same_kind = local.filter(|local| local.kind == entry.kind());
        if let Some(directory) = local.filter(|local| local.kind == Kind::Directory)
            && !self.deleter.make_room(path, &directory)?
        {
            return self.out_of_reach(entry);
        }
        let base = ItemFlags::LOCAL_CHANGE | ItemFlags::REPORT_CHANGE;
        let report = self.policy.report(entry, same_kind.as_ref(), base, false);
        if !options.dry_run {
            let occupied = local.is_some_and(|local| local.kind != Kind::Directory);
            let made = self.make_at(path, occupied, make);
            self.changed.name_changed(path);
            if let Err(error) = made {
                self.run.problem(
                    Severity::Partial,
                    path.as_bytes(),
                    format!("it could not be made on the target: {error}"),
                )?;
                return self.out_of_reach(entry);
            }
            let attributes = self.policy.attributes(entry, None);
            self.set_attributes(path, entry.kind(), &attributes)?;
        }
        if same_kind.is_none() {
            add(&self.run.tally().created, 1);
        }
        self.report(index, report, None)?;
        self.in_place(entry, path)
    }

    /// Makes something at `path`; over an existing name by way of a temporary one.
    pub(super) fn make_at(
        &self,
        path: &RelPath,
        occupied: bool,
        make: impl Fn(&dyn Target, &RelPath) -> io::Result<()>,
    ) -> io::Result<()> {
        if !occupied {
            return make(&*self.tree, path);
        }
        let mut attempt = 0_u32;
        let temporary = loop {
            let temporary = temporary_name(path, attempt);
            match make(&*self.tree, &temporary) {
                Ok(()) => break temporary,
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 100 => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        };
        self.tree.rename(&temporary, path).inspect_err(|_| {
            // The error that matters is the rename's.
            let _ = self.tree.remove_file(&temporary);
        })
    }

    /// Something that already is what it shall be: only attributes may differ.
    pub(super) fn unchanged(
        &mut self,
        index: u32,
        entry: &Entry,
        path: &RelPath,
        local: &Metadata,
    ) -> Result<(), Fatal> {
        let report = self.policy.report(entry, Some(local), ItemFlags::default(), false);
        self.report(index, report, None)?;
        let attributes = self.policy.attributes(entry, Some(local));
        self.set_attributes(path, entry.kind(), &attributes)?;
        self.in_place(entry, path)
    }

    // ---- hard links ----

    fn linked(&mut self, index: u32, entry: &Entry, group: u32) -> Result<(), Fatal> {
        match self.links.arrive(group, index) {
            Turn::First => self.single(index, entry),
            Turn::LinkTo(first) => self.link(index, entry, &first),
            Turn::Later => {
                self.open(index);
                Ok(())
            }
        }
    }

    /// Makes `entry` a further name of `first`.
    fn link(&mut self, index: u32, entry: &Entry, first: &RelPath) -> Result<(), Fatal> {
        let path = self.path_of(entry)?;
        let Looked::At(local) = self.look(&path)? else {
            return Ok(());
        };
        let base = ItemFlags::LOCAL_CHANGE | ItemFlags::XNAME_FOLLOWS;
        let is_linked = match (&local, self.tree.metadata(first, false)) {
            (Some(local), Ok(first)) => {
                (local.file_system, local.inode) == (first.file_system, first.inode)
            }
            _ => false,
        };
        if is_linked {
            let report = self.policy.report(entry, local.as_ref(), base, false);
            return self.report(index, report, Some(b""));
        }
        if let Some(directory) = local.filter(|local| local.kind == Kind::Directory)
            && !self.deleter.make_room(&path, &directory)?
        {
            return Ok(());
        }
        if !self.run.options.dry_run {
            let occupied = local.is_some_and(|local| local.kind != Kind::Directory);
            let made = self.make_at(&path, occupied, |tree, path| tree.hard_link(first, path));
            self.changed.name_changed(&path);
            if let Err(error) = made {
                return self.run.problem(
                    Severity::Partial,
                    path.as_bytes(),
                    format!("it could not be hard-linked to {first}: {error}"),
                );
            }
        }
        let same_kind = local.filter(|local| local.kind == entry.kind());
        if same_kind.is_none() {
            add(&self.run.tally().created, 1);
        }
        let report = self.policy.report(entry, same_kind.as_ref(), base, true);
        self.report(index, report, Some(first.as_bytes()))
    }

    /// An entry is in place: the other names of its group can be made.
    pub(super) fn in_place(&mut self, entry: &Entry, path: &RelPath) -> Result<(), Fatal> {
        let Some(link) = entry.hard_link().filter(|_| self.run.options.hard_links > 0) else {
            return Ok(());
        };
        for waiting in self.links.finished(link.group, path.clone()) {
            if let Some(follower) = self.live_entry(waiting) {
                self.link(waiting, &follower, path)?;
            }
            self.close(waiting);
        }
        Ok(())
    }

    /// An entry could not be had: the next of its group takes its place.
    pub(super) fn out_of_reach(&mut self, entry: &Entry) -> Result<(), Fatal> {
        let Some(link) = entry.hard_link().filter(|_| self.run.options.hard_links > 0) else {
            return Ok(());
        };
        for waiting in self.links.failed(link.group) {
            if let Some(follower) = self.live_entry(waiting) {
                self.linked(waiting, &follower, link.group)?;
            }
            self.close(waiting);
        }
        Ok(())
    }

    pub(super) fn live_entry(&self, index: u32) -> Option<Entry> {
        let position = self.live_position(index)?;
        self.live[position].segment.get(index).cloned()
    }

    // ---- helpers ----

    /// Looks at the target; trouble other than absence is reported.
    pub(super) fn look(&self, path: &RelPath) -> Result<Looked, Fatal> {
        match self.tree.metadata(path, false) {
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
        match self.tree.set_attributes(path, kind, attributes) {
            Ok(()) => Ok(()),
            Err(error) => self.run.problem(
                Severity::Partial,
                path.as_bytes(),
                format!("its owner, mode or time could not be set: {error}"),
            ),
        }
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
