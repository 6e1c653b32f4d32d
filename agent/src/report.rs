//! Shows a run to its user: changes and trouble as they come, a summary at the end.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::{ExitCode, Problem, Report, Severity};
use bascule_session::error::SessionError;
use bascule_wire::Options;

use crate::history::Ended;
use crate::history::recorder::Seen;
use crate::human::{duration, size};
use crate::itemize;
use crate::mirror::Watchers;
use crate::progress::Progress;
use crate::retry::{BUSY, Failed};

/// Problems that a JSON document lists at most.
const MAX_PROBLEMS: usize = 1000;

/// Prints what happens.
pub struct Console {
    itemize: bool,
    names: bool,
    quiet: bool,
    json: bool,
    progress: Progress,
    deletions: AtomicU64,
    problems: Mutex<Vec<Problem>>,
    failed_attempts: Mutex<Vec<Failed>>,
    watchers: Watchers,
}

impl Console {
    /// Prints as much as `options` ask for; with `json` only the final document.
    pub fn new(options: &Options, json: bool, progress: bool) -> Self {
        Self {
            itemize: options.itemize > 0 && !json,
            names: options.verbose > 0 && !json,
            quiet: options.quiet,
            json,
            progress: Progress::start(progress && !options.quiet, "moved"),
            deletions: AtomicU64::new(0),
            problems: Mutex::new(Vec::new()),
            failed_attempts: Mutex::new(Vec::new()),
            watchers: Watchers::default(),
        }
    }

    /// Also tells `watchers` what happens.
    #[must_use]
    pub fn watched_by(self, watchers: Watchers) -> Self {
        let quiet = self.quiet || watchers.silent;
        Self { quiet, json: self.json && !watchers.silent, watchers, ..self }
    }

    /// Tells that an attempt has failed on the way, and that the next begins in a while. Its
    /// trouble with files is forgotten: the next attempt looks at everything again.
    pub fn try_again(&self, error: &SessionError, failed: u32, attempts: u32, pause: Duration) {
        self.progress.above(|| {
            let _ = writeln!(
                std::io::stderr(),
                "bascule: attempt {failed} of {attempts} failed (code {}): {error}; the next \
                 begins in {}",
                error.exit.code(),
                duration(pause.as_secs_f64().ceil()),
            );
        });
        self.progress.start_over();
        if let Some(recorder) = &self.watchers.recorder {
            recorder.start_over();
        }
        unpoisoned(&self.problems).clear();
        let failed = Failed { exit: error.exit, text: error.text.clone() };
        unpoisoned(&self.failed_attempts).push(failed);
    }

    /// Whether the other end has said that it has too much to do at the moment.
    pub fn was_told_to_wait(&self) -> bool {
        unpoisoned(&self.problems)
            .iter()
            .any(|problem| problem.remote && problem.path.is_empty() && problem.text.contains(BUSY))
    }

    fn print(&self, line: &str) {
        // A closed pipe on the other side of our output must not end the run.
        self.progress.above(|| {
            let _ = writeln!(std::io::stdout(), "{line}");
        });
    }

    /// Tells how the run went.
    pub fn conclude(
        &self,
        options: &Options,
        mut report: Report,
        outcome: &Result<(), SessionError>,
        elapsed: Duration,
    ) -> Ended {
        self.progress.finish();
        report.counters.deleted =
            report.counters.deleted.max(self.deletions.load(Ordering::Relaxed));
        let exit = match outcome {
            Ok(()) => report.exit_code(),
            Err(error) => error.exit,
        };
        if let Err(error) = outcome
            && !self.watchers.silent
        {
            let _ = writeln!(std::io::stderr(), "bascule: {error}");
        }
        if self.json {
            let error = outcome.as_ref().err().map(ToString::to_string);
            self.print(&self.document(options, &report, exit, error, elapsed).to_string());
        } else if !self.quiet {
            if options.stats {
                self.print(&statistics(&report));
            }
            let failed = unpoisoned(&self.failed_attempts);
            self.print(&summary(options, &report, exit, elapsed, &failed));
        }
        let Seen { accounts, phases, largest } =
            self.watchers.recorder.as_ref().map(|recorder| recorder.ended()).unwrap_or_default();
        Ended {
            exit,
            error: outcome.as_ref().err().map(ToString::to_string),
            seconds: elapsed.as_secs_f64(),
            phases,
            attempts: unpoisoned(&self.failed_attempts).len() as u64 + 1,
            counters: report.counters,
            problems: std::mem::take(&mut *unpoisoned(&self.problems)),
            accounts,
            largest,
        }
    }

    fn document(
        &self,
        options: &Options,
        report: &Report,
        exit: ExitCode,
        error: Option<String>,
        elapsed: Duration,
    ) -> serde_json::Value {
        let problems = unpoisoned(&self.problems);
        let failed_attempts = unpoisoned(&self.failed_attempts);
        let counters = &report.counters;
        serde_json::json!({
            "exit_code": exit.code(),
            "ok": exit == ExitCode::Success,
            "meaning": exit.meaning(),
            "error": error,
            "dry_run": options.dry_run,
            "seconds": elapsed.as_secs_f64(),
            "attempts": failed_attempts.len() + 1,
            "failed_attempts": failed_attempts.iter().map(|failed| serde_json::json!({
                "exit_code": failed.exit.code(),
                "error": failed.text,
            })).collect::<Vec<_>>(),
            "files_listed": counters.listed_files,
            "entries_listed": counters.listed,
            "bytes_listed": counters.listed_bytes,
            "created": counters.created,
            "files_transferred": counters.transferred,
            "bytes_transferred": counters.transferred_bytes,
            "literal_bytes": counters.literal_bytes,
            "matched_bytes": counters.matched_bytes,
            "deleted": counters.deleted,
            "bytes_sent": counters.wire_written,
            "bytes_received": counters.wire_read,
            "problems": problems.iter().map(|problem| serde_json::json!({
                "severity": problem.severity.as_str(),
                "path": String::from_utf8_lossy(&problem.path),
                "text": problem.text,
                "remote": problem.remote,
            })).collect::<Vec<_>>(),
        })
    }
}

impl Observer for Console {
    fn on(&self, event: &Event<'_>) {
        self.progress.note(event);
        if let Some(recorder) = &self.watchers.recorder {
            recorder.on(event);
        }
        if let Some(differences) = &self.watchers.differences {
            differences.on(event);
        }
        match event {
            Event::Itemized { item } if self.itemize => self.print(&itemize::line(item)),
            Event::Itemized { item } if self.names && item.flags.is_significant() => {
                self.print(&itemize::shown(item.path));
            }
            Event::Deleted { path, kind } => {
                self.deletions.fetch_add(1, Ordering::Relaxed);
                if self.itemize || self.names {
                    self.print(&itemize::deletion(path, *kind));
                }
            }
            Event::PeerText(text) if !self.json && !self.quiet => {
                self.print(&itemize::printable(text));
            }
            Event::Problem(problem) => {
                let is_noise = problem.severity == Severity::Warning && self.quiet;
                if !is_noise && !self.watchers.silent {
                    let whose = if problem.remote { "" } else { "bascule: " };
                    let text = itemize::printable(problem.to_string().as_bytes());
                    self.progress.above(|| {
                        let _ = writeln!(std::io::stderr(), "{whose}{text}");
                    });
                }
                let mut problems = unpoisoned(&self.problems);
                if problems.len() < MAX_PROBLEMS {
                    problems.push((*problem).clone());
                }
            }
            _ => {}
        }
    }
}

/// A panic elsewhere must not hide what is being reported.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn statistics(report: &Report) -> String {
    let counters = &report.counters;
    format!(
        "\nNumber of files: {}\nNumber of created files: {}\nNumber of deleted files: {}\n\
         Number of regular files transferred: {}\nTotal file size: {} bytes\n\
         Total transferred file size: {} bytes\nLiteral data: {} bytes\nMatched data: {} bytes\n\
         Total bytes sent: {}\nTotal bytes received: {}\n",
        counters.listed,
        counters.created,
        counters.deleted,
        counters.transferred,
        counters.listed_bytes,
        counters.transferred_bytes,
        counters.literal_bytes,
        counters.matched_bytes,
        counters.wire_written,
        counters.wire_read,
    )
}

fn summary(
    options: &Options,
    report: &Report,
    exit: ExitCode,
    elapsed: Duration,
    failed_attempts: &[Failed],
) -> String {
    let counters = &report.counters;
    let verdict = match (exit, options.dry_run) {
        (ExitCode::Success, false) => "complete".to_owned(),
        (ExitCode::Success, true) => "complete (dry run, nothing was changed)".to_owned(),
        (other, _) => format!("NOT complete (code {}): {}", other.code(), other.meaning()),
    };
    let (transferred, deleted) =
        if options.dry_run { ("to transfer", "to delete") } else { ("transferred", "deleted") };
    let travelled = match counters.matched_bytes {
        0 => String::new(),
        matched => format!(" ({} of it was there already)", size(matched)),
    };
    let mut lines = vec![
        format!("{verdict}, after {}", duration(elapsed.as_secs_f64())),
        format!("  listed       {} files, {}", counters.listed_files, size(counters.listed_bytes)),
        format!(
            "  {transferred:<12} {} files, {}{travelled}",
            counters.transferred,
            size(counters.transferred_bytes),
        ),
        format!("  {deleted:<12} {}", counters.deleted),
        format!(
            "  on the wire  {} sent, {} received",
            size(counters.wire_written),
            size(counters.wire_read),
        ),
    ];
    if !failed_attempts.is_empty() {
        let codes: Vec<_> =
            failed_attempts.iter().map(|failed| failed.exit.code().to_string()).collect();
        lines.push(format!(
            "  attempts     {}, after failures with code {}",
            failed_attempts.len() + 1,
            codes.join(", "),
        ));
    }
    lines.join("\n")
}
