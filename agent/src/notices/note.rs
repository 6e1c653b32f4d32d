//! Looks at what happened and puts into the queue what is to be told.

use std::path::Path;

use bascule_engine::disk::Disk;
use bascule_engine::outcome::ExitCode;
use bascule_engine::path::RelPath;
use bascule_engine::tree::Target as _;
use bascule_platform::shell::word;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify as Bell;

use super::config::Notify;
use super::notice::{Event, Notice, Place, What};
use super::queue::{Queue, Way};
use super::texts::{self, Origin};
use crate::converge::command::Standing;
use crate::converge::verdict::Verdict;
use crate::history::store::Store;
use crate::history::{Ended, Verdict as RunVerdict};
use crate::human::size;
use crate::jobs::load::{self, Loaded};
use crate::location::Location;

/// Rings when something was put into the queue by this program.
pub(super) static BELL: Bell = Bell::const_new();

/// What a text of the delete guard has in it: the option that lets deletions go.
const HELD: &str = "--allow-deletes";
/// What an error text has in it when a disk is full: ours, and those of systems, which a stock rsync
/// hands on.
const FULL: [&str; 4] = [
    "the target is full",
    "No space left on device",
    "Disk quota exceeded",
    "not enough space on the disk",
];

/// Notes what is to be told of a run that has ended. That it cannot be noted is told in the log:
/// nobody's run fails for it.
pub fn run_ended(loaded: &Loaded, job: &str, run: i64, ended: &Ended) {
    logged(noting(loaded, Some(job), |noting| noting.run_ended(loaded, run, ended)));
}

/// Notes what is to be told of a run that was cut off.
pub fn cut_off(loaded: &Loaded, job: &str, run: i64) {
    logged(noting(loaded, Some(job), |noting| noting.holds(What::RunCutOff { run })));
}

/// Notes what is to be told of a run that could not even be begun.
pub fn unbegun(loaded: &Loaded, job: &str, error: &str) {
    let code = ExitCode::Syntax.code();
    let what = What::RunFailed { run: None, code, error: error.to_owned() };
    logged(noting(loaded, Some(job), |noting| noting.holds(what)));
}

/// Notes what is to be told of where a series of runs stands.
pub fn stands(loaded: &Loaded, job: &str, standing: &Standing) {
    logged(noting(loaded, Some(job), |noting| noting.stands(standing)));
}

fn logged(noted: anyhow::Result<()>) {
    BELL.notify_one();
    if let Err(error) = noted {
        let error = format!("{error:#}");
        tracing::error!(event = "notice.unqueued", error, "a notice could not be kept for sending");
    }
}

/// Notes things about `job`, or all jobs, all together; does nothing when nobody wants to be told.
pub(super) fn noting(
    loaded: &Loaded,
    job: Option<&str>,
    note: impl FnOnce(&Noting<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let notify = &loaded.config.notify;
    let ways = ways(notify);
    if ways.is_empty() {
        return Ok(());
    }
    let store = Store::open(&loaded.state()?)?;
    let (queue, origin) = (Queue::open(&store)?, origin(loaded));
    let noting = Noting { notify, store: &store, queue, origin, ways, job, now: Timestamp::now() };
    note(&noting)?;
    noting.queue.commit()
}

/// The ways that are configured.
pub(super) fn ways(notify: &Notify) -> Vec<Way> {
    let is_there = |way: &Way| match way {
        Way::Mail => notify.mail.is_some(),
        Way::Webhook => notify.webhook.is_some(),
    };
    Way::ALL.into_iter().filter(is_there).collect()
}

/// Where notices of this configuration are from.
pub(super) fn origin(loaded: &Loaded) -> Origin {
    let is_default = load::default_file().is_ok_and(|file| file == loaded.file);
    let file = std::path::absolute(&loaded.file).unwrap_or_else(|_| loaded.file.clone());
    let option = if is_default {
        String::new()
    } else {
        format!(" {}", word(&format!("--config={}", file.display())))
    };
    Origin { host: host(), option }
}

/// The name of this machine, as it may stand in addresses.
pub(super) fn host() -> String {
    let name = dns_lookup::get_hostname().unwrap_or_default();
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// Notes things.
pub(super) struct Noting<'a> {
    notify: &'a Notify,
    pub(super) store: &'a Store,
    pub(super) queue: Queue<'a>,
    origin: Origin,
    ways: Vec<Way>,
    job: Option<&'a str>,
    pub(super) now: Timestamp,
}

impl Noting<'_> {
    /// This is so; it is told if its time has come.
    pub(super) fn holds(&self, what: What) -> anyhow::Result<()> {
        let event = what.event();
        let mut condition = self.queue.condition(self.job, event)?;
        let is_due = condition.holds(event, self.now);
        self.queue.keep(self.job, event, condition)?;
        let since = match &what {
            // It began before it was long enough to be noticed.
            What::NothingRan { hours } => {
                Some(self.now - SignedDuration::from_hours(i64::from(*hours)))
            }
            _ => condition.since,
        };
        if is_due { self.put(what, since) } else { Ok(()) }
    }

    /// This is not so any more; gives since when it was, if that was told.
    pub(super) fn ends(&self, event: Event) -> anyhow::Result<Option<Timestamp>> {
        let mut condition = self.queue.condition(self.job, event)?;
        if condition.since.is_none() {
            return Ok(None);
        }
        let since = condition.ends();
        self.queue.keep(self.job, event, condition)?;
        Ok(since)
    }

    /// Puts a notice into the queue, if anybody wants that kind.
    pub(super) fn put(&self, what: What, since: Option<Timestamp>) -> anyhow::Result<()> {
        if !self.notify.tells(what.event()) {
            return Ok(());
        }
        let what = what.legible();
        let notice = Notice { what, job: self.job.map(ToOwned::to_owned), at: self.now, since };
        let text = texts::render(&notice, &self.origin);
        self.queue.put(&notice, &text, &self.ways)
    }

    fn run_ended(&self, loaded: &Loaded, run: i64, ended: &Ended) -> anyhow::Result<()> {
        let verdict = RunVerdict::of(ended.exit);
        if verdict == RunVerdict::Failed {
            let error = ended.error.clone().unwrap_or_else(|| ended.exit.meaning().to_owned());
            self.holds(What::RunFailed { run: Some(run), code: ended.exit.code(), error })?;
        } else if verdict.went_through() {
            let since = [self.ends(Event::RunFailed)?, self.ends(Event::RunCutOff)?];
            if let Some(since) = since.into_iter().flatten().min() {
                self.put(What::RunRecovered { run }, Some(since))?;
            }
        }
        if let Some(text) = held_back(ended) {
            self.holds(What::GuardTripped { run, text })?;
        } else if verdict.went_through() {
            self.ends(Event::GuardTripped)?;
        }
        if let Some(text) = target_is_low(loaded, self.job, ended)? {
            self.holds(What::DiskLow { place: Place::Target, text })?;
        } else if verdict.went_through() {
            self.ends(Event::DiskLow)?;
        }
        Ok(())
    }

    fn stands(&self, standing: &Standing) -> anyhow::Result<()> {
        let reasons = standing.reasons.clone();
        let event = match standing.verdict {
            Verdict::Converging => None,
            Verdict::Converged => Some(Event::Converged),
            Verdict::Stalled => Some(Event::Stalled),
            Verdict::Blocked if self.is_told_of_itself()? => None,
            Verdict::Blocked => Some(Event::Blocked),
        };
        for other in [Event::Converged, Event::Stalled, Event::Blocked] {
            if event != Some(other) {
                self.ends(other)?;
            }
        }
        match event {
            Some(Event::Converged) => {
                let last = standing.last.map(|forecast| (forecast.seconds, forecast.most));
                self.holds(What::Converged { final_run: last })
            }
            Some(Event::Stalled) => self.holds(What::Stalled { reasons }),
            Some(_) => self.holds(What::Blocked { reasons }),
            None => Ok(()),
        }
    }

    /// Whether what blocks a series has a notice of its own.
    fn is_told_of_itself(&self) -> anyhow::Result<bool> {
        for event in [Event::RunFailed, Event::RunCutOff, Event::GuardTripped] {
            if self.queue.condition(self.job, event)?.since.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Why deletions were held back, if they were.
fn held_back(ended: &Ended) -> Option<String> {
    // The other end tells what it held back as a text and nothing else.
    let texts = ended.problems.iter().filter(|problem| problem.text.contains(HELD));
    let texts: Vec<&str> = texts.map(|problem| &problem.text[..]).collect();
    if texts.is_empty() {
        return (ended.exit == ExitCode::DeleteLimit).then(|| ended.exit.meaning().to_owned());
    }
    Some(texts.join("\n"))
}

/// What tells that a job's target has too little room. Of a target elsewhere no more is known than
/// what was wrong with the run.
fn target_is_low(
    loaded: &Loaded,
    job: Option<&str>,
    ended: &Ended,
) -> anyhow::Result<Option<String>> {
    let texts = ended.problems.iter().map(|problem| &problem.text[..]);
    let mut texts = texts.chain(ended.error.as_deref());
    let is_full = |text: &&str| FULL.iter().any(|part| text.contains(part));
    // The sum stands at the end, after the single files.
    if let Some(text) =
        texts.clone().find(|text| text.contains(FULL[0])).or_else(|| texts.find(is_full))
    {
        return Ok(Some(text.to_owned()));
    }
    let Some(job) = job.and_then(|job| loaded.config.jobs.get(job)) else { return Ok(None) };
    let Location::Local(path) = Location::parse(job.target.as_ref())? else { return Ok(None) };
    Ok(low(Path::new(&path), loaded.config.notify.disk_low_bytes()?))
}

/// What tells that the disk of a folder has less room than `least` bytes.
pub(super) fn low(folder: &Path, least: u64) -> Option<String> {
    // A folder that cannot be looked at is the run's trouble.
    let room = Disk::open(folder).ok()?.room(&RelPath::root()).ok()??;

    (room < least).then(|| {
        format!(
            "{} of room are left on the disk of {}; less than {} is told (`disk_low`).",
            size(room),
            folder.display(),
            size(least)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Phases;
    use bascule_engine::outcome::{Counters, Problem, Severity};

    fn ended(exit: ExitCode, error: Option<&str>, problems: &[&str]) -> Ended {
        let problem = |text: &&str| Problem::of_run(Severity::Warning, *text);
        Ended {
            exit,
            error: error.map(ToOwned::to_owned),
            seconds: 1.0,
            phases: Phases::default(),
            attempts: 1,
            counters: Counters::default(),
            problems: problems.iter().map(problem).collect(),
            accounts: std::collections::BTreeMap::new(),
            largest: None,
        }
    }

    fn loaded(target: &str, disk_low: &str) -> Loaded {
        let text = format!(
            "[jobs.mail]\nsources = [\"/a/\"]\ntarget = \"{target}\"\n[notify]\ndisk_low = \"{disk_low}\""
        );
        let config = load::parse(&text).expect("it makes sense");
        Loaded { file: "x.toml".into(), config }
    }

    #[test]
    fn a_full_target_is_known_by_what_the_run_says_or_by_the_disk() {
        let low = |target: &str, least: &str, ended: &Ended| {
            target_is_low(&loaded(target, least), Some("mail"), ended).expect("it can be looked at")
        };
        let remote = "rsync://target/mail/";
        let good = ended(ExitCode::Success, None, &["the clock is off"]);
        assert_eq!(low(remote, "1g", &good), None);
        let ours =
            ["x: it needs 9 bytes", "the target is full: 2 files with 9 bytes were not received"];
        let ours = low(remote, "1g", &ended(ExitCode::Partial, None, &ours)).expect("low");
        assert!(ours.contains("2 files"), "{ours}");
        let theirs = "rsync: write failed on \"x\": No space left on device (28)";
        assert!(low(remote, "1g", &ended(ExitCode::FileIo, Some(theirs), &[])).is_some());
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path().display().to_string().replace('\\', "/");
        assert_eq!(low(&here, "1", &good), None);
        let here = low(&here, "8000t", &good).expect("nobody has so much room");
        assert!(here.contains("of room are left"), "{here}");
    }

    #[test]
    fn what_the_guard_said_is_told() {
        let text = "400 of 1000 names would go; run again with --allow-deletes";
        let held = held_back(&ended(ExitCode::DeleteLimit, None, &["the clock is off", text]));
        assert_eq!(held.as_deref(), Some(text));
        assert!(held_back(&ended(ExitCode::DeleteLimit, None, &[])).is_some());
        // Beside files that failed its exit code is theirs.
        assert!(held_back(&ended(ExitCode::Partial, None, &[text])).is_some());
        assert_eq!(held_back(&ended(ExitCode::Partial, None, &["x: unreadable"])), None);
    }
}
