//! What has the name of a directory of the target: that goes with the deletions, if they happen.

use std::io::ErrorKind;

use bascule_wire::flist::{Entry, Kind};

use super::Generator;
use crate::behind::Waiting;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::receiver::make_partial_dir;
use crate::tree::Metadata;

/// Whether a name is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It is.
    Free,
    /// It may be after the deletions: until then the entry waits in its partial dir.
    Later,
    /// It is not, which was reported.
    Kept,
}

impl Generator {
    /// Makes room for `entry`, of another kind than what is `there`.
    pub(super) fn make_room(
        &mut self,
        entry: &Entry,
        path: &RelPath,
        there: &Metadata,
    ) -> Result<Room, Fatal> {
        let options = &self.run.options;
        // Other names would have nothing to lead to, and a limit counts from the first deletion on.
        let has_other_names = options.hard_links > 0 && entry.hard_link().is_some();
        let can_wait = there.kind == Kind::Directory
            && options.deletes()
            && options.max_delete.is_none()
            && !has_other_names;
        let is_free = if !can_wait {
            self.deleter.make_room(path, there)?
        } else if self.deleter.waits_for_deletions(path, there)? {
            return Ok(Room::Later);
        } else {
            self.deleter.make_room_unguarded(path, there)?
        };
        Ok(if is_free { Room::Free } else { Room::Kept })
    }

    /// Where something that needs no data is made that waits for its name; `None` in a dry run.
    pub(super) fn waiting_place(&mut self, path: &RelPath) -> Result<Option<RelPath>, Fatal> {
        if self.run.options.dry_run {
            return Ok(None);
        }
        match make_partial_dir(&*self.tree, &self.run.options, path, self.module.as_ref()) {
            Ok(at) => {
                // Of a run that was cut off.
                let _ = self.tree.remove_file(&at);
                self.behind.arrived(Waiting { at: at.clone(), path: path.clone() });
                Ok(Some(at))
            }
            // Making it where the directory is fails, and that is reported.
            Err(_) => Ok(None),
        }
    }

    /// Puts in place what waited for a directory to go, where it has. Of the rest, files stay in
    /// their partial dirs, for the next run to go on with.
    pub(super) fn place_what_waited(&mut self) -> Result<(), Fatal> {
        for Waiting { at, path } in self.behind.take() {
            let is_free = self
                .tree
                .metadata(&path, false)
                .is_err_and(|error| error.kind() == ErrorKind::NotFound);
            let placed = if is_free { self.tree.rename(&at, &path) } else { Ok(()) };
            self.changed.name_changed(&path);
            let trouble = match placed {
                Ok(()) if is_free => {
                    self.changed.drop_partial_dir(&*self.tree, &at);
                    continue;
                }
                Ok(()) => "a directory is in the way, and was not deleted".to_owned(),
                Err(error) => format!("it could not be put in place on the target: {error}"),
            };
            let is_part = |there: Metadata| {
                there.kind == Kind::File && self.run.options.partial_dir.is_some()
            };
            if !self.tree.metadata(&at, false).is_ok_and(is_part) {
                self.changed.drop_partial(&*self.tree, &at);
            }
            self.run.problem(Severity::Partial, path.as_bytes(), trouble)?;
        }
        Ok(())
    }
}
