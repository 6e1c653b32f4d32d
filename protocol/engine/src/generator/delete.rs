//! The deleter: removes from the target what the sender does not have (§15.1).

mod abandoned;
mod remove;

use std::io::ErrorKind;
use std::sync::Arc;

use bascule_wire::flist::Kind;
use bascule_wire::stats::DeleteStats;

use crate::backup::Backups;
use crate::filter::{DirFilters, FilterSet, ModuleView};
use crate::generator::dir_times::ChangedDirs;
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::run::{IO_ERROR_DELETE_LIMIT, IO_ERROR_GENERAL, Run};
use crate::tree::{DirEntry, Metadata, Target};

pub use abandoned::PARTIAL_DIR;
pub(super) use remove::Reason;

/// What is to go, and why.
pub(super) type Doomed = (RelPath, Metadata, Reason);

/// Deletes beneath one target root.
pub struct Deleter {
    pub(super) run: Arc<Run>,
    pub(super) tree: Arc<dyn Target>,
    pub(super) protection: Protection,
    changed: Arc<ChangedDirs>,
    stats: DeleteStats,
    extraneous: u64,
    skipped_at_limit: u64,
    told_io_error: bool,
    pub(super) delayed: Vec<Doomed>,
    /// Parts of files that the source does not have any more.
    abandoned: Vec<RelPath>,
    /// Names that went before the deletions, because a directory was in the way.
    pub(super) gone_at_once: u64,
    root_file_system: Option<u64>,
}

/// What is left alone although the sender does not have it.
pub struct Protection {
    /// Receiver-side filter rules.
    pub filters: Arc<FilterSet>,
    /// A daemon's own rules.
    pub module: Option<ModuleView>,
    /// Where deleted files are kept.
    pub backups: Option<Arc<Backups>>,
}

impl Protection {
    /// Whether the module, or being a backup, keeps a name.
    fn by_module(&self, path: &RelPath, is_dir: bool) -> bool {
        self.module.as_ref().is_some_and(|module| module.hides(path, is_dir))
            || self.backups.as_ref().is_some_and(|backups| backups.holds(path))
    }
}

impl Deleter {
    /// Deletes beneath `tree`.
    pub fn new(
        run: Arc<Run>,
        tree: Arc<dyn Target>,
        protection: Protection,
        changed: Arc<ChangedDirs>,
    ) -> Self {
        Self {
            run,
            tree,
            protection,
            changed,
            stats: DeleteStats::default(),
            extraneous: 0,
            skipped_at_limit: 0,
            told_io_error: false,
            delayed: Vec::new(),
            abandoned: Vec::new(),
            gone_at_once: 0,
            root_file_system: None,
        }
    }

    /// What was deleted so far.
    pub fn stats(&self) -> DeleteStats {
        self.stats
    }

    /// Removes every name in `dir` that `listed` gives no kind and no filter protects. With
    /// `later` they are only found now, and removed by [`Self::remove_delayed`].
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub fn clean(
        &mut self,
        dir: &RelPath,
        listed: &dyn Fn(&[u8]) -> Option<Kind>,
        later: bool,
    ) -> Result<(), Fatal> {
        let module = self.protection.module.as_ref();
        if module.is_some_and(|module| module.hides_on_the_way(dir, true)) || self.suppressed()? {
            return Ok(());
        }
        let Some(entries) = self.list(dir)? else {
            return Ok(());
        };
        let mut rules = None;
        for entry in entries {
            if listed(&entry.name).is_some() {
                continue;
            }
            let Ok(path) = dir.join(&entry.name) else {
                continue;
            };
            let metadata = match entry.metadata {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    self.run.problem(
                        Severity::Partial,
                        path.as_bytes(),
                        format!("it could not be examined for deletion: {error}"),
                    )?;
                    continue;
                }
            };
            let rules = match &rules {
                Some(rules) => rules,
                None => rules.insert(self.rules_of(dir)?),
            };
            let is_dir = is_dir(&metadata);
            if self.protection.by_module(&path, is_dir) {
                continue;
            }
            if self.protection.filters.protects(rules, path.as_bytes(), is_dir) {
                if self.is_own_partial_dir(&entry.name, is_dir) {
                    self.find_abandoned(&path, listed)?;
                }
                continue;
            }
            if later {
                self.delayed.push((path, metadata, Reason::Extraneous));
            } else {
                self.remove(&path, &metadata, Reason::Extraneous)?;
            }
        }
        if later { Ok(()) } else { self.drop_abandoned() }
    }

    /// Removes what [`Self::clean`] found with `later`, unless the delete guard objects.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub fn remove_delayed(&mut self) -> Result<(), Fatal> {
        let doomed = std::mem::take(&mut self.delayed);
        if !self.suppressed()? && self.holds_back(&doomed)? && !self.run.options.dry_run {
            self.abandoned.clear();
            return Ok(());
        }
        for (path, metadata, reason) in doomed {
            if self.suppressed()? {
                break;
            }
            self.remove(&path, &metadata, reason)?;
        }
        if self.suppressed()? {
            self.abandoned.clear();
        }
        Ok(())
    }

    /// Makes room at once for an entry of another kind, unless the delete guard objects. Tells
    /// whether the name is free now (in a dry run: would be); if not, that is reported.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub fn make_room(&mut self, path: &RelPath, metadata: &Metadata) -> Result<bool, Fatal> {
        if is_dir(metadata) && self.keeps_what_is_in_the_way(path, metadata)? {
            return Ok(false);
        }
        self.make_room_unguarded(path, metadata)
    }

    /// The same whatever the guard says. A directory that is not empty goes only with deletion on or
    /// `--force`.
    ///
    /// # Errors
    /// As [`Self::make_room`].
    pub fn make_room_unguarded(
        &mut self,
        path: &RelPath,
        metadata: &Metadata,
    ) -> Result<bool, Fatal> {
        if is_dir(metadata) && !(self.run.options.deletes() || self.run.options.force) {
            return match self.attempt(path, metadata) {
                Ok(()) => Ok(true),
                Err(error) => {
                    self.run.problem(
                        Severity::Partial,
                        path.as_bytes(),
                        format!(
                            "a directory is in the way and cannot be removed ({error}); \
                             use --delete or --force to remove it with its contents"
                        ),
                    )?;
                    Ok(false)
                }
            };
        }
        let gone = self.remove(path, metadata, Reason::InTheWay)?;
        if !gone {
            self.run.problem(
                Severity::Partial,
                path.as_bytes(),
                "what is in its place on the target could not be removed",
            )?;
        }
        Ok(gone)
    }

    /// Removes a file that is in the way of a directory, if that is possible without a word. Tells
    /// whether it is gone.
    pub fn clear_away(&self, path: &RelPath, metadata: &Metadata) -> bool {
        self.attempt(path, metadata).is_ok()
    }

    /// Says at the end how much the limit on deletions left alone.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn conclude(&mut self) -> Result<(), Fatal> {
        if self.skipped_at_limit > 0 {
            let text = format!(
                "deletions stopped at the limit of --max-delete ({} skipped)",
                self.skipped_at_limit
            );
            self.skipped_at_limit = 0;
            self.run.add_io_error(IO_ERROR_DELETE_LIMIT);
            self.run.problem(Severity::Warning, b"", text)?;
        }
        Ok(())
    }

    fn suppressed(&mut self) -> Result<bool, Fatal> {
        self.run.check_stop()?;
        if self.run.options.ignore_errors || self.run.io_error() & IO_ERROR_GENERAL == 0 {
            return Ok(false);
        }
        if !self.told_io_error {
            self.told_io_error = true;
            self.run.problem(
                Severity::Warning,
                b"",
                "the source could not be read completely: nothing more is deleted in this run",
            )?;
        }
        Ok(true)
    }

    /// Lists a directory; `None` when that failed (told already) or there is no such directory.
    fn list(&mut self, dir: &RelPath) -> Result<Option<Vec<DirEntry>>, Fatal> {
        let failed = match self.tree.list(dir) {
            Ok(listing) => match listing.error {
                None => return Ok(Some(in_order(listing.entries))),
                Some(error) => error,
            },
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => error,
        };
        self.run.problem(
            Severity::Partial,
            dir.as_bytes(),
            format!("the directory could not be read for deletion: {failed}"),
        )?;
        Ok(None)
    }

    fn rules_of(&self, dir: &RelPath) -> Result<Arc<DirFilters>, Fatal> {
        let Protection { filters, module, .. } = &self.protection;
        filters.rules_of((0, &*self.tree), dir, module.as_ref()).or_else(|error| {
            self.run.problem(
                Severity::Partial,
                dir.as_bytes(),
                format!("its filter file could not be read, so nothing in it is deleted: {error}"),
            )?;
            Ok(filters.protect_everything())
        })
    }
}

/// Last names first, directories before the rest: the list's order backwards, so that a limit on
/// deletions always spares the same names.
fn in_order(mut entries: Vec<DirEntry>) -> Vec<DirEntry> {
    let name = |entry: &DirEntry| {
        let is_dir = entry.metadata.as_ref().is_ok_and(is_dir);
        let slash: &[u8] = if is_dir { b"/" } else { b"" };
        (is_dir, [&entry.name, slash].concat())
    };
    entries.sort_by_cached_key(|entry| std::cmp::Reverse(name(entry)));
    entries
}

pub(super) fn is_dir(metadata: &Metadata) -> bool {
    metadata.kind == Kind::Directory
}
