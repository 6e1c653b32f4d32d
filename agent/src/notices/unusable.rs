//! That the history cannot be used: notices wait in the same database, so this one goes at once.

use std::path::PathBuf;
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
pub(super) struct Unusable(Option<Instant>);

impl Unusable {
    /// It was used, or could not be, for this reason.
    pub(super) fn seen(&mut self, loaded: &Loaded, error: Option<&str>) {
        match error {
            None => {
                self.0 = None;
                if let Some(file) = told(loaded).filter(|file| file.exists()) {
                    // Else it is told a day later the next time.
                    let _ = std::fs::remove_file(file);
                }
            }
            Some(error) if self.0.get_or_insert_with(Instant::now).elapsed() >= SETTLING => {
                tell(loaded, error);
            }
            Some(_) => {}
        }
    }
}

/// Tells that the history of `loaded` cannot be used because of `error`, unless that was told within
/// a day. What came of it is in the log.
pub fn tell(loaded: &Loaded, error: &str) {
    let ways = ways(&loaded.config.notify);
    let Some(file) = told(loaded) else { return };
    let date = file.metadata().and_then(|metadata| metadata.modified());
    let age = date.ok().map(|date| SystemTime::now().duration_since(date).unwrap_or(AGAIN));
    if age.is_some_and(|age| age < AGAIN)
        || !loaded.config.notify.tells(Event::HistoryUnusable)
        || ways.is_empty()
        // Where that cannot be kept, each start of the service would tell it.
        || std::fs::write(&file, error).is_err()
    {
        return;
    }
    let what = What::HistoryUnusable { error: error.to_owned() }.legible();
    let notice = Notice { what, job: None, at: Timestamp::now(), since: None };
    let sent = Queue::unqueued(&notice, &render(&notice, &origin(loaded)))
        .and_then(|waiting| Ok((waiting, Sender::by_hand(loaded)?)))
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
                    "a notice could not be sent and is tried again"
                );
            }
        }
    }
    if !arrived {
        // It is told the next time.
        let _ = std::fs::remove_file(file);
    }
}

fn told(loaded: &Loaded) -> Option<PathBuf> {
    Some(loaded.state().ok()?.join(TOLD))
}
