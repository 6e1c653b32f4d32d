//! What a series of runs has to reach, and in what a run falls short of it.

use crate::history::Verdict as Ended;
use crate::history::store::Past;
use crate::human::{duration, size};
use crate::jobs::config::{self, Job};

/// What has to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// A run takes less than so many seconds.
    pub under: f64,
    /// And moves no more than so many files, deletions included.
    pub files: Option<u64>,
    /// And no more than so many bytes of files.
    pub bytes: Option<u64>,
    /// So many runs in a row.
    pub times: usize,
}

impl Goal {
    /// The goal of a job.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn of(job: &Job) -> anyhow::Result<Self> {
        let config::Goal { under, max_files, max_bytes, times } = &job.goal;
        if *times == 0 {
            anyhow::bail!("`goal.times` has to be at least 1");
        }
        let under = super::options::time(under)
            .map_err(|error| anyhow::anyhow!("`goal.under`: {error}"))?;
        let bytes = max_bytes.as_deref().map(crate::cli::bytes).transpose();
        Ok(Self {
            under,
            files: *max_files,
            bytes: bytes.map_err(|error| anyhow::anyhow!("`goal.max_bytes`: {error}"))?,
            times: usize::from(*times),
        })
    }

    /// Whether a run kept all limits.
    pub fn is_met_by(&self, run: &Past) -> bool {
        run.seconds.is_some() && self.misses(run).is_empty()
    }

    /// Which limits the last run did not keep; not whether it has ended.
    pub fn misses(&self, run: &Past) -> Vec<String> {
        if !matches!(run.verdict, Ended::Complete | Ended::InMotion) {
            let error = run.error.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
            return vec![format!("the last run was not complete: {}{error}", run.verdict)];
        }
        let mut misses = Vec::new();
        if let Some(seconds) = run.seconds.filter(|seconds| *seconds >= self.under) {
            let (took, limit) = (duration(seconds), duration(self.under));
            misses.push(format!("the last run took {took}; the limit is {limit}"));
        }
        let moved = run.files_transferred.saturating_add(run.deleted);
        if let Some(most) = self.files.filter(|most| moved > *most) {
            misses.push(format!("the last run sent or deleted {moved} files; the limit is {most}"));
        }
        if let Some(most) = self.bytes.filter(|most| run.bytes_transferred > *most) {
            let sent = size(run.bytes_transferred);
            misses.push(format!("the last run sent {sent}; the limit is {}", size(most)));
        }
        misses
    }
}
