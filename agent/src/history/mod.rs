//! The history: what every run of a job did, in one SQLite database.
//!
//! [`recorder`] watches a run, [`store`] keeps it, [`schema`] says in which tables, [`forget`] lets the
//! old ones go.

pub mod forget;
pub mod recorder;
pub mod schema;
pub mod store;

use std::collections::BTreeMap;
use std::fmt;

use bascule_engine::outcome::{Counters, ExitCode, Problem};

/// What kind of run it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of many.
    Run,
    /// The last before the switch.
    Final,
}

impl Kind {
    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Final => "final",
        }
    }
}

/// How a run ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has begun and has not ended; or its program was killed, and nobody has noticed yet.
    Running,
    /// Both ends are equal, as far as the source stood still.
    Complete,
    /// Complete but for files that changed, vanished or moved while they were read.
    InMotion,
    /// Some files could not be transferred.
    Partial,
    /// The guard held deletions back.
    Held,
    /// Somebody stopped it.
    Interrupted,
    /// Its program was killed, or its machine went down.
    CutOff,
    /// It could not be carried out.
    Failed,
}

impl Verdict {
    /// How runs end.
    pub const ENDS: [Self; 7] = [
        Self::Complete,
        Self::InMotion,
        Self::Partial,
        Self::Held,
        Self::Interrupted,
        Self::CutOff,
        Self::Failed,
    ];

    /// Its name in the database and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::InMotion => "in motion",
            Self::Partial => "partial",
            Self::Held => "held back",
            Self::Interrupted => "interrupted",
            Self::CutOff => "cut off",
            Self::Failed => "failed",
        }
    }

    /// The verdict on a run that ended with this code.
    pub fn of(exit: ExitCode) -> Self {
        match exit {
            ExitCode::Success => Self::Complete,
            ExitCode::Vanished => Self::InMotion,
            ExitCode::Partial => Self::Partial,
            ExitCode::DeleteLimit => Self::Held,
            ExitCode::Interrupted => Self::Interrupted,
            _ => Self::Failed,
        }
    }

    /// Whether the run ended before its time for a reason that is none of its own.
    pub fn was_stopped(self) -> bool {
        matches!(self, Self::Interrupted | Self::CutOff)
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = Self::ENDS.into_iter().chain([Self::Running]);
        all.find(|verdict| verdict.as_str() == text)
    }

    /// Whether the whole source was compared with the target, so that the run's duration says how
    /// long the next may take.
    pub fn went_through(self) -> bool {
        matches!(self, Self::Complete | Self::InMotion | Self::Partial | Self::Held)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long the phases of a run took, in seconds. With incremental recursion the first files
/// travel while the list still grows: that time counts as the list's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Phases {
    /// Until both ends had agreed on how to talk.
    pub connect: f64,
    /// Until the list was complete.
    pub list: f64,
    /// Until the last file had arrived.
    pub transfer: f64,
    /// Until the end: late deletions, times of folders, synchronisation of disks.
    pub finish: f64,
}

/// What happened to one account in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Files in the list.
    pub files_listed: u64,
    /// Their bytes.
    pub bytes_listed: u64,
    /// Names that were new at the target.
    pub created: u64,
    /// Files whose data travelled.
    pub files_transferred: u64,
    /// The bytes of those files.
    pub bytes_transferred: u64,
    /// Names that were deleted.
    pub deleted: u64,
    /// Names that something was wrong with.
    pub failed: u64,
}

/// How many bytes of a folder's path name its account: its first `depth` components, or nothing where
/// it has fewer.
pub fn account_length(folder: &[u8], depth: usize) -> usize {
    let mut ends = folder.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    match depth.checked_sub(1) {
        None => 0,
        Some(before) => match ends.nth(before) {
            Some((at, _)) => at,
            // As many components as name an account, or fewer.
            None if folder.split(|byte| *byte == b'/').count() == depth => folder.len(),
            None => 0,
        },
    }
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub exit: ExitCode,
    /// Why it ended early.
    pub error: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The same by phases.
    pub phases: Phases,
    /// How often it was begun.
    pub attempts: u64,
    /// What it did.
    pub counters: Counters,
    /// What went wrong, and with which files.
    pub problems: Vec<Problem>,
    /// What it did to each account.
    pub accounts: BTreeMap<String, Account>,
    /// The largest file whose data travelled, and its bytes.
    pub largest: Option<(String, u64)>,
}

impl Ended {
    /// Why it ended early, if it did; what the other end has said about it comes first.
    pub fn reason(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        // With its last words a stock rsync only repeats its exit code.
        let said = self.problems.iter().rev().find(|problem| {
            problem.remote && problem.path.is_empty() && !problem.text.starts_with("rsync error:")
        });
        Some(said.map_or_else(|| error.clone(), |said| format!("{said} ({error})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_engine::outcome::Severity;

    #[test]
    fn what_the_other_end_said_is_the_reason() {
        let said = |remote, path: &[u8], text: &str| Problem {
            remote,
            path: path.to_vec(),
            ..Problem::of_run(Severity::Partial, text)
        };
        let problems = vec![
            said(true, b"joe/1.imap", "vanished"),
            said(true, b"", "rsync: write failed on \"x\": No space left on device (28)"),
            said(true, b"", "rsync error: error in file IO (code 11) at receiver.c(1)"),
            said(false, b"", "the clock is off"),
        ];
        let ended = |error: Option<&str>, problems| Ended {
            exit: ExitCode::FileIo,
            error: error.map(ToOwned::to_owned),
            seconds: 1.0,
            phases: Phases::default(),
            attempts: 1,
            counters: Counters::default(),
            problems,
            accounts: BTreeMap::new(),
            largest: None,
        };
        let reason = |error, problems: &[Problem]| ended(error, problems.to_vec()).reason();
        assert_eq!(
            reason(Some("the peer ended with code 11"), &problems).as_deref(),
            Some(
                "rsync: write failed on \"x\": No space left on device (28) (the peer ended with \
                 code 11)"
            )
        );
        assert_eq!(reason(Some("no connection"), &problems[3..]).as_deref(), Some("no connection"));
        assert_eq!(reason(None, &problems), None);
    }
}
