//! The service's task: notices what no run notices, and sends.

use std::sync::Arc;
use std::time::Duration;

use bascule_engine::stop::Stop;
use jiff::{SignedDuration, Timestamp, Zoned};
use tokio::sync::watch;

use super::deliver::{Sender, changed};
use super::digest::Digest;
use super::note::{BELL, Noting, low, noting, silent_hours, ways};
use super::notice::{Event, Place, What};
use crate::history::store::Store;
use crate::jobs::load::Loaded;

/// How often it is looked at the clock, the disks, and what other programs put into the queue.
const LOOK: Duration = Duration::from_secs(20);
/// A digest never looks further back.
const LONGEST_DIGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Tends the notices until `stop`.
pub async fn tend(mut jobs: watch::Receiver<Arc<Loaded>>, stop: Stop) {
    let began = Timestamp::now();
    let mut is_first = true;
    while !stop.is_stopped() {
        let loaded = Arc::clone(&jobs.borrow_and_update());
        let mut wait = LOOK;
        if !ways(&loaded.config.notify).is_empty() {
            let starts = std::mem::replace(&mut is_first, false);
            let round = tokio::task::spawn_blocking(move || round(&loaded, began, starts));
            tokio::select! {
                next = round => {
                    if let Some(next) = next.ok().flatten() {
                        let left = Duration::try_from(next.duration_since(Timestamp::now()));
                        wait = wait.min(left.unwrap_or_default().max(Duration::from_millis(200)));
                    }
                }
                // What is being sent is sent, or waits in the queue.
                () = bascule_session::client::stopped(&stop) => break,
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = BELL.notified() => {}
            // Without a sender there is no service any more; the stop says so.
            Ok(()) = jobs.changed() => {}
            () = bascule_session::client::stopped(&stop) => {}
        }
    }
}

/// Looks and sends once; gives when the next notice is due.
fn round(loaded: &Loaded, began: Timestamp, starts: bool) -> Option<Timestamp> {
    let done = || -> anyhow::Result<Option<Timestamp>> {
        if starts {
            // Whoever was sending something when the last service ended is gone.
            let store = Store::open(&loaded.state()?)?;
            changed(&store, |queue| queue.all_due(Timestamp::now()))?;
        }
        noting_all(loaded, began)?;
        Sender::of_service(loaded)?.send_due()
    };
    match done() {
        Ok(next) => next,
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(event = "notice.unsent", error, "notices cannot be sent");
            None
        }
    }
}

fn noting_all(loaded: &Loaded, began: Timestamp) -> anyhow::Result<()> {
    let notify = &loaded.config.notify;
    let state = loaded.state()?;
    let least = notify.disk_low_bytes()?;
    // Most of the time there is nothing to write.
    noting(loaded, None, |noting| {
        match low(&state, least) {
            Some(text) => noting.holds(What::DiskLow { place: Place::State, text })?,
            None => _ = noting.ends(Event::DiskLow)?,
        }
        let last = noting.store.last(None, 1)?.pop().map_or(began, |run| run.began.max(began));
        match silent_hours(last, noting.now, notify.silence_hours) {
            Some(hours) => noting.holds(What::NothingRan { hours })?,
            None => _ = noting.ends(Event::NothingRan)?,
        }
        digest(loaded, noting)
    })
}

fn digest(loaded: &Loaded, noting: &Noting<'_>) -> anyhow::Result<()> {
    let Some(time) = loaded.config.notify.digest_time()? else { return Ok(()) };
    let now = noting.now.to_zoned(jiff::tz::TimeZone::system());
    let mut kept = noting.queue.condition(None, Event::Digest)?;
    let Some(from) = span_begin(kept.told, &now, time) else {
        if kept.told.is_none() {
            // The first is due at the next such time, not at the one that has passed.
            kept.told = Some(noting.now);
            noting.queue.keep(None, Event::Digest, kept)?;
        }
        return Ok(());
    };
    let digest = Digest::of(loaded, noting.store, from, noting.now)?;
    kept.told = Some(noting.now);
    noting.queue.keep(None, Event::Digest, kept)?;
    noting.put(What::Digest(digest), None)
}

/// From when on a digest that is due now looks back; `None` if none is due. `told` is when the last
/// was made.
fn span_begin(told: Option<Timestamp>, now: &Zoned, time: jiff::civil::Time) -> Option<Timestamp> {
    let told = told?;
    let today = now.date().to_datetime(time).to_zoned(now.time_zone().clone()).ok()?;
    let due = if today <= *now { today } else { today.yesterday().ok()? };
    let due = due.timestamp();
    let day_before = due - SignedDuration::from_hours(24);
    (told < due).then(|| told.min(day_before).max(now.timestamp() - LONGEST_DIGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kind;
    use crate::notices::queue::Way;

    fn begin(told: Option<&str>, now: &str) -> Option<String> {
        let told = told.map(|text| text.parse::<Zoned>().expect("a moment").timestamp());
        let now: Zoned = now.parse().expect("a moment");
        let time = jiff::civil::time(7, 0, 0, 0);
        span_begin(told, &now, time)
            .map(|at| at.to_zoned(now.time_zone().clone()).strftime("%d. %H:%M").to_string())
    }

    #[test]
    fn a_digest_is_due_once_a_day_and_made_up_for_once() {
        let at = |text: &str| format!("2026-11-{text}:00[Europe/Berlin]");
        let last = at("25T07:00");
        assert_eq!(begin(None, &at("26T07:01")), None);
        assert_eq!(begin(Some(&last), &at("26T06:59")), None);
        assert_eq!(begin(Some(&last), &at("26T07:00")).as_deref(), Some("25. 07:00"));
        assert_eq!(begin(Some(&at("26T07:00")), &at("26T23:00")), None);
        // The service did not run for three days, and for a month.
        assert_eq!(begin(Some(&last), &at("28T12:00")).as_deref(), Some("25. 07:00"));
        assert_eq!(begin(Some(&at("01T07:00")), &at("28T12:00")).as_deref(), Some("21. 12:00"));
        // It started after the time of the day: the first digest comes the next day.
        assert_eq!(begin(Some(&at("26T10:00")), &at("26T10:01")), None);
        assert_eq!(begin(Some(&at("26T10:00")), &at("27T07:00")).as_deref(), Some("26. 07:00"));
    }

    #[test]
    fn silence_is_told_in_hours() {
        let at = |hours| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        assert_eq!(silent_hours(at(0), at(25), 26), None);
        assert_eq!(silent_hours(at(0), at(26), 26), Some(26));
        assert_eq!(silent_hours(at(0), at(50), 26), Some(50));
        assert_eq!(silent_hours(at(0), at(500), 0), None);
    }
    #[test]
    fn hours_without_a_run_are_told_once_until_one_begins() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = toml::Value::from(folder.path().to_string_lossy().into_owned());
        let text = format!(
            "state = {state}\n[jobs.mail]\nsources = [\"/a/\"]\ntarget = \"/b\"\n\
             [notify]\ndisk_low = \"1\"\n[notify.webhook]\nurl = \"http://127.0.0.1:9/\"\n"
        );
        let config = crate::jobs::load::parse(&text).expect("it makes sense");
        let loaded = Loaded { file: "x.toml".into(), config };
        let taken = || {
            let store = Store::open(folder.path()).expect("a store");
            let lease = SignedDuration::from_hours(1);
            changed(&store, |queue| queue.take(Way::Webhook, Timestamp::now(), lease))
                .expect("readable")
                .map(|waiting| waiting.event)
        };
        // The service began just now: it is not to blame for what was before.
        noting_all(&loaded, Timestamp::now()).expect("noted");
        assert_eq!(taken(), None);
        let began = Timestamp::now() - SignedDuration::from_hours(30);
        noting_all(&loaded, began).expect("noted");
        noting_all(&loaded, began).expect("noted");
        assert_eq!((taken().as_deref(), taken()), (Some("nothing.ran"), None));
        let store = Store::open(folder.path()).expect("a store");
        store.begin("mail", Kind::Run, Timestamp::now(), None).expect("begun");
        noting_all(&loaded, began).expect("noted");
        let kept = changed(&store, |queue| queue.condition(None, Event::NothingRan));
        assert_eq!(kept.expect("readable").since, None);
    }
}
