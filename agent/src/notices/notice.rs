//! What there is to tell.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::digest::Digest;
use crate::itemize::printable;

/// What others said is cut after so many characters; the history has all of it.
const LONGEST_TEXT: usize = 2000;

/// A kind of notice. The names are stable: `events` in the configuration and programs that take
/// webhooks go by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The runs of a job have begun to fail.
    RunFailed,
    /// A run of a job was cut off.
    RunCutOff,
    /// Runs work again.
    RunRecovered,
    /// The runs of a job are short enough for the switch.
    Converged,
    /// They do not become shorter any more.
    Stalled,
    /// Files cannot be transferred, run after run.
    Blocked,
    /// Deletions are held back.
    GuardTripped,
    /// A disk has too little room.
    DiskLow,
    /// Nothing has run for a long time.
    NothingRan,
    /// The history cannot be used.
    HistoryUnusable,
    /// What happened in a day.
    Digest,
    /// Somebody tries out whether notices arrive.
    Test,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::RunFailed,
        Self::RunCutOff,
        Self::RunRecovered,
        Self::Converged,
        Self::Stalled,
        Self::Blocked,
        Self::GuardTripped,
        Self::DiskLow,
        Self::NothingRan,
        Self::HistoryUnusable,
        Self::Digest,
        Self::Test,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunFailed => "run.failed",
            Self::RunCutOff => "run.cut_off",
            Self::RunRecovered => "run.recovered",
            Self::Converged => "job.converged",
            Self::Stalled => "job.stalled",
            Self::Blocked => "job.blocked",
            Self::GuardTripped => "guard.tripped",
            Self::DiskLow => "disk.low",
            Self::NothingRan => "nothing.ran",
            Self::HistoryUnusable => "history.unusable",
            Self::Digest => "digest",
            Self::Test => "test",
        }
    }

    /// The event of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }
}

/// What happened, with what has to be known about it.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A run failed.
    RunFailed {
        /// The number of the run; `None` when it could not even be begun.
        run: Option<i64>,
        /// Its exit code.
        code: u8,
        /// Why.
        error: String,
    },
    /// A run was cut off.
    RunCutOff {
        /// The number of the run.
        run: i64,
    },
    /// A run went through after others had failed or were cut off.
    RunRecovered {
        /// The number of the run.
        run: i64,
    },
    /// The last runs were within the limits.
    Converged {
        /// How long the final run will take, in seconds: most probably, and at most.
        final_run: Option<(f64, f64)>,
    },
    /// The runs do not become shorter.
    Stalled {
        /// Why.
        reasons: Vec<String>,
    },
    /// No further run will get around it.
    Blocked {
        /// What.
        reasons: Vec<String>,
    },
    /// Deletions were held back.
    GuardTripped {
        /// The number of the run.
        run: i64,
        /// How many, and why.
        text: String,
    },
    /// A disk has too little room.
    DiskLow {
        /// Which disk.
        place: Place,
        /// How little.
        text: String,
    },
    /// No run of any job has begun.
    NothingRan {
        /// For so many hours.
        hours: u32,
    },
    /// The history cannot be used.
    HistoryUnusable {
        /// Why.
        error: String,
    },
    /// What happened in a day.
    Digest(Digest),
    /// Nothing.
    Test,
}

/// Which disk is low.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The one of a job's target.
    Target,
    /// The one with the agent's own state: without room it can keep no history and send nothing.
    State,
}

impl What {
    /// Which kind it is.
    pub fn event(&self) -> Event {
        match self {
            Self::RunFailed { .. } => Event::RunFailed,
            Self::RunCutOff { .. } => Event::RunCutOff,
            Self::RunRecovered { .. } => Event::RunRecovered,
            Self::Converged { .. } => Event::Converged,
            Self::Stalled { .. } => Event::Stalled,
            Self::Blocked { .. } => Event::Blocked,
            Self::GuardTripped { .. } => Event::GuardTripped,
            Self::DiskLow { .. } => Event::DiskLow,
            Self::NothingRan { .. } => Event::NothingRan,
            Self::HistoryUnusable { .. } => Event::HistoryUnusable,
            Self::Digest(_) => Event::Digest,
            Self::Test => Event::Test,
        }
    }

    /// The same with all that others said cut and cleaned: it is read in mails and on terminals.
    #[must_use]
    pub fn legible(mut self) -> Self {
        match &mut self {
            Self::RunFailed { error: text, .. }
            | Self::HistoryUnusable { error: text }
            | Self::GuardTripped { text, .. }
            | Self::DiskLow { text, .. } => *text = legible(text),
            Self::Stalled { reasons } | Self::Blocked { reasons } => {
                reasons.iter_mut().for_each(|reason| *reason = legible(reason));
            }
            Self::RunCutOff { .. }
            | Self::RunRecovered { .. }
            | Self::Converged { .. }
            | Self::NothingRan { .. }
            | Self::Digest(_)
            | Self::Test => {}
        }
        self
    }

    /// What programs want to know about it: the field `details` of a webhook's document.
    pub fn details(&self) -> Value {
        match self {
            Self::RunFailed { run, code, error } => {
                json!({ "run": run, "exit_code": code, "error": error })
            }
            Self::RunCutOff { run } | Self::RunRecovered { run } => json!({ "run": run }),
            Self::Converged { final_run } => json!({
                "final_run_seconds": final_run.map(|(seconds, _)| seconds),
                "final_run_most_seconds": final_run.map(|(_, most)| most),
            }),
            Self::Stalled { reasons } | Self::Blocked { reasons } => json!({ "reasons": reasons }),
            Self::GuardTripped { run, text } => json!({ "run": run, "reason": text }),
            Self::DiskLow { place, text } => json!({
                "disk": match place { Place::Target => "target", Place::State => "state" },
                "reason": text,
            }),
            Self::NothingRan { hours } => json!({ "hours": hours }),
            Self::HistoryUnusable { error } => json!({ "error": error }),
            Self::Digest(digest) => digest.document(),
            Self::Test => json!({}),
        }
    }
}

/// A text of another program without what could steer a terminal, and not without end.
pub fn legible(text: &str) -> String {
    let text = printable(text.as_bytes());
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}… (there is more of it)", &text[..end]),
        None => text,
    }
}

/// Something to tell somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What happened.
    pub what: What,
    /// To which job; `None` when it is about all of them.
    pub job: Option<String>,
    /// When it was noticed.
    pub at: Timestamp,
    /// Since when it is so.
    pub since: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_said_is_cut_and_cleaned() {
        let error = format!("\u{1b}[2Jno\r\nway {}", "ü".repeat(100_000));
        let What::RunFailed { error, .. } =
            (What::RunFailed { run: Some(1), code: 10, error }).legible()
        else {
            panic!("it stays what it is");
        };
        assert!(error.starts_with("\\#033[2Jno\\#015\nway ü"), "{error}");
        assert!(error.ends_with("ü… (there is more of it)"));
        assert!(error.chars().count() < LONGEST_TEXT + 50);
    }
}
