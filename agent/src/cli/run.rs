//! Options about what is transferred and how, with rsync's names and meanings.

use std::ffi::OsString;

use bascule_engine::generator::delete::PARTIAL_DIR;
use clap::{ArgAction, Args};

use super::connection::MaxList;
use super::values::{Guard, bandwidth, block_size, bytes, guard};
use crate::hours::HourLimit;

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
    #[arg(long, value_name = "DIR", default_value = PARTIAL_DIR)]
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
