//! What happened in a day, from the history.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::chart::{self, Bar};
use super::notice::legible;
use crate::converge::command::standing;
use crate::converge::goal::Goal;
use crate::history::Verdict;
use crate::history::store::{Past, Store, moment as exact};
use crate::human::{duration, size};
use crate::jobs::cut_off;
use crate::jobs::load::Loaded;
use crate::jobs::table::moment;

/// What happened to all jobs in a span of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Digest {
    /// When the span began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// The jobs, by name.
    pub jobs: Vec<Day>,
}

/// What happened to one job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Day {
    /// Its name.
    pub job: String,
    /// Runs that ended in the span.
    pub runs: u64,
    /// Runs of these that failed.
    pub failed: u64,
    /// Files that were sent.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Names that were deleted at the target.
    pub deleted: u64,
    /// Problems with files.
    pub problems: u64,
    /// Since when a run is going on.
    pub running_since: Option<Timestamp>,
    /// Where the series of its runs stands.
    pub verdict: String,
    /// Why it is not further.
    pub reasons: Vec<String>,
    /// How long the final run would take, in seconds.
    pub final_run: Option<f64>,
    /// How long the runs took.
    pub bars: Vec<Bar>,
}

impl Digest {
    /// Sums up what the history has of the time from `from` to `to`.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn of(
        loaded: &Loaded,
        store: &Store,
        from: Timestamp,
        to: Timestamp,
    ) -> anyhow::Result<Self> {
        let mut jobs = Vec::new();
        for (name, job) in &loaded.config.jobs {
            let now = standing(store, name, &Goal::of(job)?, 0.0, to)?;
            let mut day = Day::of(name, &store.ended_since(name, from)?);
            day.running_since = running_since(loaded, store, name)?;
            day.verdict = now.verdict.to_string();
            day.reasons = now.reasons.iter().map(|reason| legible(reason)).collect();
            day.final_run = now.last.map(|forecast| forecast.seconds);
            jobs.push(day);
        }
        Ok(Self { from, to, jobs })
    }

    /// What it comes to.
    pub fn title(&self) -> String {
        let sum = |of: fn(&Day) -> u64| self.jobs.iter().map(of).sum::<u64>();
        let (runs, failed) = (sum(|day| day.runs), sum(|day| day.failed));
        format!("digest: {}, {failed} failed", counted(runs, "run"))
    }

    /// All of it in words.
    pub fn text(&self) -> String {
        let mut text = format!("From {} to {}.\n", moment(self.from), moment(self.to));
        for day in &self.jobs {
            text.push('\n');
            text.push_str(&day.text());
        }
        if self.jobs.is_empty() {
            text.push_str("\nThere are no jobs.\n");
        }
        text
    }

    /// The same for programs.
    pub fn document(&self) -> Value {
        let jobs = self.jobs.iter().map(|day| {
            json!({
                "job": day.job,
                "verdict": day.verdict,
                "reasons": day.reasons,
                "runs": day.runs,
                "failed": day.failed,
                "files_sent": day.files,
                "bytes_sent": day.bytes,
                "deleted": day.deleted,
                "problems": day.problems,
                "running_since": day.running_since.map(exact),
                "final_run_seconds": day.final_run,
            })
        });
        let jobs: Vec<Value> = jobs.collect();
        json!({ "from": exact(self.from), "to": exact(self.to), "jobs": jobs })
    }
}

impl Day {
    fn of(job: &str, runs: &[Past]) -> Self {
        let mut day = Self { job: job.to_owned(), ..Self::default() };
        for run in runs {
            day.runs += 1;
            day.failed += u64::from(matches!(run.verdict, Verdict::Failed | Verdict::CutOff));
            day.files += run.files_transferred;
            day.bytes += run.bytes_transferred;
            day.deleted += run.deleted;
            day.problems += run.problems;
            let began = run.began.to_zoned(TimeZone::system());
            let seconds = run.seconds.filter(|_| run.verdict.went_through());
            day.bars.push(Bar { label: began.strftime("%H:%M").to_string(), seconds });
        }
        day
    }

    fn text(&self) -> String {
        let Self { job, runs, failed, files, bytes, deleted, problems, verdict, .. } = self;
        let mut text =
            format!("{job}: {}, {failed} of them failed; {verdict}", counted(*runs, "run"));
        for (number, reason) in self.reasons.iter().enumerate() {
            text.push_str(if number == 0 { ": " } else { "; " });
            text.push_str(reason);
        }
        text.push_str(&format!(
            "\n  {} sent ({}), {deleted} deleted, {}\n",
            counted(*files, "file"),
            size(*bytes),
            counted(*problems, "problem"),
        ));
        if let Some(since) = self.running_since {
            text.push_str(&format!("  a run has been going on since {}\n", moment(since)));
        }
        if let Some(seconds) = self.final_run {
            text.push_str(&format!("  the final run would take about {}\n", duration(seconds)));
        }
        for line in chart::durations(&self.bars).lines() {
            text.push_str(&format!("    {line}\n"));
        }
        text
    }
}

/// Since when a run of a job is going on; one whose program was killed is not.
fn running_since(loaded: &Loaded, store: &Store, job: &str) -> anyhow::Result<Option<Timestamp>> {
    let last = cut_off::seen(&loaded.state()?, store.last(Some(job), 1)?).pop();
    Ok(last.filter(|run| run.verdict == Verdict::Running).map(|run| run.began))
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Ended, Kind, Phases};
    use crate::jobs::lock::Lock;
    use bascule_engine::outcome::{Counters, ExitCode};
    use jiff::SignedDuration;

    #[test]
    fn a_day_is_summed_up_by_job() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = "[jobs.mail]\nsources = [\"/a/\"]\ntarget = \"/b\"\n\
                      [jobs.web]\nsources = [\"/c/\"]\ntarget = \"/d\"\n";
        let mut config = crate::jobs::load::parse(config).expect("it makes sense");
        config.state = Some(folder.path().to_owned());
        let loaded = Loaded { file: "x.toml".into(), config };
        let mut store = Store::open(folder.path()).expect("a store");
        let at = |hours| {
            let begin = Timestamp::from_second(1_800_000_000).expect("a moment");
            begin + SignedDuration::from_hours(hours)
        };
        for (began, ended_at, exit, seconds) in [
            (-30, -29, ExitCode::Success, 4000.0),
            // It went on into the day.
            (-2, 1, ExitCode::Success, 600.0),
            (2, 2, ExitCode::Socket, 5.0),
            (3, 3, ExitCode::Success, 300.0),
        ] {
            let id = store.begin("mail", Kind::Run, at(began), None).expect("begun");
            let counters = Counters {
                transferred: 10,
                transferred_bytes: 1 << 20,
                deleted: 2,
                ..Counters::default()
            };
            let ended = Ended {
                exit,
                error: None,
                seconds,
                phases: Phases::default(),
                attempts: 1,
                counters,
                problems: Vec::new(),
                accounts: std::collections::BTreeMap::new(),
                largest: None,
            };
            store.end(id, at(ended_at), &ended).expect("ended");
        }
        store.begin("web", Kind::Run, at(23), None).expect("begun");
        let _running = Lock::take(folder.path(), "web").expect("free");
        let digest = Digest::of(&loaded, &store, at(0), at(24)).expect("readable");
        assert_eq!(digest.title(), "digest: 3 runs, 1 failed");
        let text = digest.text();
        for part in [
            "\nmail: 3 runs, 1 of them failed; ",
            "\n  30 files sent (3.0 MiB), 6 deleted, 0 problems\n",
            &format!("{} 10 min 00 s\n", "#".repeat(40)),
            &format!("{} 5 min 00 s\n", "#".repeat(20)),
            "x did not go through\n",
            "\nweb: 0 runs, 0 of them failed; converging: no run has ended yet\n",
            &format!("\n  a run has been going on since {}\n", moment(at(23))),
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let document = digest.document();
        assert_eq!(document["jobs"][0]["files_sent"], 30, "{document}");
    }
}
