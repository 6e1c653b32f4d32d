//! Test files in a folder of the target that nobody else uses: whether they can be written there,
//! under which names, with which dates, and what the time is there.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, FileTimes};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::ExitCode;
use bascule_engine::stop::Stop;

use super::check::{Finding, fix};
use super::config::Job;
use super::line::{self, Wanted};
use crate::history::Ended;
use crate::local::means_contents;
use crate::location::{Location, split_pin};
use crate::mirror::{self, Watchers};

/// The folder; a later run of the job removes it.
pub const FOLDER: &str = ".bascule-check";
/// The first file: its date shows what the target keeps of dates.
const DATED: &str = "dated";
/// That date: seconds and nanoseconds since 1970. Windows counts in 100 ns.
const DATE: (u64, u32) = (1_234_567_891, 123_456_700);
/// Clocks may differ by so many seconds before it is told.
const SKEW: u64 = 3;

/// Names that not every file system can store, and what to call them. Those that Windows cannot have
/// will not come from there: it would make another file, or open a device.
fn names() -> Vec<(String, &'static str)> {
    let foreign = [
        ("a:b".into(), "names with a colon"),
        ("a?b*c".into(), "names with ? or *"),
        ("dot.".into(), "names that end in a dot"),
        ("space ".into(), "names that end in a space"),
        ("con".into(), "names that Windows reserves, such as con"),
    ];
    let common = [
        ("Case".into(), "names that differ only in case"),
        ("case".into(), "names that differ only in case"),
        ("é€𝄞".into(), "names that are not ASCII"),
        ("n".repeat(255), "names of 255 bytes"),
    ];
    foreign.into_iter().filter(|_| !cfg!(windows)).chain(common).collect()
}

/// Writes test files to the target of `job` and looks at them.
///
/// # Errors
/// When the test files cannot be made here.
pub async fn probe(job: &Job, state: &Path, stop: &Stop) -> anyhow::Result<Vec<Finding>> {
    let here = tempfile::tempdir().context("a folder for test files")?;
    let made = make(here.path())?;
    let (url, pin) = split_pin(&job.target);
    let target = format!("{}/{}{FOLDER}/{pin}", url.trim_end_matches('/'), within(job));
    let testing = Job {
        sources: vec![format!("{}/", here.path().display())],
        target,
        filters: Vec::new(),
        exclude: Vec::new(),
        trash_days: None,
        bandwidth: None,
        bandwidth_hours: BTreeMap::new(),
        ..job.clone()
    };
    let target = Location::parse(testing.target.as_ref())?;
    let mut writing = testing.clone();
    writing.options.extend(["--no-delete".into(), "-O".into()]);
    let mut ended = run(&writing, state, Wanted::default(), stop).await?;
    if matches!(ended.exit, ExitCode::FileSelection | ExitCode::FileIo) {
        // The folder of the target is not there yet, and the first run of the job would make it.
        writing.options.push("--mkpath".into());
        ended = run(&writing, state, Wanted::default(), stop).await?;
    }
    let now = SystemTime::now();
    let mut found = Vec::new();
    if let Some(error) = ended.reason() {
        found.push(Finding::bad(format!("target: {error}"), fix(&ended)));
        return Ok(found);
    }
    let stored = look(&writing, state, &target, stop).await?;
    if !stored.contains_key(DATED) {
        let why = ended.problems.first().map_or_else(String::new, |problem| format!(": {problem}"));
        found.push(Finding::bad(
            format!("target: a test file could not be written{why}"),
            "give the account that the daemon uses for the module (`uid`) the right to write in its \
             path",
        ));
        return Ok(found);
    }
    found.push(Finding::good("target: reached, logged in, test files written"));
    found.extend(dates(&stored));
    found.extend(refused_names(&made, &stored));
    if let Some(there) = stored.get(".").filter(|_| matches!(target, Location::Remote(_))) {
        found.push(skew(now, *there));
    }
    if let Some(finding) = clean(&testing, state, here.path(), &target, stop).await? {
        found.push(finding);
    }
    Ok(found)
}

/// The folder of the target that the job's first run makes equal to its source: only there a later run
/// removes what was left. The name of the source, unless its contents are meant.
fn within(job: &Job) -> String {
    let source = job.sources.first().map(String::as_str).unwrap_or_default();
    let name = match Location::parse(source.as_ref()) {
        Ok(Location::Local(path)) if !means_contents(&path) => {
            let is_folder = Path::new(&path).symlink_metadata().is_ok_and(|found| found.is_dir());
            let name = Path::new(source).file_name().and_then(|name| name.to_str());
            name.filter(|_| is_folder)
        }
        _ => None,
    };
    name.map_or_else(String::new, |name| format!("{name}/"))
}

/// Makes the test files; gives the names that could be made here.
fn make(here: &Path) -> anyhow::Result<Vec<(String, &'static str)>> {
    let mut made = Vec::new();
    for (name, what) in names() {
        // What this disk cannot store will not have to be stored there.
        let can_be_made = File::create_new(here.join(&name))
            .and_then(|mut file| file.write_all(name.as_bytes()))
            .is_ok();
        if can_be_made {
            made.push((name, what));
        }
    }
    let date = SystemTime::UNIX_EPOCH + Duration::new(DATE.0, DATE.1);
    let mut file = File::create_new(here.join(DATED)).context("a test file")?;
    file.write_all(b"date\n").context("a test file")?;
    file.set_times(FileTimes::new().set_modified(date)).context("the date of a test file")?;
    Ok(made)
}

async fn run(job: &Job, state: &Path, wanted: Wanted, stop: &Stop) -> anyhow::Result<Ended> {
    let (mut cli, matches) = line::parsed(job, &wanted)?;
    // Somebody is waiting.
    cli.retries = 0;
    cli.connection.notes = Some(state.to_owned());
    let watchers = Watchers { silent: true, ..Watchers::default() };
    mirror::carry_out(&cli, &matches, watchers, stop.clone()).await
}

/// The names in the folder with their dates, seconds and nanoseconds since 1970; `.` is the folder.
type Stored = HashMap<String, (i64, u32)>;

async fn look(job: &Job, state: &Path, target: &Location, stop: &Stop) -> anyhow::Result<Stored> {
    let remote = match target {
        Location::Local(folder) => return Ok(look_here(Path::new(folder))),
        Location::Remote(remote) => remote,
    };
    let (mut cli, _) = line::parsed(job, &Wanted::default())?;
    cli.connection.notes = Some(state.to_owned());
    let seen = Arc::new(Seen::default());
    let options = mirror::listing_options(&cli.connection, cli.run.protocol);
    let limits = cli.run.list_limits.limits();
    let observer = Arc::<Seen>::clone(&seen);
    mirror::list_files(remote, &cli.connection, options, limits, observer, stop.clone()).await?.1?;
    let stored = std::mem::take(&mut *seen.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(stored)
}

fn look_here(folder: &Path) -> Stored {
    let Ok(entries) = folder.read_dir() else { return Stored::new() };
    let dated = entries.flatten().filter_map(|entry| {
        let date = entry.metadata().ok()?.modified().ok()?;
        let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let seconds = i64::try_from(since.as_secs()).ok()?;
        Some((entry.file_name().into_string().ok()?, (seconds, since.subsec_nanos())))
    });
    dated.collect()
}

#[derive(Default)]
struct Seen(Mutex<Stored>);

impl Observer for Seen {
    fn on(&self, event: &Event<'_>) {
        if let Event::Entry(entry) = event {
            let name = String::from_utf8_lossy(&entry.base).into_owned();
            let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            stored.insert(name, (entry.mtime, entry.nanos));
        }
    }
}

fn dates(stored: &Stored) -> Option<Finding> {
    let (seconds, nanos) = *stored.get(DATED)?;
    let exact = (DATE.0.cast_signed(), DATE.1);
    Some(if (seconds, nanos) == exact {
        Finding::good("target: dates are kept to 100 ns")
    } else if seconds == exact.0 && nanos == 0 {
        Finding::warning(
            "target: dates are kept to the second only",
            "an old protocol or file system; give `--modify-window=0` among the `options`",
        )
    } else {
        Finding::bad(
            format!(
                "target: a date came back as {seconds}.{nanos:09} s, not as {}.{:09} s",
                exact.0, exact.1
            ),
            "dates would not be kept: choose another file system for the target",
        )
    })
}

/// Kinds of names that the target cannot store.
fn refused_names(made: &[(String, &'static str)], stored: &Stored) -> Vec<Finding> {
    let mut missing: Vec<&str> =
        made.iter().filter(|(name, _)| !stored.contains_key(name)).map(|(_, what)| *what).collect();
    missing.dedup();
    if missing.is_empty() {
        return vec![Finding::good("target: all kinds of names can be stored")];
    }
    missing
        .into_iter()
        .map(|what| {
            Finding::warning(
                format!("target: cannot store {what}"),
                "files with such names will be reported by name and left out (exit code 23)",
            )
        })
        .collect()
}

fn skew(now: SystemTime, (seconds, _): (i64, u32)) -> Finding {
    let here = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let ahead = seconds - i64::try_from(here).unwrap_or(i64::MAX);
    if ahead.unsigned_abs() <= SKEW {
        return Finding::good("target: its clock agrees with this machine's");
    }
    let (by, way) = (ahead.unsigned_abs(), if ahead > 0 { "ahead of" } else { "behind" });
    Finding::warning(
        format!("target: its clock is {by} s {way} this machine's"),
        "dates of files are copied and do not suffer; logs will not fit together: set both clocks \
         by NTP",
    )
}

/// Empties the folder, and removes it where that can be done from here.
async fn clean(
    job: &Job,
    state: &Path,
    here: &Path,
    target: &Location,
    stop: &Stop,
) -> anyhow::Result<Option<Finding>> {
    if let Location::Local(folder) = target {
        return Ok(std::fs::remove_dir_all(folder)
            .err()
            .map(|error| left_over(&error.to_string())));
    }
    for entry in here.read_dir().context("the test files")?.flatten() {
        std::fs::remove_file(entry.path()).context("the test files")?;
    }
    let wanted = Wanted { is_unguarded: true, ..Wanted::default() };
    let ended = run(job, state, wanted, stop).await?;
    let trouble = ended.error.or_else(|| ended.problems.first().map(ToString::to_string));
    Ok(trouble.map(|text| left_over(&text)))
}

fn left_over(why: &str) -> Finding {
    Finding::warning(
        format!("target: the test files in {FOLDER} could not be removed: {why}"),
        "remove them by hand; nothing else is in that folder",
    )
}
