//! Where a program keeps what it has to remember.

use std::io;
use std::path::{Path, PathBuf};

/// The system's configuration file of that name: in `/etc`, on Windows in `%ProgramData%\\Bascule`.
/// `None` where the environment does not say where that is.
pub fn configuration(name: &str) -> Option<PathBuf> {
    if cfg!(windows) {
        let base = std::env::var_os("ProgramData").filter(|value| !value.is_empty())?;
        return Some(PathBuf::from(base).join("Bascule").join(name));
    }
    Some(PathBuf::from("/etc").join(name))
}

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

/// The folder of the program `name` for what it remembers as a service of the system: below
/// `/var/lib`, on Windows below `%ProgramData%\\Bascule`. `None` where the environment does not say
/// where that is.
pub fn of_the_system(name: &str) -> Option<PathBuf> {
    if cfg!(windows) {
        let base = std::env::var_os("ProgramData").filter(|value| !value.is_empty())?;
        return Some(PathBuf::from(base).join("Bascule").join(name));
    }
    Some(PathBuf::from("/var/lib").join(name))
}

/// Makes a folder, with its parents, that only its owner can look into.
///
/// # Errors
/// When it cannot be made.
pub fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
