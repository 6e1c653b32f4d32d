//! Where a program keeps what it has to remember.

use std::path::PathBuf;

/// The folder of the program `name` for what it remembers between runs: below `XDG_STATE_HOME` or
/// `~/.local/state`, on Windows below `%LOCALAPPDATA%`. `None` where the environment names no home.
pub fn folder(name: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else {
        set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))
    };
    Some(base?.join(name))
}
