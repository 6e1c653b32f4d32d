//! Whether what is to come back is there at all: a name that was mistyped is no success.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use bascule_engine::observe::{Event, Observer};
use bascule_engine::path::RelPath;
use bascule_engine::stop::Stop;

use super::{text, without_wildcards};
use crate::jobs::config::Job;
use crate::jobs::line::{self, Wanted};
use crate::location::{Location, Remote};
use crate::mirror;

/// Sees to it that the target of `job` has all of `parts`. A target that cannot be reached is the
/// trouble of the mirror that follows. `notes` is the folder of what is known of daemons.
///
/// # Errors
/// For the first part that is not there.
pub(super) async fn check(
    job: &Job,
    parts: &[RelPath],
    notes: &Path,
    stop: &Stop,
) -> anyhow::Result<()> {
    let target = Location::parse(job.target.as_ref())?;
    for part in parts {
        let is_there = match &target {
            Location::Local(folder) => {
                let found = Path::new(folder).join(text(part.as_bytes())).symlink_metadata();
                !found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            }
            Location::Remote(remote) => listed(job, remote, part, notes, stop).await?,
        };
        if !is_there {
            bail!("{part}: the target of the job has no such file or folder");
        }
    }
    Ok(())
}

/// Whether a daemon lists `part`; what keeps it from that is told later.
async fn listed(
    job: &Job,
    remote: &Remote,
    part: &RelPath,
    notes: &Path,
    stop: &Stop,
) -> anyhow::Result<bool> {
    let (mut cli, _) = line::parsed(job, &Wanted::default())?;
    cli.connection.notes = Some(notes.to_owned());
    let mut path = remote.path.strip_suffix(b"/").unwrap_or(&remote.path).to_vec();
    path.extend(path.last().map(|_| b'/'));
    path.extend(without_wildcards(part.as_bytes()));
    let remote = Remote { path, ..remote.clone() };
    let found = Arc::new(Found::default());
    let options = mirror::listing_options(&cli.connection, cli.run.protocol);
    let limits = cli.run.list_limits.limits();
    let observer = Arc::<Found>::clone(&found);
    let (_, outcome) =
        mirror::list_files(&remote, &cli.connection, options, limits, observer, stop.clone())
            .await?;
    Ok(outcome.is_err() || found.0.load(Ordering::Relaxed))
}

#[derive(Default)]
struct Found(AtomicBool);

impl Observer for Found {
    fn on(&self, event: &Event<'_>) {
        if matches!(event, Event::Entry(_)) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
