//! Symlinks, devices, FIFOs and sockets: what is made here without any data.

use std::io::{self, ErrorKind};

use bascule_wire::flist::{Entry, Kind};
use bascule_wire::record::ItemFlags;

use super::Generator;
use super::behind::Room;
use super::entries::Looked;
use crate::outcome::{Fatal, Severity};
use crate::path::{RelPath, temporary_name};
use crate::run::add;
use crate::symlinks::leaves_tree;
use crate::tree::{Attributes, Metadata, Target};

/// What counts as changed, rather than new, when one takes the other's place: a device by another
/// device, a FIFO by a socket.
fn class(kind: Kind) -> Kind {
    match kind {
        Kind::BlockDevice => Kind::CharDevice,
        Kind::Socket => Kind::Fifo,
        other => other,
    }
}

impl Generator {
    pub(super) fn symlink(&mut self, index: u32, entry: &Entry) -> Result<(), Fatal> {
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

    pub(super) fn node(&mut self, index: u32, entry: &Entry) -> Result<(), Fatal> {
        let kind = entry.kind();
        let path = self.path_of(entry)?;
        let Looked::At(local) = self.look(&path)? else {
            return self.out_of_reach(entry);
        };
        let device = entry.device().unwrap_or_default();
        if kind.is_device() && !self.tree.abilities().make_devices {
            self.run.problem(
                Severity::Warning,
                path.as_bytes(),
                "a device is left out: the receiving side needs root for it",
            )?;
            return self.out_of_reach(entry);
        }
        if let Some(local) = local
            .filter(|local| local.kind == kind && (!kind.is_device() || local.device == device))
        {
            return self.unchanged(index, entry, &path, &local);
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
        let same_class = local.filter(|local| class(local.kind) == class(entry.kind()));
        let mut made_at = path.clone();
        if let Some(directory) = local.filter(|local| local.kind == Kind::Directory) {
            match self.make_room(entry, path, &directory)? {
                Room::Kept => return self.out_of_reach(entry),
                Room::Later => made_at = self.waiting_place(path)?.unwrap_or(made_at),
                Room::Free => {}
            }
        }
        let base = ItemFlags::LOCAL_CHANGE | ItemFlags::REPORT_CHANGE;
        let report = self.policy.report(entry, same_class.as_ref(), base, false);
        if !self.run.options.dry_run {
            let occupied = local.is_some_and(|local| local.kind != Kind::Directory);
            let made =
                self.keep_replaced(path).and_then(|()| self.make_at(&made_at, occupied, make));
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
            self.set_attributes(&made_at, entry.kind(), &attributes)?;
        }
        if same_class.is_none() {
            add(&self.run.tally().created, 1);
        }
        self.report(index, report, None)?;
        self.in_place(entry, path)
    }

    /// Keeps what is at `path`, if that is wanted: it is about to be replaced.
    pub(super) fn keep_replaced(&self, path: &RelPath) -> io::Result<()> {
        self.backups.as_ref().map_or(Ok(()), |backups| backups.keep_replaced(path))
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
        let local = &self.give_away(entry, path, local)?;
        let report = self.policy.report(entry, Some(local), ItemFlags::default(), false);
        self.report(index, report, None)?;
        let attributes = self.policy.attributes(entry, Some(local));
        self.set_attributes(path, entry.kind(), &attributes)?;
        self.in_place(entry, path)
    }

    /// Changes the owner of a file with set-id bits ahead of the rest: that clears the bits, so
    /// what is reported and set is what then differs (as in rsync). Gives what is there then.
    fn give_away(
        &mut self,
        entry: &Entry,
        path: &RelPath,
        local: &Metadata,
    ) -> Result<Metadata, Fatal> {
        let Attributes { owner, group, .. } = self.policy.attributes(entry, Some(local));
        let changes = local.mode & 0o6000 != 0 && (owner.is_some() || group.is_some());
        if !changes || self.run.options.dry_run {
            return Ok(*local);
        }
        let owners = Attributes { owner, group, ..Attributes::default() };
        self.set_attributes(path, entry.kind(), &owners)?;
        match self.look(path)? {
            Looked::At(Some(seen)) if seen.kind == local.kind => Ok(seen),
            _ => Ok(*local),
        }
    }
}
