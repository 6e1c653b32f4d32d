//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::converge::options::Converge;
use crate::hours::HourLimit;
use crate::jobs::options as jobs;
use crate::seal::Seal;
use crate::verify::options::Verify;
use anyhow::Context as _;
use bascule_engine::ledger::ListLimits;
use bascule_wire::args::parse_size;
use bascule_wire::limits::MAX_BLOCK;
use bascule_wire::options::DeleteGuard;
use clap::{
    ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
};

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

/// How long the list of a daemon may become.
#[derive(Debug, Clone, Args)]
pub struct MaxList {
    /// End the run when a daemon lists more than NUM files and folders.
    #[arg(long, value_name = "NUM", default_value_t = ListLimits::default().entries)]
    pub max_entries: u64,
    /// End the run when a daemon's list takes more memory than SIZE at a time, such as 500m.
    #[arg(long, value_name = "SIZE", default_value = "4g", value_parser = bytes)]
    pub max_list_memory: u64,
}

impl Default for MaxList {
    fn default() -> Self {
        let ListLimits { entries, bytes } = ListLimits::default();
        Self { max_entries: entries, max_list_memory: bytes }
    }
}

impl MaxList {
    /// The same for a run.
    pub fn limits(&self) -> ListLimits {
        ListLimits { entries: self.max_entries, bytes: self.max_list_memory }
    }
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

/// How to reach and log in to a daemon.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Read the password from FILE ("-" for standard input); otherwise RSYNC_PASSWORD is used.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<OsString>,
    /// The daemon's port when the URL names none.
    #[arg(long, value_name = "PORT", default_value_t = 873)]
    pub port: u16,
    /// Give up when nothing has moved for this many seconds; 0 waits for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u32,
    /// Give up an address that has not answered after this many seconds; 0 leaves that to the
    /// system.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub contimeout: u64,
    /// For rsyncs://: trust the authorities in FILE (PEM) instead of this system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<OsString>,
    /// For rsyncs://: show the certificate in FILE (PEM) to the daemon.
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<OsString>,
    /// The key to --client-cert (PEM).
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<OsString>,
    /// Connect in the clear although this daemon was reached by TLS before.
    #[arg(long)]
    pub allow_plain: bool,
    /// Where it is noted which daemons speak TLS and which disks sources were on; by default the
    /// user's state folder.
    #[arg(skip)]
    pub notes: Option<PathBuf>,
}

impl Connection {
    /// The arguments that say the same.
    pub fn arguments(&self) -> Vec<OsString> {
        let Self { password_file, port, timeout, contimeout, .. } = self;
        let Self { ca_file, client_cert, client_key, allow_plain, .. } = self;
        let number = |number: u64| Some(number.to_string().into());
        let given = [
            ("--password-file", password_file.clone()),
            ("--port", number((*port).into())),
            ("--timeout", number((*timeout).into())),
            ("--contimeout", number(*contimeout)),
            ("--ca-file", ca_file.clone()),
            ("--client-cert", client_cert.clone()),
            ("--client-key", client_key.clone()),
        ];
        let pairs = given.into_iter().filter_map(|(name, value)| Some([name.into(), value?]));
        let mut line: Vec<OsString> = pairs.flatten().collect();
        line.extend(allow_plain.then(|| "--allow-plain".into()));
        line
    }
}

/// What to transfer and how.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// What is on already, accepted for the hand that types it.
    #[command(flatten)]
    pub preset: Preset,
    /// Change nothing; with -i, show what would be changed.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print a line per change; twice, also for what is the same.
    #[arg(short = 'i', long, action = ArgAction::Count)]
    pub itemize_changes: u8,
    /// Say more.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors.
    #[arg(short, long)]
    pub quiet: bool,
    /// Print rsync's statistics at the end.
    #[arg(long)]
    pub stats: bool,
    /// Compare contents instead of times.
    #[arg(short = 'c', long)]
    pub checksum: bool,
    /// Compress the data on the way.
    #[arg(short = 'z', long)]
    pub compress: bool,
    /// zstd, lz4, zlibx, zlib or none.
    #[arg(long, visible_alias = "zc", value_name = "NAME")]
    pub compress_choice: Option<String>,
    /// The compression's level.
    #[arg(long, visible_alias = "zl", value_name = "NUM")]
    pub compress_level: Option<i32>,
    /// xxh128, xxh3, xxh64, md5, md4, sha1, blake3 or none; two names for transfer and list.
    #[arg(long, visible_alias = "cc", value_name = "NAME")]
    pub checksum_choice: Option<String>,
    /// Preserve hard links.
    #[arg(short = 'H', long)]
    pub hard_links: bool,
    /// Send whole files instead of differences.
    #[arg(short = 'W', long, overrides_with = "no_whole_file")]
    pub whole_file: bool,
    /// Send differences even between local folders.
    #[arg(long)]
    pub no_whole_file: bool,
    /// Update files in place.
    #[arg(long)]
    pub inplace: bool,
    /// Turn runs of zeros into holes.
    #[arg(short = 'S', long)]
    pub sparse: bool,
    /// Block length in bytes, with a suffix such as k if need be.
    #[arg(short = 'B', long, value_name = "SIZE", value_parser = block_size)]
    pub block_size: Option<u32>,
    /// Seed of the block checksums.
    #[arg(long, value_name = "NUM")]
    pub checksum_seed: Option<i32>,
    /// Transfer files even when size and time are equal.
    #[arg(short = 'I', long)]
    pub ignore_times: bool,
    /// Compare sizes only.
    #[arg(long)]
    pub size_only: bool,
    /// Leave files alone that are newer on the target.
    #[arg(short, long)]
    pub update: bool,
    /// Create nothing new on the target.
    #[arg(long)]
    pub existing: bool,
    /// Change nothing that exists on the target.
    #[arg(long)]
    pub ignore_existing: bool,
    /// Leave out files larger than SIZE, such as 2g.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub max_size: Option<u64>,
    /// Leave out files smaller than SIZE.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub min_size: Option<u64>,
    /// Seconds by which times may differ; -1 compares nanoseconds (the default).
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = -1)]
    pub modify_window: i32,
    /// Delete before the transfer.
    #[arg(long)]
    pub delete_before: bool,
    /// Delete during the transfer (the default).
    #[arg(long, visible_alias = "del")]
    pub delete_during: bool,
    /// Find during, delete after the transfer.
    #[arg(long)]
    pub delete_delay: bool,
    /// Delete after the transfer.
    #[arg(long)]
    pub delete_after: bool,
    /// Delete what is missing at the source (on unless --no-delete).
    #[arg(long)]
    pub delete: bool,
    /// Delete nothing.
    #[arg(long)]
    pub no_delete: bool,
    /// Also delete what the filters exclude.
    #[arg(long)]
    pub delete_excluded: bool,
    /// Delete no more than NUM names.
    #[arg(long, value_name = "NUM")]
    pub max_delete: Option<u64>,
    /// Hold all deletions back when more than PERCENT of the target and more than NAMES names would
    /// go, or when the source has no files; "off" deletes whatever is missing at the source.
    #[arg(long, value_name = "PERCENT,NAMES", default_value = "10,100", value_parser = guard)]
    pub delete_guard: Guard,
    /// In this run let up to NUM names be deleted, whatever --delete-guard says.
    #[arg(long, value_name = "NUM")]
    pub allow_deletes: Option<u64>,
    /// Keep what is deleted or overwritten in .bascule-trash of the target, for DAYS days.
    #[arg(
        long,
        value_name = "DAYS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30"
    )]
    pub trash: Option<u32>,
    /// Delete even when the source could not be read completely.
    #[arg(long)]
    pub ignore_errors: bool,
    /// Delete directories that are in the way of files.
    #[arg(long)]
    pub force: bool,
    /// Keep owners and groups as numbers.
    #[arg(long)]
    pub numeric_ids: bool,
    /// Keep no owners.
    #[arg(long)]
    pub no_owner: bool,
    /// Keep no groups.
    #[arg(long)]
    pub no_group: bool,
    /// Keep no permissions.
    #[arg(long)]
    pub no_perms: bool,
    /// Leave directory times alone.
    #[arg(short = 'O', long)]
    pub omit_dir_times: bool,
    /// Leave symlink times alone.
    #[arg(short = 'J', long)]
    pub omit_link_times: bool,
    /// Leave out symlinks that point out of the tree.
    #[arg(long)]
    pub safe_links: bool,
    /// Send what symlinks point to.
    #[arg(short = 'L', long)]
    pub copy_links: bool,
    /// Stay on one file system.
    #[arg(short = 'x', long, action = ArgAction::Count)]
    pub one_file_system: u8,
    /// Keep interrupted files in DIR, beside each file.
    #[arg(long, value_name = "DIR", default_value = ".bascule-partial")]
    pub partial_dir: OsString,
    /// Keep no interrupted files.
    #[arg(long)]
    pub no_partial_dir: bool,
    /// Put all updated files in place at the end.
    #[arg(long)]
    pub delay_updates: bool,
    /// Report success only once everything is on the target's stable storage, and give no file its
    /// name before its content is there.
    #[arg(long)]
    pub durable: bool,
    /// Build files in DIR of the target instead of beside the final name.
    #[arg(short = 'T', long, value_name = "DIR")]
    pub temp_dir: Option<OsString>,
    /// Create missing parents of the destination.
    #[arg(long)]
    pub mkpath: bool,
    /// List the whole tree before the transfer.
    #[arg(long, visible_alias = "no-i-r")]
    pub no_inc_recursive: bool,
    /// Limit the bandwidth: KiB per second, or with a suffix such as 1.5m.
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = bandwidth)]
    pub bwlimit: u64,
    /// Another limit between two times of the day, for both directions; 0 is none. Can be repeated.
    #[arg(long, value_name = "FROM-TO=RATE")]
    pub bwlimit_hours: Vec<HourLimit>,
    /// The highest protocol to offer, 30 to 32.
    #[arg(long, value_name = "NUM")]
    pub protocol: Option<u8>,
    /// How long the list of a daemon may become.
    #[command(flatten)]
    pub list_limits: MaxList,
    /// Hide the arguments from the remote shell's rules.
    #[arg(short = 's', long, visible_alias = "protect-args")]
    pub secluded_args: bool,
    /// Which names take part.
    #[command(flatten)]
    pub names: Names,
}

/// Which names take part: rsync's filter rules, in the order in which they are given.
#[derive(Debug, Args)]
pub struct Names {
    /// Leave out names that match.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// Take in names that match.
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<OsString>,
    /// A filter rule such as "- *.tmp" or "P keep".
    #[arg(short = 'f', long, value_name = "RULE")]
    pub filter: Vec<OsString>,
    /// Exclude patterns from FILE, one per line.
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<OsString>,
    /// Include patterns from FILE, one per line.
    #[arg(long, value_name = "FILE")]
    pub include_from: Vec<OsString>,
}

/// The options that `bascule mirror` always has on.
#[derive(Debug, Args)]
pub struct Preset {
    /// On already, with all that it stands for.
    #[arg(short, long)]
    archive: bool,
    #[arg(short, long, hide = true)]
    recursive: bool,
    #[arg(short, long, hide = true)]
    links: bool,
    #[arg(short, long, hide = true, overrides_with = "no_perms")]
    perms: bool,
    #[arg(short, long, hide = true)]
    times: bool,
    #[arg(short, long, hide = true, overrides_with = "no_group")]
    group: bool,
    #[arg(short, long, hide = true, overrides_with = "no_owner")]
    owner: bool,
    #[arg(short = 'D', long = "devices", hide = true)]
    devices: bool,
    #[arg(long, hide = true)]
    specials: bool,
    #[arg(long, hide = true)]
    partial: bool,
    #[arg(long, hide = true)]
    progress: bool,
    #[arg(short = 'P', hide = true)]
    partial_progress: bool,
}

/// What holds deletions back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Off,
    /// More than these.
    Beyond(DeleteGuard),
}

fn guard(text: &str) -> Result<Guard, &'static str> {
    match text {
        "off" => Ok(Guard::Off),
        limits if limits.matches(',').count() == 1 => limits.parse().map(Guard::Beyond),
        _ => Err("expected PERCENT,NAMES such as 10,100, or off"),
    }
}

pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    parse_size(text, b'b').ok_or_else(|| "expected a size such as 5000, 700k or 1.5g".to_owned())
}

fn block_size(text: &str) -> Result<u32, String> {
    let size = bytes(text)?;
    u32::try_from(size)
        .ok()
        .filter(|size| *size <= MAX_BLOCK)
        .ok_or_else(|| format!("a block has at most {MAX_BLOCK} bytes"))
}

/// KiB per second, rounded up so that a small limit is not none.
pub(crate) fn bandwidth(text: &str) -> Result<u64, String> {
    let rate = parse_size(text, b'k');
    rate.map(|rate| rate.div_ceil(1024))
        .ok_or_else(|| "expected a rate such as 500 (KiB per second) or 1.5m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
