//! Keeps runs in a SQLite database and finds them again.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bascule_engine::outcome::ExitCode;
use bascule_platform::owned;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, named_params, params};

use super::{Account, Ended, Kind, Phases, Verdict, schema};
use crate::converge::model::Forecast;

/// The name of the database in the folder of the agent's state.
pub const FILE: &str = "history.sqlite3";

/// Why a run was cut off, as far as anybody can know.
const CUT_OFF: &str = "it was cut off: its program was killed, or the machine went down, or how it \
                       ended could not be written";

/// Problems of one run that are kept at most; their number is kept in any case.
const MAX_PROBLEMS: usize = 1000;

/// How long to wait for another program that is writing.
const PATIENCE: Duration = Duration::from_secs(30);

/// The history of all jobs.
#[derive(Debug)]
pub struct Store(Connection);

/// A run as it is found in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// Its number.
    pub id: i64,
    /// Whose run it was.
    pub job: String,
    /// `run` or `final`.
    pub kind: String,
    /// When it began.
    pub began: Timestamp,
    /// How long it took, in seconds; `None` while it runs, or when it was cut off.
    pub seconds: Option<f64>,
    /// The same by phases.
    pub phases: Phases,
    /// Its exit code.
    pub exit_code: Option<u8>,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it ended early.
    pub error: Option<String>,
    /// How often it was begun.
    pub attempts: u64,
    /// Files at the source.
    pub files_listed: u64,
    /// Their bytes.
    pub bytes_listed: u64,
    /// Entries that were new at the target.
    pub created: u64,
    /// Files whose data travelled.
    pub files_transferred: u64,
    /// The bytes of those files.
    pub bytes_transferred: u64,
    /// Bytes that had to travel as literal data.
    pub literal_bytes: u64,
    /// Names that were deleted.
    pub deleted: u64,
    /// Problems.
    pub problems: u64,
    /// Bytes written to and read from the connection.
    pub wire_bytes: u64,
    /// The largest file whose data travelled, and its bytes.
    pub largest: Option<(String, u64)>,
    /// How long it was to take, as was thought just before it.
    pub forecast: Option<Forecast>,
}

/// The last of `runs`, the oldest of which is the first, that is not going on.
pub fn last_ended(runs: &[Past]) -> Option<&Past> {
    runs.iter().rev().find(|run| run.verdict != Verdict::Running)
}

impl Store {
    /// Opens the history in the folder `state`, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be opened or is newer than this program.
    pub fn open(state: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(state)
            .with_context(|| format!("cannot make {}", state.display()))?;
        let path = state.join(FILE);
        let open = || -> anyhow::Result<Self> {
            // An empty file is a new database; SQLite gives its other files the owner of this one.
            owned::create(&path)?;
            let mut connection = Connection::open(&path)?;
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            schema::migrate(&mut connection)?;
            Ok(Self(connection))
        };
        open().with_context(|| format!("the history {} cannot be used", path.display()))
    }

    /// Opens the history in the folder `state` for reading; `None` when there is none yet.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn look(state: &Path) -> anyhow::Result<Option<Self>> {
        let path = state.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let open = || -> anyhow::Result<Self> {
            let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection.busy_timeout(PATIENCE)?;
            connection.query_row("SELECT count(*) FROM runs", [], |_| Ok(()))?;
            Ok(Self(connection))
        };
        open().with_context(|| format!("the history {} cannot be read", path.display())).map(Some)
    }

    /// The database itself.
    pub(crate) fn sql(&self) -> &Connection {
        &self.0
    }

    /// Notes that a run of `job` begins, and how long it will take as far as is known; gives its
    /// number.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn begin(
        &self,
        job: &str,
        kind: Kind,
        now: Timestamp,
        forecast: Option<Forecast>,
    ) -> anyhow::Result<i64> {
        self.0.execute(
            "INSERT INTO runs (job, kind, began, verdict, program, forecast_seconds,
                forecast_least, forecast_most) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                job,
                kind.as_str(),
                moment(now),
                Verdict::Running.as_str(),
                env!("CARGO_PKG_VERSION"),
                forecast.map(|forecast| forecast.seconds),
                forecast.map(|forecast| forecast.least),
                forecast.map(|forecast| forecast.most),
            ],
        )?;
        Ok(self.0.last_insert_rowid())
    }

    /// Notes how the run with the number `id` has ended.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn end(&mut self, id: i64, now: Timestamp, ended: &Ended) -> anyhow::Result<()> {
        let transaction = self.0.transaction()?;
        let Ended { exit, error, seconds, phases, attempts, counters, problems, .. } = ended;
        transaction.execute(
            "UPDATE runs SET ended = :ended, seconds = :seconds, seconds_connect = :connect,
                seconds_list = :list, seconds_transfer = :transfer, seconds_finish = :finish,
                exit_code = :exit, verdict = :verdict, error = :error, attempts = :attempts,
                entries_listed = :entries_listed, files_listed = :files_listed,
                bytes_listed = :bytes_listed, created = :created,
                files_transferred = :files_transferred, bytes_transferred = :bytes_transferred,
                literal_bytes = :literal, matched_bytes = :matched, deleted = :deleted,
                problems = :problems, bytes_sent = :sent, bytes_received = :received,
                largest_file = :largest_file, largest_bytes = :largest_bytes
            WHERE id = :id",
            named_params! {
                ":id": id,
                ":ended": moment(now),
                ":seconds": seconds,
                ":connect": phases.connect,
                ":list": phases.list,
                ":transfer": phases.transfer,
                ":finish": phases.finish,
                ":exit": exit.code(),
                ":verdict": Verdict::of(*exit).as_str(),
                ":error": error,
                ":attempts": number(*attempts),
                ":entries_listed": number(counters.listed),
                ":files_listed": number(counters.listed_files),
                ":bytes_listed": number(counters.listed_bytes),
                ":created": number(counters.created),
                ":files_transferred": number(counters.transferred),
                ":bytes_transferred": number(counters.transferred_bytes),
                ":literal": number(counters.literal_bytes),
                ":matched": number(counters.matched_bytes),
                ":deleted": number(counters.deleted),
                ":problems": number(problems.len() as u64),
                ":sent": number(counters.wire_written),
                ":received": number(counters.wire_read),
                ":largest_file": ended.largest.as_ref().map(|(path, _)| path),
                ":largest_bytes": ended.largest.as_ref().map(|(_, bytes)| number(*bytes)),
            },
        )?;
        {
            let mut insert =
                transaction.prepare("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
            for (name, account) in &ended.accounts {
                let Account { files_listed, bytes_listed, created, .. } = *account;
                insert.execute(params![
                    id,
                    name,
                    number(files_listed),
                    number(bytes_listed),
                    number(created),
                    number(account.files_transferred),
                    number(account.bytes_transferred),
                    number(account.deleted),
                    number(account.failed),
                ])?;
            }
            let mut insert = transaction.prepare("INSERT INTO problems VALUES (?, ?, ?, ?, ?)")?;
            for problem in problems.iter().take(MAX_PROBLEMS) {
                insert.execute(params![
                    id,
                    problem.severity.as_str(),
                    String::from_utf8_lossy(&problem.path),
                    problem.text,
                    problem.remote,
                ])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Notes that the runs of `job` that have begun and not ended never will: whoever holds the job's
    /// lock knows that nobody carries them out any more. Gives their numbers.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn cut_off(&self, job: &str) -> anyhow::Result<Vec<i64>> {
        let mut query = self.0.prepare(
            "UPDATE runs SET verdict = ?, exit_code = ?, error = ? WHERE job = ? AND verdict = ?
             RETURNING id",
        )?;
        let (verdict, running) = (Verdict::CutOff.as_str(), Verdict::Running.as_str());
        let code = ExitCode::Interrupted.code();
        let found =
            query.query_map(params![verdict, code, CUT_OFF, job, running], |row| row.get(0))?;
        let mut found = found.collect::<Result<Vec<i64>, _>>()?;
        found.sort_unstable();
        Ok(found)
    }

    /// The last runs of `job`, or of all jobs: the oldest of them first, by their numbers, since clocks
    /// are set.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn last(&self, job: Option<&str>, limit: u32) -> anyhow::Result<Vec<Past>> {
        let mut query = self
            .0
            .prepare("SELECT * FROM runs WHERE ?1 IS NULL OR job = ?1 ORDER BY id DESC LIMIT ?2")?;
        let found = query.query_map(params![job, limit], |row| Ok(past(row)))?;
        let mut found = found.map(|row| row?).collect::<Result<Vec<_>, rusqlite::Error>>()?;
        found.reverse();
        Ok(found)
    }

    /// The runs of `job` that ended at `from` or later, or were cut off and began then: the oldest of
    /// them first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ended_since(&self, job: &str, from: Timestamp) -> anyhow::Result<Vec<Past>> {
        let mut query = self.0.prepare(
            "SELECT * FROM runs WHERE job = ?1 AND (ended >= ?2 OR verdict = ?3 AND began >= ?2)
             ORDER BY id",
        )?;
        let cut_off = Verdict::CutOff.as_str();
        let found = query.query_map(params![job, moment(from), cut_off], past)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// When the last run of `job` ended that left both ends equal.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_success(&self, job: &str) -> anyhow::Result<Option<Timestamp>> {
        let found: Option<String> = self
            .0
            .query_row(
                "SELECT ended FROM runs WHERE job = ? AND verdict IN (?, ?) \
                 ORDER BY id DESC LIMIT 1",
                params![job, Verdict::Complete.as_str(), Verdict::InMotion.as_str()],
                |row| row.get(0),
            )
            .optional()?
            .flatten();
        Ok(found.map(|text| text.parse()).transpose()?)
    }

    /// The run with the number `id`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn run(&self, id: i64) -> anyhow::Result<Option<Past>> {
        let found = self.0.query_row("SELECT * FROM runs WHERE id = ?", [id], past);
        Ok(found.optional()?)
    }

    /// The accounts of a run, with what happened to each.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn accounts(&self, run: i64) -> anyhow::Result<Vec<(String, Account)>> {
        let mut query = self.0.prepare("SELECT * FROM accounts WHERE run = ? ORDER BY account")?;
        let found = query.query_map([run], |row| {
            Ok((
                row.get("account")?,
                Account {
                    files_listed: count(row, "files_listed")?,
                    bytes_listed: count(row, "bytes_listed")?,
                    created: count(row, "created")?,
                    files_transferred: count(row, "files_transferred")?,
                    bytes_transferred: count(row, "bytes_transferred")?,
                    deleted: count(row, "deleted")?,
                    failed: count(row, "failed")?,
                },
            ))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The problems of a run: severity, path and text of each.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn problems(&self, run: i64) -> anyhow::Result<Vec<(String, String, String)>> {
        let mut query =
            self.0.prepare("SELECT severity, path, text FROM problems WHERE run = ?")?;
        let found = query.query_map([run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

fn past(row: &Row<'_>) -> Result<Past, rusqlite::Error> {
    let seconds =
        |name| Ok::<f64, rusqlite::Error>(row.get::<_, Option<f64>>(name)?.unwrap_or(0.0));
    let text: String = row.get("began")?;
    let verdict: String = row.get("verdict")?;
    Ok(Past {
        id: row.get("id")?,
        job: row.get("job")?,
        kind: row.get("kind")?,
        began: text.parse().map_err(|error| conversion(Box::new(error)))?,
        seconds: row.get("seconds")?,
        phases: Phases {
            connect: seconds("seconds_connect")?,
            list: seconds("seconds_list")?,
            transfer: seconds("seconds_transfer")?,
            finish: seconds("seconds_finish")?,
        },
        exit_code: row.get("exit_code")?,
        verdict: Verdict::parse(&verdict)
            .ok_or_else(|| conversion(format!("\"{verdict}\" is no verdict").into()))?,
        error: row.get("error")?,
        attempts: count(row, "attempts")?,
        files_listed: count(row, "files_listed")?,
        bytes_listed: count(row, "bytes_listed")?,
        created: count(row, "created")?,
        files_transferred: count(row, "files_transferred")?,
        bytes_transferred: count(row, "bytes_transferred")?,
        literal_bytes: count(row, "literal_bytes")?,
        deleted: count(row, "deleted")?,
        problems: count(row, "problems")?,
        wire_bytes: count(row, "bytes_sent")? + count(row, "bytes_received")?,
        largest: match row.get("largest_file")? {
            Some(path) => Some((path, count(row, "largest_bytes")?)),
            None => None,
        },
        forecast: match row.get("forecast_seconds")? {
            Some(most_probably) => Some(Forecast {
                seconds: most_probably,
                least: seconds("forecast_least")?,
                most: seconds("forecast_most")?,
            }),
            None => None,
        },
    })
}

fn conversion(error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error)
}

/// SQLite's integers have a sign.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(row: &Row<'_>, name: &str) -> Result<u64, rusqlite::Error> {
    Ok(u64::try_from(row.get::<_, i64>(name)?).unwrap_or(0))
}

/// A moment as it stands in the database: it sorts as text.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_engine::outcome::{Counters, Problem, Severity};
    use std::collections::BTreeMap;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a moment")
    }

    const FORECAST: Forecast = Forecast { seconds: 10.0, least: 8.0, most: 15.0 };

    fn ended(transferred: u64) -> Ended {
        Ended {
            exit: ExitCode::Partial,
            error: None,
            seconds: 12.5,
            phases: Phases { connect: 0.5, list: 4.0, transfer: 7.0, finish: 1.0 },
            attempts: 2,
            counters: Counters {
                transferred,
                wire_written: 5,
                wire_read: 6,
                ..Counters::default()
            },
            problems: vec![Problem::of_run(Severity::Partial, "trouble")],
            accounts: BTreeMap::from([(
                "joe".to_owned(),
                Account { files_listed: 3, failed: 1, ..Account::default() },
            )]),
            largest: Some(("joe/flags.dat".into(), 9)),
        }
    }

    #[test]
    fn a_run_is_found_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Store::look(folder.path()).expect("readable").is_none());
        let mut store = Store::open(folder.path()).expect("a store");
        let id = store.begin("mail", Kind::Final, at(0), Some(FORECAST)).expect("begun");
        let running = store.last(Some("mail"), 9).expect("found");
        assert_eq!((running[0].verdict, running[0].seconds), (Verdict::Running, None));
        store.end(id, at(13), &ended(7)).expect("ended");
        drop(store);
        let store = Store::look(folder.path()).expect("readable").expect("there");
        let found = &store.last(None, 9).expect("found")[0];
        assert_eq!((found.verdict, found.exit_code), (Verdict::Partial, Some(23)));
        assert_eq!((found.kind.as_str(), found.began), ("final", at(0)));
        assert_eq!((found.files_transferred, found.wire_bytes, found.attempts), (7, 11, 2));
        assert_eq!(found.phases, ended(7).phases);
        assert_eq!((&found.largest, found.forecast), (&ended(7).largest, Some(FORECAST)));
        let accounts = store.accounts(found.id).expect("found");
        assert_eq!(accounts, ended(7).accounts.into_iter().collect::<Vec<_>>());
        assert_eq!(store.problems(found.id).expect("found")[0].2, "trouble");
    }

    #[test]
    fn the_last_runs_come_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path()).expect("a store");
        for (number, job) in ["mail", "archive", "mail", "mail"].into_iter().enumerate() {
            let began = at(86_400 * number as i64);
            let id = store.begin(job, Kind::Run, began, None).expect("begun");
            store.end(id, began, &ended(number as u64)).expect("ended");
        }
        let transferred = |runs: Vec<Past>| -> Vec<u64> {
            runs.iter().map(|run| run.files_transferred).collect()
        };
        assert_eq!(transferred(store.last(Some("mail"), 2).expect("found")), [2, 3]);
        assert_eq!(transferred(store.last(None, 9).expect("found")), [0, 1, 2, 3]);
    }

    #[test]
    fn a_run_that_began_while_the_clock_was_wrong_is_not_the_last_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let in_ten_years = at(10 * 365 * 86_400);
        for began in [in_ten_years, at(0)] {
            store.begin("mail", Kind::Run, began, None).expect("begun");
            let last = store.last(Some("mail"), 1).expect("found");
            assert_eq!(last[0].began, began);
        }
    }

    #[test]
    fn the_last_success_is_found_behind_runs_that_failed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path()).expect("a store");
        for (number, exit) in [ExitCode::Success, ExitCode::Partial].into_iter().enumerate() {
            assert_eq!(store.last_success("archive").expect("readable"), None, "another job's");
            let began = at(100 * number as i64);
            let id = store.begin("mail", Kind::Run, began, None).expect("begun");
            store.end(id, at(100 * number as i64 + 5), &Ended { exit, ..ended(1) }).expect("ended");
            assert_eq!(store.last_success("mail").expect("readable"), Some(at(5)));
        }
    }

    #[test]
    fn runs_that_nobody_carries_out_any_more_are_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path()).expect("a store");
        let whole = store.begin("mail", Kind::Run, at(0), None).expect("begun");
        store.end(whole, at(5), &ended(1)).expect("ended");
        let killed = store.begin("mail", Kind::Run, at(10), None).expect("begun");
        store.begin("archive", Kind::Run, at(10), None).expect("begun");
        assert_eq!(store.cut_off("mail").expect("written"), [killed]);
        assert!(store.cut_off("mail").expect("written").is_empty(), "it is known already");
        let of = |job| store.last(Some(job), 9).expect("found").pop().expect("a run");
        let found = of("mail");
        assert_eq!((found.verdict, found.exit_code), (Verdict::CutOff, Some(20)));
        assert_eq!((found.seconds, found.error.as_deref()), (None, Some(CUT_OFF)));
        assert_eq!(of("archive").verdict, Verdict::Running, "another job's");
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        store.0.pragma_update(None, "user_version", 99).expect("written");
        drop(store);
        let error = format!("{:#}", Store::open(folder.path()).expect_err("refused"));
        assert!(error.contains("newer version"), "{error}");
    }
}
