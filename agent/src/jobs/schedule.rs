//! When a job is due: every so often or by a cron line, within hours of the day.

use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use croner::Cron;
use jiff::{SignedDuration, Zoned};

use super::config::{Job, Schedule};
use crate::hours::Hours;

/// When the runs of a job begin.
#[derive(Debug, Clone)]
pub struct Plan {
    when: When,
    /// Runs begin only within these; at any time if there are none.
    windows: Vec<Hours>,
}

#[derive(Debug, Clone)]
enum When {
    Every(SignedDuration),
    Cron(Box<Cron>),
}

impl Plan {
    /// The plan of a job; `None` if it is run by hand only.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn of(job: &Job) -> anyhow::Result<Option<Self>> {
        let windows = job.windows.iter().map(|text| Hours::parse(text));
        let windows = windows.collect::<anyhow::Result<_>>().context("`windows`")?;
        let when = match &job.schedule {
            None if job.windows.is_empty() => return Ok(None),
            None => bail!("`windows` without a `schedule`: say how often the job is to run"),
            Some(Schedule::Every(text)) => When::Every(every(text).context("`schedule.every`")?),
            Some(Schedule::Cron(line)) => {
                let cron = Cron::from_str(line)
                    .with_context(|| format!("`schedule.cron`: \"{}\"", line.escape_debug()))?;
                When::Cron(Box::new(cron))
            }
        };
        Ok(Some(Self { when, windows }))
    }

    /// When the job is to go on that was stopped in a run that began at `stopped`: as if that one had not
    /// begun. `last` is when the one before it began.
    pub fn again(&self, last: Option<&Zoned>, stopped: &Zoned, now: &Zoned) -> Option<Zoned> {
        match (&self.when, last) {
            // Without one before it, it was itself what the cron line asked for, or somebody's wish.
            (When::Cron(_), None) => {
                let before = stopped.saturating_sub(SignedDuration::from_mins(1));
                self.next(Some(&before), now)
            }
            _ => self.next(last, now),
        }
    }

    /// When the job is to run next: `now` if it is due, or was due and did not run. `last` is when
    /// its last run began. `None` when a cron line names no moment to come.
    pub fn next(&self, last: Option<&Zoned>, now: &Zoned) -> Option<Zoned> {
        let due = match (&self.when, last) {
            (When::Every(_), None) => now.clone(),
            (When::Every(span), Some(last)) => last.saturating_add(*span),
            // One that was missed is made up for, once; before the first run nothing was.
            (When::Cron(cron), last) => {
                cron.find_next_occurrence(last.unwrap_or(now), last.is_none()).ok()?
            }
        };
        self.open(due, now)
    }

    /// When a job that has never run, and is watched since `since`, is to run: a moment of its
    /// schedule that passed without a run is made up for.
    pub fn first(&self, since: &Zoned, now: &Zoned) -> Option<Zoned> {
        match &self.when {
            When::Every(_) => self.next(None, now),
            When::Cron(cron) => self.open(cron.find_next_occurrence(since, true).ok()?, now),
        }
    }

    /// The moment `due`, or `now` if that has passed, or the next at which a window opens.
    fn open(&self, due: Zoned, now: &Zoned) -> Option<Zoned> {
        let due = due.max(now.clone());
        if self.windows.is_empty() || self.windows.iter().any(|hours| hours.contains(due.time())) {
            return Some(due);
        }
        self.windows.iter().filter_map(|hours| next_opening(&due, hours)).min()
    }
}

/// The next moment after `after` at which a window opens.
fn next_opening(after: &Zoned, window: &Hours) -> Option<Zoned> {
    let mut day = after.date();
    // A day may lack the time, when clocks are put forward: the moment after that is taken, unless the
    // day lacks all of the window.
    for _ in 0..3 {
        let moment = day.to_datetime(window.from).to_zoned(after.time_zone().clone()).ok()?;
        if moment > *after && window.contains(moment.time()) {
            return Some(moment);
        }
        day = day.tomorrow().ok()?;
    }
    None
}

/// How often.
fn every(text: &str) -> anyhow::Result<SignedDuration> {
    let wrong = || format!("\"{}\" is no time such as 15m or 1h30m", text.escape_debug());
    let span: SignedDuration = text.parse().ok().with_context(wrong)?;
    if span < SignedDuration::from_secs(1) {
        bail!("{}: it has to be at least a second", wrong());
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::load;

    fn plan(text: &str) -> anyhow::Result<Option<Plan>> {
        let text = format!("[jobs.a]\nsources = [\"a/\"]\ntarget = \"b\"\n{text}");
        Plan::of(&load::parse(&text)?.jobs["a"])
    }

    fn at(text: &str) -> Zoned {
        text.parse().expect("a moment")
    }

    fn next(text: &str, last: Option<&str>, now: &str) -> String {
        let plan = plan(text).expect("it makes sense").expect("a plan");
        let next = plan.next(last.map(at).as_ref(), &at(now)).expect("some time");
        next.to_string()
    }

    #[test]
    fn every_so_often_and_at_once_when_it_is_late() {
        let text = "schedule.every = \"15m\"";
        let now = "2026-11-26T10:00:00+01:00[Europe/Paris]";
        assert_eq!(next(text, None, now), now);
        let before = "2026-11-26T09:50:00+01:00[Europe/Paris]";
        assert_eq!(next(text, Some(before), now), "2026-11-26T10:05:00+01:00[Europe/Paris]");
        let long_ago = "2026-11-25T09:50:00+01:00[Europe/Paris]";
        assert_eq!(next(text, Some(long_ago), now), now);
    }

    #[test]
    fn by_cron_and_once_for_what_was_missed() {
        let text = "schedule.cron = \"30 2 * * *\"";
        let now = "2026-11-26T10:00:00+01:00[Europe/Paris]";
        assert_eq!(next(text, None, now), "2026-11-27T02:30:00+01:00[Europe/Paris]");
        let today = "2026-11-26T02:30:00+01:00[Europe/Paris]";
        assert_eq!(next(text, Some(today), now), "2026-11-27T02:30:00+01:00[Europe/Paris]");
        let before = "2026-11-24T02:30:00+01:00[Europe/Paris]";
        assert_eq!(next(text, Some(before), now), now);
    }

    #[test]
    fn what_was_stopped_goes_on() {
        let again = |text: &str, last: Option<&str>, stopped: &str, now: &str| {
            let plan = plan(text).expect("it makes sense").expect("a plan");
            let next = plan.again(last.map(at).as_ref(), &at(stopped), &at(now));
            next.expect("some time").to_string()
        };
        let zone = |text: &str| format!("2026-11-{text}:00+01:00[Europe/Paris]");
        let (every, cron) = ("schedule.every = \"6h\"", "schedule.cron = \"30 2 * * *\"");
        let now = zone("26T03:00");
        for (text, last, stopped, due) in [
            (every, None, zone("26T02:50"), &now),
            (every, Some(zone("25T20:50")), zone("26T02:50"), &now),
            (cron, None, zone("26T02:30"), &now),
            (cron, Some(zone("25T02:30")), zone("26T02:30"), &now),
            // By hand, in between.
            (cron, None, zone("26T02:50"), &zone("27T02:30")),
            (cron, Some(zone("26T02:30")), zone("26T02:50"), &zone("27T02:30")),
        ] {
            assert_eq!(&again(text, last.as_deref(), &stopped, &now), due, "{text} {stopped}");
        }
    }

    #[test]
    fn once_a_day_also_when_clocks_are_put_forward_or_back() {
        let text = "schedule.cron = \"30 2 * * *\"";
        // 02:30 does not exist on that day in spring, and twice on that in autumn.
        let spring = "2026-03-28T02:30:00+01:00[Europe/Paris]";
        let now = "2026-03-28T12:00:00+01:00[Europe/Paris]";
        assert_eq!(next(text, Some(spring), now), "2026-03-29T03:00:00+02:00[Europe/Paris]");
        let made_up = "2026-03-29T03:00:00+02:00[Europe/Paris]";
        let later = "2026-03-29T03:01:00+02:00[Europe/Paris]";
        assert_eq!(next(text, Some(made_up), later), "2026-03-30T02:30:00+02:00[Europe/Paris]");
        let autumn = "2026-10-25T02:30:00+02:00[Europe/Paris]";
        for now in
            ["2026-10-25T02:31:00+02:00[Europe/Paris]", "2026-10-25T02:29:00+01:00[Europe/Paris]"]
        {
            assert_eq!(next(text, Some(autumn), now), "2026-10-26T02:30:00+01:00[Europe/Paris]");
        }
        let text = "schedule.every = \"15m\"";
        let last = "2026-10-25T02:50:00+02:00[Europe/Paris]";
        assert_eq!(
            next(text, Some(last), "2026-10-25T02:51:00+02:00[Europe/Paris]"),
            "2026-10-25T02:05:00+01:00[Europe/Paris]"
        );
    }

    #[test]
    fn a_window_that_a_day_lacks_is_left_out() {
        let text = "schedule.every = \"1h\"\nwindows = [\"02:10-02:50\"]";
        let now = "2026-03-28T12:00:00+01:00[Europe/Paris]";
        assert_eq!(next(text, None, now), "2026-03-30T02:10:00+02:00[Europe/Paris]");
        let text = "schedule.every = \"1h\"\nwindows = [\"02:10-05:00\"]";
        assert_eq!(next(text, None, now), "2026-03-29T03:10:00+02:00[Europe/Paris]");
    }

    #[test]
    fn only_within_the_windows() {
        let text = "schedule.every = \"15m\"\nwindows = [\"19:00-07:00\", \"12:00-13:00\"]";
        let noon = "2026-11-26T12:00:00+01:00[Europe/Paris]";
        assert_eq!(next(text, None, "2026-11-26T10:00:00+01:00[Europe/Paris]"), noon);
        assert_eq!(
            next(text, None, "2026-11-26T12:30:00+01:00[Europe/Paris]"),
            "2026-11-26T12:30:00+01:00[Europe/Paris]"
        );
        assert_eq!(
            next(text, None, "2026-11-26T13:00:00+01:00[Europe/Paris]"),
            "2026-11-26T19:00:00+01:00[Europe/Paris]"
        );
        assert_eq!(
            next(text, None, "2026-11-26T03:00:00+01:00[Europe/Paris]"),
            "2026-11-26T03:00:00+01:00[Europe/Paris]"
        );
        let evening = "schedule.every = \"15m\"\nwindows = [\"22:00-24:00\"]";
        assert_eq!(
            next(evening, None, "2026-11-26T00:10:00+01:00[Europe/Paris]"),
            "2026-11-26T22:00:00+01:00[Europe/Paris]"
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, part) in [
            ("schedule.every = \"soon\"", "schedule.every"),
            ("schedule.every = \"0s\"", "at least a second"),
            ("schedule.cron = \"every day\"", "schedule.cron"),
            ("windows = [\"19:00-07:00\"]", "without a `schedule`"),
            ("schedule.every = \"1h\"\nwindows = [\"19-7\"]", "`windows`"),
            ("schedule.every = \"1h\"\nwindows = [\"25:00-07:00\"]", "`windows`"),
        ] {
            let error = format!("{:#}", plan(text).expect_err(text));
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(plan("").expect("it makes sense").is_none());
    }

    #[test]
    fn a_job_that_has_never_run_makes_up_for_what_it_missed() {
        let nightly = plan("schedule.cron = \"0 2 * * *\"").expect("it makes sense");
        let nightly = nightly.expect("a schedule");
        let at = |text: &str| text.parse::<Zoned>().expect("a moment");
        let since = at("2026-11-26T01:59:00[Europe/Paris]");
        let first = |now: &str| nightly.first(&since, &at(now)).expect("some time");
        let two = at("2026-11-26T02:00:00[Europe/Paris]");
        assert_eq!(first("2026-11-26T01:59:30[Europe/Paris]"), two);
        // It could not begin then, or the machine slept.
        for late in ["2026-11-26T02:01:00[Europe/Paris]", "2026-11-26T09:00:00[Europe/Paris]"] {
            assert_eq!(first(late), at(late));
        }
    }
}
