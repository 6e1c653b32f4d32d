//! Notices that wait to be sent, in the history's database, and what has been told.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde_json::{Value, json};

use super::notice::{Event, Notice};
use super::rules::Condition;
use super::texts::Rendered;
use crate::history::store::{Store, moment};

/// The longest wait for another attempt. What is to wait longer dates from before the clock was set
/// back, and is due.
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// A way that notices go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By mail.
    Mail,
    /// By a post.
    Webhook,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mail, Self::Webhook];

    /// Its name in the database and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
        }
    }
}

/// A notice on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its number in the database.
    pub number: i64,
    /// What is the same for each attempt and each way: receivers can tell doubles by it.
    pub id: String,
    /// Which kind it is.
    pub event: String,
    /// About which job.
    pub job: Option<String>,
    /// When it was made.
    pub made: Timestamp,
    /// How often it has been tried, this time included.
    pub attempts: u32,
    /// What it is about.
    pub subject: String,
    /// The text.
    pub body: String,
    /// The document for programs.
    pub document: String,
}

/// The queue.
#[derive(Debug)]
pub struct Queue<'a>(Transaction<'a>);

impl<'a> Queue<'a> {
    /// Opens the queue for changes that are made together, by [`Queue::commit`], or not at all.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn open(store: &'a Store) -> anyhow::Result<Self> {
        Ok(Self(Transaction::new_unchecked(store.sql(), TransactionBehavior::Immediate)?))
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn commit(self) -> anyhow::Result<()> {
        Ok(self.0.commit()?)
    }

    /// What is known of a condition of `job`, or of all jobs.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn condition(&self, job: Option<&str>, event: Event) -> anyhow::Result<Condition> {
        let found = self.0.query_row(
            "SELECT since, told FROM notice_state WHERE job = ? AND event = ?",
            params![job.unwrap_or_default(), event.as_str()],
            |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?)),
        );
        let Some((since, told)) = found.optional()? else { return Ok(Condition::default()) };
        let parsed = |text: Option<String>| text.map(|text| text.parse()).transpose();
        Ok(Condition { since: parsed(since)?, told: parsed(told)? })
    }

    /// Keeps what is known of a condition.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, job: Option<&str>, event: Event, is: Condition) -> anyhow::Result<()> {
        self.0.execute(
            "INSERT OR REPLACE INTO notice_state (job, event, since, told) VALUES (?, ?, ?, ?)",
            params![
                job.unwrap_or_default(),
                event.as_str(),
                is.since.map(moment),
                is.told.map(moment)
            ],
        )?;
        Ok(())
    }

    /// Puts a notice into the queue, once for each way.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, notice: &Notice, text: &Rendered, ways: &[Way]) -> anyhow::Result<()> {
        let id = random_id()?;
        let document = document(&id, notice, text).to_string();
        for way in ways {
            self.0.execute(
                "INSERT INTO notices (key, made, event, job, way, subject, body, document, next)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?2)",
                params![
                    id,
                    moment(notice.at),
                    notice.what.event().as_str(),
                    notice.job,
                    way.as_str(),
                    text.subject,
                    text.body,
                    document,
                ],
            )?;
        }
        Ok(())
    }

    /// A notice that is sent without having been in the queue.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn unqueued(notice: &Notice, text: &Rendered) -> anyhow::Result<Waiting> {
        let id = random_id()?;
        Ok(Waiting {
            number: 0,
            document: document(&id, notice, text).to_string(),
            id,
            event: notice.what.event().as_str().to_owned(),
            job: notice.job.clone(),
            made: notice.at,
            attempts: 1,
            subject: text.subject.clone(),
            body: text.body.clone(),
        })
    }

    /// Takes the next notice that is due on this way and counts an attempt; nobody else takes it
    /// until `lease` has passed.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn take(
        &self,
        way: Way,
        now: Timestamp,
        lease: SignedDuration,
    ) -> anyhow::Result<Option<Waiting>> {
        let found = self.0.query_row(
            "UPDATE notices SET attempts = attempts + 1, next = ?3, error = NULL WHERE id = (
                SELECT id FROM notices WHERE way = ?1 AND (next <= ?2 OR next > ?4)
                ORDER BY attempts, id LIMIT 1
            ) RETURNING id, key, event, job, made, attempts, subject, body, document",
            params![way.as_str(), moment(now), moment(now + lease), moment(now + LONGEST_WAIT)],
            |row| {
                let made: String = row.get(4)?;
                Ok(Waiting {
                    number: row.get(0)?,
                    id: row.get(1)?,
                    event: row.get(2)?,
                    job: row.get(3)?,
                    made: made.parse().unwrap_or(now),
                    attempts: row.get(5)?,
                    subject: row.get(6)?,
                    body: row.get(7)?,
                    document: row.get(8)?,
                })
            },
        );
        Ok(found.optional()?)
    }

    /// Removes a notice: it was sent, or given up.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove(&self, number: i64) -> anyhow::Result<()> {
        self.0.execute("DELETE FROM notices WHERE id = ?", [number])?;
        Ok(())
    }

    /// The way is good: whatever waits on it is due. What somebody is sending right now is not.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn is_good(&self, way: Way, now: Timestamp) -> anyhow::Result<()> {
        self.0.execute(
            "UPDATE notices SET next = ?2 WHERE way = ?1 AND next > ?2 AND error IS NOT NULL",
            params![way.as_str(), moment(now)],
        )?;
        Ok(())
    }

    /// The notice could not be sent: it and all that wait on this way are not due before `next`.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn is_bad(
        &self,
        way: Way,
        number: i64,
        error: &str,
        next: Timestamp,
    ) -> anyhow::Result<()> {
        self.0.execute(
            "UPDATE notices SET next = ?, error = ? WHERE id = ?",
            params![moment(next), error, number],
        )?;
        self.0.execute(
            "UPDATE notices SET next = ?1, error = ?3 WHERE way = ?2 AND next < ?1",
            params![moment(next), way.as_str(), error],
        )?;
        Ok(())
    }

    /// Everything is due: whoever had taken something is gone.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn all_due(&self, now: Timestamp) -> anyhow::Result<()> {
        self.0.execute("UPDATE notices SET next = ?1 WHERE next > ?1", [moment(now)])?;
        Ok(())
    }

    /// When the next notice on one of these ways is due.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn next_due(&self, ways: &[Way]) -> anyhow::Result<Option<Timestamp>> {
        let mut first = None;
        for way in ways {
            let next: Option<String> = self.0.query_row(
                "SELECT min(next) FROM notices WHERE way = ?",
                [way.as_str()],
                |row| row.get(0),
            )?;
            let next: Option<Timestamp> = next.map(|text| text.parse()).transpose()?;
            first = [first, next].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// Gives up what waits on a way that is not configured, if it was made before `before`.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget(&self, way: Way, before: Timestamp) -> anyhow::Result<()> {
        let forgotten = self.0.execute(
            "DELETE FROM notices WHERE way = ? AND made < ?",
            params![way.as_str(), moment(before)],
        )?;
        if forgotten > 0 {
            tracing::error!(
                event = "notice.given_up",
                way = way.as_str(),
                notices = forgotten,
                "notices are given up: the way that they were to go is not configured any more"
            );
        }
        Ok(())
    }

    /// How many notices wait.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn count(&self) -> anyhow::Result<u64> {
        let number: i64 = self.0.query_row("SELECT count(*) FROM notices", [], |row| row.get(0))?;
        Ok(u64::try_from(number).unwrap_or(0))
    }
}

/// What a program gets; `docs/notices.md` describes it.
fn document(id: &str, notice: &Notice, text: &Rendered) -> Value {
    json!({
        "version": 1,
        "id": id,
        "event": notice.what.event().as_str(),
        "at": moment(notice.at),
        "since": notice.since.map(moment),
        "host": text.host,
        "job": notice.job,
        "subject": text.subject,
        "text": text.body,
        "details": notice.what.details(),
    })
}

fn random_id() -> anyhow::Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
