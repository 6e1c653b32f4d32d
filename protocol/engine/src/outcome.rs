//! How a run ended: problems, counters, rsync's exit codes.

use std::fmt;

use bascule_wire::WireError;
use bascule_wire::shown;

/// Rsync's exit codes (§16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything was done.
    Success = 0,
    /// The command line is wrong.
    Syntax = 1,
    /// The peer speaks something else.
    Protocol = 2,
    /// The files named cannot be used.
    FileSelection = 3,
    /// The peer or this build cannot do what was asked.
    Unsupported = 4,
    /// The daemon refused before the transfer.
    ClientStart = 5,
    /// The connection could not be made or broke.
    Socket = 10,
    /// A file could not be read or written, and the run could not go on.
    FileIo = 11,
    /// The stream broke off or made no sense.
    Stream = 12,
    /// A message of the peer made no sense.
    Message = 13,
    /// The run was interrupted.
    Interrupted = 20,
    /// Out of memory, or a limit on it was reached.
    Memory = 22,
    /// Some files were not transferred.
    Partial = 23,
    /// Some files vanished from the source before they were read.
    Vanished = 24,
    /// The limit on deletions stopped some of them.
    DeleteLimit = 25,
    /// Nothing moved for too long.
    Timeout = 30,
    /// The daemon did not answer in time.
    ConnectTimeout = 35,
}

impl ExitCode {
    /// All of them, by their numbers.
    pub const ALL: [Self; 17] = [
        Self::Success,
        Self::Syntax,
        Self::Protocol,
        Self::FileSelection,
        Self::Unsupported,
        Self::ClientStart,
        Self::Socket,
        Self::FileIo,
        Self::Stream,
        Self::Message,
        Self::Interrupted,
        Self::Memory,
        Self::Partial,
        Self::Vanished,
        Self::DeleteLimit,
        Self::Timeout,
        Self::ConnectTimeout,
    ];

    /// The number for the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What the code means, as the end of a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "everything was done",
            Self::Syntax => "the command or the module does not allow this",
            Self::Protocol => "the two ends do not understand each other",
            Self::FileSelection => "the source or the destination cannot be used",
            Self::Unsupported => "one end cannot do what was asked",
            Self::ClientStart => "the daemon refused",
            Self::Socket => "there is no connection, or it was lost",
            Self::FileIo => "a file operation failed and the run could not go on",
            Self::Stream => "the connection ended early",
            Self::Message => "a message of the other end made no sense",
            Self::Interrupted => "it was interrupted; run again to go on from here",
            Self::Memory => "there was not enough memory",
            Self::Partial => "some files could not be transferred; see the messages above",
            Self::Vanished => "some files vanished or changed while they were read; run again",
            Self::DeleteLimit => "the limit on deletions stopped some of them",
            Self::Timeout => "nothing moved for too long",
            Self::ConnectTimeout => "the daemon did not answer in time",
        }
    }

    /// Reads a number sent by a peer; unknown ones become [`ExitCode::Stream`].
    pub fn from_peer(code: i32) -> Self {
        Self::ALL.into_iter().find(|known| i32::from(known.code()) == code).unwrap_or(Self::Stream)
    }
}

/// Trouble that ended the run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fatal {
    /// Rsync's exit code for it.
    pub exit: ExitCode,
    /// What happened, whose fault it is and what to do, as English sentences.
    pub text: String,
    /// Whether the peer said so itself (its text has then been reported already).
    pub from_peer: bool,
    /// Whether a new attempt would end the same way, though the exit code alone does not say so.
    pub lasting: bool,
}

impl Fatal {
    /// Trouble that this side found.
    pub fn new(exit: ExitCode, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), from_peer: false, lasting: false }
    }

    /// The same trouble, of a kind that no new attempt heals.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }

    /// Whether the connection is gone: the other direction ends by itself, and may still bring the
    /// peer's reason.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self.exit, ExitCode::Socket | ExitCode::Stream | ExitCode::Timeout)
            && !self.from_peer
    }

    /// Trouble that the peer reported.
    pub fn from_peer(exit: ExitCode, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), from_peer: true, lasting: false }
    }
}

impl From<WireError> for Fatal {
    fn from(error: WireError) -> Self {
        let exit = match error {
            WireError::Incompatible(_) => ExitCode::Unsupported,
            WireError::Malformed { .. }
            | WireError::OutOfOrder { .. }
            | WireError::Misbehaved(_) => ExitCode::Protocol,
        };
        Self::new(exit, error.to_string())
    }
}

/// How bad a problem is for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Worth telling; the exit code stays.
    Warning,
    /// A source file vanished (24).
    Vanished,
    /// A file was not transferred (23).
    Partial,
    /// The limit on deletions was reached (25).
    DeleteLimit,
}

impl Severity {
    /// The name in documents for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Vanished => "vanished",
            Self::Partial => "partial",
            Self::DeleteLimit => "delete-limit",
        }
    }
}

/// Trouble with one path that did not stop the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it means for the exit code.
    pub severity: Severity,
    /// The path, relative to the transfer root; empty when it concerns none.
    pub path: Vec<u8>,
    /// What happened and what to do, as one English sentence without the path.
    pub text: String,
    /// Whether the peer reported it.
    pub remote: bool,
}

impl Problem {
    /// Trouble of this side with the run as a whole.
    pub fn of_run(severity: Severity, text: impl Into<String>) -> Self {
        Self { severity, path: Vec::new(), text: text.into(), remote: false }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", shown(&self.path), self.text)
        }
    }
}

/// Counters of a run. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Entries in the list.
    pub listed: u64,
    /// Regular files in the list.
    pub listed_files: u64,
    /// Bytes of the regular files in the list.
    pub listed_bytes: u64,
    /// Entries that did not exist on the target.
    pub created: u64,
    /// Regular files whose data travelled.
    pub transferred: u64,
    /// Bytes of the files whose data travelled.
    pub transferred_bytes: u64,
    /// Bytes sent as literal data.
    pub literal_bytes: u64,
    /// Bytes taken from the basis.
    pub matched_bytes: u64,
    /// Names removed from the target.
    pub deleted: u64,
    /// Bytes read from the connection.
    pub wire_read: u64,
    /// Bytes written to the connection.
    pub wire_written: u64,
}

/// How one side's part of a run ended.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Counters of this side.
    pub counters: Counters,
    /// I/O error bits of both sides (1 general, 2 vanished, 4 delete limit).
    pub io_error: u32,
    /// Whether any problem of severity [`Severity::Partial`] was seen, here or there.
    pub partial: bool,
}

impl Report {
    /// The exit code: 23 over 25 over 24. rsync has 24 over 25 (§16); files that changed are nothing
    /// to act on, deletions that were held back are, and must not hide behind them.
    pub fn exit_code(&self) -> ExitCode {
        if self.partial || self.io_error & 1 != 0 {
            ExitCode::Partial
        } else if self.io_error & 4 != 0 {
            ExitCode::DeleteLimit
        } else if self.io_error & 2 != 0 {
            ExitCode::Vanished
        } else {
            ExitCode::Success
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_acted_on_is_told_first() {
        let code =
            |io_error, partial| Report { io_error, partial, ..Report::default() }.exit_code();
        assert_eq!(code(0, false), ExitCode::Success);
        assert_eq!(code(2, false), ExitCode::Vanished);
        assert_eq!(code(2 | 4, false), ExitCode::DeleteLimit);
        assert_eq!(code(1 | 2 | 4, false), ExitCode::Partial);
        assert_eq!(code(4, true), ExitCode::Partial);
    }
}
