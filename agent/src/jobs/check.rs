//! `bascule check`: tries a job out against its target, and says what has to be seen to.

use std::ffi::OsString;
use std::path::Path;

use bascule_engine::outcome::ExitCode;
use bascule_engine::stop::Stop;
use serde_json::{Value, json};

use super::config::{Job, Secret};
use super::line::{self, Wanted};
use super::load::Loaded;
use super::options::Check;
use super::probe;
use crate::history::Ended;
use crate::human::size;
use crate::location::Location;
use crate::mirror::{self, Watchers};
use crate::output::print;

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Good,
    /// Runs will work; somebody should know.
    Warning,
    /// Runs will fail, or not be complete.
    Bad,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What is so.
    pub text: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn good(text: impl Into<String>) -> Self {
        Self { level: Level::Good, text: text.into(), fix: None }
    }

    /// Something that somebody should know.
    pub fn warning(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, text: text.into(), fix: Some(fix.into()) }
    }

    /// Something that has to be seen to.
    pub fn bad(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Bad, text: text.into(), fix: Some(fix.into()) }
    }
}

/// Runs `bascule check`; the exit code is 1 if something has to be seen to.
///
/// # Errors
/// When the configuration cannot be used, or there is no such job.
pub async fn check(cli: &Check, stop: Stop) -> anyhow::Result<ExitCode> {
    let loaded = Loaded::open(cli.configuration.config.as_deref())?;
    let names: Vec<&String> = if cli.jobs.is_empty() {
        loaded.config.jobs.keys().collect()
    } else {
        cli.jobs.iter().collect()
    };
    for name in &names {
        loaded.job(name)?;
    }
    let state = loaded.state()?;
    let mut is_bad = false;
    let mut documents = serde_json::Map::new();
    if names.is_empty() {
        print(&format!("{}: no jobs\n", loaded.file.display()));
    }
    for name in names {
        // The others are not to wait for somebody who looks at this one.
        let findings =
            findings(loaded.job(name)?, &state, cli, &stop).await.unwrap_or_else(|error| {
                vec![Finding::bad(
                    format!("the check ended: {error:#}"),
                    "the text says what is wrong",
                )]
            });
        is_bad |= findings.iter().any(|finding| finding.level == Level::Bad);
        if cli.json {
            documents.insert(name.clone(), findings.iter().map(document).collect());
        } else {
            print(&format!("{name}\n{}", text(&findings)));
        }
    }
    if cli.json {
        print(&format!("{}\n", Value::Object(documents)));
    }
    Ok(if is_bad { ExitCode::Syntax } else { ExitCode::Success })
}

async fn findings(
    job: &Job,
    state: &Path,
    cli: &Check,
    stop: &Stop,
) -> anyhow::Result<Vec<Finding>> {
    let mut found = sources(job);
    if let Some(password) = &job.password
        && let Err(error) = password.check()
    {
        let fix = match password {
            Secret::Credential(_) => "run the check as the service does",
            Secret::File(_) | Secret::Dpapi(_) => "see to the password of this job",
        };
        found.push(Finding::bad(format!("{error:#}"), fix));
        return Ok(found);
    }
    if cli.read_only {
        found.push(Finding::good("the target was left as it is: it is not known to be writable"));
    } else {
        found.extend(probe::probe(job, state, stop).await?);
    }
    let can_run = found.iter().all(|finding| finding.level != Level::Bad);
    if can_run && !stop.is_stopped() {
        found.extend(rehearsal(job, state, stop).await?);
    }
    Ok(found)
}

/// Whether the sources on this machine can be read.
fn sources(job: &Job) -> Vec<Finding> {
    let local = job.sources.iter().filter_map(|source| {
        let Ok(Location::Local(path)) = Location::parse(source.as_ref()) else { return None };
        Some((source, path))
    });
    let look = |(source, path): (&String, OsString)| {
        let path = Path::new(&path);
        if path.is_file() {
            return Finding::good(format!("source {source}: a file"));
        }
        match std::fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Finding::good(format!("source {source}: can be read")),
            Ok(false) => Finding::bad(
                format!("source {source}: is empty"),
                "is its disk mounted? An empty source deletes nothing, and copies nothing",
            ),
            Err(error) => Finding::bad(
                format!("source {source}: {error}"),
                "correct `sources`, or give the account that Bascule runs as the right to read it",
            ),
        }
    };
    local.map(look).collect()
}

/// A dry run: what the first run would move, and whether there is room for it.
async fn rehearsal(job: &Job, state: &Path, stop: &Stop) -> anyhow::Result<Vec<Finding>> {
    let mut job = job.clone();
    // What the test has left there is none of the run's deletions.
    job.exclude.push(probe::FOLDER.to_owned());
    let (mut cli, matches) = line::parsed(&job, &Wanted { dry_run: true, ..Wanted::default() })?;
    // Somebody is waiting.
    cli.retries = 0;
    cli.connection.notes = Some(state.to_owned());
    let watchers = Watchers { silent: true, ..Watchers::default() };
    let ended = mirror::carry_out(&cli, &matches, watchers, stop.clone()).await?;
    let mut found = Vec::new();
    if let Some(error) = ended.reason() {
        found.push(Finding::bad(format!("dry run: {error}"), fix(&ended)));
        return Ok(found);
    }
    found.push(Finding::good(format!(
        "dry run: {} files, {} at the source; {} to transfer, {}; {} names to delete",
        ended.counters.listed_files,
        size(ended.counters.listed_bytes),
        ended.counters.transferred,
        size(ended.counters.transferred_bytes),
        ended.counters.deleted,
    )));
    for problem in ended.problems.iter().take(20) {
        found.push(Finding::warning(
            format!("dry run: {problem}"),
            "see to it, or leave it out with `exclude`",
        ));
    }
    if ended.problems.len() > 20 {
        found.push(Finding::warning(
            format!("dry run: {} more of the kind", ended.problems.len() - 20),
            "`bascule diff` shows them all",
        ));
    }
    Ok(found)
}

/// What to do when a run ended like this.
pub fn fix(ended: &Ended) -> String {
    let text = ended.error.as_deref().unwrap_or_default();
    match ended.exit {
        ExitCode::Socket | ExitCode::ConnectTimeout | ExitCode::Timeout
            if text.contains("certificate") || text.contains("TLS") =>
        {
            "compare the fingerprint in the URL with that of the daemon (`basculed` shows it when it \
             starts)"
                .to_owned()
        }
        ExitCode::Socket | ExitCode::ConnectTimeout | ExitCode::Timeout => {
            "see that the daemon runs, that the name and port are right, and that the firewalls on \
             the way let the port through"
                .to_owned()
        }
        ExitCode::ClientStart if text.contains("auth") => {
            "compare the user in the URL and the password file with the daemon's secrets file"
                .to_owned()
        }
        ExitCode::ClientStart => "`bascule list` shows the daemon's modules".to_owned(),
        ExitCode::Syntax => "allow it in the module's configuration (`read only = no`)".to_owned(),
        _ => "the text says what is wrong".to_owned(),
    }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { level, text: what, fix } in findings {
        let mark = match level {
            Level::Good => "ok      ",
            Level::Warning => "warning ",
            Level::Bad => "PROBLEM ",
        };
        text.push_str(&format!("  {mark} {what}\n"));
        if let Some(fix) = fix {
            text.push_str(&format!("           → {fix}\n"));
        }
    }
    text
}

fn document(finding: &Finding) -> Value {
    json!({
        "level": match finding.level {
            Level::Good => "ok",
            Level::Warning => "warning",
            Level::Bad => "problem",
        },
        "text": finding.text,
        "fix": finding.fix,
    })
}
