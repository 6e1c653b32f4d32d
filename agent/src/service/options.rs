//! The command line of `bascule service`.

use std::path::PathBuf;

use bascule_platform::log::Format;
use bascule_platform::service::steer::{Installing, Steering};
use clap::{Args, Subcommand};

use crate::jobs::options::Configuration;

/// What to do with the service.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Install the service or bring it up to date, start it at every boot and now.
    Install(Install),
    /// What is the same for all services.
    #[command(flatten)]
    Steer(Steering),
    /// Run the jobs when they are due, in the foreground: what the service does.
    Run(Box<Run>),
}

/// The options of `bascule service install`.
#[derive(Debug, Args)]
pub struct Install {
    /// Whose jobs.
    #[command(flatten)]
    pub configuration: Configuration,
    /// The account it runs as, instead of root or LocalSystem; it has to be able to read the sources.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// How.
    #[command(flatten)]
    pub installing: Installing,
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
    pub log_format: Option<Format>,
    /// Log more.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Windows: the service that this is.
    #[arg(long, value_name = "NAME", hide = true)]
    pub windows_service: Option<String>,
}
