//! `bascule converge JOB`: runs again and again until a run is short enough for the switch, says so,
//! and says what to expect.
//!
//! [`model`] learns from the history how long runs take, [`verdict`] judges the series by its
//! [`goal`] and by [`trouble`], [`command`] is the loop.

pub mod command;
pub mod goal;
pub mod model;
pub mod options;
pub mod trouble;
pub mod verdict;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::history::Verdict;
use crate::history::store::{Past, Store};
use model::{Model, Sample};
use verdict::Conspicuous;

/// Runs that the model and the verdict look at.
pub const LAST: u32 = 200;

/// Runs in which something has to be conspicuous each time.
const CONSPICUOUS_IN: usize = 3;
/// The part of a run's bytes from which on one file or one account is conspicuous.
const CONSPICUOUS_PART: f64 = 0.5;

/// What the history says about the runs to come; `None` before there are two to learn from.
pub fn model_of(runs: &[Past]) -> Option<Model> {
    let through = runs.iter().filter(|run| run.verdict.went_through());
    let samples: Vec<Sample> = through
        .filter_map(|run| {
            Some(Sample {
                began: run.began,
                seconds: run.seconds?,
                files: run.files_transferred + run.deleted,
                bytes: run.bytes_transferred,
            })
        })
        .collect();
    Model::learn(&samples, &TimeZone::system())
}

/// One file or one account that was most of each of the last runs, and what was wrong with the last.
///
/// # Errors
/// When the history cannot be read.
pub fn conspicuous(store: &Store, runs: &[Past]) -> anyhow::Result<Conspicuous> {
    let through: Vec<&Past> = runs.iter().filter(|run| run.verdict.went_through()).collect();
    let mut found = Conspicuous::default();
    if let Some(last) = through.last().filter(|run| run.verdict == Verdict::Partial) {
        found.trouble = Some(trouble::of(store, last)?);
    }
    let Some(last) = through.len().checked_sub(CONSPICUOUS_IN).map(|from| &through[from..]) else {
        return Ok(found);
    };
    let part = |bytes: u64, run: &Past| bytes as f64 / run.bytes_transferred.max(1) as f64;
    if let Some((path, bytes)) = &last[CONSPICUOUS_IN - 1].largest {
        let parts = last.iter().map(|run| match &run.largest {
            Some((same, bytes)) if same == path => part(*bytes, run),
            _ => 0.0,
        });
        let least = parts.fold(1.0, f64::min);
        if least >= CONSPICUOUS_PART {
            found.file = Some((path.clone(), *bytes, least));
        }
    }
    let mut least: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for run in last {
        for (name, account) in store.accounts(run.id)? {
            let (times, least) = least.entry(name).or_insert((0, 1.0));
            *times += 1;
            *least = least.min(part(account.bytes_transferred, run));
        }
    }
    let is_alone = least.len() == 1;
    let mut most = least
        .into_iter()
        .filter(|(_, (times, part))| *times == CONSPICUOUS_IN && *part >= CONSPICUOUS_PART);
    // The only account there is explains nothing.
    found.account = most.next().filter(|_| !is_alone).map(|(name, (_, part))| (name, part));
    Ok(found)
}
