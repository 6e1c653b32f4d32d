//! What stands in `bascule.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::notices::config::Notify;

/// The most days that runs may stay in the history.
pub const KEEP_DAYS_MOST: u32 = 36_500;
/// The most components of a path that may name an account.
pub const ACCOUNT_DEPTH_MOST: usize = 8;

/// The configuration of the agent: its jobs, and what it keeps about their runs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the history of the runs and the locks of the jobs are: a whole path, or one beside this
    /// file; by default in the user's state folder.
    #[serde(default)]
    pub state: Option<PathBuf>,
    /// For how many days runs stay in the history.
    #[serde(default = "keep_days")]
    #[schemars(range(min = 1, max = KEEP_DAYS_MOST))]
    pub keep_days: u32,
    /// Where the service tells what it does; nowhere if this is left out.
    #[serde(default)]
    pub metrics: Option<Metrics>,
    /// What is mirrored, by name.
    #[serde(default)]
    pub jobs: BTreeMap<String, Job>,
    /// Who is told what happens to them.
    #[serde(default)]
    pub notify: Notify,
}

/// Metrics for Prometheus, and health checks. There is no password: the address should be one of the
/// loopback interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address and port, such as `127.0.0.1:9873`.
    pub listen: String,
}

/// One job: sources, a target, and how to get from one to the other.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What is mirrored: folders of this machine, or paths in a module of one daemon. With a slash
    /// at the end a source means its contents.
    pub sources: Vec<String>,
    /// Where it goes: a folder, or `rsyncs://user@host/module/path#sha256=…`.
    pub target: String,
    /// Where the password is.
    #[serde(default)]
    pub password: Option<Secret>,
    /// How many components of a path name an account, for the figures by account: 1 for
    /// `user/inbox/1.imap`, 2 for `domain/user/inbox/1.imap`.
    #[serde(default = "account_depth")]
    #[schemars(range(max = ACCOUNT_DEPTH_MOST))]
    pub account_depth: usize,
    /// Names that are left out, as in `--exclude`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Rules as in `--filter`; they are looked at before `exclude`.
    #[serde(default)]
    pub filters: Vec<String>,
    /// What holds deletions back.
    #[serde(default)]
    pub guard: Guard,
    /// For how many days what is deleted or overwritten is kept at the target; not at all if this
    /// is left out.
    #[serde(default)]
    pub trash_days: Option<u32>,
    /// Success of every run means stable storage, not only that of the final one.
    #[serde(default)]
    pub durable: bool,
    /// When the service runs it; by hand only if this is left out.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// The hours of the day in which scheduled runs may begin, such as `19:00-07:00`.
    #[serde(default)]
    pub windows: Vec<String>,
    /// When its runs are short enough for the switch.
    #[serde(default)]
    pub goal: Goal,
    /// Most bytes per second, as in `--bwlimit`: KiB, or with a suffix such as `5m`.
    #[serde(default)]
    pub bandwidth: Option<String>,
    /// Another limit between two times of the day: `"08:00-18:00" = "2m"`; 0 is none.
    #[serde(default)]
    pub bandwidth_hours: BTreeMap<String, String>,
    /// Further options of `bascule mirror`.
    #[serde(default)]
    pub options: Vec<String>,
}

/// Where a secret is. It never stands in the configuration itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// In this file, which only its owner can read.
    File(PathBuf),
    /// In the credential of this name that systemd hands to the service.
    Credential(String),
    /// Windows: in this file, which `bascule seal` has encrypted for this machine (DPAPI).
    Dpapi(PathBuf),
}

/// When runs begin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// This long after the beginning of the one before, such as `15m`; at once if that took longer.
    Every(String),
    /// As a line of cron says: minute, hour, day, month, weekday.
    Cron(String),
}

/// When runs are short enough for the switch: as the options of `bascule converge`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Goal {
    /// A run takes less than this.
    pub under: String,
    /// And moves no more than so many files, deletions included.
    pub max_files: Option<u64>,
    /// And no more than so many bytes of files, such as `500m`.
    pub max_bytes: Option<String>,
    /// So many times in a row.
    #[schemars(range(min = 1))]
    pub times: u16,
}

impl Default for Goal {
    fn default() -> Self {
        Self { under: "10m".into(), max_files: None, max_bytes: None, times: 2 }
    }
}

/// What holds deletions back: as `--delete-guard=PERCENT,NAMES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Most names that may go, in percent of what the target holds…
    #[schemars(range(max = 100))]
    pub percent: u8,
    /// … unless there are no more than this many.
    pub names: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { percent: 10, names: 100 }
    }
}

fn keep_days() -> u32 {
    400
}

fn account_depth() -> usize {
    1
}

/// The JSON schema of the configuration, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}
