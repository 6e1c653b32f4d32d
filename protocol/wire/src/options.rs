//! What a run was asked to do, in rsync's own terms. One structure serves the agent's command
//! line, the argument list sent to a server and the argument list read by one.

use crate::names::{ChecksumName, CompressName};

/// When the receiving side removes what the sender does not have (§15.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeleteTiming {
    /// One pass before the transfer.
    Before,
    /// Each directory when its turn comes: what plain `--delete` means since protocol 30.
    #[default]
    During,
    /// Found during, removed at the end.
    Delay,
    /// One pass at the end.
    After,
}

/// When deletions are held back altogether: one that a user did not expect is a disaster.
///
/// Between Bascule ends only: `--bascule-delete-guard=PERCENT,NAMES[,ALLOWED]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteGuard {
    /// Most names that may go, in percent of what the target holds…
    pub percent: u8,
    /// … unless there are no more than this many.
    pub names: u64,
    /// Most names that may go in this run, whatever the two above say.
    pub allowed: Option<u64>,
}

impl Default for DeleteGuard {
    fn default() -> Self {
        Self { percent: 10, names: 100, allowed: None }
    }
}

impl std::fmt::Display for DeleteGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{}", self.percent, self.names)?;
        self.allowed.map_or(Ok(()), |allowed| write!(f, ",{allowed}"))
    }
}

impl std::str::FromStr for DeleteGuard {
    type Err = &'static str;

    /// Reads `PERCENT,NAMES` or `PERCENT,NAMES,ALLOWED`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "expected PERCENT,NAMES such as 10,100";
        let mut numbers = text.split(',');
        let percent = numbers.next().and_then(|text| text.parse().ok()).ok_or(WRONG)?;
        let names = numbers.next().and_then(|text| text.parse().ok()).ok_or(WRONG)?;
        let allowed = numbers.next().map(str::parse).transpose().map_err(|_| WRONG)?;
        if percent > 100 || numbers.next().is_some() {
            return Err(WRONG);
        }
        Ok(Self { percent, names, allowed })
    }
}

/// A checksum choice: one name for transfers, one for the `-c` list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChecksumChoice {
    /// For blocks and whole files.
    pub transfer: ChecksumName,
    /// For the file list under `-c`.
    pub list: ChecksumName,
}

impl ChecksumChoice {
    /// Whether only another Bascule end can have it. Such a choice is offered by name in the
    /// negotiation (§5) instead of being dictated by an argument that a stock server stumbles on.
    pub fn is_ours_only(self) -> bool {
        self.transfer == ChecksumName::Blake3 && self.list == ChecksumName::Blake3
    }
}

/// All options of a run. The default is rsync's: everything off.
///
/// Names are rsync's long names with underscores; a field documents only what the name does not
/// say. Sizes are bytes, times are seconds. Options that this build does not carry out are never
/// stored here: they are refused by name when parsed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the fields are rsync's option names")]
pub struct Options {
    // What to walk.
    pub recurse: bool,
    /// `-d`: directories without their contents.
    pub dirs: bool,
    pub relative: bool,
    pub no_implied_dirs: bool,
    pub one_file_system: u8,
    pub copy_links: bool,
    pub copy_unsafe_links: bool,
    pub safe_links: bool,
    pub copy_dirlinks: bool,
    pub prune_empty_dirs: bool,
    pub list_only: bool,
    /// `Some(_)` when names come from a list; the value is the server-side name or `-`.
    pub files_from: Option<Vec<u8>>,
    pub from0: bool,
    pub cvs_exclude: bool,

    // What to keep.
    pub links: bool,
    /// `-H` count.
    pub hard_links: u8,
    pub owner: bool,
    pub group: bool,
    pub devices: bool,
    pub specials: bool,
    pub times: bool,
    pub omit_dir_times: bool,
    pub omit_link_times: bool,
    pub perms: bool,
    pub executability: bool,
    pub numeric_ids: bool,
    pub keep_dirlinks: bool,
    /// `--chmod`, one entry per use.
    pub chmod: Vec<String>,

    // What to transfer.
    pub checksum: bool,
    pub ignore_times: bool,
    pub size_only: bool,
    pub update: bool,
    pub existing: bool,
    pub ignore_existing: bool,
    /// Seconds by which times may differ and still be equal; -1 also compares nanoseconds.
    pub modify_window: i32,
    pub max_size: Option<u64>,
    pub min_size: Option<u64>,

    // How to transfer.
    /// `-W`, `--no-W`, or neither.
    pub whole_file: Option<bool>,
    pub block_size: Option<u32>,
    pub checksum_choice: Option<ChecksumChoice>,
    pub checksum_seed: Option<i32>,
    pub compress: bool,
    /// `--compress-choice` and its old spellings; suppresses the negotiation.
    pub compress_choice: Option<CompressName>,
    pub compress_level: Option<i32>,
    pub sparse: bool,
    pub inplace: bool,
    pub partial: bool,
    pub partial_dir: Option<Vec<u8>>,
    pub delay_updates: bool,
    pub temp_dir: Option<Vec<u8>>,
    pub preallocate: bool,
    pub fsync: bool,
    /// Success means that all of it is on stable storage, and no file takes its name before its
    /// content is. Between Bascule ends only: `--bascule-durable`.
    pub durable: bool,
    pub mkpath: bool,
    pub no_inc_recursive: bool,

    // What to delete.
    /// `Some` when deletion is on.
    pub delete: Option<DeleteTiming>,
    pub delete_excluded: bool,
    /// Most deletions of the run; `Some(0)` deletes nothing.
    pub max_delete: Option<u64>,
    pub ignore_errors: bool,
    pub force: bool,
    /// Holds deletions back until all of them are known; they are then late.
    pub delete_guard: Option<DeleteGuard>,

    // What to keep of what is deleted or overwritten.
    pub backup: bool,
    /// Relative to the destination.
    pub backup_dir: Option<Vec<u8>>,
    /// Behind the names in `backup_dir`.
    pub suffix: String,
    /// Removes dated backup dirs beside this one that are older, in days. Between Bascule ends
    /// only: `--bascule-trash-days`.
    pub trash_days: Option<u32>,

    // How to behave.
    pub dry_run: bool,
    pub verbose: u8,
    pub quiet: bool,
    /// Itemize count: 1 for `-i`, 2 for `-ii`.
    pub itemize: u8,
    pub stats: bool,
    /// Seconds without a byte before the run ends with code 30; 0 means none.
    pub timeout: u32,
    /// KiB per second; 0 means no limit.
    pub bwlimit: u64,
    pub secluded_args: bool,
    /// The highest protocol number to offer; `None` is the newest.
    pub protocol: Option<u8>,
}

impl Options {
    /// Rsync's `-a`: recursion and everything that a user sees of a file.
    pub fn archive() -> Self {
        Self {
            recurse: true,
            links: true,
            owner: true,
            group: true,
            devices: true,
            specials: true,
            times: true,
            perms: true,
            ..Self::default()
        }
    }

    /// Makes deletions late that are under guard: all have to be known before the first.
    pub fn delay_guarded_deletions(&mut self) {
        if self.delete_guard.is_some() && self.delete == Some(DeleteTiming::During) {
            self.delete = Some(DeleteTiming::Delay);
        }
    }

    /// Whether anything may be deleted for not being in the list.
    pub fn deletes(&self) -> bool {
        self.delete.is_some()
    }
}
