//! The order of the generator's work (§10, §11): the list, the redo, the delayed updates, the
//! late deletions.

use std::sync::Arc;

use bascule_wire::flist::{Entry, Segment};
use bascule_wire::options::DeleteTiming;
use bascule_wire::record::Record;

use super::Generator;
use crate::outcome::{ExitCode, Fatal, Severity};
use crate::path::RelPath;

impl Generator {
    /// Phase 0: every segment, entry by entry. With incremental recursion each finished segment
    /// gets its `NDX_DONE`; without, the one list does when all its requests are written.
    pub(super) fn list_phase(&mut self) -> Result<(), Fatal> {
        let mut next = 0;
        let mut before_pass_done = false;
        loop {
            while self.live.len() <= next && !self.list_complete {
                self.wait()?;
                next -= self.finish_segments(next)?;
            }
            if self.live.len() <= next {
                break;
            }
            if !before_pass_done {
                before_pass_done = true;
                if self.run.options.delete == Some(DeleteTiming::Before) {
                    while !self.list_complete {
                        self.wait()?;
                    }
                    self.delete_pass(Arc::clone(&self.live[next].segment))?;
                }
            }
            let live = &self.live[next];
            let segment = Arc::clone(&live.segment);
            let own = live.own.clone();
            if self.run.options.delete == Some(DeleteTiming::After) {
                self.whole_list = Some(Arc::clone(&segment));
            }
            self.segment(&segment, own.as_ref())?;
            self.live[next].emitted = true;
            next += 1;
            self.catch_up()?;
            next -= self.finish_segments(next)?;
        }
        if !self.incremental() {
            self.done()?;
            while self.phases_ended < 1 {
                self.wait()?;
            }
            self.send_redos()?;
        }
        while !self.live.is_empty() {
            next = self.live.len();
            if self.finish_segments(next)? == 0 {
                self.wait()?;
            }
        }
        Ok(())
    }

    /// What follows the list: redo phase, delayed updates, late deletions (§11).
    pub(super) fn closing_phases(&mut self) -> Result<(), Fatal> {
        let version = self.run.negotiated.version;
        let delayed_updates = self.run.options.delay_updates;
        let late =
            matches!(self.run.options.delete, Some(DeleteTiming::Delay | DeleteTiming::After));
        if self.incremental() {
            // The last segment's NDX_DONE ended phase 0.
            while self.phases_ended < 1 {
                self.wait()?;
            }
        }
        self.done()?;
        if !delayed_updates {
            self.done()?;
            if !late && version.has_long_goodbye() {
                self.delete_stats()?;
                self.done()?;
            }
        }
        while self.phases_ended < 2 {
            self.wait()?;
        }
        if delayed_updates {
            self.make_late_links()?;
            self.done()?;
        }
        while self.phases_ended < 3 {
            self.wait()?;
        }
        if late {
            // What was moved must not be lost in both places.
            self.sync_changes()?;
        }
        match self.run.options.delete {
            // With early deletions, what was found to be in the way since.
            Some(DeleteTiming::Delay | DeleteTiming::Before) => self.deleter.remove_delayed()?,
            Some(DeleteTiming::After) => {
                if let Some(list) = self.whole_list.take() {
                    self.delete_pass(list)?;
                }
            }
            _ => {}
        }
        self.place_what_waited()?;
        // What waited may have been made where an old part was.
        self.deleter.drop_abandoned()?;
        self.deleter.conclude()?;
        self.report_room()?;
        if (late || delayed_updates) && version.has_long_goodbye() {
            self.delete_stats()?;
            self.done()?;
        }
        self.prune_trash()?;
        let tree = Arc::clone(&self.tree);
        self.dir_times.finish_all(&self.changed, &*tree, &self.run)?;
        self.sync_changes()?;
        self.run.writer.flush()
    }

    /// Sends the `NDX_DONE` of the oldest segments for as long as nothing in them is open
    /// (incremental recursion), and forgets them. `next` is how many have been emitted; the last
    /// of these stays until another has come or the list is complete. Tells how many went.
    fn finish_segments(&mut self, next: usize) -> Result<usize, Fatal> {
        if self.incremental() {
            self.send_redos()?;
        }
        let mut finished = 0;
        while let Some(oldest) = self.live.front() {
            let another = self.live.len() > 1 || self.list_complete;
            if finished >= next || !oldest.emitted || oldest.open > 0 || !another {
                break;
            }
            let Some(live) = self.live.pop_front() else {
                break;
            };
            finished += 1;
            if self.incremental() {
                self.done()?;
                self.finish_dir(live.own.as_ref())?;
            }
        }
        Ok(finished)
    }

    /// Sets a finished directory's time, unless later changes in it are still possible.
    fn finish_dir(&mut self, own: Option<&Entry>) -> Result<(), Fatal> {
        let options = &self.run.options;
        let late_changes = options.hard_links > 0
            || options.delay_updates
            // The first backup makes names in directories that may be finished.
            || options.backup_dir.is_some()
            || matches!(options.delete, Some(DeleteTiming::Delay | DeleteTiming::After));
        let Some(own) = own.filter(|_| !late_changes) else {
            return Ok(());
        };
        let dir = self.path_of(own)?;
        let tree = Arc::clone(&self.tree);
        self.dir_times.finish(&dir, &self.changed, &*tree, &self.run)
    }

    /// Asks again for what failed its whole-file sum.
    fn send_redos(&mut self) -> Result<(), Fatal> {
        for index in std::mem::take(&mut self.redo) {
            let entry = self
                .live_position(index)
                .and_then(|position| self.live[position].segment.get(index).cloned());
            match entry {
                Some(entry) => self.redo_file(index, &entry)?,
                None => self.close(index),
            }
        }
        Ok(())
    }

    /// Deletes in every content directory of the one list; under guard once all is known.
    fn delete_pass(&mut self, list: Arc<Segment>) -> Result<(), Fatal> {
        let guarded = self.run.options.delete_guard.is_some();
        for (_, entry) in list.iter() {
            if entry.is_dir() && entry.content_dir {
                self.clean(entry, &list, guarded)?;
            }
        }
        if guarded { self.deleter.remove_delayed() } else { Ok(()) }
    }

    /// Puts on stable storage what was changed so far, in a durable run.
    pub(super) fn sync_changes(&self) -> Result<(), Fatal> {
        let Some(unsynced) = self.changed.unsynced() else {
            return Ok(());
        };
        for (path, error) in unsynced.sync(&*self.tree) {
            let text = format!("it could not be put on stable storage: {error}");
            self.run.problem(Severity::Partial, path.as_bytes(), text)?;
        }
        Ok(())
    }

    /// Removes backups that are old enough; not after a run that may want to be undone.
    fn prune_trash(&self) -> Result<(), Fatal> {
        let (Some(backups), Some(days)) = (&self.backups, self.run.options.trash_days) else {
            return Ok(());
        };
        if self.run.options.dry_run || self.run.report().exit_code() != ExitCode::Success {
            return Ok(());
        }
        for (run, error) in backups.prune(days) {
            let text = format!("this old trash could not be removed: {error}");
            self.run.problem(Severity::Warning, run.as_bytes(), text)?;
        }
        Ok(())
    }

    /// Deletes in one content directory; `segment` holds its children.
    pub(super) fn clean(
        &mut self,
        dir: &Entry,
        segment: &Segment,
        later: bool,
    ) -> Result<(), Fatal> {
        let path = RelPath::of_entry(dir).unwrap_or_default();
        self.deleter.clean(&path, &|name| segment.kind_of(path.as_bytes(), name), later)
    }

    pub(super) fn done(&mut self) -> Result<(), Fatal> {
        let records = &mut self.records;
        self.run.writer.data(|out| records.put(&Record::Done, out))
    }

    fn delete_stats(&mut self) -> Result<(), Fatal> {
        if !(self.run.options.deletes() || self.run.options.force) {
            return Ok(());
        }
        let stats = self.deleter.stats();
        let records = &mut self.records;
        self.run.writer.data(|out| records.put(&Record::DelStats(stats), out))
    }
}
