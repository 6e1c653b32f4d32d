//! The command line: the commands here, [`connection`] and [`run`] with options that several share,
//! [`values`] with what stands behind them.

pub mod connection;
pub mod run;
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use connection::{Connection, MaxList};
pub use run::{Names, RunOptions};
pub use values::{Guard, bandwidth, bytes};

use crate::converge::options::Converge;
use crate::jobs::options as jobs;
use crate::seal::Seal;
use crate::verify::options::Verify;

/// Mirrors folders to or from an rsync daemon, keeping dates and propagating deletions.
#[derive(Debug, Parser)]
#[command(name = "bascule", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make DST an exact copy of SRC: archive mode, nanosecond times, deletions, partial-dir.
    Mirror(Box<Mirror>),
    /// List the modules of a daemon, or the files of a module.
    List(List),
    /// Compare both ends, contents included, and change neither.
    Verify(Box<Verify>),
    /// Bring back what runs with --trash have deleted or overwritten.
    Restore(Restore),
    /// Write a bascule.toml with a job.
    Init(jobs::Init),
    /// Try jobs out against their targets, and say what has to be seen to.
    Check(jobs::Check),
    /// Windows: ask for a password and keep it in a file that only this machine can open.
    Seal(Seal),
    /// Run jobs of bascule.toml once, and keep what they did in the history.
    Run(jobs::Run),
    /// Run a job again and again until a run is short enough for the switch.
    Converge(Converge),
    /// Run jobs when they are due, as a service of systemd or Windows.
    #[command(subcommand)]
    Service(crate::service::options::Service),
    /// Send a test notice by mail and by webhook, as the configuration says, and say what came of it.
    Notify(crate::notices::command::Notify),
    /// Show how the jobs are: their last runs, and how long they took.
    Status(jobs::Status),
    /// Show the runs of the past.
    History(jobs::History),
    /// Show a job as a command line, also as one of a stock rsync.
    Show(jobs::Show),
    /// Show what a run of a job would change, by account and folder; change nothing.
    Diff(jobs::Diff),
}

/// The options of `bascule mirror`, with rsync's names and meanings.
#[derive(Debug, Args)]
pub struct Mirror {
    /// Sources, then the destination: local folders, `rsync://[user@]host[:port]/module/path`
    /// or `host::module/path`. With a trailing slash a source means its contents.
    #[arg(required = true, num_args = 2.., value_name = "SRC... DST")]
    pub paths: Vec<OsString>,
    /// The connection.
    #[command(flatten)]
    pub connection: Connection,
    /// Filters and options of the run.
    #[command(flatten)]
    pub run: RunOptions,
    /// Read files of a local source that other programs keep to themselves from a shadow copy of
    /// their volume, made when the first is met and removed at the end (Windows, administrators).
    #[arg(long)]
    pub shadow_copy: bool,
    /// Try again so often after the connection was not to be had, broke or fell silent.
    #[arg(long, value_name = "NUM", default_value_t = 10)]
    pub retries: u32,
    /// Seconds before the first new attempt; the wait doubles with each, up to a minute.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub retry_wait: u64,
    /// Print a JSON document about the run instead of the summary.
    #[arg(long)]
    pub json: bool,
    /// Show no progress even on a terminal.
    #[arg(long)]
    pub no_progress: bool,
}

/// Options of `bascule list`.
#[derive(Debug, Args)]
pub struct List {
    /// `rsync://[user@]host[:port]/` for the modules, `rsync://…/module/path` for files.
    pub url: OsString,
    /// The connection.
    #[command(flatten)]
    pub connection: Connection,
    /// The highest protocol to offer.
    #[arg(long, value_name = "NUM")]
    pub protocol: Option<u8>,
    /// How long the list may become.
    #[command(flatten)]
    pub list_limits: MaxList,
}

/// Options of `bascule restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The destination of those runs: a local folder or `rsync://…/module/path`.
    #[arg(required_unless_present = "job")]
    pub target: Option<OsString>,
    /// Files and folders to bring back, relative to TARGET; all of them if none is named.
    pub paths: Vec<OsString>,
    /// Not from the trash: mirror the target of JOB, as it is now, back to its sources, under the
    /// same guard. What is overwritten goes to the source's trash. All arguments are PATHS then.
    #[arg(long, value_name = "JOB", conflicts_with = "run")]
    pub job: Option<String>,
    /// With --job: delete at the source what the target does not have.
    #[arg(long, requires = "job")]
    pub delete: bool,
    /// With --job: up to NUM names may be deleted, whatever the guard says.
    #[arg(long, value_name = "NUM", requires = "job")]
    pub allow_deletes: Option<u64>,
    /// With --job: read the jobs from FILE instead of the system's bascule.toml.
    #[arg(long, value_name = "FILE", env = "BASCULE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// The run, such as 2026-11-25T22-30-00.000Z; without it the runs are listed.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Change nothing; with -i, show what would be changed.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print a line per change.
    #[arg(short = 'i', long)]
    pub itemize_changes: bool,
    /// Say nothing but errors.
    #[arg(short, long)]
    pub quiet: bool,
    /// The connection.
    #[command(flatten)]
    pub connection: Connection,
}

/// Parses what stands behind `bascule mirror`.
///
/// # Errors
/// When it makes no sense.
pub fn parse_mirror(line: Vec<OsString>) -> anyhow::Result<(Box<Mirror>, ArgMatches)> {
    let line = ["bascule".into(), "mirror".into()].into_iter().chain(line);
    let mut matches = Cli::command().try_get_matches_from(line)?;
    let Command::Mirror(mirror) = Cli::from_arg_matches(&matches)?.command else {
        anyhow::bail!("this is no mirror");
    };
    let (_, own) = matches.remove_subcommand().context("this is no mirror")?;
    Ok((mirror, own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_engine::ledger::ListLimits;
    use bascule_wire::options::DeleteGuard;

    fn mirror(line: &str) -> Result<Mirror, clap::Error> {
        let words = ["bascule", "mirror"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| match cli.command {
            Command::Mirror(mirror) => *mirror,
            _ => unreachable!("a mirror was asked for"),
        })
    }

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn takes_what_hands_type_by_habit() {
        let line = "-avz --delete --partial --progress -rlptgoD -P a b";
        let mirror = mirror(line).expect("accepted");
        assert_eq!((mirror.run.verbose, mirror.run.compress), (1, true));
        assert_eq!(mirror.paths.len(), 2);
    }

    #[test]
    fn sizes_have_rsyncs_units() {
        let run = mirror("--bwlimit=1.5m -B 2k --max-size=1g a b").expect("accepted").run;
        assert_eq!((run.bwlimit, run.block_size, run.max_size), (1536, Some(2048), Some(1 << 30)));
        let run = mirror("--bwlimit=100 a b").expect("accepted").run;
        assert_eq!((run.bwlimit, run.max_size), (100, None));
        assert_eq!(mirror("--bwlimit=1b a b").expect("accepted").run.bwlimit, 1);
        let hours = "--bwlimit-hours=08:00-18:00=2m --bwlimit-hours=22:00-06:00=0 a b";
        assert_eq!(mirror(hours).expect("accepted").run.bwlimit_hours.len(), 2);
        for wrong in ["-B 1m", "--bwlimit=fast", "--max-size=x"] {
            assert!(mirror(&format!("{wrong} a b")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_have_a_limit() {
        let run = mirror("a b").expect("accepted").run;
        assert_eq!(run.list_limits.limits(), ListLimits::default());
        let run = mirror("--max-entries=7 --max-list-memory=1m a b").expect("accepted").run;
        assert_eq!(run.list_limits.limits(), ListLimits { entries: 7, bytes: 1 << 20 });
    }

    #[test]
    fn guard_and_trash_have_defaults() {
        let run = mirror("a b").expect("accepted").run;
        assert_eq!(run.delete_guard, Guard::Beyond(DeleteGuard::default()));
        assert_eq!(run.trash, None);
        let run = mirror("--trash --delete-guard=off a b").expect("accepted").run;
        assert_eq!((run.trash, run.delete_guard), (Some(30), Guard::Off));
        let run = mirror("--trash=7 --delete-guard=5,1000 a b").expect("accepted").run;
        let guard = DeleteGuard { percent: 5, names: 1000, allowed: None };
        assert_eq!((run.trash, run.delete_guard), (Some(7), Guard::Beyond(guard)));
        for wrong in ["5", "101,5", "5,6,7", "on"] {
            assert!(mirror(&format!("--delete-guard={wrong} a b")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_shadow_copy_is_made_on_request_only() {
        assert!(!mirror("a b").expect("accepted").shadow_copy);
        assert!(mirror("--shadow-copy a b").expect("accepted").shadow_copy);
    }

    #[test]
    fn an_unknown_option_is_refused() {
        let error = mirror("--no-such-option a b").expect_err("refused").to_string();
        assert!(error.contains("--no-such-option"), "{error}");
    }
}
