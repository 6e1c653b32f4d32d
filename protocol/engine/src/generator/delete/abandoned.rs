//! Parts of files that no later run goes on with: the source has no such file any more.
//!
//! A run that is cut off keeps what it has of a file in the partial dir beside it. When the file is
//! moved or deleted at the source before the next run, nobody asks for it again, and the rule that
//! protects partial dirs would keep the part at the target for ever.

use std::io::ErrorKind;

use bascule_wire::flist::Kind;

use super::Deleter;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;

/// The partial dir of Bascule's agent. Only parts of files lie in a folder of this name; one that a
/// user has named may hold other things, so that nothing is removed from it.
pub const PARTIAL_DIR: &str = ".bascule-partial";

impl Deleter {
    /// Whether `name`, which the filter rules protect, is a partial dir that may be cleaned.
    pub(super) fn is_own_partial_dir(&self, name: &[u8], is_dir: bool) -> bool {
        let own = PARTIAL_DIR.as_bytes();
        is_dir && name == own && self.run.options.partial_dir.as_deref() == Some(own)
    }

    /// Finds what in the partial dir `partials` belongs to no file that `listed` knows. It goes with
    /// [`Self::drop_abandoned`].
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub(super) fn find_abandoned(
        &mut self,
        partials: &RelPath,
        listed: &dyn Fn(&[u8]) -> Option<Kind>,
    ) -> Result<(), Fatal> {
        let Some(entries) = self.list(partials)? else {
            return Ok(());
        };
        if entries.is_empty() {
            // Any name in it does: the folder goes with its last part.
            self.abandoned.extend(partials.join(b"part"));
            return Ok(());
        }
        let rules = self.rules_of(partials)?;
        for entry in entries {
            let is_part = entry.metadata.is_ok_and(|metadata| metadata.kind != Kind::Directory);
            if !is_part || listed(&entry.name) == Some(Kind::File) {
                continue;
            }
            let part = partials.join(&entry.name);
            self.abandoned
                .extend(part.ok().filter(|part| !self.stays_in_removed_dir(&rules, part, false)));
        }
        Ok(())
    }

    /// Removes what [`Self::find_abandoned`] found, and each partial dir that is empty then. These are
    /// no files of the user's: they are neither kept as backups nor counted as deletions.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub(in crate::generator) fn drop_abandoned(&mut self) -> Result<(), Fatal> {
        for part in std::mem::take(&mut self.abandoned) {
            self.run.check_stop()?;
            if self.run.options.dry_run {
                continue;
            }
            match self.tree.remove_file(&part) {
                Err(error) if error.kind() != ErrorKind::NotFound => self.run.problem(
                    Severity::Partial,
                    part.as_bytes(),
                    format!(
                        "this part of a file that the source does not have any more could not be \
                         deleted: {error}"
                    ),
                )?,
                _ => self.changed.drop_partial_dir(&*self.tree, &part),
            }
        }
        Ok(())
    }
}
