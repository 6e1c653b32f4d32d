//! The moment that packages bear, instead of that at which they are made: so the same sources give
//! the same bytes (<https://reproducible-builds.org/specs/source-date-epoch/>).

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::documents::root;

/// The variable that says it, in seconds since 1970.
pub const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The moment of the sources: `SOURCE_DATE_EPOCH`, or else that of their last commit.
///
/// # Errors
/// When neither is known.
pub fn of_the_sources() -> anyhow::Result<Timestamp> {
    let text = match env::var_os(VARIABLE) {
        Some(text) => text,
        None => of_the_last_commit()?,
    };
    let text = text.to_string_lossy();
    let parsed = text.trim().parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    parsed.with_context(|| format!("{VARIABLE}=\"{text}\" is no number of seconds since 1970"))
}

fn of_the_last_commit() -> anyhow::Result<OsString> {
    let git = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success());
    let seconds = git.and_then(|output| String::from_utf8(output.stdout).ok());
    seconds.map(Into::into).with_context(|| {
        format!("no repository tells the age of these sources; say it: {VARIABLE}=$(date +%s)")
    })
}
