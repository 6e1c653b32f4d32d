//! The command line of everything that has to do with jobs.

use std::path::PathBuf;

use clap::Args;

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub struct Configuration {
    /// Read the jobs from FILE instead of the system's bascule.toml.
    #[arg(long, value_name = "FILE", env = "BASCULE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

/// Options of `bascule run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The jobs to run, one after the other.
    #[arg(required_unless_present = "all", value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Run all jobs of the configuration.
    #[arg(long, conflicts_with = "jobs")]
    pub all: bool,
    /// The last run before the switch: success means that everything is on stable storage.
    #[arg(long = "final")]
    pub is_final: bool,
    /// In this run let up to NUM names be deleted, whatever the guard says.
    #[arg(long, value_name = "NUM")]
    pub allow_deletes: Option<u64>,
    /// Print a JSON document about each run instead of the summary.
    #[arg(long)]
    pub json: bool,
    /// Say nothing but errors.
    #[arg(short, long)]
    pub quiet: bool,
    /// Which configuration.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Options of `bascule status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Print a JSON document instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Options of `bascule history`.
#[derive(Debug, Args)]
pub struct History {
    /// Only the runs of JOB.
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// How many runs, the last ones.
    #[arg(short = 'n', long, value_name = "NUM", default_value_t = 20)]
    pub limit: u32,
    /// All about the run with this number: its accounts and its problems.
    #[arg(long, value_name = "NUM", conflicts_with = "limit")]
    pub run: Option<i64>,
    /// Print a JSON document instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Options of `bascule show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The job.
    #[arg(required_unless_present = "schema")]
    pub job: Option<String>,
    /// Print the JSON schema of bascule.toml, for editors.
    #[arg(long, conflicts_with = "job")]
    pub schema: bool,
    /// Which configuration.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Options of `bascule diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The job.
    pub job: String,
    /// Print a JSON document instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Options of `bascule init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Where to mirror to: the URL that `basculed init` printed, or a folder.
    pub target: Option<String>,
    /// What to mirror; with a slash at the end the contents.
    #[arg(value_name = "SRC")]
    pub sources: Vec<String>,
    /// The job's name.
    #[arg(long, default_value = "mail")]
    pub name: String,
    /// The file with the password; without it the password is asked for and kept in the state
    /// folder, with mode 600.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// How many components of a path name an account: 1 for user/…, 2 for domain/user/….
    #[arg(long, value_name = "NUM", default_value_t = 1)]
    pub account_depth: usize,
    /// Keep what is deleted or overwritten at the target for DAYS days.
    #[arg(long, value_name = "DAYS")]
    pub trash_days: Option<u32>,
    /// How often the service runs it.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub every: String,
    /// The folder of the history and the locks, instead of the system's.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Which configuration to write.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Options of `bascule check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The jobs to look at; all of them unless some are named.
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Leave the target as it is: no test files are written there.
    #[arg(long)]
    pub read_only: bool,
    /// Print a JSON document instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub configuration: Configuration,
}
