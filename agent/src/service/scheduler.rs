//! Runs each job when it is due, and says in the log what came of it.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bascule_engine::stop::Stop;
use bascule_platform::service::control::Word;
use bascule_platform::service::{Control, Order};
use jiff::{Timestamp, Zoned};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinSet};

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
use crate::notices::{note, tend, unusable};

/// The clock is looked at this often while a job is waited for: it may be set, and machines sleep.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);
/// How long to wait when a job cannot even be begun, or is being run by hand.
const PAUSE: Duration = Duration::from_secs(60);

/// What kept the service from starting may pass: its manager is to start it again.
#[derive(Debug)]
pub struct NoHistory;

impl fmt::Display for NoHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing can be run without the history")
    }
}

/// Watches the jobs of `file` until the order to end.
///
/// # Errors
/// When the configuration cannot be used; with the context [`NoHistory`] when the history cannot.
pub async fn run(file: Option<&Path>, mut control: Control) -> anyhow::Result<()> {
    let loaded = Loaded::open(file)?;
    let file = loaded.file.clone();
    // A state folder that cannot be written is better known now than at the first run.
    if let Err(error) = loaded.state().and_then(|state| Store::open(&state)) {
        let text = format!("{error:#}");
        // Nobody may be watching, such as after a restart of the machine.
        task::spawn_blocking(move || unusable::tell(&loaded, &text)).await?;
        return Err(error.context(NoHistory));
    }
    let (send, jobs) = watch::channel(Arc::new(loaded));
    let (tell, mut told) = mpsc::unbounded_channel();
    let stop = Stop::new();
    let names = Names::default();
    let observed = Observed::new(jobs.clone(), Arc::clone(&names));
    let mut tasks = Tasks {
        jobs,
        stop: stop.clone(),
        tell,
        running: JoinSet::new(),
        ids: HashMap::new(),
        names,
        observed: observed.clone(),
    };
    let watched = tasks.start_new();
    tasks.running.spawn(tend::tend(tasks.jobs.clone(), stop.clone()));
    let mut metrics = observed.serve().await;
    control.say(Word::Ready(&watching(watched)));
    tracing::info!(event = "service.ready", jobs = watched, "ready");
    loop {
        tokio::select! {
            order = control.order() => match order {
                Ok(Order::Stop) => break,
                Ok(Order::Reload) => {
                    control.say(Word::Reloading);
                    let listen = send.borrow().config.metrics.clone();
                    observed.configuration(reload(&file, &send));
                    // A port that was in use may be free now.
                    if send.borrow().config.metrics != listen || metrics.is_none() {
                        if let Some(elsewhere) = metrics.take() {
                            elsewhere.stop().await;
                        }
                        metrics = observed.serve().await;
                    }
                    let watched = tasks.start_new();
                    control.say(Word::Ready(&watching(watched)));
                }
                Err(error) => {
                    tracing::error!(event = "service.signals_lost", %error, "signals cannot be caught");
                    std::future::pending::<()>().await;
                }
            },
            Some(ended) = tasks.running.join_next_with_id() => tasks.ended(ended),
            Some(text) = told.recv() => control.say(Word::Status(&text)),
        }
    }
    tracing::info!(event = "service.stopping", "stopping");
    control.say(Word::Stopping("waiting for runs to end"));
    stop.stop();
    while tasks.running.join_next().await.is_some() {}
    drop(metrics);
    tracing::info!(event = "service.stopped", "stopped");
    Ok(())
}

fn watching(jobs: usize) -> String {
    if jobs == 1 { "watching 1 job".to_owned() } else { format!("watching {jobs} jobs") }
}

/// Reads the configuration again, and opens the log by its name; tells what is wrong with the former.
fn reload(file: &Path, send: &watch::Sender<Arc<Loaded>>) -> Option<String> {
    bascule_platform::log::reopen();
    match Loaded::open(Some(file)) {
        Ok(loaded) => {
            let jobs = loaded.config.jobs.len();
            tracing::info!(event = "config.reloaded", jobs, "configuration reloaded");
            send.send_replace(Arc::new(loaded));
            None
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(
                event = "config.bad",
                error,
                "bad configuration, the last good one stays in force"
            );
            Some(error)
        }
    }
}

/// The jobs that somebody tends.
pub(super) type Names = Arc<Mutex<Vec<String>>>;

/// One task for each job that has a schedule.
struct Tasks {
    jobs: watch::Receiver<Arc<Loaded>>,
    stop: Stop,
    tell: mpsc::UnboundedSender<String>,
    running: JoinSet<()>,
    /// Whose task has which number.
    ids: HashMap<task::Id, String>,
    names: Names,
    observed: Observed,
}

impl Tasks {
    /// Starts what the configuration has and nobody tends yet; gives the number of jobs with a
    /// schedule.
    fn start_new(&mut self) -> usize {
        let loaded = Arc::clone(&self.jobs.borrow());
        let mut watched = 0;
        for (name, job) in &loaded.config.jobs {
            if job.schedule.is_none() {
                tracing::info!(
                    event = "job.by_hand",
                    job = name,
                    "runs by hand only: it has no schedule"
                );
                continue;
            }
            watched += 1;
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.contains(name) {
                continue;
            }
            names.push(name.clone());
            let tending = Tending {
                name: name.clone(),
                jobs: self.jobs.clone(),
                stop: self.stop.clone(),
                tell: self.tell.clone(),
                names: Arc::clone(&self.names),
                observed: self.observed.clone(),
                verdict: None,
                failures: 0,
                waits: false,
                rests: false,
            };
            let id = self.running.spawn(tending.tend()).id();
            drop(names);
            self.ids.insert(id, name.clone());
        }
        watched
    }

    /// A task has ended. One that was not to end is begun again with the next order to reload.
    fn ended(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let (id, error) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(name) = self.ids.remove(&id) else {
            if let Some(error) = error {
                tracing::error!(
                    event = "notice.died",
                    %error,
                    "no notices are sent until the service is restarted: this is a fault of Bascule"
                );
                self.observed.no_notices();
            }
            return;
        };
        if let Some(error) = error {
            tracing::error!(
                event = "job.died",
                job = name,
                %error,
                "nobody runs this job any more until the service is reloaded: this is a fault of Bascule"
            );
            forget(&self.names, &name);
            self.observed.is_over(&name);
        }
    }
}

/// Looks after one job.
struct Tending {
    name: String,
    jobs: watch::Receiver<Arc<Loaded>>,
    stop: Stop,
    tell: mpsc::UnboundedSender<String>,
    names: Names,
    observed: Observed,
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
    async fn tend(mut self) {
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
        while !self.stop.is_stopped() {
            let loaded = Arc::clone(&self.jobs.borrow_and_update());
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
                Err(error) if error.is::<switched::Rests>() => self.observed.is_over(&self.name),
                Err(error) => {
                    self.tell_of_trouble(&loaded, &error);
                    self.trouble(&error).await;
                }
            }
        }
        forget(&self.names, &self.name);
    }

    /// Notes which runs were cut off, unless somebody is running the job; gives how many were in a row.
    fn settle(&self) -> anyhow::Result<u32> {
        let loaded = Arc::clone(&self.jobs.borrow());
        let state = loaded.state()?;
        let store = Store::open(&state)?;
        if let Ok(lock) = Lock::take(&state, &self.name) {
            for _ in 0..cut_off::settle(&loaded, &self.name, &store, &lock)? {
                self.observed.ended(&self.name, RunVerdict::CutOff);
            }
        }
        Ok(cut_off::in_a_row(store.last(Some(&self.name), LAST)?.iter()))
    }

    /// The log tells once that the schedule rests after the final run.
    fn tell_of_switch(&mut self, is_switched: bool) {
        if is_switched && !self.rests {
            let text = switched::text(&self.name);
            tracing::warn!(event = "job.switched", job = self.name, "{text}");
            let _ = self.tell.send(format!("{}: switched, its schedule rests", self.name));
        }
        self.rests = is_switched;
    }

    /// Waits for a moment, a new configuration or the end: in each case all is looked at again.
    async fn wait_for(&mut self, moment: impl Future<Output = ()>) {
        tokio::select! {
            () = moment => {}
            _ = self.jobs.changed() => {}
            () = bascule_session::client::stopped(&self.stop) => {}
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
        self.observed.unbegun(&self.name, &error);
        tracing::error!(event = "run.unbegun", job = self.name, error, "the job could not be run");
        self.nap().await;
    }

    async fn nap(&self) {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = bascule_session::client::stopped(&self.stop) => {}
        }
    }

    async fn run(&mut self, loaded: &Loaded) -> anyhow::Result<()> {
        tracing::info!(event = "run.started", job = self.name, "run started");
        self.observed.begins(&self.name);
        let wanted = Wanted { is_by_itself: true, ..Wanted::default() };
        let shown = Shown { silent: true, ..Shown::default() };
        let ended = run::run(loaded, &self.name, wanted, shown, self.stop.clone()).await?;
        let verdict = RunVerdict::of(ended.exit);
        self.observed.ended(&self.name, verdict);
        self.failures = if verdict == RunVerdict::Failed { self.failures + 1 } else { 0 };
        self.log(&ended, verdict);
        self.stand(loaded, verdict)
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
        let _ = self.tell.send(format!("{}: {ended}, {}", self.name, now.verdict));
        Ok(())
    }
}

/// Nobody tends the job `gone` any more.
fn forget(names: &Names, gone: &str) {
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
