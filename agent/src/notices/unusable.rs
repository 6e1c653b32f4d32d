//! That the history cannot be used: notices wait in the same database, so this one goes at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::deliver::Sender;
use super::note::{origin, ways};
use super::notice::{Event, Notice, What};
use super::queue::Queue;
use super::texts::render;
use crate::jobs::load::Loaded;

/// Beside the database: when it was told, as the file's date. A service that is started again and
/// again does not tell it each time.
const TOLD: &str = "history.unusable";
/// It is told again after this.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// What passes sooner is not told: somebody may hold the database, or move it.
const SETTLING: Duration = Duration::from_secs(120);

/// What a service that goes on sees of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unusable {
    since: Option<Instant>,
    /// When this service told it: the file may be as unusable as the history.
    told: Option<Instant>,
}

impl Unusable {
    /// It was used, or could not be, for this reason.
    pub(super) fn seen(&mut self, loaded: &Loaded, error: Option<&str>) {
        let Some(error) = error else {
            *self = Self::default();
            if let Some(file) = file(loaded).filter(|file| file.exists()) {
                // Else it is told a day later the next time.
                let _ = std::fs::remove_file(file);
            }
            return;
        };
        let is_told = self.told.is_some_and(|told| told.elapsed() < AGAIN);
        if self.since.get_or_insert_with(Instant::now).elapsed() < SETTLING || is_told {
            return;
        }
        let is_told = file(loaded).is_some_and(|file| was_told(&file));
        if is_told || send(loaded, error) {
            self.told = Some(Instant::now());
            if let Some(file) = file(loaded).filter(|_| !is_told) {
                keep(&file, error);
            }
        }
    }
}

/// Tells that the history of `loaded` cannot be used because of `error`, for a service that ends for
/// it: unless that was told within a day. Where nobody can keep that it was told, it is not: each start
/// of the service would tell it. What came of it is in the log.
pub fn tell(loaded: &Loaded, error: &str) {
    let Some(file) = file(loaded).filter(|file| !was_told(file)) else { return };
    if keep(&file, error) && !send(loaded, error) {
        // It is told the next time.
        let _ = std::fs::remove_file(file);
    }
}

fn was_told(file: &Path) -> bool {
    let date = file.metadata().and_then(|metadata| metadata.modified());
    date.is_ok_and(|date| SystemTime::now().duration_since(date).is_ok_and(|age| age < AGAIN))
}

/// Keeps that it was told; whether that worked.
fn keep(file: &Path, error: &str) -> bool {
    let is_kept = std::fs::write(file, error).is_ok();
    if !is_kept {
        // On a full disk an empty one stays behind.
        let _ = std::fs::remove_file(file);
    }
    is_kept
}

/// Sends the notice by every way; whether it has arrived by one.
fn send(loaded: &Loaded, error: &str) -> bool {
    let ways = ways(&loaded.config.notify);
    if ways.is_empty() || !loaded.config.notify.tells(Event::HistoryUnusable) {
        return false;
    }
    let what = What::HistoryUnusable { error: error.to_owned() }.legible();
    let notice = Notice { what, job: None, at: Timestamp::now(), since: None };
    let sent = Queue::unqueued(&notice, &render(&notice, &origin(loaded)))
        .and_then(|waiting| Ok((waiting, Sender::of_service(loaded)?)))
        .map(|(waiting, sender)| {
            let sent = ways.into_iter().map(|way| (way, sender.send(way, &waiting)));
            sent.collect::<Vec<_>>()
        });
    let mut arrived = false;
    for (way, sent) in sent.into_iter().flatten() {
        let (notice, way) = (Event::HistoryUnusable.as_str(), way.as_str());
        match sent {
            Ok(_) => {
                arrived = true;
                tracing::info!(event = "notice.sent", notice, way, "notice sent");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    event = "notice.failed",
                    notice,
                    way,
                    error,
                    "a notice could not be sent"
                );
            }
        }
    }
    arrived
}

fn file(loaded: &Loaded) -> Option<PathBuf> {
    Some(loaded.state().ok()?.join(TOLD))
}
