//! The delete guard: a deletion that nobody expected is held back before it starts.

use std::sync::atomic::Ordering;

use bascule_wire::message::Message;
use bascule_wire::options::DeleteGuard;

use super::delete::{Deleter, Doomed, Protection, Reason, is_dir};
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::run::{IO_ERROR_DELETE_LIMIT, Run, Side};
use crate::tree::Metadata;

/// What a run knows of both ends when it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// Regular files in the sender's list.
    pub listed_files: u64,
    /// Names of the list that the target had before the run.
    pub kept: u64,
}

impl Stock {
    /// What `run` has counted by now; complete only at the end of the list.
    pub fn of(run: &Run) -> Self {
        let tally = run.tally();
        let listed = tally.listed.load(Ordering::Relaxed);
        Self {
            listed_files: tally.listed_files.load(Ordering::Relaxed),
            kept: listed.saturating_sub(tally.created.load(Ordering::Relaxed)),
        }
    }
}

/// Why `doomed` names may not go; `None` when they may.
pub fn objection(guard: &DeleteGuard, doomed: u64, stock: Stock) -> Option<String> {
    if doomed == 0 {
        return None;
    }
    if let Some(allowed) = guard.allowed {
        return (doomed > allowed).then(|| {
            format!(
                "nothing is deleted: {doomed} names would go, and --allow-deletes allows {allowed}"
            )
        });
    }
    let remedy =
        format!("look with -n -i; if that is right, run again with --allow-deletes {doomed}");
    if stock.listed_files == 0 {
        return Some(format!(
            "nothing is deleted: the source has no files at all, and {doomed} names would go; {remedy}"
        ));
    }
    let DeleteGuard { percent, names, .. } = *guard;
    let held = stock.kept.saturating_add(doomed);
    let beyond = u128::from(doomed) * 100 > u128::from(percent) * u128::from(held);
    (doomed > names && beyond).then(|| {
        format!(
            "nothing is deleted: {doomed} of {held} names would go, more than {names} and more \
             than {percent} %; {remedy}"
        )
    })
}

impl Deleter {
    /// Whether the delete guard holds `doomed` back; told once.
    pub(super) fn holds_back(&mut self, doomed: &[Doomed]) -> Result<bool, Fatal> {
        let Some(guard) = self.run.options.delete_guard else {
            return Ok(false);
        };
        let mut names = self.gone_at_once;
        for (path, metadata, _) in doomed {
            names += self.weight(path, metadata)?;
        }
        match objection(&guard, names, Stock::of(&self.run)) {
            Some(text) => self.hold_back(b"", Severity::Warning, text).map(|()| true),
            None => Ok(false),
        }
    }

    fn hold_back(&self, path: &[u8], severity: Severity, text: String) -> Result<(), Fatal> {
        self.run.add_io_error(IO_ERROR_DELETE_LIMIT);
        if self.run.side == Side::Server {
            // The user is at the other end: the exit code there has to tell.
            self.run.writer.message(&Message::IoError(IO_ERROR_DELETE_LIMIT))?;
        }
        self.run.problem(severity, path, text)
    }

    /// How many names go with `path`, itself included.
    fn weight(&self, path: &RelPath, metadata: &Metadata) -> Result<u64, Fatal> {
        self.run.check_stop()?;
        if !is_dir(metadata) {
            return Ok(1);
        }
        // What cannot be listed cannot be removed either, and that is reported then.
        let Ok(listing) = self.tree.list(path) else {
            return Ok(0);
        };
        let Protection { filters, module, .. } = &self.protection;
        let rules = filters.rules_of((0, &*self.tree), path, module.as_ref());
        let rules = rules.unwrap_or_else(|_| self.protection.filters.protect_everything());
        let (mut names, mut kept) = (0, false);
        for entry in listing.entries {
            let (Ok(path), Ok(child)) = (path.join(&entry.name), entry.metadata) else {
                continue;
            };
            if self.stays_in_removed_dir(&rules, &path, is_dir(&child)) {
                kept = true;
            } else {
                names += self.weight(&path, &child)?;
            }
        }
        Ok(names + u64::from(!kept))
    }

    /// Whether a directory that is in the way of something waits for the deletions, and is one of
    /// them: what is in it may not go before all that goes is known. One that is empty, or as small
    /// as the user allows, goes at once.
    pub(super) fn waits_for_deletions(
        &mut self,
        path: &RelPath,
        metadata: &Metadata,
    ) -> Result<bool, Fatal> {
        let Some(guard) = self.run.options.delete_guard else {
            return Ok(false);
        };
        let names = self.weight(path, metadata)?;
        let limit = if names <= 1 { u64::MAX } else { guard.allowed.unwrap_or(0) };
        if self.beyond(limit, names).is_none() {
            return Ok(false);
        }
        self.delayed.push((path.clone(), *metadata, Reason::InTheWay));
        Ok(true)
    }

    /// Whether the guard keeps a directory that would have to go at once, as what it is in the way of
    /// cannot wait: its names alone have to be few enough. Told.
    pub(super) fn keeps_what_is_in_the_way(
        &mut self,
        path: &RelPath,
        metadata: &Metadata,
    ) -> Result<bool, Fatal> {
        let Some(guard) = self.run.options.delete_guard else {
            return Ok(false);
        };
        let names = self.weight(path, metadata)?;
        let Some(gone) = self.beyond(guard.allowed.unwrap_or(guard.names), names) else {
            return Ok(false);
        };
        let text = format!(
            "a directory is in the way, and {gone} names would go with what is in the way; look \
             with -n -i, then run again with --allow-deletes and the number of deletions"
        );
        self.hold_back(path.as_bytes(), Severity::Partial, text)?;
        Ok(true)
    }

    /// Counts `names` more that go at once, unless all of them are more than `limit` then: gives how
    /// many that would be.
    fn beyond(&mut self, limit: u64, names: u64) -> Option<u64> {
        let gone = self.gone_at_once.saturating_add(names);
        if gone > limit {
            return Some(gone);
        }
        self.gone_at_once = gone;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Stock = Stock { listed_files: 10_000, kept: 10_000 };

    #[test]
    fn a_few_names_or_a_small_part_may_go() {
        let guard = DeleteGuard::default();
        for (doomed, kept, may_go) in [
            (0, 0, true),
            (100, 100, true),
            (101, 908, false),
            (101, 909, true),
            (1_000, 9_000, true),
            (1_001, 9_000, false),
            (u64::MAX, u64::MAX, false),
        ] {
            let stock = Stock { kept, ..FULL };
            assert_eq!(objection(&guard, doomed, stock).is_none(), may_go, "{doomed} of {kept}");
        }
    }

    #[test]
    fn nothing_goes_for_a_source_without_files() {
        let stock = Stock { listed_files: 0, ..FULL };
        assert_eq!(objection(&DeleteGuard::default(), 0, stock), None);
        let text = objection(&DeleteGuard::default(), 1, stock).expect("held back");
        assert!(text.contains("--allow-deletes 1"), "{text}");
    }

    #[test]
    fn the_user_may_allow_a_number() {
        let guard = DeleteGuard { allowed: Some(500), ..DeleteGuard::default() };
        for stock in [FULL, Stock { listed_files: 0, kept: 0 }] {
            assert_eq!(objection(&guard, 500, stock), None);
            assert!(objection(&guard, 501, stock).is_some());
        }
    }
}
