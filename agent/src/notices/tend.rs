//! The service's task: notices what no run notices, and sends.

use std::sync::Arc;
use std::time::Duration;

use bascule_engine::stop::Stop;
use jiff::{SignedDuration, Timestamp, Zoned};
use tokio::sync::watch;

use super::deliver::{Sender, changed};
use super::digest::Digest;
use super::note::{BELL, Noting, low, noting, ways};
use super::notice::{Event, Place, What};
use super::rules::{Silence, silent_hours};
use super::unusable::Unusable;
use crate::history::store::Store;
use crate::jobs::load::Loaded;
use crate::jobs::switched;

/// How often it is looked at the clock, the disks, and what other programs put into the queue.
const LOOK: Duration = Duration::from_secs(20);
/// A digest never looks further back.
const LONGEST_DIGEST: SignedDuration = SignedDuration::from_hours(7 * 24);
const ONE_DAY: SignedDuration = SignedDuration::from_hours(24);

/// Tends the notices until `stop`.
pub async fn tend(mut jobs: watch::Receiver<Arc<Loaded>>, stop: Stop) {
    let began = Timestamp::now();
    let mut seen = Seen::default();
    let mut is_first = true;
    while !stop.is_stopped() {
        let loaded = Arc::clone(&jobs.borrow_and_update());
        let mut wait = LOOK;
        if !ways(&loaded.config.notify).is_empty() {
            let starts = std::mem::replace(&mut is_first, false);
            let round = tokio::task::spawn_blocking(move || {
                (round(&loaded, began, &mut seen, starts), seen)
            });
            tokio::select! {
                done = round => {
                    // After a panic, which is in the log, the next round begins anew.
                    let (next, now) = done.unwrap_or((None, seen));
                    seen = now;
                    if let Some(next) = next {
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

/// What is seen of one round in the next.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    silence: Silence,
    unusable: Unusable,
}

/// Looks and sends once; gives when the next notice is due.
fn round(loaded: &Loaded, began: Timestamp, seen: &mut Seen, starts: bool) -> Option<Timestamp> {
    match look_and_send(loaded, began, &mut seen.silence, starts) {
        Ok(next) => {
            seen.unusable.seen(loaded, None);
            next
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(event = "notice.unsent", error, "notices cannot be sent");
            seen.unusable.seen(loaded, Some(&error));
            None
        }
    }
}

fn look_and_send(
    loaded: &Loaded,
    began: Timestamp,
    silence: &mut Silence,
    starts: bool,
) -> anyhow::Result<Option<Timestamp>> {
    if starts {
        // Whoever was sending something when the last service ended is gone.
        let store = Store::open(&loaded.state()?)?;
        changed(&store, |queue| queue.all_due(Timestamp::now()))?;
    }
    let noted = noting_all(loaded, began, silence);
    // What is in the queue goes even when nothing can be added.
    let next = Sender::of_service(loaded)?.send_due();
    noted.and(next)
}

fn noting_all(loaded: &Loaded, began: Timestamp, silence: &mut Silence) -> anyhow::Result<()> {
    let notify = &loaded.config.notify;
    let state = loaded.state()?;
    let least = notify.disk_low_bytes()?;
    // Most of the time there is nothing to write.
    noting(loaded, None, |noting| {
        match low(&state, least) {
            Some(text) => noting.holds(What::DiskLow { place: Place::State, text })?,
            None => _ = noting.ends(Event::DiskLow)?,
        }
        // Before the first run ever, the service is the first that could have begun one.
        let last = noting.store.last(None, 1)?.pop().map_or(began, |run| run.began);
        let silent = match silent_hours(last, noting.now, notify.silence_hours) {
            Some(_) if rest(loaded, noting.store)? => None,
            silent => silent,
        };
        match silent {
            Some(hours) if silence.has_settled() => noting.holds(What::NothingRan { hours })?,
            Some(_) => {}
            None => {
                silence.ends();
                noting.ends(Event::NothingRan)?;
            }
        }
        digest(loaded, noting, noting.now)
    })
}

/// Whether every job that has a schedule rests after its final run.
fn rest(loaded: &Loaded, store: &Store) -> anyhow::Result<bool> {
    let mut rest = false;
    for (name, _) in loaded.config.jobs.iter().filter(|(_, job)| job.schedule.is_some()) {
        rest = switched::in_history(store, &loaded.state()?, name)?;
        if !rest {
            break;
        }
    }
    Ok(rest)
}

fn digest(loaded: &Loaded, noting: &Noting<'_>, at: Timestamp) -> anyhow::Result<()> {
    let Some(time) = loaded.config.notify.digest_time()? else { return Ok(()) };
    let now = at.to_zoned(jiff::tz::TimeZone::system());
    let mut kept = noting.queue.condition(None, Event::Digest)?;
    let due = last_due(&now, time)?;
    // What was told long after now was told before the clock was set back.
    let told = kept.told.filter(|told| told.duration_since(at) < ONE_DAY);
    if told.is_some_and(|told| told >= due) {
        return Ok(());
    }
    // The first is due at the next such time, not at the one that has passed.
    kept.told = Some(told.map_or(due, |_| at));
    noting.queue.keep(None, Event::Digest, kept)?;
    let Some(told) = told else { return Ok(()) };
    // Each begins where the one before ended: every run is in one of them.
    let from = told.max(at - LONGEST_DIGEST);
    noting.put(What::Digest(Digest::of(loaded, noting.store, from, at)?), None)
}

/// The last moment, `now` included, at which a digest is due.
fn last_due(now: &Zoned, time: jiff::civil::Time) -> anyhow::Result<Timestamp> {
    let on = |date: jiff::civil::Date| date.to_datetime(time).to_zoned(now.time_zone().clone());
    let today = on(now.date())?;
    let due = if today <= *now { today } else { on(now.date().yesterday()?)? };
    Ok(due.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kind;
    use crate::notices::queue::Way;

    #[test]
    fn a_digest_is_due_at_its_time_of_each_day() {
        let due = |now: &str, zone: &str| {
            let now: Zoned = format!("2026-{now}:00[{zone}]").parse().expect("a moment");
            let due = last_due(&now, jiff::civil::time(2, 30, 0, 0)).expect("there is one");
            due.to_zoned(now.time_zone().clone()).strftime("%d. %H:%M %Z").to_string()
        };
        let berlin = "Europe/Berlin";
        assert_eq!(due("11-26T02:29", berlin), "25. 02:30 CET");
        assert_eq!(due("11-26T02:30", berlin), "26. 02:30 CET");
        // The hour that is left out, and the one that comes twice: each day has one.
        assert_eq!(due("03-29T03:10", berlin), "28. 02:30 CET");
        assert_eq!(due("03-29T03:30", berlin), "29. 03:30 CEST");
        assert_eq!(due("03-30T02:29", berlin), "29. 03:30 CEST");
        assert_eq!(due("10-25T04:00", berlin), "25. 02:30 CEST");
    }

    /// What a service with these settings has in its queue.
    struct Service {
        folder: tempfile::TempDir,
        loaded: Loaded,
        silence: Silence,
    }

    impl Service {
        fn new(settings: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let state = toml::Value::from(folder.path().to_string_lossy().into_owned());
            let text = format!(
                "state = {state}\n[jobs.mail]\nsources = [\"/a/\"]\ntarget = \"/b\"\n\
                 [notify]\ndisk_low = \"1\"\n{settings}\n\
                 [notify.webhook]\nurl = \"http://127.0.0.1:9/\"\n"
            );
            let config = crate::jobs::load::parse(&text).expect("it makes sense");
            let loaded = Loaded { file: "x.toml".into(), config };
            Self { folder, loaded, silence: Silence::settling_for(Duration::ZERO) }
        }

        fn store(&self) -> Store {
            Store::open(self.folder.path()).expect("a store")
        }

        fn taken(&self) -> Option<serde_json::Value> {
            let lease = SignedDuration::from_mins(2);
            changed(&self.store(), |queue| queue.take(Way::Webhook, Timestamp::now(), lease))
                .expect("readable")
                .map(|waiting| serde_json::from_str(&waiting.document).expect("JSON"))
        }
    }
    #[test]
    fn hours_without_a_run_are_told_once_until_one_begins() {
        let mut service = Service::new("");
        let hours_ago = |hours| Timestamp::now() - SignedDuration::from_hours(hours);
        let look = |service: &mut Service, began| {
            noting_all(&service.loaded, began, &mut service.silence).expect("noted");
            service.taken().map(|told| told["event"].clone())
        };
        // Nothing has run ever: that is not the fault of a service that began just now.
        assert_eq!(look(&mut service, Timestamp::now()), None);
        assert_eq!(look(&mut service, hours_ago(30)), Some("nothing.ran".into()));
        assert_eq!(look(&mut service, hours_ago(30)), None, "it was told");
        let store = service.store();
        store.begin("mail", Kind::Run, Timestamp::now(), None).expect("begun");
        assert_eq!(look(&mut service, hours_ago(30)), None);
        let kept = changed(&store, |queue| queue.condition(None, Event::NothingRan));
        assert_eq!(kept.expect("readable").since, None);
    }

    #[test]
    fn hours_without_a_run_outlast_restarts_and_what_is_overdue_begins_first() {
        let mut service = Service::new("");
        let long_ago = Timestamp::now() - SignedDuration::from_hours(30);
        service.store().begin("mail", Kind::Run, long_ago, None).expect("begun");
        service.silence = Silence::default();
        noting_all(&service.loaded, Timestamp::now(), &mut service.silence).expect("noted");
        assert_eq!(service.taken(), None, "the service began just now");
        service.silence = Silence::settling_for(Duration::ZERO);
        noting_all(&service.loaded, Timestamp::now(), &mut service.silence).expect("noted");
        assert_eq!(service.taken().expect("told")["details"]["hours"], 30);
    }

    #[test]
    fn digests_come_once_and_each_begins_where_the_last_ended() {
        let service = Service::new("digest = \"07:00\"");
        let at = |time: &str| {
            let time: jiff::civil::DateTime = format!("2026-11-{time}").parse().expect("a time");
            time.to_zoned(jiff::tz::TimeZone::system()).expect("there is one").timestamp()
        };
        let span = |now: &str| {
            noting(&service.loaded, None, |noting| digest(&service.loaded, noting, at(now)))
                .expect("noted");
            service.taken().map(|told| {
                let shown = |name: &str| {
                    let at: Timestamp = told["details"][name].as_str()?.parse().ok()?;
                    let at = at.to_zoned(jiff::tz::TimeZone::system());
                    Some(at.strftime("%dT%H:%M:%S").to_string())
                };
                (shown("from").unwrap_or_default(), shown("to").unwrap_or_default())
            })
        };
        let days = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        // The service starts after the time of the day: the first tells of the whole day.
        assert_eq!(span("02T10:00"), None);
        assert_eq!(span("03T06:59:59"), None);
        assert_eq!(span("03T07:00:12"), days("02T07:00:00", "03T07:00:12"));
        // Set back by a little or started again in that minute: not another one.
        assert_eq!(span("03T06:59:58"), None);
        assert_eq!(span("03T07:00:13"), None);
        // The service did not run for three days, and for weeks.
        assert_eq!(span("06T12:00"), days("03T07:00:12", "06T12:00:00"));
        assert_eq!(span("28T12:00"), days("21T12:00:00", "28T12:00:00"));
        // The clock was wrong and is right again: digests go on.
        assert_eq!(span("08T10:00"), None);
        assert_eq!(span("09T07:00"), days("08T07:00:00", "09T07:00:00"));
    }
}
