//! What goes to standard output.

use std::io::Write as _;

/// Prints a text; a closed pipe on the other side is no trouble.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}
