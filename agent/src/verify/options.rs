//! The command line of `bascule verify`.

use std::ffi::OsString;
use std::path::PathBuf;

use bascule_engine::generator::delete::PARTIAL_DIR;
use clap::Args;

use crate::cli::{Connection, MaxList, Names};

/// The options of `bascule verify`.
#[derive(Debug, Args)]
#[command(override_usage = "bascule verify [OPTIONS] SRC DST\n       bascule verify --check FILE")]
#[command(after_help = "\
Exit codes: 0 identical; 23 not identical, or something could not be read; 24 only differences in \
names that changed meanwhile; 20 interrupted; others as `bascule mirror`. With --check: 0 \
unaltered, 23 altered, 3 no report.")]
pub struct Verify {
    /// The ends, as `bascule mirror` takes them: one of them may be a daemon's. With a trailing
    /// slash SRC means its contents.
    #[arg(required_unless_present = "check", num_args = 2, value_names = ["SRC", "DST"])]
    pub paths: Vec<OsString>,
    /// Write a report for machines to FILE: JSON, with a digest of itself.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Say whether the report in FILE is as it was written, and what it says.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "report", "resume"])]
    pub check: Option<PathBuf>,
    /// Note in FILE what was read, so that an interrupted verification can go on from there; it is
    /// removed at the end.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Compare permissions, too.
    #[arg(short, long)]
    pub perms: bool,
    /// Compare owners and groups, too: by number.
    #[arg(short, long)]
    pub owner: bool,
    /// Seconds by which times may differ; -1 compares nanoseconds.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = -1)]
    pub modify_window: i32,
    /// Leave out the times of directories.
    #[arg(short = 'O', long)]
    pub omit_dir_times: bool,
    /// Leave out the times of symlinks.
    #[arg(short = 'J', long)]
    pub omit_link_times: bool,
    /// Stay on one file system.
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
    /// Read with NUM threads; one for each processor unless given.
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Leave out the directories in which a mirror keeps interrupted files.
    #[arg(long, value_name = "DIR", default_value = PARTIAL_DIR)]
    pub partial_dir: OsString,
    /// Say nothing but errors; the exit code tells.
    #[arg(short, long)]
    pub quiet: bool,
    /// Show no progress even on a terminal.
    #[arg(long)]
    pub no_progress: bool,
    /// The highest protocol to offer, 30 to 32.
    #[arg(long, value_name = "NUM")]
    pub protocol: Option<u8>,
    /// The connection.
    #[command(flatten)]
    pub connection: Connection,
    /// How long the list of a daemon may become.
    #[command(flatten)]
    pub list_limits: MaxList,
    /// Which names take part.
    #[command(flatten)]
    pub names: Names,
}
