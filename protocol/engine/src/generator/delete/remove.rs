//! Removes names from the target, folders with all that is below them.

use std::io::ErrorKind;

use bascule_wire::flist::Kind;
use bascule_wire::message::Message;
use bytes::Bytes;

use super::{Deleter, is_dir};
use crate::filter::DirFilters;
use crate::observe::Event;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::run::{Side, add};
use crate::tree::{Attributes, Metadata};
use bascule_wire::shown;

/// Why something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::generator) enum Reason {
    /// The sender does not have it.
    Extraneous,
    /// The sender has something of another kind under that name.
    InTheWay,
}

impl Deleter {
    /// Removes one name, with everything below it. Tells whether it is gone.
    pub(super) fn remove(
        &mut self,
        path: &RelPath,
        metadata: &Metadata,
        reason: Reason,
    ) -> Result<bool, Fatal> {
        if is_dir(metadata) && !self.empty(path, metadata)? {
            return Ok(false);
        }
        if reason == Reason::Extraneous
            && self.run.options.max_delete.is_some_and(|limit| self.extraneous >= limit)
        {
            self.skipped_at_limit += 1;
            return Ok(false);
        }
        match self.attempt(path, metadata) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => {
                self.run.problem(
                    Severity::Partial,
                    path.as_bytes(),
                    format!("it could not be deleted: {error}"),
                )?;
                return Ok(false);
            }
        }
        if reason == Reason::Extraneous {
            self.extraneous += 1;
            self.account(path, metadata)?;
        }
        Ok(true)
    }

    /// Empties a directory that is being removed; `false` when something has to stay in it.
    fn empty(&mut self, dir: &RelPath, metadata: &Metadata) -> Result<bool, Fatal> {
        self.run.check_stop()?;
        if self.run.options.one_file_system > 0 && metadata.file_system != self.root_file_system() {
            self.run.problem(
                Severity::Warning,
                dir.as_bytes(),
                "a file system is mounted here: it is not deleted",
            )?;
            return Ok(false);
        }
        self.make_accessible(dir, metadata);
        let Some(entries) = self.list(dir)? else {
            return Ok(false);
        };
        if entries.is_empty() {
            return Ok(true);
        }
        let rules = self.rules_of(dir)?;
        let mut kept = false;
        for entry in entries {
            let Ok(path) = dir.join(&entry.name) else {
                continue;
            };
            let child = match entry.metadata {
                Ok(child) => child,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(_) => {
                    kept = true;
                    continue;
                }
            };
            let is_protected = self.stays_in_removed_dir(&rules, &path, is_dir(&child));
            if is_protected || !self.remove(&path, &child, Reason::Extraneous)? {
                kept = true;
            }
        }
        if kept {
            let name = shown(dir.as_bytes());
            self.run.inform(&format!("cannot delete non-empty directory: {name}"))?;
        }
        Ok(!kept)
    }

    /// Whether a name in a directory that goes has to stay.
    pub(in crate::generator) fn stays_in_removed_dir(
        &self,
        rules: &DirFilters,
        path: &RelPath,
        is_dir: bool,
    ) -> bool {
        self.protection.filters.protects_in_removed_dir(rules, path.as_bytes(), is_dir)
            || self.protection.by_module(path, is_dir)
    }

    /// Gives the owner back the rights that are needed to empty a directory; root has them anyway.
    fn make_accessible(&self, dir: &RelPath, metadata: &Metadata) {
        let all = metadata.mode & 0o7777 | 0o700;
        if self.run.options.dry_run
            || metadata.mode & 0o7777 == all
            || self.tree.abilities().change_owner
        {
            return;
        }
        let attributes = Attributes { mode: Some(all), ..Attributes::default() };
        // Where this fails, so will what follows, and that is reported.
        let _ = self.tree.set_attributes(dir, Kind::Directory, &attributes);
    }

    /// Removes one name and keeps it where that is wanted; a dry run only says whether it could.
    pub(super) fn attempt(&self, path: &RelPath, metadata: &Metadata) -> std::io::Result<()> {
        if self.run.options.dry_run {
            let deletes = self.run.options.deletes() || self.run.options.force;
            if is_dir(metadata) && !deletes && !self.tree.list(path)?.entries.is_empty() {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            return Ok(());
        }
        self.changed.name_changed(path);
        match &self.protection.backups {
            _ if is_dir(metadata) => self.tree.remove_dir(path),
            Some(backups) => backups.keep_removed(path),
            None => self.tree.remove_file(path),
        }
    }

    fn account(&mut self, path: &RelPath, metadata: &Metadata) -> Result<(), Fatal> {
        let kind = metadata.kind;
        let counter = match kind {
            Kind::File => &mut self.stats.files,
            Kind::Directory => &mut self.stats.dirs,
            Kind::Symlink => &mut self.stats.symlinks,
            Kind::BlockDevice | Kind::CharDevice => &mut self.stats.devices,
            Kind::Fifo | Kind::Socket => &mut self.stats.specials,
        };
        *counter = counter.saturating_add(1);
        add(&self.run.tally().deleted, 1);
        self.run.on(&Event::Deleted { path: path.as_bytes(), kind });
        let told = self.run.options.itemize > 0 || self.run.options.verbose > 0;
        if self.run.side == Side::Server && told {
            self.run.writer.message(&Message::Deleted {
                name: Bytes::copy_from_slice(path.as_bytes()),
                directory: kind == Kind::Directory,
            })?;
        }
        Ok(())
    }

    fn root_file_system(&mut self) -> u64 {
        *self.root_file_system.get_or_insert_with(|| {
            self.tree.metadata(&RelPath::root(), false).map_or(0, |root| root.file_system)
        })
    }
}
