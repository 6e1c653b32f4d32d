//! Puts a rebuilt file in place: length, owner, mode, time, then the name.

use std::io;

use bascule_wire::flist::{Entry, Kind};

use super::{Receiver, make_partial_dir};
use crate::behind::Waiting;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::tree::{Attributes, Metadata, Stage};

impl Receiver<'_> {
    /// Completes a file of `len` bytes that has all its data: length and attributes. `before` is
    /// what had its name, where its permissions count. Tells whether the file may be placed; trouble
    /// is reported.
    pub(super) fn complete(
        &self,
        stage: &mut dyn Stage,
        path: &RelPath,
        entry: &Entry,
        before: Option<Metadata>,
        len: u64,
    ) -> Result<bool, Fatal> {
        let attributes = self.attributes_of(entry, before);
        if self.run.options.sparse || self.run.options.inplace {
            // A last hole, or an old version that was longer.
            if let Err(error) = stage.set_len(len) {
                self.not_written(path, &error)?;
                return Ok(false);
            }
        }
        for (attribute, error) in attributes.set_each(|attributes| stage.apply(attributes)) {
            self.run.problem(
                Severity::Partial,
                path.as_bytes(),
                format!("its {attribute} could not be set: {error}"),
            )?;
        }
        Ok(true)
    }

    /// Gives a complete file its name, if its content was `synced` as wanted. Tells whether it is
    /// in place; trouble is reported.
    pub(super) fn put_in_place(
        &mut self,
        stage: Box<dyn Stage>,
        synced: io::Result<()>,
        path: &RelPath,
        basis_path: &RelPath,
    ) -> Result<bool, Fatal> {
        let is_behind = self.behind.expects(path);
        let placed = synced.and_then(|()| {
            if is_behind {
                self.wait_behind(stage, path)
            } else if self.run.options.delay_updates {
                self.delay(stage, path)
            } else {
                self.keep_replaced(path)?;
                stage.commit()
            }
        });
        if let Err(error) = placed {
            self.not_written(path, &error)?;
            return Ok(false);
        }
        // A delayed file has taken its partial file's place.
        if basis_path != path && !self.run.options.delay_updates && !is_behind {
            self.changed.drop_partial(&*self.tree, basis_path);
        }
        Ok(true)
    }

    /// Keeps a part of a file for the next run: in the partial dir, or under the final name with a
    /// time that can never be up to date.
    pub(super) fn store_partial(
        &self,
        mut stage: Box<dyn Stage>,
        path: &RelPath,
    ) -> io::Result<()> {
        if self.run.options.partial_dir.is_some() {
            return self.keep_waiting(stage, path).map(drop);
        }
        if self.run.options.partial {
            stage.apply(&Attributes { mtime: Some((0, 0)), ..Attributes::default() })?;
            return stage.commit();
        }
        Ok(())
    }

    /// Gives the files of `--delay-updates` their names.
    pub(super) fn put_delayed_in_place(&mut self) -> Result<(), Fatal> {
        for (waiting, path) in std::mem::take(&mut self.delayed) {
            let kept = self.keep_replaced(&path);
            match kept.and_then(|()| self.tree.rename(&waiting, &path)) {
                Ok(()) => self.changed.drop_partial_dir(&*self.tree, &waiting),
                Err(error) => self.not_written(&path, &error)?,
            }
        }
        Ok(())
    }

    /// Keeps what is at `path`, if that is wanted: it is about to be replaced.
    fn keep_replaced(&self, path: &RelPath) -> io::Result<()> {
        match &self.backups {
            // A file updated in place was copied before.
            Some(backups) if !self.run.options.inplace => backups.keep_replaced(path),
            _ => Ok(()),
        }
    }

    /// The same for a file that is about to be changed in place.
    pub(super) fn keep_copy(&self, path: &RelPath) -> io::Result<()> {
        self.backups.as_ref().map_or(Ok(()), |backups| backups.keep_copy(path))
    }

    fn attributes_of(&self, entry: &Entry, before: Option<Metadata>) -> Attributes {
        let Some(policy) = &self.policy else {
            return Attributes::default();
        };
        let mut attributes = policy.attributes(entry, None);
        if let Some(before) = before {
            let mode = policy.wanted_mode(entry, Some(&before));
            attributes.mode = mode.or(Some(before.mode & 0o7777));
        }
        attributes
    }

    /// What has a file's name now, if its permissions are to stay.
    pub(super) fn before(&self, path: &RelPath) -> Option<Metadata> {
        if self.run.options.perms {
            return None;
        }
        self.tree.metadata(path, false).ok().filter(|before| before.kind == Kind::File)
    }

    fn delay(&mut self, stage: Box<dyn Stage>, path: &RelPath) -> io::Result<()> {
        let waiting = self.keep_waiting(stage, path)?;
        self.delayed.push((waiting, path.clone()));
        Ok(())
    }

    /// A directory has the file's name: the generator puts it in place when that has gone.
    fn wait_behind(&self, stage: Box<dyn Stage>, path: &RelPath) -> io::Result<()> {
        let at = self.keep_waiting(stage, path)?;
        self.behind.arrived(Waiting { at, path: path.clone() });
        Ok(())
    }

    fn keep_waiting(&self, stage: Box<dyn Stage>, path: &RelPath) -> io::Result<RelPath> {
        let waiting = make_partial_dir(&*self.tree, &self.run.options, path, self.module.as_ref())?;
        stage.keep_as(&waiting)?;
        Ok(waiting)
    }

    fn not_written(&self, path: &RelPath, error: &io::Error) -> Result<(), Fatal> {
        self.run.problem(
            Severity::Partial,
            path.as_bytes(),
            format!("it could not be put in place on the target: {error}"),
        )
    }
}
