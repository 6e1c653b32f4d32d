//! The commands about jobs: `run`, `diff`, `show`, `status`, `history`.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use bascule_engine::outcome::ExitCode;
use bascule_engine::stop::Stop;

use super::diff::Differences;
use super::line::{self, Wanted};
use super::load::Loaded;
use super::lock::Lock;
use super::options::{Diff, History, Run, Show, Status};
use super::run::{self, Shown};
use super::switched::{self, Rests};
use super::{config, cut_off, table};
use crate::history::Verdict;
use crate::history::store::{Past, Store};
use crate::mirror::{self, Watchers};
use crate::notices::deliver;
use crate::output::print;

/// Runs of a job that its status looks at.
const LAST: u32 = 20;

/// Runs `bascule run`: the jobs one after the other, whatever becomes of each. The exit code is
/// that of the first that was not complete.
///
/// # Errors
/// When a job cannot be run at all; those before it have been.
pub async fn run(cli: &Run, stop: Stop) -> anyhow::Result<ExitCode> {
    let loaded = Loaded::open(cli.configuration.config.as_deref())?;
    let names: Vec<String> =
        if cli.all { loaded.config.jobs.keys().cloned().collect() } else { cli.jobs.clone() };
    if names.is_empty() {
        bail!("there is no job in {}: docs/jobs.md shows one", loaded.file.display());
    }
    for name in &names {
        loaded.job(name)?;
    }
    let wanted = Wanted {
        is_final: cli.is_final,
        allow_deletes: cli.allow_deletes,
        // Whoever means all jobs does not mean those that are done.
        is_by_itself: cli.all && !cli.is_final,
        ..Wanted::default()
    };
    let shown = Shown { json: cli.json, quiet: cli.quiet, silent: false };
    let mut code = ExitCode::Success;
    for name in &names {
        if names.len() > 1 && !cli.json && !cli.quiet {
            print(&format!("{name}:\n"));
        }
        if !cli.is_final && !cli.all && is_switched(&loaded, name) {
            eprintln!("bascule: {}", switched::warning(name));
        }
        let exit = match run::run(&loaded, name, wanted, shown, stop.clone()).await {
            Ok(ended) => ended.exit,
            Err(error) if error.is::<Rests>() => {
                eprintln!("bascule: {error} (left out)");
                continue;
            }
            // The others are not to wait for somebody who looks at this one.
            Err(error) if names.len() > 1 => {
                eprintln!("bascule: {name}: {error:#}");
                ExitCode::Syntax
            }
            Err(error) => return Err(error),
        };
        if cli.is_final && exit == ExitCode::Success && !cli.json {
            eprintln!("bascule: {}", switched::text(name));
        }
        if code == ExitCode::Success {
            code = exit;
        }
        if stop.is_stopped() {
            break;
        }
    }
    deliver::by_hand(&loaded).await;
    Ok(code)
}

/// Whether the final run of a job is complete, as far as is known: a run tells what keeps it from
/// being known.
fn is_switched(loaded: &Loaded, name: &str) -> bool {
    let known = loaded.state().and_then(|state| {
        let store = Store::look(&state)?;
        store.map_or(Ok(false), |store| switched::in_history(&store, &state, name))
    });
    known.unwrap_or(false)
}

/// Runs `bascule diff`.
///
/// # Errors
/// When there is no such job.
pub async fn diff(cli: &Diff, stop: Stop) -> anyhow::Result<ExitCode> {
    let loaded = Loaded::open(cli.configuration.config.as_deref())?;
    let job = loaded.job(&cli.job)?;
    if let Some(password) = &job.password {
        password.check()?;
    }
    let wanted = Wanted { dry_run: true, ..Wanted::default() };
    let (mut mirror, matches) = line::parsed(job, &wanted)?;
    (mirror.run.quiet, mirror.json) = (true, false);
    mirror.connection.notes = Some(loaded.state()?);
    let differences = Arc::new(Differences::default());
    let watchers = Watchers { differences: Some(Arc::clone(&differences)), ..Watchers::default() };
    let ended = mirror::carry_out(&mirror, &matches, watchers, stop).await?;
    // What ended early has not seen all differences, or none; why has been told.
    if cli.json {
        print(&format!("{}\n", differences.document(&ended)));
    } else if Verdict::of(ended.exit).went_through() {
        print(&differences.table(job.account_depth));
    }
    Ok(ended.exit)
}

/// Runs `bascule show`.
///
/// # Errors
/// When there is no such job.
pub fn show(cli: &Show) -> anyhow::Result<ExitCode> {
    let Some(name) = &cli.job else {
        print(&format!("{:#}\n", config::schema()));
        return Ok(ExitCode::Success);
    };
    let loaded = Loaded::open(cli.configuration.config.as_deref())?;
    let job = loaded.job(name)?;
    print(&format!(
        "{name}, from {}\n\n  {}\n\nAs near as a stock rsync comes:\n\n  {}\n",
        loaded.file.display(),
        line::of_bascule(job)?,
        line::of_rsync(job)?,
    ));
    Ok(ExitCode::Success)
}

/// Runs `bascule status`.
///
/// # Errors
/// When the configuration or the history cannot be read.
pub fn status(cli: &Status) -> anyhow::Result<ExitCode> {
    let loaded = Loaded::open(cli.configuration.config.as_deref())?;
    let state = loaded.state()?;
    let store = Store::look(&state)?;
    let mut jobs: Vec<(&str, bool, Vec<Past>)> = Vec::new();
    for name in loaded.config.jobs.keys() {
        let runs = store.as_ref().map(|store| store.last(Some(name), LAST)).transpose()?;
        let runs = cut_off::seen(&state, runs.unwrap_or_default());
        jobs.push((name, Lock::is_taken(&state, name), runs));
    }
    print(&if cli.json {
        format!("{}\n", table::status_document(&jobs))
    } else {
        table::status(&jobs)
    });
    Ok(ExitCode::Success)
}

/// Runs `bascule history`.
///
/// # Errors
/// When the configuration or the history cannot be read, or there is no such run.
pub fn history(cli: &History) -> anyhow::Result<ExitCode> {
    let loaded = Loaded::open(cli.configuration.config.as_deref())?;
    if let Some(job) = &cli.job {
        loaded.job(job)?;
    }
    let state = loaded.state()?;
    let store = Store::look(&state)?;
    let Some(id) = cli.run else {
        let runs = store.map(|store| store.last(cli.job.as_deref(), cli.limit)).transpose()?;
        let runs = cut_off::seen(&state, runs.unwrap_or_default());
        print(&if cli.json {
            format!("{}\n", serde_json::Value::from_iter(runs.iter().map(table::document)))
        } else {
            table::history(&runs)
        });
        return Ok(ExitCode::Success);
    };
    let store = store.with_context(|| format!("there is no run {id}: nothing has run yet"))?;
    let run = store.run(id)?.with_context(|| format!("there is no run {id} in the history"))?;
    if let Some(job) = cli.job.as_ref().filter(|job| **job != run.job) {
        bail!("run {id} is not one of {job}, but of {}", run.job);
    }
    let (accounts, problems) = (store.accounts(id)?, store.problems(id)?);
    let run = cut_off::seen(&state, vec![run]).remove(0);
    print(&if cli.json {
        format!("{}\n", table::run_document(&run, &accounts, &problems))
    } else {
        table::run(&run, &accounts, &problems)
    });
    Ok(ExitCode::Success)
}
