//! Runs a job and keeps what it did in the history.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bascule_engine::outcome::{Counters, ExitCode};
use bascule_engine::stop::Stop;
use jiff::Timestamp;

use super::config::Job;
use super::line::{self, Wanted};
use super::load::Loaded;
use super::lock::Lock;
use super::switched::{self, Rests};
use super::{cut_off, ending};
use crate::converge;
use crate::history::recorder::Recorder;
use crate::history::store::Store;
use crate::history::{Ended, Kind, Phases};
use crate::mirror::{self, Watchers};
use crate::notices::note;

/// How a run shows itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown {
    /// One JSON document at the end instead of a summary.
    pub json: bool,
    /// Nothing but errors.
    pub quiet: bool,
    /// Nothing at all: the log tells.
    pub silent: bool,
}

/// Runs the job `name` once. The history has it from its beginning on, and knows how it ended; of one
/// whose program was killed, from the next run on.
///
/// # Errors
/// When there is no such job, it is being run already, or the history cannot be written at its
/// beginning: a run that nobody will know of is not begun. [`Rests`] when nobody asks for it, and the
/// final run is complete.
pub async fn run(
    loaded: &Loaded,
    name: &str,
    wanted: Wanted,
    shown: Shown,
    stop: Stop,
) -> anyhow::Result<Ended> {
    let job = loaded.job(name)?;
    if let Some(password) = &job.password {
        password.check()?;
    }
    let state = loaded.state()?;
    let lock = Lock::take(&state, name)?;
    let mut store = Store::open(&state)?;
    cut_off::settle(loaded, name, &store, &lock)?;
    // Asked now that no other run can end meanwhile.
    if wanted.is_by_itself && switched::in_history(&store, &state, name)? {
        return Err(Rests { job: name.to_owned() }.into());
    }
    ending::take_room(&state, name)?;
    let kind = if wanted.is_final { Kind::Final } else { Kind::Run };
    let now = Timestamp::now();
    let model = converge::model_of(&store.last(Some(name), converge::LAST)?);
    let forecast = model.map(|model| model.run(now));
    let id = store.begin(name, kind, now, forecast)?;
    let began = Instant::now();
    let ended = carry_out(job, &state, wanted, shown, stop.clone()).await;
    // What kept the run from beginning is a part of the history too.
    let kept = match &ended {
        Ok(ended) => ended,
        Err(error) => &unbegun(error, began),
    };
    if let Some(error) = ending::note(&mut store, &state, name, id, kept, &stop).await {
        let error = format!("{error:#}");
        if !shown.silent {
            eprintln!("bascule: the end of the run of {name} is not in the history yet: {error}");
        }
        let text = "the end of a run is not in the history yet: it cannot be written";
        tracing::error!(event = "history.unwritten", job = name, run = id, error, "{text}");
    } else if let Err(error) = store.forget(loaded.config.keep_days, Timestamp::now()) {
        let error = format!("{error:#}");
        let text = "old runs stay in the history for now: it cannot be written";
        tracing::error!(event = "history.unwritten", job = name, run = id, error, "{text}");
    }
    note::run_ended(loaded, name, id, kept);
    ended
}

async fn carry_out(
    job: &Job,
    state: &Path,
    wanted: Wanted,
    shown: Shown,
    stop: Stop,
) -> anyhow::Result<Ended> {
    let (mut cli, matches) = line::parsed(job, &wanted)?;
    cli.json |= shown.json;
    cli.run.quiet |= shown.quiet;
    // Whoever runs the job, by hand or as a service, knows the same.
    cli.connection.notes = Some(state.to_owned());
    let recorder = Some(Arc::new(Recorder::new(job.account_depth)));
    let watchers = Watchers { recorder, silent: shown.silent, ..Watchers::default() };
    let mut ended = mirror::carry_out(&cli, &matches, watchers, stop).await?;
    // Whoever reads the history or a notice has not seen what the other end said.
    ended.error = ended.reason();
    Ok(ended)
}

fn unbegun(error: &anyhow::Error, began: Instant) -> Ended {
    Ended {
        exit: ExitCode::Syntax,
        error: Some(format!("{error:#}")),
        seconds: began.elapsed().as_secs_f64(),
        phases: Phases::default(),
        attempts: 1,
        counters: Counters::default(),
        problems: Vec::new(),
        accounts: std::collections::BTreeMap::new(),
        largest: None,
    }
}
