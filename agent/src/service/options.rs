//! The command line of `bascule service`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::jobs::options::Configuration;

/// What to do with the service.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Install the service or bring it up to date, start it at every boot and now.
    Install(Install),
    /// Stop the service and remove it; configuration, history and logs stay.
    Uninstall(Uninstall),
    /// Start the service, and wait until it watches its jobs.
    Start(Which),
    /// Stop the service; a run that is going on is interrupted, the next goes on from there.
    Stop(Which),
    /// Stop the service and start it again.
    Restart(Which),
    /// Read the configuration again.
    Reload(Which),
    /// Tell how the service is: exit code 0 it runs, 3 it does not, 4 it is not installed.
    Status(Which),
    /// Show the service's log.
    Logs(Logs),
    /// Run the jobs when they are due, in the foreground: what the service does.
    Run(Box<Run>),
}

/// Which service.
#[derive(Debug, Args)]
pub struct Which {
    /// The service's name, if there are several.
    #[arg(long, value_name = "NAME", default_value = "bascule")]
    pub name: String,
}

/// The options of `bascule service install`.
#[derive(Debug, Args)]
pub struct Install {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Whose jobs.
    #[command(flatten)]
    pub configuration: Configuration,
    /// The account it runs as, instead of root or LocalSystem; it has to be able to read the sources.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Windows: the file that holds the account's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Do not start it now.
    #[arg(long)]
    pub no_start: bool,
    /// systemd: show the unit file and do nothing.
    #[arg(long)]
    pub print: bool,
    /// systemd: install into the system below this folder.
    #[arg(long, value_name = "DIR", hide = true)]
    pub root: Option<PathBuf>,
}

/// The options of `bascule service uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// systemd: remove from the system below this folder.
    #[arg(long, value_name = "DIR", hide = true)]
    pub root: Option<PathBuf>,
}

/// The options of `bascule service logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// How many of the last lines.
    #[arg(short = 'n', long, value_name = "NUM", default_value_t = 100)]
    pub lines: u32,
    /// Go on with what comes.
    #[arg(short, long)]
    pub follow: bool,
}

/// The options of `bascule service run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Whose jobs.
    #[command(flatten)]
    pub configuration: Configuration,
    /// A folder for the log, one file a day, instead of the journal or standard error.
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// How many of these files stay.
    #[arg(long, value_name = "NUM", default_value_t = 30, requires = "log_dir")]
    pub log_keep: usize,
    /// The form of the log.
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<LogFormat>,
    /// Log more.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Windows: the service that this is.
    #[arg(long, value_name = "NAME", hide = true)]
    pub windows_service: Option<String>,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Time, process, level, name, message, values.
    Text,
    /// One JSON object a line.
    Json,
}
