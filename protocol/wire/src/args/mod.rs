//! The argument list that a client sends to a server, as text both ways (§2.1, §2.2).

/// Which way the data go, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client sends.
    Push,
    /// The server sends.
    Pull,
}
