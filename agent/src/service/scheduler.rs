//! Has a task for each job that has a schedule, and follows the configuration and the service's manager.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use bascule_engine::stop::Stop;
use bascule_platform::service::control::Word;
use bascule_platform::service::{Control, Order};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinSet};

use super::metrics::Observed;
use super::tending::{Common, Names, Tending, forget};
use crate::history::store::Store;
use crate::jobs::load::Loaded;
use crate::notices::{tend, unusable};

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
    if let Err(error) = Store::open(&loaded.state()?) {
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
    let common = Common { jobs, stop: stop.clone(), tell, names, observed: observed.clone() };
    let mut tasks = Tasks { running: JoinSet::new(), ids: HashMap::new(), common };
    let watched = tasks.start_new();
    tasks.running.spawn(tend::tend(tasks.common.jobs.clone(), stop.clone()));
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

/// One task for each job that has a schedule.
struct Tasks {
    running: JoinSet<()>,
    /// Whose task has which number.
    ids: HashMap<task::Id, String>,
    common: Common,
}

impl Tasks {
    /// Starts what the configuration has and nobody tends yet; gives the number of jobs with a
    /// schedule.
    fn start_new(&mut self) -> usize {
        let loaded = Arc::clone(&self.common.jobs.borrow());
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
            let mut names = self.common.names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.contains(name) {
                continue;
            }
            names.push(name.clone());
            let tending = Tending::of(name, self.common.clone());
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
                self.common.observed.no_notices();
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
            forget(&self.common.names, &name);
            self.common.observed.is_over(&name);
        }
    }
}
