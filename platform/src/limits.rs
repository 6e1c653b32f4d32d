//! What the operating system lets one process have.

/// Raises the number of files and connections that this process may have open to the most that it
/// may ask for; gives that number. Windows has no such limit worth raising: `None`.
///
/// # Errors
/// What the system says; the old limit then stays.
#[cfg(unix)]
pub fn raise_open_files() -> std::io::Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    if limits.current != limits.maximum {
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(limits.maximum)
}

/// As on Unix.
///
/// # Errors
/// None here.
#[cfg(windows)]
pub fn raise_open_files() -> std::io::Result<Option<u64>> {
    Ok(None)
}
