//! Hard links (§9.7): the first name that can be had is the file, the others are linked to it.

use bascule_wire::flist::{Entry, Kind};
use bascule_wire::record::ItemFlags;

use super::Generator;
use super::entries::Looked;
use super::links::Turn;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::run::add;

impl Generator {
    pub(super) fn linked(&mut self, index: u32, entry: &Entry, group: u32) -> Result<(), Fatal> {
        match self.links.arrive(group, index) {
            Turn::First => self.single(index, entry),
            Turn::LinkTo(first) => self.link_in_time(index, entry, &first),
            Turn::Later => {
                self.open(index);
                Ok(())
            }
        }
    }

    /// Makes `entry` a further name of `first`, once that is there for good.
    fn link_in_time(&mut self, index: u32, entry: &Entry, first: &RelPath) -> Result<(), Fatal> {
        if self.run.options.delay_updates {
            self.late_links.push((index, entry.clone(), first.clone()));
            return Ok(());
        }
        self.link(index, entry, first)
    }

    /// Makes the links that had to wait for the delayed updates.
    pub(super) fn make_late_links(&mut self) -> Result<(), Fatal> {
        for (index, entry, first) in std::mem::take(&mut self.late_links) {
            self.link(index, &entry, &first)?;
        }
        Ok(())
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
            let made = self.keep_replaced(&path).and_then(|()| {
                self.make_at(&path, occupied, |tree, path| tree.hard_link(first, path))
            });
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
                self.link_in_time(waiting, &follower, path)?;
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
}
