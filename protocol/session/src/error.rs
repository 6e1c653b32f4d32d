//! Why a session ended early.

use bascule_engine::outcome::ExitCode;
use bascule_wire::WireError;

/// A session that could not go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct SessionError {
    /// Rsync's exit code for it.
    pub exit: ExitCode,
    /// What happened, whose fault it is and what to do, as English sentences.
    pub text: String,
    /// Whether the peer said so itself (its text has then been shown already).
    pub from_peer: bool,
}

impl SessionError {
    /// Trouble that this side found.
    pub fn new(exit: ExitCode, text: impl Into<String>) -> Self {
        Self {
            exit,
            text: text.into(),
            from_peer: false,
        }
    }

    /// Trouble that the peer reported.
    pub fn from_peer(exit: ExitCode, text: impl Into<String>) -> Self {
        Self {
            exit,
            text: text.into(),
            from_peer: true,
        }
    }
}

impl From<WireError> for SessionError {
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
