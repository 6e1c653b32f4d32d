//! The command line of services: what its user can ask for, done, and told on standard output.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::foreground::{self, Instead};
use super::{Logs, Service, ServiceError, check_name, manager};
use crate::{output, secret};

/// The service's name on a command line.
#[derive(Debug, Args)]
pub struct Which {
    /// The service's name, if there are several; the program's if not given.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

impl Which {
    /// The name, or the one of the `program`.
    pub fn name_or<'a>(&'a self, program: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(program)
    }
}

/// The options that `service install` has in every program.
#[derive(Debug, Args)]
pub struct Installing {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Windows: the file that holds the account's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Do not start it now.
    #[arg(long)]
    pub no_start: bool,
    /// systemd: show the unit files and do nothing.
    #[arg(long)]
    pub print: bool,
    /// systemd: install into the system below this folder.
    #[arg(long, value_name = "DIR", hide = true)]
    pub root: Option<PathBuf>,
}

impl Installing {
    /// The password of the service's account, if one is named; only Windows asks for it.
    ///
    /// # Errors
    /// On other systems, and when the file cannot be read or holds no text.
    pub fn password(&self) -> io::Result<Option<Zeroizing<String>>> {
        self.password_file.as_deref().map(account_password).transpose()
    }
}

/// What to do with a service that is installed, on a command line.
#[derive(Debug, Subcommand)]
pub enum Steering {
    /// Stop the service and remove it; configuration, data and logs stay.
    Uninstall {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// systemd: remove from the system below this folder.
        #[arg(long, value_name = "DIR", hide = true)]
        root: Option<PathBuf>,
    },
    /// Start the service, and wait until it is ready.
    Start(Which),
    /// Stop the service; a transfer that goes on is interrupted after some seconds, the next goes on
    /// from there.
    Stop(Which),
    /// Stop the service and start it again.
    Restart(Which),
    /// Read the configuration and the daemon's certificates again, and open the log by its name.
    Reload(Which),
    /// Tell how the service is: exit code 0 it runs, 3 it does not, 4 it is not installed.
    Status(Which),
    /// Show the service's log.
    Logs {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Which part.
        #[command(flatten)]
        logs: Logs,
    },
}

impl Steering {
    /// The name of the service, or that of the `program`.
    pub fn name_or<'a>(&'a self, program: &'a str) -> &'a str {
        match self {
            Self::Uninstall { which, .. }
            | Self::Start(which)
            | Self::Stop(which)
            | Self::Restart(which)
            | Self::Reload(which)
            | Self::Status(which)
            | Self::Logs { which, .. } => which.name_or(program),
        }
    }
}

/// Installs a service, or brings it up to date, and starts it, as asked. `instead` is told where
/// nothing manages services.
///
/// # Errors
/// Which step failed and why.
pub fn install(
    service: &Service,
    asked: &Installing,
    instead: &Instead,
) -> Result<(), ServiceError> {
    let manager = manager(asked.root.as_deref(), instead)?;
    output::print(&lines(&manager.install(service, !asked.no_start)?));
    Ok(())
}

/// Does what is asked for to a service of the `program`; gives the exit code. `instead` is told where
/// nothing manages services.
///
/// # Errors
/// Which step failed and why.
pub fn steer(asked: &Steering, program: &str, instead: &Instead) -> Result<u8, ServiceError> {
    let name = asked.name_or(program);
    check_name(name)?;
    match asked {
        Steering::Uninstall { root, .. } => {
            let manager = manager(root.as_deref(), instead)?;
            output::print(&lines(&manager.uninstall(name)?));
        }
        Steering::Start(_) => manager(None, instead)?.start(name)?,
        Steering::Stop(_) => manager(None, instead)?.stop(name)?,
        Steering::Restart(_) => manager(None, instead)?.restart(name)?,
        Steering::Reload(_) => manager(None, instead)?.reload(name)?,
        Steering::Status(_) => {
            let status = manager(None, instead)?.status(name)?;
            output::print(&status.text);
            return Ok(status.state.exit_code());
        }
        Steering::Logs { logs, .. } => {
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

fn lines(done: &[String]) -> String {
    done.iter().map(|line| format!("{line}\n")).collect()
}

/// Reads the password of a service's account, which only Windows asks for.
///
/// # Errors
/// On other systems, and when the file cannot be read or holds no text.
fn account_password(file: &Path) -> io::Result<Zeroizing<String>> {
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
