//! The history as tables for people and as documents for machines.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::switched;
use crate::history::recorder::name_told;
use crate::history::store::{Past, last_ended};
use crate::history::{Account, Verdict};
use crate::human::{duration, size};
use crate::itemize::{printable, shown};

/// The table of `bascule status`: each job with its name, whether it is being run, and its last
/// runs, the oldest first.
pub fn status(jobs: &[(&str, bool, Vec<Past>)]) -> String {
    let mut text = format!(
        "{:<20} {:<12} {:<17} {:>12} {:>9}  {}\n",
        "job", "last run", "began", "took", "files", "durations"
    );
    for (name, is_running, runs) in jobs {
        let last = last_ended(runs);
        let verdict = match (is_running, last) {
            (true, _) => "running now".to_owned(),
            (false, Some(_)) if switched::is_so(runs) => "switched".to_owned(),
            (false, Some(last)) => last.verdict.to_string(),
            (false, None) => "never run".to_owned(),
        };
        let (began, took, files) = match (current(*is_running, runs), last) {
            (Some(run), _) => {
                let elapsed = Timestamp::now().duration_since(run.began).as_secs_f64();
                (moment(run.began), format!("{}…", duration(elapsed)), "-".to_owned())
            }
            (None, Some(last)) => (
                moment(last.began),
                last.seconds.map_or_else(|| "-".to_owned(), duration),
                last.files_transferred.to_string(),
            ),
            (None, None) => Default::default(),
        };
        let seconds: Vec<f64> = whole(runs).filter_map(|run| run.seconds).collect();
        let line = spark_line(&seconds);
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "{name:<20} {verdict:<12} {began:<17} {took:>12} {files:>9}  {line}");
    }
    for (name, ..) in jobs.iter().filter(|(_, _, runs)| switched::is_so(runs)) {
        let _ = writeln!(text, "\n{}", switched::text(name));
    }
    text
}

/// The run that goes on, of a job that somebody is running.
fn current(is_running: bool, runs: &[Past]) -> Option<&Past> {
    runs.last().filter(|run| is_running && run.verdict == Verdict::Running)
}

/// The runs that went through the whole tree.
pub fn whole(runs: &[Past]) -> impl Iterator<Item = &Past> {
    runs.iter().filter(|run| run.verdict.went_through())
}

/// The table of `bascule history`.
pub fn history(runs: &[Past]) -> String {
    let mut text = format!(
        "{:>6} {:<17} {:<16} {:<11} {:>12} {:>12} {:>10} {:>9} {:>11} {:>8} {:>8} {:>11}\n",
        "run",
        "began",
        "job",
        "verdict",
        "took",
        "forecast",
        "listed",
        "sent",
        "bytes",
        "deleted",
        "problems",
        "on the wire"
    );
    for run in runs {
        let took = run.seconds.map_or_else(|| "-".to_owned(), duration);
        let forecast =
            run.forecast.map_or_else(|| "-".to_owned(), |forecast| duration(forecast.seconds));
        let _ = writeln!(
            text,
            "{:>6} {:<17} {:<16} {:<11} {took:>12} {forecast:>12} {:>10} {:>9} {:>11} {:>8} {:>8} \
             {:>11}",
            run.id,
            moment(run.began),
            run.job,
            run.verdict.as_str(),
            run.files_listed,
            run.files_transferred,
            size(run.bytes_transferred),
            run.deleted,
            run.problems,
            size(run.wire_bytes),
        );
    }
    text
}

/// All about one run.
pub fn run(
    run: &Past,
    accounts: &[(String, Account)],
    problems: &[(String, String, String)],
) -> String {
    let Past { phases, .. } = run;
    let mut text = history(std::slice::from_ref(run));
    let _ = writeln!(
        text,
        "\n  {} in {} to connect, {} to list, {} to transfer, {} to finish",
        if run.attempts == 1 {
            "1 attempt".to_owned()
        } else {
            format!("{} attempts", run.attempts)
        },
        seconds(phases.connect),
        seconds(phases.list),
        seconds(phases.transfer),
        seconds(phases.finish),
    );
    if let Some(error) = &run.error {
        let _ = writeln!(text, "  {}", printable(error.as_bytes()));
    }
    if !accounts.is_empty() {
        let _ = writeln!(
            text,
            "\n{:>10} {:>11} {:>9} {:>9} {:>11} {:>9} {:>9}  account",
            "listed", "bytes", "new", "sent", "bytes", "deleted", "failed"
        );
    }
    for (name, account) in accounts {
        let name = if name.is_empty() { "(no account)".into() } else { shown(name.as_bytes()) };
        let _ = writeln!(
            text,
            "{:>10} {:>11} {:>9} {:>9} {:>11} {:>9} {:>9}  {name}",
            account.files_listed,
            size(account.bytes_listed),
            account.created,
            account.files_transferred,
            size(account.bytes_transferred),
            account.deleted,
            failed(account, problems).map_or_else(|| "-".to_owned(), |failed| failed.to_string()),
        );
    }
    if !problems.is_empty() {
        text.push_str("\nproblems\n");
    }
    for (severity, path, what) in problems {
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let _ = writeln!(text, "  {severity:<8} {}", shown(format!("{path}{what}").as_bytes()));
    }
    text
}

/// How many names of an account something was wrong with. A stock rsync at the other end does not tell
/// whose names: then none is not known to be none.
fn failed(account: &Account, problems: &[(String, String, String)]) -> Option<u64> {
    let is_unclear = |(severity, path, text): &(String, String, String)| {
        severity == "partial" && path.is_empty() && name_told(text).is_none()
    };
    Some(account.failed).filter(|failed| *failed > 0 || !problems.iter().any(is_unclear))
}

/// The document of `bascule status`.
pub fn status_document(jobs: &[(&str, bool, Vec<Past>)]) -> Value {
    Value::from_iter(jobs.iter().map(|(name, is_running, runs)| {
        json!({
            "job": name,
            "running": is_running,
            "running_since": current(*is_running, runs).map(|run| run.began.to_string()),
            "switched": switched::is_so(runs),
            "last": last_ended(runs).map(document),
            "seconds": whole(runs).filter_map(|run| run.seconds).collect::<Vec<_>>(),
        })
    }))
}

/// A run as a document.
pub fn document(run: &Past) -> Value {
    json!({
        "run": run.id,
        "job": run.job,
        "kind": run.kind,
        "began": run.began.to_string(),
        "seconds": run.seconds,
        "phases": {
            "connect": run.phases.connect,
            "list": run.phases.list,
            "transfer": run.phases.transfer,
            "finish": run.phases.finish,
        },
        "exit_code": run.exit_code,
        "verdict": run.verdict.as_str(),
        "error": run.error,
        "attempts": run.attempts,
        "files_listed": run.files_listed,
        "bytes_listed": run.bytes_listed,
        "created": run.created,
        "files_transferred": run.files_transferred,
        "bytes_transferred": run.bytes_transferred,
        "literal_bytes": run.literal_bytes,
        "deleted": run.deleted,
        "problems": run.problems,
        "wire_bytes": run.wire_bytes,
        "largest_file": run.largest.as_ref().map(|(path, _)| path),
        "largest_bytes": run.largest.as_ref().map(|(_, bytes)| bytes),
        "forecast_seconds": run.forecast.map(|forecast| forecast.seconds),
        "forecast_least": run.forecast.map(|forecast| forecast.least),
        "forecast_most": run.forecast.map(|forecast| forecast.most),
    })
}

/// All about one run as a document.
pub fn run_document(
    run: &Past,
    accounts: &[(String, Account)],
    problems: &[(String, String, String)],
) -> Value {
    let accounts: serde_json::Map<_, _> = accounts
        .iter()
        .map(|(name, account)| {
            let figures = json!({
                "files_listed": account.files_listed,
                "bytes_listed": account.bytes_listed,
                "created": account.created,
                "files_transferred": account.files_transferred,
                "bytes_transferred": account.bytes_transferred,
                "deleted": account.deleted,
                "failed": failed(account, problems),
            });
            (name.clone(), figures)
        })
        .collect();
    let problems = problems
        .iter()
        .map(|(severity, path, text)| json!({ "severity": severity, "path": path, "text": text }));
    json!({
        "run": document(run),
        "accounts": accounts,
        "problems": problems.collect::<Vec<_>>(),
    })
}

/// A moment in this machine's time zone.
pub fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1} s") } else { duration(seconds) }
}

/// Values as a row of bars, from none to the largest of them.
pub fn spark_line(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        let part = if most > 0.0 { value / most } else { 0.0 };
        BARS[((part * BARS.len() as f64) as usize).min(BARS.len() - 1)]
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::history::Phases;

    pub(in crate::jobs) fn past(verdict: Verdict, seconds: Option<f64>) -> Past {
        Past {
            id: 7,
            job: "mail".into(),
            kind: "run".into(),
            began: Timestamp::from_second(1_800_000_000).expect("a moment"),
            seconds,
            phases: Phases::default(),
            exit_code: None,
            verdict,
            error: None,
            attempts: 1,
            files_listed: 50_000,
            bytes_listed: 1 << 30,
            created: 0,
            files_transferred: 12,
            bytes_transferred: 1 << 20,
            literal_bytes: 1 << 20,
            deleted: 3,
            problems: 0,
            wire_bytes: 1 << 21,
            largest: None,
            forecast: None,
        }
    }

    #[test]
    fn bars_grow_with_what_they_show() {
        assert_eq!(spark_line(&[0.0, 50.0, 100.0]), "▁▅█");
        assert_eq!(spark_line(&[]), "");
        assert_eq!(spark_line(&[0.0]), "▁");
    }

    #[test]
    fn a_status_shows_the_last_run_and_those_that_went_through() {
        let runs = vec![
            past(Verdict::Complete, Some(80.0)),
            past(Verdict::Failed, Some(1.0)),
            past(Verdict::Complete, Some(40.0)),
        ];
        let text = status(&[("mail", false, runs.clone()), ("archive", false, Vec::new())]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("complete") && lines[1].ends_with("█▅"), "{text}");
        assert!(lines[1].contains("40 s"), "{text}");
        assert!(lines[2].contains("never run"), "{text}");
        let document = status_document(&[("mail", true, runs)]);
        assert_eq!(document[0]["seconds"], json!([80.0, 40.0]));
        assert_eq!(document[0]["running"], json!(true));
    }

    #[test]
    fn an_account_and_a_problem_have_one_line_whatever_their_names() {
        let accounts = [("joe\nann\u{1b}[2J".to_owned(), Account::default())];
        let problems = [("partial".to_owned(), "joe\n/1".to_owned(), "no\nway".to_owned())];
        let text = run(&past(Verdict::Partial, Some(1.0)), &accounts, &problems);
        assert!(text.lines().any(|line| line.ends_with("  joe\\#012ann\\#033[2J")), "{text}");
        assert!(text.ends_with("partial  joe\\#012/1: no\\#012way\n"), "{text}");
    }

    #[test]
    fn nobody_claims_that_nothing_failed_when_that_is_not_known() {
        let accounts = [("joe".to_owned(), Account::default())];
        let failed = |severity: &str, text: &str| {
            let problems = [(severity.to_owned(), String::new(), text.to_owned())];
            let document = run_document(&past(Verdict::Partial, Some(1.0)), &accounts, &problems);
            document["accounts"]["joe"]["failed"].clone()
        };
        assert_eq!(failed("partial", "bascule: ann/1: no"), json!(0));
        assert_eq!(failed("warning", "rsync: something"), json!(0));
        assert_eq!(failed("partial", "rsync: [receiver] mkstemp failed"), Value::Null);
    }

    #[test]
    fn a_run_that_was_killed_says_so() {
        let runs = vec![past(Verdict::Complete, Some(80.0)), past(Verdict::Running, None)];
        let nowhere = tempfile::tempdir().expect("a folder");
        let runs = crate::jobs::cut_off::seen(nowhere.path(), runs);
        let text = history(&runs);
        assert!(text.contains("cut off"), "{text}");
        let text = status(&[("mail", false, runs)]);
        assert!(text.contains("cut off"), "{text}");
    }

    #[test]
    fn a_run_that_goes_on_says_so() {
        let state = tempfile::tempdir().expect("a folder");
        let _held = crate::jobs::lock::Lock::take(state.path(), "mail").expect("free");
        let runs = vec![past(Verdict::Complete, Some(80.0)), past(Verdict::Running, None)];
        let mut runs = crate::jobs::cut_off::seen(state.path(), runs);
        assert!(history(&runs).contains("running"));
        runs[1].began = Timestamp::now() - jiff::SignedDuration::from_secs(185);
        let text = status(&[("mail", true, runs.clone())]);
        assert!(text.contains("running now") && text.contains(" 3 min 05 s…"), "{text}");
        assert!(text.contains(&moment(runs[1].began)), "{text}");
        let document = status_document(&[("mail", true, runs.clone())]);
        assert_eq!(document[0]["running_since"], json!(runs[1].began.to_string()));
        assert_eq!(document[0]["last"]["verdict"], json!("complete"));
    }
}
