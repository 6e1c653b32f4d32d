//! What can be wrong with a peer's bytes, sorted by whose fault it is.

use std::borrow::Cow;

/// A conversation cannot go on. The four kinds tell an operator who is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are nonsense: an impossible encoding or a length out of bounds.
    #[error("malformed {what}: {detail}")]
    Malformed {
        /// The field or message that was being read.
        what: &'static str,
        /// What is wrong with it.
        detail: Cow<'static, str>,
    },
    /// The bytes are well formed, but this is not their moment.
    #[error("expected {expected}, the peer sent {got}")]
    OutOfOrder {
        /// What the protocol allows here.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// An honest peer with which there is no common ground (exit code 4).
    #[error("{0}")]
    Incompatible(String),
    /// The peer broke a rule: an index out of range, a path outside the tree.
    #[error("the peer broke the protocol: {0}")]
    Misbehaved(String),
}

impl WireError {
    /// Makes a [`WireError::Malformed`].
    pub fn malformed(what: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed { what, detail: detail.into() }
    }

    /// Makes a [`WireError::Misbehaved`].
    pub fn misbehaved(detail: impl Into<String>) -> Self {
        Self::Misbehaved(detail.into())
    }
}
