//! When something is told: once when it begins, again while it lasts, and not each time that it
//! comes and goes.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::notice::Event;

/// What comes back is told no sooner than this after it was told the last time.
const QUIET: SignedDuration = SignedDuration::from_hours(1);
/// What lasts is told again after this.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// Silence has to last for so long while the service looks on: what is overdue after a start, or when
/// the clock has jumped, begins first.
const SETTLING: Duration = Duration::from_secs(120);

/// Something that holds for a time: a job's runs fail, a disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// Since when it holds; `None` while it does not.
    pub since: Option<Timestamp>,
    /// When it was last told.
    pub told: Option<Timestamp>,
}

impl Condition {
    /// It holds at `now`; gives whether that is to be told.
    pub fn holds(&mut self, event: Event, now: Timestamp) -> bool {
        let since = self.since.map_or(now, |since| since.min(now));
        self.since = Some(since);
        // What was told long after now was told before the clock was set back.
        let told = self.told.filter(|told| told.duration_since(now) < QUIET);
        let is_due = match told {
            None => true,
            Some(told) if told < since => now.duration_since(told) >= QUIET,
            Some(told) => lasts_are_told(event) && now.duration_since(told) >= AGAIN,
        };
        if is_due {
            self.told = Some(now);
        }
        is_due
    }

    /// It does not hold any more; gives since when it did, if that was told: whoever was alarmed is
    /// to know.
    pub fn ends(&mut self) -> Option<Timestamp> {
        let since = self.since.take()?;
        self.told.is_some_and(|told| told >= since).then_some(since)
    }
}

/// Whether it is told again while it lasts: somebody has to do something about it.
fn lasts_are_told(event: Event) -> bool {
    !matches!(event, Event::Converged | Event::Stalled)
}

/// Whether so much time has passed without a run that it is to be told: gives the full hours.
pub fn silent_hours(last: Timestamp, now: Timestamp, after_hours: u32) -> Option<u32> {
    let passed = now.duration_since(last);
    let is_silent = after_hours > 0 && passed >= SignedDuration::from_hours(i64::from(after_hours));
    is_silent.then(|| u32::try_from(passed.as_hours()).unwrap_or(u32::MAX))
}

/// Hours without a run, as the service sees them go by.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    settling: Duration,
    /// When they were first seen, by a clock that nobody sets.
    seen: Option<Instant>,
}

impl Default for Silence {
    fn default() -> Self {
        Self::settling_for(SETTLING)
    }
}

impl Silence {
    /// Silence that has to last for `settling`.
    pub fn settling_for(settling: Duration) -> Self {
        Self { settling, seen: None }
    }

    /// It is silent now; gives whether that has been so for long enough to be believed.
    pub fn has_settled(&mut self) -> bool {
        self.seen.get_or_insert_with(Instant::now).elapsed() >= self.settling
    }

    /// Something ran.
    pub fn ends(&mut self) {
        self.seen = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(1_000_000 + minutes)
    }

    /// The minutes of `times` at which a failure is told.
    fn told(event: Event, times: impl Iterator<Item = i64>) -> Vec<i64> {
        let mut condition = Condition::default();
        times.filter(|minutes| condition.holds(event, at(*minutes))).collect()
    }

    #[test]
    fn a_night_of_failures_is_one_notice_and_a_second_day_another() {
        let night = told(Event::RunFailed, (0..12 * 60).step_by(10));
        assert_eq!(night, [0]);
        let days = told(Event::RunFailed, (0..49 * 60).step_by(10));
        assert_eq!(days, [0, 1440, 2880]);
        assert_eq!(told(Event::Converged, (0..49 * 60).step_by(10)), [0]);
    }

    #[test]
    fn the_end_is_told_to_those_who_know_of_the_beginning() {
        let mut condition = Condition::default();
        assert_eq!(condition.ends(), None);
        assert!(condition.holds(Event::RunFailed, at(0)));
        assert!(!condition.holds(Event::RunFailed, at(10)));
        assert_eq!(condition.ends(), Some(at(0)));
        assert_eq!(condition.ends(), None);
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
    fn a_clock_that_was_wrong_for_a_while_silences_nothing() {
        let mut condition = Condition::default();
        let in_years = 60 * 24 * 365 * 70;
        assert!(condition.holds(Event::RunFailed, at(in_years)));
        assert!(condition.holds(Event::RunFailed, at(0)), "it was set right");
        assert!(!condition.holds(Event::RunFailed, at(10)));
        assert!(condition.holds(Event::RunFailed, at(24 * 60)));
        assert_eq!(condition.ends(), Some(at(0)));
        // A step such as time servers make tells nothing twice.
        assert!(condition.holds(Event::RunFailed, at(48 * 60)));
        assert!(!condition.holds(Event::RunFailed, at(48 * 60 - 1)));
    }

    #[test]
    fn what_comes_and_goes_is_told_once_an_hour() {
        let mut condition = Condition::default();
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        for minute in (0..150).step_by(10) {
            if condition.holds(Event::RunFailed, at(minute)) {
                begins.push(minute);
            }
            if condition.ends().is_some() {
                ends.push(minute);
            }
        }
        assert_eq!((begins, ends), (vec![0, 60, 120], vec![0, 60, 120]));
        // What came back and stays is told when the hour is over.
        assert!(!condition.holds(Event::RunFailed, at(150)));
        assert!(!condition.holds(Event::RunFailed, at(179)));
        assert!(condition.holds(Event::RunFailed, at(180)));
        assert!(!condition.holds(Event::RunFailed, at(190)));
        assert_eq!(condition.ends(), Some(at(150)));
    }
}
