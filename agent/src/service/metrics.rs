//! What the service tells Prometheus, and whether it is well. The names are documented in
//! `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bascule_platform::metrics::endpoint::{self, Endpoint};
use bascule_platform::metrics::figures::{Counters, Gauges, unix_seconds};
use bascule_platform::metrics::{Health, Registry, Sources};
use jiff::Timestamp;
use tokio::sync::watch;

use super::tending::Names;
use crate::converge::command::standing;
use crate::converge::goal::Goal;
use crate::converge::verdict::Verdict;
use crate::history::Verdict as RunVerdict;
use crate::history::store::{Past, Store};
use crate::jobs::load::Loaded;
use crate::jobs::lock::Lock;
use crate::jobs::switched;

/// Runs that are looked at for failures in a row.
const LAST: u32 = 200;

/// What there is to tell about the service. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Observed {
    loaded: watch::Receiver<Arc<Loaded>>,
    names: Names,
    since: SystemTime,
    runs: Counters,
    changing: Arc<Mutex<Changing>>,
}

#[derive(Debug, Default)]
struct Changing {
    /// What is wrong with the configuration that was read last.
    bad: Option<String>,
    /// Jobs that this service is running.
    running: BTreeSet<String>,
    /// Why jobs could not be begun when they were last due.
    unbegun: BTreeMap<String, String>,
    /// Nobody sends notices any more.
    silent: bool,
}

impl Observed {
    /// The service with this configuration, whose tended jobs are in `names`.
    pub fn new(loaded: watch::Receiver<Arc<Loaded>>, names: Names) -> Self {
        let (runs, changing) = (Counters::default(), Arc::default());
        Self { loaded, names, since: SystemTime::now(), runs, changing }
    }

    /// The configuration was read; what is wrong with it.
    pub fn configuration(&self, wrong: Option<String>) {
        self.changing().bad = wrong;
    }

    /// A run of `job` begins.
    pub fn begins(&self, job: &str) {
        self.changing().running.insert(job.to_owned());
    }

    /// A run of `job` has ended like this.
    pub fn ended(&self, job: &str, verdict: RunVerdict) {
        let mut changing = self.changing();
        changing.running.remove(job);
        changing.unbegun.remove(job);
        self.runs.of(&[("job_name", job), ("verdict", verdict.as_str())]).inc();
    }

    /// No run of `job` goes on any more.
    pub fn is_over(&self, job: &str) {
        self.changing().running.remove(job);
    }

    /// Nobody sends notices any more.
    pub fn no_notices(&self) {
        self.changing().silent = true;
    }

    /// A run of `job` could not be begun.
    pub fn unbegun(&self, job: &str, why: &str) {
        let mut changing = self.changing();
        changing.running.remove(job);
        let state = self.loaded.borrow().state();
        // Somebody runs it by hand: nothing is wrong.
        if !state.is_ok_and(|state| Lock::is_taken(&state, job)) {
            changing.unbegun.insert(job.to_owned(), why.to_owned());
        }
    }

    /// Serves metrics and health where the configuration says. `None` where it says nothing, or that
    /// cannot be; the log says why.
    pub async fn serve(&self) -> Option<Endpoint> {
        let listen = self.loaded.borrow().config.metrics.clone()?.listen;
        let (one, other) = (self.clone(), self.clone());
        let sources = Sources {
            figures: Arc::new(move || one.figures()),
            health: Arc::new(move || other.health()),
        };
        endpoint::start(&listen, sources).await
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> Health {
        let loaded = Arc::clone(&self.loaded.borrow());
        let mut problems = Vec::new();
        if let Err(error) = loaded.state().and_then(|state| Store::open(&state)) {
            problems.push(format!("the state folder cannot be used: {error:#}"));
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let scheduled = loaded.config.jobs.iter().filter(|(_, job)| job.schedule.is_some());
        let untended = scheduled.filter(|(name, _)| !names.contains(name));
        problems.extend(untended.map(|(name, _)| {
            format!(
                "job {name}: nobody runs it any more; the log says why (job.died, job.never), \
                 `bascule service reload` begins anew"
            )
        }));
        let changing = self.changing();
        if let Some(bad) = &changing.bad {
            problems
                .push(format!("the configuration is bad, the last good one stays in force: {bad}"));
        }
        if changing.silent {
            problems.push("nobody sends notices any more: `bascule service restart`".to_owned());
        }
        // One that has gone from the configuration is nobody's concern any more.
        let jobs = &loaded.config.jobs;
        let unbegun = changing.unbegun.iter().filter(|(job, _)| jobs.contains_key(*job));
        problems.extend(unbegun.map(|(job, why)| format!("job {job}: it cannot be begun: {why}")));
        let mut health = Health { problems, ..Health::default() };
        health.facts.insert("program".into(), "bascule".into());
        health.facts.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        health.facts.insert("jobs".into(), loaded.config.jobs.len().into());
        health
    }

    fn figures(&self) -> Registry {
        let loaded = Arc::clone(&self.loaded.borrow());
        let mut registry = Registry::default();
        let about = &mut registry;
        let mut build = Gauges::default();
        build.set(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        about.register("bascule_build_info", "The version of the program, always 1", build);
        about.register(
            "bascule_start_time_seconds",
            "When the service started, since 1970",
            Gauges::one(unix_seconds(self.since)),
        );
        let is_good = self.changing().bad.is_none();
        about.register(
            "bascule_config_good",
            "Whether the configuration that was read last makes sense; if not, the one before is in force",
            truth(is_good),
        );
        let history = loaded.state().and_then(|state| Ok((Store::look(&state)?, state)));
        about.register(
            "bascule_history_usable",
            "Whether the history of the runs can be read",
            truth(matches!(history, Ok((Some(_), _)))),
        );
        for name in loaded.config.jobs.keys() {
            for verdict in RunVerdict::ENDS {
                self.runs.of(&[("job_name", name), ("verdict", verdict.as_str())]);
            }
        }
        about.register(
            "bascule_job_runs",
            "Runs that this service has ended since it started, by verdict",
            self.runs.clone(),
        );
        let mut jobs = Jobs::default();
        for (name, job) in &loaded.config.jobs {
            let mut is_scheduled = job.schedule.is_some();
            if let Ok((Some(store), state)) = &history {
                is_scheduled &= !switched::in_history(store, state, name).unwrap_or(false);
            }
            jobs.scheduled.set(&[("job_name", name)], f64::from(u8::from(is_scheduled)));
            if let Ok((Some(store), state)) = &history {
                // What cannot be read is left out, as it is for a job that never ran.
                let _ = self.job(&mut jobs, &loaded, store, state, name);
            }
        }
        jobs.register(about);
        registry
    }

    fn job(
        &self,
        jobs: &mut Jobs,
        loaded: &Loaded,
        store: &Store,
        state: &Path,
        name: &str,
    ) -> anyhow::Result<()> {
        let label = ("job_name", name);
        let runs = store.last(Some(name), LAST)?;
        let begun = runs.last().is_some_and(|run| run.verdict == RunVerdict::Running);
        let running =
            self.changing().running.contains(name) || begun && Lock::is_taken(state, name);
        jobs.running.set(&[label], f64::from(u8::from(running)));
        let since = runs.last().filter(|run| running && run.verdict == RunVerdict::Running);
        let took = since.map_or(0.0, |run| seconds(Timestamp::now()) - seconds(run.began));
        jobs.running_seconds.set(&[label], took.max(0.0));
        let ended: Vec<&Past> =
            runs.iter().filter(|run| run.verdict != RunVerdict::Running).collect();
        let failed = ended
            .iter()
            .rev()
            .take_while(|run| matches!(run.verdict, RunVerdict::Failed | RunVerdict::CutOff));
        jobs.failures.set(&[label], failed.count() as f64);
        if let Some(last) = ended.last() {
            jobs.last_run(label, last);
        }
        if let Some(at) = store.last_success(name)? {
            jobs.success.set(&[label], seconds(at));
        }
        let now = standing(store, name, &Goal::of(loaded.job(name)?)?, 0.0, Timestamp::now())?;
        for verdict in Verdict::ALL {
            let is_it = f64::from(u8::from(verdict == now.verdict));
            jobs.series.set(&[label, ("verdict", verdict.as_str())], is_it);
        }
        for (run, forecast) in [("next", now.next), ("final", now.last)] {
            if let Some(forecast) = forecast {
                jobs.forecast.set(&[label, ("run", run)], forecast.seconds);
            }
        }
        Ok(())
    }
}

/// Figures by job.
#[derive(Default)]
struct Jobs {
    scheduled: Gauges,
    running: Gauges,
    running_seconds: Gauges,
    failures: Gauges,
    success: Gauges,
    began: Gauges,
    ended: Gauges,
    seconds: Gauges,
    code: Gauges,
    verdict: Gauges,
    listed: Gauges,
    sent: Gauges,
    sent_bytes: Gauges,
    deleted: Gauges,
    problems: Gauges,
    attempts: Gauges,
    series: Gauges,
    forecast: Gauges,
}

impl Jobs {
    fn last_run(&mut self, label: (&'static str, &str), run: &Past) {
        let began = seconds(run.began);
        // Nobody knows when a run was cut off.
        if let Some(took) = run.seconds {
            self.ended.set(&[label], began + took);
            self.seconds.set(&[label], took);
        }
        for (gauges, value) in [
            (&mut self.began, began),
            (&mut self.code, f64::from(run.exit_code.unwrap_or(0))),
            (&mut self.listed, run.files_listed as f64),
            (&mut self.sent, run.files_transferred as f64),
            (&mut self.sent_bytes, run.bytes_transferred as f64),
            (&mut self.deleted, run.deleted as f64),
            (&mut self.problems, run.problems as f64),
            (&mut self.attempts, run.attempts as f64),
        ] {
            gauges.set(&[label], value);
        }
        for verdict in RunVerdict::ENDS {
            let is_it = f64::from(u8::from(verdict == run.verdict));
            self.verdict.set(&[label, ("verdict", verdict.as_str())], is_it);
        }
    }

    fn register(self, about: &mut Registry) {
        for (name, help, gauges) in [
            ("scheduled", "Whether the service runs the job; 0: by hand only", self.scheduled),
            ("running", "Whether a run is going on", self.running),
            (
                "running_seconds",
                "For how long the run has been going on; 0 if none is",
                self.running_seconds,
            ),
            ("failures_in_a_row", "Runs that failed since the last that did not", self.failures),
            (
                "last_success_timestamp_seconds",
                "When the last run ended that left both ends equal, since 1970",
                self.success,
            ),
            (
                "last_run_begin_timestamp_seconds",
                "When the last run that has ended began, since 1970",
                self.began,
            ),
            ("last_run_end_timestamp_seconds", "When the last run ended, since 1970", self.ended),
            ("last_run_seconds", "How long the last run took", self.seconds),
            ("last_run_exit_code", "The exit code of the last run", self.code),
            ("last_run_verdict", "The verdict on the last run: 1 for that, else 0", self.verdict),
            ("last_run_listed_files", "Files at the source in the last run", self.listed),
            ("last_run_sent_files", "Files whose data travelled in the last run", self.sent),
            ("last_run_sent_bytes", "The bytes of these files", self.sent_bytes),
            ("last_run_deleted_files", "Names deleted in the last run", self.deleted),
            ("last_run_problems", "Problems of the last run", self.problems),
            ("last_run_attempts", "How often the last run was begun", self.attempts),
            ("series_verdict", "Where the series of runs stands: 1 for that, else 0", self.series),
            (
                "forecast_seconds",
                "How long the next and the final run will probably take",
                self.forecast,
            ),
        ] {
            about.register(format!("bascule_job_{name}"), help, gauges);
        }
    }
}

fn truth(is_so: bool) -> Gauges {
    Gauges::one(f64::from(u8::from(is_so)))
}

/// Seconds since 1970.
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::load::parse;

    #[test]
    fn a_job_that_nobody_tends_or_that_cannot_begin_is_a_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let text =
            "[jobs.mail]\nsources = [\"/from/\"]\ntarget = \"/to\"\nschedule.every = \"1m\"\n";
        let mut config = parse(text).expect("it makes sense");
        config.state = Some(folder.path().to_owned());
        let loaded = Arc::new(Loaded { file: "x.toml".into(), config });
        let (_send, receive) = watch::channel(loaded);
        let names = Names::default();
        let observed = Observed::new(receive, Arc::clone(&names));
        let problem = |part: &str| {
            let health = observed.health();
            health.problems.iter().any(|problem| problem.contains(part))
        };
        assert!(problem("job mail: nobody runs it any more"));
        names.lock().expect("unpoisoned").push("mail".to_owned());
        assert!(observed.health().is_good(), "{:?}", observed.health());
        observed.unbegun("mail", "no password");
        assert!(problem("job mail: it cannot be begun: no password"));
        observed.begins("mail");
        observed.ended("mail", RunVerdict::Complete);
        assert!(observed.health().is_good());
        let held = Lock::take(folder.path(), "mail").expect("free");
        observed.unbegun("mail", "it is being run already");
        assert!(observed.health().is_good(), "somebody runs it by hand");
        drop(held);
        observed.configuration(Some("line 7".to_owned()));
        assert!(problem("line 7"));
        observed.configuration(None);
        assert!(observed.health().is_good());
    }
}
