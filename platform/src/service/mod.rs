//! A program as a service of the operating system: installed and steered by a [`Manager`], and in
//! touch with it through a [`Control`] while it runs.
//!
//! [`systemd`] and the Windows Service Control Manager (`scm`) are the managers. Where neither
//! is there, programs run in the foreground and [`foreground`] says how.

pub mod control;
pub mod foreground;
#[cfg(windows)]
pub mod scm;
pub mod sockets;
pub mod steer;
#[cfg(unix)]
pub mod systemd;
pub mod unit;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use control::{Control, Order};

/// A program that is to run as a service.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// What the manager knows it by: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What people see in lists of services.
    pub display_name: String,
    /// What it does, in a sentence.
    pub description: String,
    /// Where to read about it.
    pub documentation: String,
    /// The program, by its full path.
    pub program: PathBuf,
    /// Its arguments; paths in them are full, because services start anywhere.
    pub arguments: Vec<OsString>,
    /// The account; root or LocalSystem if none is named.
    pub user: Option<String>,
    /// That account's password, which only Windows asks for.
    pub password: Option<Zeroizing<String>>,
    /// The only places that it may write to, where the manager can see to that.
    pub writes: Vec<PathBuf>,
    /// What root keeps of its powers, by the names of capabilities(7).
    pub capabilities: Vec<&'static str>,
    /// What another account than root gets of them.
    pub user_capabilities: Vec<&'static str>,
    /// Whether it makes device nodes and set-id files, as an exact copy needs.
    pub makes_special_files: bool,
    /// The exit code after which another start is of no use: bad arguments or configuration.
    pub hopeless: Option<u8>,
    /// Addresses to listen on for it (`873`, `192.0.2.1:873`); empty if it listens by itself.
    pub sockets: Vec<String>,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It is on its way up or down.
    Changing,
    /// It does not run, and nobody wants it to.
    Stopped,
    /// It does not run, and should.
    Failed,
    /// There is no such service.
    Missing,
}

impl State {
    /// The exit code that tells it, as `systemctl status` does.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Running | Self::Changing => 0,
            Self::Stopped | Self::Failed => 3,
            Self::Missing => 4,
        }
    }
}

/// How a service is, for people too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// In one word.
    pub state: State,
    /// In some lines.
    pub text: String,
}

/// Which part of the log to show.
#[derive(Debug, Clone, Copy, clap::Args)]
// A command of the same name has it.
#[group(skip)]
pub struct Logs {
    /// How many of the last lines.
    #[arg(short = 'n', long, value_name = "NUM", default_value_t = 100)]
    pub lines: u32,
    /// Go on with what comes.
    #[arg(short, long)]
    pub follow: bool,
}

/// What installs services and steers them.
pub trait Manager {
    /// Installs the service, or brings an installed one up to date; starts it at every boot, and
    /// now if asked. Gives what it did, in sentences.
    ///
    /// # Errors
    /// Which step failed and why.
    fn install(&self, service: &Service, start: bool) -> Result<Vec<String>, ServiceError>;

    /// Stops and removes the service. Gives what it did.
    ///
    /// # Errors
    /// Which step failed and why; [`ServiceError::Missing`] when there was nothing to remove.
    fn uninstall(&self, name: &str) -> Result<Vec<String>, ServiceError>;

    /// Starts the service and waits until it is ready.
    ///
    /// # Errors
    /// Why it does not start.
    fn start(&self, name: &str) -> Result<(), ServiceError>;

    /// Stops the service and waits for its end.
    ///
    /// # Errors
    /// Why it does not stop.
    fn stop(&self, name: &str) -> Result<(), ServiceError>;

    /// Stops the service if it runs, and starts it.
    ///
    /// # Errors
    /// Why it does not.
    fn restart(&self, name: &str) -> Result<(), ServiceError>;

    /// Lets the service read its configuration again.
    ///
    /// # Errors
    /// Why it does not.
    fn reload(&self, name: &str) -> Result<(), ServiceError>;

    /// How the service is.
    ///
    /// # Errors
    /// Why nobody knows.
    fn status(&self, name: &str) -> Result<Status, ServiceError>;

    /// Shows the service's log on standard output.
    ///
    /// # Errors
    /// Why it cannot be shown.
    fn logs(&self, name: &str, logs: Logs) -> Result<(), ServiceError>;
}

/// Why a service could not be installed or steered.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Nothing here manages services.
    #[error("{0}")]
    NoManager(String),
    /// Nothing of that name is installed.
    #[error("there is no service \"{0}\" here; install it first")]
    Missing(String),
    /// A name that a manager would not take.
    #[error("\"{0}\" cannot be the name of a service: letters, digits, -, _ and . are allowed")]
    BadName(String),
    /// A text that cannot stand in a unit file.
    #[error("{0:?} cannot stand in a unit file: it has no form as UTF-8 text on one line")]
    Unwritable(OsString),
    /// A file of somebody else is in the way.
    #[error("{} was not made by this program and is left as it is; remove it, or choose another --name", .0.display())]
    InTheWay(PathBuf),
    /// A file could not be written or removed.
    #[error("{}: {error}{}", path.display(), hint(error))]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A command of the manager failed.
    #[error("{command}: {said}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// The manager refused, or does not do what it was told.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The answer.
        why: String,
    },
}

/// What to do about an error that is the caller's lack of rights.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied if cfg!(windows) => " (are you an administrator?)",
        io::ErrorKind::PermissionDenied => " (are you root?)",
        _ => "",
    }
}

/// The manager of this system. With `root`, services are installed into the system below that
/// folder, which need not run.
///
/// # Errors
/// [`ServiceError::NoManager`], with what to do instead.
pub fn manager(
    root: Option<&Path>,
    instead: &foreground::Instead,
) -> Result<Box<dyn Manager>, ServiceError> {
    #[cfg(unix)]
    {
        if root.is_none() && !systemd::runs_here() {
            return Err(ServiceError::NoManager(instead.text()));
        }
        Ok(Box::new(systemd::Systemd::new(root)))
    }
    #[cfg(windows)]
    {
        let _ = instead;
        if root.is_some() {
            return Err(ServiceError::NoManager(
                "services are installed into the running Windows alone".into(),
            ));
        }
        Ok(Box::new(scm::Scm))
    }
}

/// Checks the name of a service.
///
/// # Errors
/// [`ServiceError::BadName`].
pub fn check_name(name: &str) -> Result<(), ServiceError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = name.chars().all(fine)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 100;
    if good { Ok(()) } else { Err(ServiceError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_and_no_option() {
        for good in ["basculed", "basculed-2", "b_2.x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "../x", "a/b", "a b", "a@b", ".x", "a\n", "é"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
