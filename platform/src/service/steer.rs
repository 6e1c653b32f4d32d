//! Does to a service what its user asks for, and tells on standard output what came of it.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::foreground::{self, Instead};
use super::{Logs, Service, ServiceError, check_name, manager};
use crate::{output, secret};

/// What to do with a service that is installed.
#[derive(Debug, Clone)]
pub enum Verb<'a> {
    /// Stop and remove it; with `root`, from the system below that folder.
    Uninstall {
        /// That folder.
        root: Option<&'a PathBuf>,
    },
    /// Start it, and wait until it is ready.
    Start,
    /// Stop it, and wait for its end.
    Stop,
    /// Stop it if it runs, and start it.
    Restart,
    /// Let it read its configuration again.
    Reload,
    /// Tell how it is.
    Status,
    /// Show its log.
    Logs(Logs),
}

/// Installs a service, or brings it up to date, and starts it if asked; with `root`, in the system
/// below that folder. `instead` is told where nothing manages services.
///
/// # Errors
/// Which step failed and why.
pub fn install(
    service: &Service,
    root: Option<&Path>,
    start: bool,
    instead: &Instead,
) -> Result<(), ServiceError> {
    output::print(&lines(&manager(root, instead)?.install(service, start)?));
    Ok(())
}

/// Does it to the service `name`; gives the exit code. `instead` is told where nothing manages
/// services.
///
/// # Errors
/// Which step failed and why.
pub fn steer(name: &str, verb: &Verb<'_>, instead: &Instead) -> Result<u8, ServiceError> {
    check_name(name)?;
    match verb {
        Verb::Uninstall { root } => {
            let manager = manager(root.map(PathBuf::as_path), instead)?;
            output::print(&lines(&manager.uninstall(name)?));
        }
        Verb::Start => manager(None, instead)?.start(name)?,
        Verb::Stop => manager(None, instead)?.stop(name)?,
        Verb::Restart => manager(None, instead)?.restart(name)?,
        Verb::Reload => manager(None, instead)?.reload(name)?,
        Verb::Status => {
            let status = manager(None, instead)?.status(name)?;
            output::print(&status.text);
            return Ok(status.state.exit_code());
        }
        Verb::Logs(logs) => {
            let folder = foreground::log_folder(name);
            match manager(None, instead) {
                Err(ServiceError::NoManager(_)) if folder.is_dir() => {
                    foreground::show_log(&folder, *logs)?;
                }
                manager => manager?.logs(name, *logs)?,
            }
        }
    }
    Ok(0)
}

/// Reads the password of a service's account, which only Windows asks for.
///
/// # Errors
/// On other systems, and when the file cannot be read or holds no text.
pub fn account_password(file: &Path) -> io::Result<Zeroizing<String>> {
    if cfg!(not(windows)) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "only Windows asks for a service account's password",
        ));
    }
    let bytes = secret::read_as(file, "the password file")?;
    let text = std::str::from_utf8(secret::first_line(&bytes)).map_err(|_| {
        let why = format!("the password in {} is not UTF-8", file.display());
        io::Error::new(io::ErrorKind::InvalidData, why)
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn lines(done: &[String]) -> String {
    done.iter().map(|line| format!("{line}\n")).collect()
}
