//! Looks after one job of the service: waits until it is due, runs it, and says in the log what came
//! of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bascule_engine::stop::Stop;
use jiff::{Timestamp, Zoned};
use tokio::sync::{mpsc, watch};

use super::last_runs::{LAST, LastRuns};
use super::metrics::Observed;
use crate::converge::command::{after_failures, standing};
use crate::converge::goal::Goal;
use crate::converge::verdict::Verdict;
use crate::history::store::Store;
use crate::history::{Ended, Verdict as RunVerdict};
use crate::jobs::cut_off;
use crate::jobs::line::Wanted;
use crate::jobs::load::Loaded;
use crate::jobs::lock::Lock;
use crate::jobs::run::{self, Shown};
use crate::jobs::schedule::Plan;
use crate::jobs::switched;
use crate::notices::note;

/// The clock is looked at this often while a job is waited for: it may be set, and machines sleep.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);
/// How long to wait when a job cannot even be begun, or is being run by hand.
const PAUSE: Duration = Duration::from_secs(60);

/// The jobs that somebody tends.
pub(super) type Names = Arc<Mutex<Vec<String>>>;

/// What all tasks share.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) jobs: watch::Receiver<Arc<Loaded>>,
    pub(super) stop: Stop,
    pub(super) tell: mpsc::UnboundedSender<String>,
    pub(super) names: Names,
    pub(super) observed: Observed,
}

/// Looks after one job.
pub(super) struct Tending {
    name: String,
    common: Common,
    /// The verdict that was last told.
    verdict: Option<Verdict>,
    /// Runs that failed since the last that did not.
    failures: u32,
    /// It waits for somebody who runs the job by hand.
    waits: bool,
    /// Its schedule rests after the final run.
    rests: bool,
}

impl Tending {
    /// Looks after the job `name`.
    pub(super) fn of(name: &str, common: Common) -> Self {
        let (verdict, failures, waits, rests) = (None, 0, false, false);
        Self { name: name.to_owned(), common, verdict, failures, waits, rests }
    }

    /// Runs the job when it is due, until the service ends or the job is none of it any more.
    pub(super) async fn tend(mut self) {
        // By a clock that nobody sets.
        let mut not_before = Instant::now();
        let since = Zoned::now();
        // What this service, or the one before it, was stopped in goes on at once.
        let mut resumes = true;
        match self.settle() {
            Ok(0) => {}
            Ok(cut_off) => not_before += pause(cut_off),
            Err(error) => self.trouble(&error).await,
        }
        while !self.common.stop.is_stopped() {
            let loaded = Arc::clone(&self.common.jobs.borrow_and_update());
            let plan = loaded.config.jobs.get(&self.name).map(Plan::of);
            // It has gone from the configuration, or is run by hand from now on.
            let Some(Ok(Some(plan))) = plan else { break };
            let past = match LastRuns::of(&loaded, &self.name) {
                Ok(past) => past,
                Err(error) => {
                    self.trouble(&error).await;
                    continue;
                }
            };
            self.tell_of_switch(past.is_switched);
            if past.is_switched {
                self.wait_for(tokio::time::sleep(LOOK_AT_CLOCK)).await;
                continue;
            }
            let now = Zoned::now();
            let wait = not_before.saturating_duration_since(Instant::now());
            let earliest = now.checked_add(wait).unwrap_or_else(|_| now.clone());
            let Some(due) = past.next(&plan, resumes, (&since, &earliest)) else {
                tracing::warn!(
                    event = "job.never",
                    job = self.name,
                    "its schedule names no moment to come"
                );
                break;
            };
            if due > now {
                self.wait_for(until(&due)).await;
                continue;
            }
            if self.is_run_by_hand(&loaded) {
                self.nap().await;
                continue;
            }
            match self.run(&loaded).await {
                Ok(()) => {
                    resumes = false;
                    not_before = Instant::now() + pause(self.failures);
                }
                // Somebody has done the final run in this moment.
                Err(error) if error.is::<switched::Rests>() => {
                    self.common.observed.is_over(&self.name);
                }
                Err(error) => {
                    self.tell_of_trouble(&loaded, &error);
                    self.trouble(&error).await;
                }
            }
        }
        forget(&self.common.names, &self.name);
    }

    /// Notes which runs were cut off, unless somebody is running the job; gives how many were in a row.
    fn settle(&self) -> anyhow::Result<u32> {
        let loaded = Arc::clone(&self.common.jobs.borrow());
        let state = loaded.state()?;
        let store = Store::open(&state)?;
        if let Ok(lock) = Lock::take(&state, &self.name) {
            for _ in 0..cut_off::settle(&loaded, &self.name, &store, &lock)? {
                self.common.observed.ended(&self.name, RunVerdict::CutOff);
            }
        }
        Ok(cut_off::in_a_row(store.last(Some(&self.name), LAST)?.iter()))
    }

    /// The log tells once that the schedule rests after the final run.
    fn tell_of_switch(&mut self, is_switched: bool) {
        if is_switched && !self.rests {
            let text = switched::text(&self.name);
            tracing::warn!(event = "job.switched", job = self.name, "{text}");
            let _ = self.common.tell.send(format!("{}: switched, its schedule rests", self.name));
        }
        self.rests = is_switched;
    }

    /// Waits for a moment, a new configuration or the end: in each case all is looked at again.
    async fn wait_for(&mut self, moment: impl Future<Output = ()>) {
        tokio::select! {
            () = moment => {}
            _ = self.common.jobs.changed() => {}
            () = bascule_session::client::stopped(&self.common.stop) => {}
        }
    }

    /// Whether somebody is running the job by hand; the log tells it once.
    fn is_run_by_hand(&mut self, loaded: &Loaded) -> bool {
        let is_taken = loaded.state().is_ok_and(|state| Lock::is_taken(&state, &self.name));
        if is_taken && !self.waits {
            tracing::info!(
                event = "job.waits",
                job = self.name,
                "the job is due, and waits for a run of it by hand"
            );
        }
        self.waits = is_taken;
        is_taken
    }

    /// Tells somebody that a run could not be begun; that the job is being run by hand is none of
    /// their concern.
    fn tell_of_trouble(&mut self, loaded: &Loaded, error: &anyhow::Error) {
        if !self.is_run_by_hand(loaded) {
            note::unbegun(loaded, &self.name, &format!("{error:#}"));
        }
    }

    /// Tells why a run could not be begun, and waits a while.
    async fn trouble(&self, error: &anyhow::Error) {
        let error = format!("{error:#}");
        self.common.observed.unbegun(&self.name, &error);
        tracing::error!(event = "run.unbegun", job = self.name, error, "the job could not be run");
        self.nap().await;
    }

    async fn nap(&self) {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = bascule_session::client::stopped(&self.common.stop) => {}
        }
    }

    async fn run(&mut self, loaded: &Loaded) -> anyhow::Result<()> {
        tracing::info!(event = "run.started", job = self.name, "run started");
        self.common.observed.begins(&self.name);
        let wanted = Wanted { is_by_itself: true, ..Wanted::default() };
        let shown = Shown { silent: true, ..Shown::default() };
        let ended = run::run(loaded, &self.name, wanted, shown, self.common.stop.clone()).await?;
        let verdict = RunVerdict::of(ended.exit);
        self.common.observed.ended(&self.name, verdict);
        self.failures = if verdict == RunVerdict::Failed { self.failures + 1 } else { 0 };
        self.log(&ended, verdict);
        // The run is over, whatever can be said about the series.
        if let Err(error) = self.stand(loaded, verdict) {
            let error = format!("{error:#}");
            let text = "where the series of runs stands cannot be told";
            tracing::warn!(event = "job.unjudged", job = self.name, error, "{text}");
        }
        Ok(())
    }

    fn log(&self, ended: &Ended, verdict: RunVerdict) {
        let Ended { counters, seconds, .. } = ended;
        tracing::info!(
            event = "run.ended",
            job = self.name,
            verdict = verdict.as_str(),
            code = ended.exit.code(),
            seconds,
            files_listed = counters.listed_files,
            files_sent = counters.transferred,
            bytes_sent = counters.transferred_bytes,
            deleted = counters.deleted,
            problems = ended.problems.len(),
            attempts = ended.attempts,
            "run ended"
        );
        if let Some(error) = &ended.error {
            tracing::warn!(event = "run.failed", job = self.name, error, "the run ended early");
        }
        // Names of files are of no concern to those who read logs; the history has them.
        for problem in &ended.problems {
            tracing::debug!(event = "run.problem", job = self.name, %problem, "problem");
        }
    }

    /// Says where the series of runs stands, when that has changed.
    fn stand(&mut self, loaded: &Loaded, ended: RunVerdict) -> anyhow::Result<()> {
        let store = Store::open(&loaded.state()?)?;
        let goal = Goal::of(loaded.job(&self.name)?)?;
        let now = standing(&store, &self.name, &goal, 0.0, Timestamp::now())?;
        note::stands(loaded, &self.name, &now);
        let next = now.next.map(|forecast| forecast.seconds);
        let last = now.last.map(|forecast| forecast.seconds);
        let reason = now.reasons.join("; ");
        if self.verdict.replace(now.verdict) != Some(now.verdict) {
            tracing::info!(
                event = "job.verdict",
                job = self.name,
                verdict = now.verdict.as_str(),
                reason,
                next_run_seconds = next,
                final_run_seconds = last,
                "the series of runs stands like this"
            );
        }
        // The manager may not be listening.
        let _ = self.common.tell.send(format!("{}: {ended}, {}", self.name, now.verdict));
        Ok(())
    }
}

/// Nobody tends the job `gone` any more.
pub(super) fn forget(names: &Names, gone: &str) {
    names.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| name != gone);
}

/// How long to wait after so many runs that failed, or were cut off.
fn pause(failures: u32) -> Duration {
    Duration::from_secs_f64(after_failures(failures))
}

async fn until(due: &Zoned) {
    while let Some(left) =
        Duration::try_from(due.duration_since(&Zoned::now())).ok().filter(|left| !left.is_zero())
    {
        tokio::time::sleep(left.min(LOOK_AT_CLOCK)).await;
    }
}
