//! What a command says to its user; a pipe that is closed on the other side is no trouble.

use std::io::{self, Write};

/// Prints a text on standard output.
pub fn print(text: &str) {
    write(io::stdout(), text);
}

/// Prints a text on standard error.
pub fn print_beside(text: &str) {
    write(io::stderr(), text);
}

fn write(mut out: impl Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
