//! Shows a run to its user: changes and trouble as they come, a summary at the end.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::{ExitCode, Problem, Report, Severity};
use bascule_wire::Options;

use crate::itemize;

/// Problems that a JSON document lists at most.
const MAX_PROBLEMS: usize = 1000;

/// Prints what happens.
pub struct Console {
    itemize: bool,
    names: bool,
    quiet: bool,
    json: bool,
    deletions: AtomicU64,
    problems: Mutex<Vec<Problem>>,
}

impl Console {
    /// Prints as much as `options` ask for; with `json` only the final document.
    pub fn new(options: &Options, json: bool) -> Self {
        Self {
            itemize: options.itemize > 0 && !json,
            names: options.verbose > 0 && !json,
            quiet: options.quiet,
            json,
            deletions: AtomicU64::new(0),
            problems: Mutex::new(Vec::new()),
        }
    }

    fn print(&self, line: &str) {
        // A closed pipe on the other side of our output must not end the run.
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// Tells how the run went, and gives the exit code.
    pub fn conclude(
        &self,
        options: &Options,
        mut report: Report,
        outcome: Result<(), ExitCode>,
        elapsed: Duration,
    ) -> ExitCode {
        report.counters.deleted =
            report.counters.deleted.max(self.deletions.load(Ordering::Relaxed));
        let exit = outcome.map_or_else(|exit| exit, |()| report.exit_code());
        if self.json {
            self.print(&self.document(&report, exit, elapsed).to_string());
        } else if !self.quiet {
            if options.stats {
                self.print(&statistics(&report));
            }
            self.print(&summary(options, &report, exit, elapsed));
        }
        exit
    }

    fn document(&self, report: &Report, exit: ExitCode, elapsed: Duration) -> serde_json::Value {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = &report.counters;
        serde_json::json!({
            "exit_code": exit.code(),
            "ok": exit == ExitCode::Success,
            "seconds": elapsed.as_secs_f64(),
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
                "path": String::from_utf8_lossy(&problem.path),
                "text": problem.text,
                "remote": problem.remote,
            })).collect::<Vec<_>>(),
        })
    }
}

impl Observer for Console {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Itemized { item } if self.itemize => self.print(&itemize::line(item)),
            Event::Itemized { item } if self.names && item.flags.is_significant() => {
                self.print(&String::from_utf8_lossy(item.path));
            }
            Event::Deleted { path, kind } => {
                self.deletions.fetch_add(1, Ordering::Relaxed);
                if self.itemize || self.names {
                    self.print(&itemize::deletion(path, *kind));
                }
            }
            Event::PeerText(text) if !self.json && !self.quiet => {
                self.print(String::from_utf8_lossy(text).trim_end_matches('\n'));
            }
            Event::Problem(problem) => {
                let is_noise = problem.severity == Severity::Warning && self.quiet;
                if !is_noise {
                    let whose = if problem.remote { "" } else { "bascule: " };
                    let _ = writeln!(std::io::stderr(), "{whose}{problem}");
                }
                let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
                if problems.len() < MAX_PROBLEMS {
                    problems.push((*problem).clone());
                }
            }
            _ => {}
        }
    }
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

fn summary(options: &Options, report: &Report, exit: ExitCode, elapsed: Duration) -> String {
    let counters = &report.counters;
    let verb = if options.dry_run { "would be transferred" } else { "transferred" };
    let verdict = match exit {
        ExitCode::Success => "complete".to_owned(),
        other => format!("NOT complete (code {})", other.code()),
    };
    format!(
        "{verdict}: {} of {} files {verb} ({}), {} deleted, {} on the wire, {:.1} s",
        counters.transferred,
        counters.listed_files,
        size(counters.transferred_bytes),
        counters.deleted,
        size(counters.wire_read + counters.wire_written),
        elapsed.as_secs_f64(),
    )
}

/// A size for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
