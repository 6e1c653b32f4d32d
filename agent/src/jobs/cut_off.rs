//! Runs that were cut off: their program was killed, or the machine went down. Nobody can note that
//! at once; whoever holds the job's lock next does.

use std::collections::BTreeMap;
use std::path::Path;

use super::ending;
use super::load::Loaded;
use super::lock::Lock;
use crate::history::Verdict;
use crate::history::store::{Past, Store};
use crate::notices::note;

/// Notes that runs of the job `name`, whose lock is held, were cut off, and tells of it; gives how many.
/// Those that only could not be written to the history when they ended are written now.
///
/// # Errors
/// When the history cannot be written.
pub fn settle(loaded: &Loaded, name: &str, store: &Store, _held: &Lock) -> anyhow::Result<usize> {
    ending::settle(&loaded.state()?, name)?;
    let found = store.cut_off(name)?;
    for run in &found {
        tracing::warn!(event = "run.cut_off", job = name, run, "a run was cut off");
        note::cut_off(loaded, name, *run);
    }
    Ok(found.len())
}

/// Shows runs as cut off that were, even if nobody has noted it yet: of jobs that nobody is running.
pub fn seen(state: &Path, mut runs: Vec<Past>) -> Vec<Past> {
    let mut running = BTreeMap::new();
    for run in runs.iter_mut().filter(|run| run.verdict == Verdict::Running) {
        let is_taken =
            running.entry(run.job.clone()).or_insert_with(|| Lock::is_taken(state, &run.job));
        if !*is_taken {
            run.verdict = Verdict::CutOff;
            if let Some(waiting) = ending::waiting(state, &run.job) {
                waiting.show(run);
            }
        }
    }
    runs
}

/// How many of `runs`, the oldest first, were cut off in a row up to the last.
pub fn in_a_row<'a>(runs: impl DoubleEndedIterator<Item = &'a Past>) -> u32 {
    let last = runs.rev().take_while(|run| run.verdict == Verdict::CutOff);
    u32::try_from(last.count()).unwrap_or(u32::MAX)
}
