//! Guards deletions where the receiving side cannot: a source on the wrong disk, and receivers that
//! are stock rsync's. A receiver of our own counts for itself.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bascule_engine::generator::guard::{self, Stock};
use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::Report;
use bascule_engine::path::RelPath;
use bascule_engine::receiver::Destination;
use bascule_engine::walk::SourceArg;
use bascule_wire::Options;
use bascule_wire::options::DeleteGuard;
use bascule_wire::record::ItemFlags;
use serde::{Deserialize, Serialize};

use crate::notes::Notes;

/// The disks that the ends of earlier runs were on, as far as they are on this machine: one JSON
/// document per line, the last about a pair of ends counts.
pub struct Disks(Notes);

/// The ends of a run that are on this machine.
#[derive(Clone, Copy)]
pub struct Ends<'a> {
    /// The sources, unless a daemon has them.
    pub sources: &'a [SourceArg],
    /// Where it all goes, unless a daemon has that.
    pub target: Option<&'a Destination>,
    /// The destination's name.
    pub destination: &'a str,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// `None` is about the destination itself.
    source: Option<String>,
    destination: String,
    /// As [`bascule_engine::tree::Source::volume`] tells.
    volume: u64,
}

impl Disks {
    /// Those that are noted in `folder`, by default those of this user.
    pub fn open(folder: Option<&Path>) -> Self {
        Self(Notes::open(folder, "source-disks"))
    }

    /// What speaks against a run: the first of its ends that is on another disk than in the last
    /// complete one. A source that cannot be opened is the walker's to report.
    ///
    /// # Errors
    /// When what was remembered cannot be read.
    pub fn objection(&self, ends: Ends<'_>) -> anyhow::Result<Option<String>> {
        let known = self.read()?;
        let mut now = ends.seen();
        let moved = now.find(|seen| last(&known, seen).is_some_and(|last| last != seen));
        Ok(moved.map(|seen| {
            let destination = seen.destination;
            let moved = match seen.source {
                Some(source) => {
                    format!("{source} is on another disk than in the last run to {destination}")
                }
                None => format!("{destination} is on another disk than in the last run to it"),
            };
            format!(
                "{moved}: is the right one mounted? Nothing was changed. If it has moved on \
                 purpose, say with --allow-deletes NUM how many names may be deleted in this run"
            )
        }))
    }

    /// Remembers the disks after a complete run.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn remember(&self, ends: Ends<'_>) -> anyhow::Result<()> {
        let known = self.read()?;
        let new = ends.seen().filter(|seen| last(&known, seen) != Some(seen));
        let lines = new.map(|seen| serde_json::to_string(&seen)).collect::<Result<Vec<_>, _>>()?;
        self.0.append(&lines)
    }

    fn read(&self) -> anyhow::Result<Vec<Seen>> {
        // A line that a crash cut short is as good as none.
        Ok(self.0.read()?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

/// What is known of the same source and destination.
fn last<'a>(known: &'a [Seen], seen: &Seen) -> Option<&'a Seen> {
    let is_same =
        |known: &&Seen| (&known.source, &known.destination) == (&seen.source, &seen.destination);
    known.iter().rev().find(is_same)
}

impl Ends<'_> {
    /// What can be seen of their disks.
    fn seen(&self) -> impl Iterator<Item = Seen> {
        let of = |source, volume| Seen { source, destination: self.destination.to_owned(), volume };
        let sources = self.sources.iter().filter_map(move |source| {
            let name = source.named.escape_ascii().to_string();
            Some(of(Some(name), source.tree.volume(&source.top).ok()?))
        });
        let target = self.target.and_then(|target| {
            // What is not there yet will be on the disk of the nearest folder that is.
            let volume = target.tree.volume(&target.path);
            volume.or_else(|_| target.tree.volume(&RelPath::root())).ok()
        });
        sources.chain(target.map(|volume| of(None, volume)))
    }
}

/// Counts what a stock receiver would delete: the observer of a dry run towards it.
#[derive(Debug, Default)]
pub struct Count {
    doomed: AtomicU64,
    created: AtomicU64,
}

impl Observer for Count {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Deleted { .. } => self.doomed.fetch_add(1, Ordering::Relaxed),
            Event::Itemized { item } if item.flags.contains(ItemFlags::IS_NEW) => {
                self.created.fetch_add(1, Ordering::Relaxed)
            }
            _ => 0,
        };
    }
}

impl Count {
    /// The options of the dry run that is counted.
    pub fn options(options: &Options) -> Options {
        Options {
            dry_run: true,
            itemize: options.itemize.max(1),
            delete_guard: None,
            stats: false,
            ..options.clone()
        }
    }

    /// Changes `options` to what the real run may do, given the report of the counted one: as much
    /// as was counted to be fine, or nothing. Gives the guard's objection.
    pub fn apply(
        &self,
        guard: &DeleteGuard,
        counted: &Report,
        options: &mut Options,
    ) -> Option<String> {
        let doomed = self.doomed.load(Ordering::Relaxed);
        let created = self.created.load(Ordering::Relaxed);
        let stock = Stock {
            listed_files: counted.counters.listed_files,
            kept: counted.counters.listed.saturating_sub(created),
        };
        options.delete_guard = None;
        let objection = guard::objection(guard, doomed, stock);
        if objection.is_some() {
            options.delete = None;
        } else {
            // Both ends go on changing: what is found later is held to the same limit.
            let part = stock.kept.saturating_mul(guard.percent.into()) / 100;
            let limit = guard.allowed.unwrap_or_else(|| guard.names.max(part).max(doomed));
            options.max_delete = Some(options.max_delete.map_or(limit, |own| own.min(limit)));
        }
        objection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_wire::flist::Kind;
    use bascule_wire::options::DeleteTiming;

    #[test]
    fn a_stock_receiver_is_told_what_was_counted_or_nothing() {
        let count = Count::default();
        for _ in 0..200 {
            count.on(&Event::Deleted { path: b"x", kind: Kind::File });
        }
        let mut counted = Report::default();
        counted.counters.listed = 1000;
        counted.counters.listed_files = 900;
        let wanted = Options { delete: Some(DeleteTiming::Delay), ..Options::default() };
        let guard = DeleteGuard::default();
        let mut options = wanted.clone();
        assert!(count.apply(&guard, &counted, &mut options).is_some());
        assert_eq!(options.delete, None);
        counted.counters.listed = 5000;
        for (own, expected) in [(None, 500), (Some(7), 7)] {
            options = Options { max_delete: own, ..wanted.clone() };
            assert_eq!(count.apply(&guard, &counted, &mut options), None);
            assert_eq!((options.delete, options.max_delete), (wanted.delete, Some(expected)));
        }
        let allowed = DeleteGuard { allowed: Some(201), ..guard };
        counted.counters.listed = 300;
        options = wanted.clone();
        assert_eq!(count.apply(&allowed, &counted, &mut options), None);
        assert_eq!(options.max_delete, Some(201));
    }
}
