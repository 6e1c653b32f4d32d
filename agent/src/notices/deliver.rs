//! Sends what waits in the queue.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::config::Notify;
use super::note::{host, ways};
use super::queue::{LONGEST_WAIT, Queue, Waiting, Way};
use super::{mail, webhook};
use crate::history::store::Store;
use crate::jobs::load::Loaded;

/// How long the service waits until a server has taken a notice: some greet late on purpose.
const PATIENCE: Duration = Duration::from_secs(45);
/// Nothing more is begun after this before the service looks at everything again.
const ROUND: Duration = Duration::from_secs(20);
/// The same for a command after its runs, whom somebody waits for.
const PATIENCE_BY_HAND: Duration = Duration::from_secs(5);
const BY_HAND: Duration = Duration::from_secs(10);
/// What somebody has taken is free again after this: its program was killed.
const LEASE: SignedDuration = SignedDuration::from_mins(2);
/// The first wait after a failure; each is twice the one before.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(5);
/// What could not be sent for so long is given up: whoever reads it then would be misled.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);
/// Not before so many attempts: the service may have been away for days, or the clock was wrong when
/// the notice was made.
const FEWEST_ATTEMPTS: u32 = 10;

/// Sends notices of one configuration.
#[derive(Debug, Clone)]
pub struct Sender {
    notify: Notify,
    state: PathBuf,
    host: String,
    patience: Duration,
    /// Nothing more is begun after this.
    until: Instant,
}

impl Sender {
    /// As the service sends them.
    ///
    /// # Errors
    /// When there is no state folder.
    pub fn of_service(loaded: &Loaded) -> anyhow::Result<Self> {
        let notify = loaded.config.notify.clone();
        let (state, until) = (loaded.state()?, Instant::now() + ROUND);
        Ok(Self { notify, state, host: host(), patience: PATIENCE, until })
    }

    /// As a command sends them that somebody waits for.
    ///
    /// # Errors
    /// When there is no state folder.
    pub fn by_hand(loaded: &Loaded) -> anyhow::Result<Self> {
        let until = Instant::now() + BY_HAND;
        Ok(Self { patience: PATIENCE_BY_HAND, until, ..Self::of_service(loaded)? })
    }

    /// Sends what is due, by both ways at a time; gives when it is to be done again.
    ///
    /// # Errors
    /// When the queue cannot be used.
    pub fn send_due(&self) -> anyhow::Result<Option<Timestamp>> {
        let configured = ways(&self.notify);
        std::thread::scope(|threads| {
            let sending = configured.iter().map(|way| threads.spawn(|| self.send_by(*way)));
            let sending: Vec<_> = sending.collect();
            sending.into_iter().try_for_each(|way| match way.join() {
                Ok(sent) => sent,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let store = Store::open(&self.state)?;
        for way in Way::ALL.into_iter().filter(|way| !configured.contains(way)) {
            let before = Timestamp::now() - GIVEN_UP_AFTER;
            changed(&store, |queue| queue.forget(way, before))?;
        }
        changed(&store, |queue| queue.next_due(&configured))
    }

    fn send_by(&self, way: Way) -> anyhow::Result<()> {
        let store = Store::open(&self.state)?;
        while Instant::now() < self.until {
            let taken = changed(&store, |queue| queue.take(way, Timestamp::now(), LEASE))?;
            let Some(notice) = taken else { break };
            // Between the two nothing is locked: servers may be slow.
            let sent = self.send(way, &notice);
            let now = Timestamp::now();
            let is_good = sent.is_ok();
            changed(&store, |queue| after(queue, way, &notice, sent, now))?;
            if !is_good {
                break;
            }
        }
        Ok(())
    }

    /// Sends one notice by one way; gives whom the server refused while it took it for others.
    ///
    /// # Errors
    /// Why it was not taken, or that the way is not configured.
    pub fn send(&self, way: Way, notice: &Waiting) -> anyhow::Result<Vec<String>> {
        match (way, &self.notify.mail, &self.notify.webhook) {
            (Way::Mail, Some(mail), _) => mail::send(mail, notice, &self.host, self.patience),
            (Way::Webhook, _, Some(webhook)) => {
                webhook::send(webhook, notice, self.patience).map(|()| Vec::new())
            }
            _ => anyhow::bail!("{} is not configured", way.as_str()),
        }
    }
}

/// Changes the queue.
pub(super) fn changed<T>(
    store: &Store,
    change: impl FnOnce(&Queue<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let queue = Queue::open(store)?;
    let changed = change(&queue)?;
    queue.commit()?;
    Ok(changed)
}

/// Notes what came of an attempt.
fn after(
    queue: &Queue<'_>,
    way: Way,
    notice: &Waiting,
    sent: anyhow::Result<Vec<String>>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let (name, job, way_name) = (&notice.event, notice.job.as_deref(), way.as_str());
    let attempts = notice.attempts;
    let error = match sent {
        Ok(refused) => {
            queue.remove(notice.number)?;
            queue.is_good(way, now)?;
            tracing::info!(
                event = "notice.sent",
                notice = name,
                job,
                way = way_name,
                attempts,
                "notice sent"
            );
            for recipient in refused {
                tracing::warn!(
                    event = "notice.refused",
                    notice = name,
                    job,
                    recipient,
                    "the mail server took a notice for others, not for this recipient: correct `to`"
                );
            }
            return Ok(());
        }
        Err(error) => error,
    };
    let error = format!("{error:#}");
    if now.duration_since(notice.made) >= GIVEN_UP_AFTER && attempts >= FEWEST_ATTEMPTS {
        queue.remove(notice.number)?;
        tracing::error!(
            event = "notice.given_up",
            notice = name,
            job,
            way = way_name,
            attempts,
            error,
            "a notice could not be sent for three days and is given up"
        );
        return Ok(());
    }
    let next = now + wait_after(attempts);
    queue.is_bad(way, notice.number, &error, next)?;
    tracing::warn!(
        event = "notice.failed",
        notice = name,
        job,
        way = way_name,
        attempts,
        error,
        "a notice could not be sent and is tried again"
    );
    Ok(())
}

/// How long to wait after so many attempts.
fn wait_after(attempts: u32) -> SignedDuration {
    let doublings = 2_i32.saturating_pow(attempts.saturating_sub(1).min(20));
    FIRST_WAIT.saturating_mul(doublings).min(LONGEST_WAIT)
}

/// Sends what a command has found out, unless that takes too long: what is left waits for the
/// service or for the next command.
pub async fn by_hand(loaded: &Loaded) {
    if ways(&loaded.config.notify).is_empty() {
        return;
    }
    let Ok(sender) = Sender::by_hand(loaded) else { return };
    let sending = tokio::task::spawn_blocking(move || sender.send_due());
    // Whatever it was, it waits in the queue.
    let _ = tokio::time::timeout(BY_HAND, sending).await;
}

/// How many notices wait in the folder `state`.
///
/// # Errors
/// When the queue cannot be read.
pub fn waiting(state: &Path) -> anyhow::Result<u64> {
    changed(&Store::open(state)?, |queue| queue.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notices::notice::{Notice, What};
    use crate::notices::texts::{Origin, render};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a moment")
    }

    fn put(store: &Store, run: i64, seconds: i64, ways: &[Way]) {
        let what = What::RunRecovered { run };
        let notice = Notice { what, job: Some("mail".into()), at: at(seconds), since: None };
        let origin = Origin { host: "mail1".into(), option: String::new() };
        let text = render(&notice, &origin);
        changed(store, |queue| queue.put(&notice, &text, ways)).expect("put");
    }

    fn take(store: &Store, way: Way, seconds: i64) -> Option<Waiting> {
        changed(store, |queue| queue.take(way, at(seconds), LEASE)).expect("readable")
    }

    type Sent = anyhow::Result<Vec<String>>;

    fn told(store: &Store, way: Way, notice: &Waiting, sent: Sent, seconds: i64) {
        changed(store, |queue| after(queue, way, notice, sent, at(seconds))).expect("written");
    }

    fn no() -> Sent {
        Err(anyhow::anyhow!("no"))
    }

    fn yes() -> Sent {
        Ok(Vec::new())
    }

    #[test]
    fn what_is_taken_is_nobody_elses_until_its_taker_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        put(&store, 1, 0, &Way::ALL);
        let mail = take(&store, Way::Mail, 0).expect("it is due");
        assert_eq!(
            (mail.attempts, &mail.subject[..]),
            (1, "[bascule mail1] mail: runs work again")
        );
        assert_eq!(take(&store, Way::Mail, 60), None);
        assert_eq!(take(&store, Way::Mail, 120).map(|again| again.id), Some(mail.id.clone()));
        // The other way is its own matter, and knows it by the same name.
        let post = take(&store, Way::Webhook, 0).expect("it is due");
        assert_eq!(post.id, mail.id);
        let document: serde_json::Value = serde_json::from_str(&post.document).expect("JSON");
        assert_eq!(
            (&document["event"], &document["id"]),
            (&"run.recovered".into(), &post.id.into())
        );
        told(&store, Way::Mail, &mail, yes(), 121);
        assert_eq!(take(&store, Way::Mail, 100_000), None);
    }

    #[test]
    fn a_way_that_fails_is_tried_less_and_less_and_all_goes_when_it_works() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        put(&store, 1, 0, &[Way::Mail]);
        let first = take(&store, Way::Mail, 0).expect("due");
        put(&store, 2, 0, &[Way::Mail]);
        told(&store, Way::Mail, &first, no(), 0);
        assert_eq!(take(&store, Way::Mail, 4), None);
        // The one that was not tried yet is tried first: the other may be what is wrong.
        let second = take(&store, Way::Mail, 5).expect("due");
        assert_ne!(second.id, first.id);
        told(&store, Way::Mail, &second, no(), 5);
        put(&store, 3, 6, &[Way::Mail]);
        let third = take(&store, Way::Mail, 6).expect("new, so due");
        told(&store, Way::Mail, &third, yes(), 6);
        assert!(take(&store, Way::Mail, 6).is_some() && take(&store, Way::Mail, 6).is_some());
        assert_eq!(take(&store, Way::Mail, 6), None);
        let waits: Vec<i64> = [1, 2, 3, 8, 9, 400].map(|n| wait_after(n).as_secs()).into();
        assert_eq!(waits, [5, 10, 20, 640, 900, 900]);
    }

    #[test]
    fn after_three_days_a_notice_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let days = 72 * 3600;
        put(&store, 1, 0, &[Way::Mail]);
        let mut last = days - 1;
        for attempt in 1..=10 {
            assert_eq!(waiting(folder.path()).expect("readable"), 1, "{attempt}");
            let notice = take(&store, Way::Mail, last).expect("due still");
            told(&store, Way::Mail, &notice, no(), last);
            last += 901;
        }
        assert_eq!(waiting(folder.path()).expect("readable"), 0);
        // Of a way that is not configured any more as well.
        put(&store, 2, 0, &[Way::Webhook]);
        changed(&store, |queue| queue.forget(Way::Webhook, at(-1))).expect("written");
        assert_eq!(waiting(folder.path()).expect("readable"), 1);
        changed(&store, |queue| queue.forget(Way::Webhook, at(1))).expect("written");
        assert_eq!(waiting(folder.path()).expect("readable"), 0);
    }
}
