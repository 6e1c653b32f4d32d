//! Directories: made early, adjusted when their own segment comes, cleaned of what is not listed.

use bascule_wire::flist::{Entry, Kind, Segment};
use bascule_wire::options::DeleteTiming;
use bascule_wire::record::ItemFlags;

use super::Generator;
use super::entries::Looked;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::run::add;
use crate::tree::Metadata;

impl Generator {
    /// Makes a directory of the parent's segment, so that it is there when its own comes and the
    /// parent's time can be set once its own segment is finished.
    pub(super) fn create_early(&mut self, entry: &Entry) -> Result<(), Fatal> {
        let path = self.path_of(entry)?;
        if self.run.options.dry_run {
            return Ok(());
        }
        let Looked::At(local) = self.look_at_dir(&path)? else {
            return Ok(());
        };
        if self.is_left_alone(local.as_ref()) {
            return Ok(());
        }
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
    pub(super) fn directory(
        &mut self,
        entry: &Entry,
        index: u32,
        segment: &Segment,
    ) -> Result<(), Fatal> {
        let path = self.path_of(entry)?;
        let Looked::At(mut local) = self.look_at_dir(&path)? else {
            return Ok(());
        };
        if self.is_left_alone(local.as_ref()) && !self.created_early.contains(&path) {
            return Ok(());
        }
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
            if !self.run.options.dry_run
                && let Err(error) = self.tree.create_dir(&path, entry.permissions() | 0o700)
            {
                self.run.problem(
                    Severity::Partial,
                    path.as_bytes(),
                    format!(
                        "the directory could not be made on the target, so nothing in it was \
                         received: {error}"
                    ),
                )?;
                self.refused.insert(path);
                return Ok(());
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
            let later = timing == Some(DeleteTiming::Delay);
            self.clean(entry, segment, later)?;
        }
        Ok(())
    }

    /// The set-group-id bit that a new directory got from the one above it, unless permissions are
    /// kept.
    fn inherited_group_bit(&self, path: &RelPath, local: Option<&Metadata>) -> Result<u32, Fatal> {
        let options = &self.run.options;
        if options.perms || options.dry_run || local.is_some() {
            return Ok(0);
        }
        match self.look(path)? {
            Looked::At(Some(new)) => Ok(new.mode & 0o2000),
            _ => Ok(0),
        }
    }

    /// Whether `--existing` (nothing is there) or `--ignore-existing` (something else is) keeps a
    /// directory from being made.
    fn is_left_alone(&self, local: Option<&Metadata>) -> bool {
        match local {
            None => self.run.options.existing,
            Some(local) => self.run.options.ignore_existing && local.kind != Kind::Directory,
        }
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
            let mode = mode | self.inherited_group_bit(path, local)?;
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
}
