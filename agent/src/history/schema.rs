//! The tables of the history. `docs/jobs.md` describes them; a change is a new step at the end
//! of `STEPS`, never an edit of an old one.

use rusqlite::Connection;

/// What brings a database from version N (its `user_version`) to N + 1.
const STEPS: [&str; 3] = [
    "
    CREATE TABLE runs (
        id                INTEGER PRIMARY KEY,
        job               TEXT    NOT NULL,
        kind              TEXT    NOT NULL CHECK (kind IN ('run', 'final')),
        began             TEXT    NOT NULL,
        ended             TEXT,
        seconds           REAL,
        seconds_connect   REAL,
        seconds_list      REAL,
        seconds_transfer  REAL,
        seconds_finish    REAL,
        exit_code         INTEGER,
        verdict           TEXT    NOT NULL,
        error             TEXT,
        attempts          INTEGER NOT NULL DEFAULT 1,
        entries_listed    INTEGER NOT NULL DEFAULT 0,
        files_listed      INTEGER NOT NULL DEFAULT 0,
        bytes_listed      INTEGER NOT NULL DEFAULT 0,
        created           INTEGER NOT NULL DEFAULT 0,
        files_transferred INTEGER NOT NULL DEFAULT 0,
        bytes_transferred INTEGER NOT NULL DEFAULT 0,
        literal_bytes     INTEGER NOT NULL DEFAULT 0,
        matched_bytes     INTEGER NOT NULL DEFAULT 0,
        deleted           INTEGER NOT NULL DEFAULT 0,
        problems          INTEGER NOT NULL DEFAULT 0,
        bytes_sent        INTEGER NOT NULL DEFAULT 0,
        bytes_received    INTEGER NOT NULL DEFAULT 0,
        largest_file      TEXT,
        largest_bytes     INTEGER,
        forecast_seconds  REAL,
        forecast_least    REAL,
        forecast_most     REAL,
        program           TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX runs_of_job ON runs (job, began);
    CREATE TABLE accounts (
        run               INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        account           TEXT    NOT NULL,
        files_listed      INTEGER NOT NULL,
        bytes_listed      INTEGER NOT NULL,
        created           INTEGER NOT NULL,
        files_transferred INTEGER NOT NULL,
        bytes_transferred INTEGER NOT NULL,
        deleted           INTEGER NOT NULL,
        failed            INTEGER NOT NULL,
        PRIMARY KEY (run, account)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE problems (
        run               INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        severity          TEXT    NOT NULL,
        path              TEXT    NOT NULL,
        text              TEXT    NOT NULL,
        remote            INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX problems_of_run ON problems (run);
",
    "
    CREATE TABLE notices (
        id                INTEGER PRIMARY KEY,
        key               TEXT    NOT NULL,
        made              TEXT    NOT NULL,
        event             TEXT    NOT NULL,
        job               TEXT,
        way               TEXT    NOT NULL CHECK (way IN ('mail', 'webhook')),
        subject           TEXT    NOT NULL,
        body              TEXT    NOT NULL,
        document          TEXT    NOT NULL,
        attempts          INTEGER NOT NULL DEFAULT 0,
        next              TEXT    NOT NULL,
        error             TEXT
    ) STRICT;
    CREATE INDEX notices_due ON notices (way, next);
    CREATE TABLE notice_state (
        job               TEXT    NOT NULL,
        event             TEXT    NOT NULL,
        since             TEXT,
        told              TEXT,
        PRIMARY KEY (job, event)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- The verdict 'cut off' is new: older programs do not know it.
",
];

/// Brings the tables to the version of this program.
///
/// # Errors
/// When the database is newer than this program, or cannot be changed.
pub fn migrate(connection: &mut Connection) -> anyhow::Result<()> {
    // Whoever opens a database that is as it should be waits for nobody who writes to it.
    if version_of(connection)? == STEPS.len() {
        return Ok(());
    }
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version = version_of(&transaction)?;
    let Some(missing) = STEPS.get(version..) else {
        anyhow::bail!(
            "it was written by a newer version of Bascule (its tables have version {version}, this \
             program knows {})",
            STEPS.len()
        );
    };
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", STEPS.len() as u32)?;
    Ok(transaction.commit()?)
}

fn version_of(connection: &Connection) -> rusqlite::Result<usize> {
    connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0).map(|n| n as usize))
}
