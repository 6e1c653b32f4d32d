//! The end of a run, also while the history cannot be written, such as on a full disk: then it waits
//! in a small file beside the job's lock, whose room is taken before the run begins.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bascule_engine::outcome::{Counters, ExitCode, Problem, Severity};
use bascule_engine::stop::Stop;
use bascule_platform::owned;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::store::{Past, Store};
use crate::history::{Ended, Phases, Verdict};
use crate::retry;

/// The room of the file, in bytes. It is written over in its place, which needs no more of the disk.
const ROOM: usize = 4096;
/// How much of an error's text is kept there.
const MAX_ERROR: usize = 500;
/// How often writing to the history is tried, and how long it waits in between: a disk is full for a
/// moment more often than for long.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 2000 });

/// What is kept of the end of a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Waiting {
    run: i64,
    ended: String,
    exit_code: u8,
    error: Option<String>,
    seconds: f64,
    /// To connect, list, transfer and finish.
    phases: [f64; 4],
    attempts: u64,
    /// In the order of `counters`.
    counters: [u64; 11],
}

/// Takes the room for the end of the next run of `job`.
///
/// # Errors
/// When there is none.
pub fn take_room(state: &Path, job: &str) -> anyhow::Result<()> {
    let path = file(state, job);
    fill(&path, b"").with_context(|| format!("cannot write {}", path.display()))
}

/// Notes in the history how `run` has ended. When that is not possible even after a while, the end
/// waits beside the lock; gives why.
pub async fn note(
    store: &mut Store,
    state: &Path,
    job: &str,
    run: i64,
    ended: &Ended,
    stop: &Stop,
) -> Option<anyhow::Error> {
    let now = Timestamp::now();
    for tried in 1.. {
        let Err(error) = store.end(run, now, ended) else { return None };
        if tried == 1 {
            // At once: nobody knows for how long this program is left alone. Where not even that can
            // be written, nothing can be kept.
            let _ = keep(state, job, &Waiting::of(run, now, ended));
        }
        if tried >= TRIES || !retry::wait(PAUSE, stop).await {
            return Some(error);
        }
    }
    None
}

/// Brings the end of a run that waits into the history.
///
/// # Errors
/// When that cannot be written.
pub fn settle(state: &Path, job: &str) -> anyhow::Result<()> {
    let Some(waiting) = waiting(state, job) else { return Ok(()) };
    let mut store = Store::open(state)?;
    if store.run(waiting.run)?.is_some_and(|run| run.job == job && run.verdict == Verdict::Running)
    {
        store.end(waiting.run, waiting.ended.parse()?, &waiting.to_ended())?;
    }
    take_room(state, job)
}

/// The end of a run of `job` that waits, if one does.
pub fn waiting(state: &Path, job: &str) -> Option<Waiting> {
    serde_json::from_slice(&std::fs::read(file(state, job)).ok()?).ok()
}

fn file(state: &Path, job: &str) -> PathBuf {
    state.join("locks").join(format!("{job}.ended"))
}

fn keep(state: &Path, job: &str, waiting: &Waiting) -> anyhow::Result<()> {
    let text = serde_json::to_vec(waiting)?;
    anyhow::ensure!(text.len() <= ROOM, "it is too long");
    Ok(fill(&file(state, job), &text)?)
}

/// Writes over the file; it keeps its size.
fn fill(path: &Path, text: &[u8]) -> std::io::Result<()> {
    owned::create(path)?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mut room = text.to_vec();
    room.resize(ROOM, b' ');
    file.write_all(&room)
}

impl Waiting {
    fn of(run: i64, now: Timestamp, ended: &Ended) -> Self {
        let Phases { connect, list, transfer, finish } = ended.phases;
        let mut counters = ended.counters;
        Self {
            run,
            ended: now.to_string(),
            exit_code: ended.exit.code(),
            error: ended.error.as_ref().map(|text| text.chars().take(MAX_ERROR).collect()),
            seconds: ended.seconds,
            phases: [connect, list, transfer, finish],
            attempts: ended.attempts,
            counters: each(&mut counters).map(|counter| *counter),
        }
    }

    fn to_ended(&self) -> Ended {
        let [connect, list, transfer, finish] = self.phases;
        let mut counters = Counters::default();
        for (counter, value) in each(&mut counters).into_iter().zip(self.counters) {
            *counter = value;
        }
        let text = "the history could not be written when this run ended: accounts, files and what \
                    was wrong with them were not kept";
        Ended {
            exit: ExitCode::from_peer(self.exit_code.into()),
            error: self.error.clone(),
            seconds: self.seconds,
            phases: Phases { connect, list, transfer, finish },
            attempts: self.attempts,
            counters,
            problems: vec![Problem::of_run(Severity::Warning, text)],
            accounts: std::collections::BTreeMap::new(),
            largest: None,
        }
    }

    /// Shows `past` as it ended, if it is this run.
    pub fn show(&self, past: &mut Past) {
        if self.run != past.id {
            return;
        }
        let Ended { exit, error, seconds, phases, attempts, counters, .. } = self.to_ended();
        past.verdict = Verdict::of(exit);
        (past.exit_code, past.error) = (Some(exit.code()), error);
        (past.seconds, past.phases, past.attempts) = (Some(seconds), phases, attempts);
        (past.files_listed, past.bytes_listed) = (counters.listed_files, counters.listed_bytes);
        (past.created, past.deleted) = (counters.created, counters.deleted);
        past.files_transferred = counters.transferred;
        past.bytes_transferred = counters.transferred_bytes;
        past.literal_bytes = counters.literal_bytes;
        past.wire_bytes = counters.wire_written.saturating_add(counters.wire_read);
    }
}

fn each(counters: &mut Counters) -> [&mut u64; 11] {
    let Counters {
        listed,
        listed_files,
        listed_bytes,
        created,
        transferred,
        transferred_bytes,
        literal_bytes,
        matched_bytes,
        deleted,
        wire_read,
        wire_written,
    } = counters;
    [
        listed,
        listed_files,
        listed_bytes,
        created,
        transferred,
        transferred_bytes,
        literal_bytes,
        matched_bytes,
        deleted,
        wire_read,
        wire_written,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::line::Wanted;
    use crate::jobs::run::{Shown, run};
    use crate::jobs::{cut_off, load, switched};

    /// As a full disk does: a run can begin, and its end cannot be written.
    const FULL: &str = "CREATE TRIGGER full BEFORE UPDATE ON runs WHEN NEW.ended IS NOT NULL
                        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";

    #[tokio::test]
    async fn a_run_that_succeeded_is_no_failure_of_the_history() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string().replace('\\', "/");
        std::fs::create_dir_all(at("from/joe")).expect("a folder");
        std::fs::write(at("from/joe/1"), "1").expect("a file");
        let text = format!(
            "state = '{}'\n[jobs.mail]\nsources = ['{}/']\ntarget = '{}'",
            at("state"),
            at("from"),
            at("to")
        );
        let config = load::parse(&text).expect("it makes sense");
        let loaded = load::Loaded { file: at("bascule.toml").into(), config };
        let state = loaded.state().expect("named");
        let store = Store::open(&state).expect("a store");
        store.sql().execute_batch(FULL).expect("written");
        let shown = Shown { silent: true, ..Shown::default() };
        let once = |wanted| run(&loaded, "mail", wanted, shown, Stop::default());
        let last_one = Wanted { is_final: true, ..Wanted::default() };
        let ended = once(last_one).await.expect("it was run");
        assert_eq!(ended.exit, ExitCode::Success);
        let last = || store.last(Some("mail"), 1).expect("readable");
        assert_eq!(last()[0].verdict, Verdict::Running);
        // Whoever looks sees it, and the next run brings it into the history.
        let seen = cut_off::seen(&state, last()).remove(0);
        assert_eq!((seen.verdict, seen.files_transferred), (Verdict::Complete, 1));
        assert!(switched::in_history(&store, &state, "mail").expect("readable"));
        store.sql().execute_batch("DROP TRIGGER full").expect("written");
        // A final run: nothing runs by itself any more.
        let by_itself = Wanted { is_by_itself: true, ..Wanted::default() };
        assert!(once(by_itself).await.expect_err("it rests").is::<switched::Rests>());
        once(Wanted::default()).await.expect("it was run");
        let first = store.run(seen.id).expect("readable").expect("there");
        assert_eq!((first.verdict, first.files_transferred), (Verdict::Complete, 1));
        assert_eq!((first.exit_code, first.seconds), (Some(0), seen.seconds));
        assert!(store.problems(first.id).expect("readable")[0].2.contains("not kept"));
        assert_eq!(last()[0].verdict, Verdict::Complete);
        assert!(waiting(&state, "mail").is_none());
    }
}
