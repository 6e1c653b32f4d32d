//! When the runs of a job began, and when the next is due after them.

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::history::store::{Past, Store};
use crate::jobs::load::Loaded;
use crate::jobs::schedule::Plan;
use crate::jobs::switched;

/// Runs that are looked at for what was stopped.
pub(super) const LAST: u32 = 20;
/// A run that began so long after now began before the clock was set back.
const CLOCK_STEP: SignedDuration = SignedDuration::from_secs(5);

/// When the last runs of a job began.
pub(super) struct LastRuns {
    /// Its last run.
    last: Option<Zoned>,
    /// If it was stopped: the first of those that were, and the run before it.
    stopped: Option<(Zoned, Option<Zoned>)>,
    /// Whether a final run was the last, and is complete: the schedule rests.
    pub(super) is_switched: bool,
}

impl LastRuns {
    /// Those of the job that the history has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of(loaded: &Loaded, job: &str) -> anyhow::Result<Self> {
        let state = loaded.state()?;
        let store = Store::open(&state)?;
        let mut runs = store.last(Some(job), LAST).context("the history cannot be read")?;
        let is_switched = switched::in_history(&store, &state, job)?;
        // Else nothing would run until the clock gets there.
        let now = Timestamp::now();
        runs.retain(|run| run.began.duration_since(now) < CLOCK_STEP);
        let began = |run: Past| run.began.to_zoned(jiff::tz::TimeZone::system());
        let last = runs.last().cloned().map(began);
        let mut first_stopped = None;
        while let Some(run) = runs.pop_if(|run| run.verdict.was_stopped()) {
            first_stopped = Some(began(run));
        }
        let stopped = first_stopped.map(|first| (first, runs.pop().map(began)));
        Ok(Self { last, stopped, is_switched })
    }

    /// When the next is due; with `resumes` a run that was stopped goes on.
    /// A job that has never run is watched since `since`.
    pub(super) fn next(
        &self,
        plan: &Plan,
        resumes: bool,
        (since, now): (&Zoned, &Zoned),
    ) -> Option<Zoned> {
        match (&self.stopped, &self.last) {
            (Some((first, before)), _) if resumes => plan.again(before.as_ref(), first, now),
            (_, Some(last)) => plan.next(Some(last), now),
            (_, None) => plan.first(since, now),
        }
    }
}
