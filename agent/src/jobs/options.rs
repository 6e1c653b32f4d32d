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
    #[arg(long, value_name = "NUM", conflicts_with_all = ["job", "limit"])]
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
