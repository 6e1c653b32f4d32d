//! Hours of the day, and what may be moved in them.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bascule_session::pace::Pace;
use jiff::Zoned;
use jiff::civil::Time;

/// The clock is looked at this often during a run.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(10);

/// A span of the day, such as `19:00-07:00`: its beginning belongs to it, its end does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// Where it begins.
    pub from: Time,
    to: Time,
}

impl Hours {
    /// Reads `HH:MM-HH:MM`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong =
            || format!("\"{}\" is no span of hours such as 19:00-07:00", text.escape_debug());
        let (from, to) = text.split_once('-').with_context(wrong)?;
        let time = |text: &str| -> anyhow::Result<Time> {
            // The end of the day is the beginning of the next.
            let text = if text.trim() == "24:00" { "00:00" } else { text.trim() };
            let (hour, minute) = text.split_once(':').with_context(wrong)?;
            Time::new(hour.parse().with_context(wrong)?, minute.parse().with_context(wrong)?, 0, 0)
                .with_context(wrong)
        };
        Ok(Self { from: time(from)?, to: time(to)? })
    }

    /// Whether a time of the day is within it. A span from a time to the same time is all of the day.
    pub fn contains(&self, time: Time) -> bool {
        if self.from < self.to {
            self.from <= time && time < self.to
        } else {
            self.from <= time || time < self.to
        }
    }

    /// Whether some time is within both.
    fn meets(&self, other: &Self) -> bool {
        self.contains(other.from) || other.contains(self.from)
    }
}

/// A limit for some hours, such as `08:00-18:00=2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourLimit {
    hours: Hours,
    /// KiB per second, 0 for none.
    kib_per_second: u64,
}

impl FromStr for HourLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (hours, rate) = text
            .split_once('=')
            .ok_or_else(|| "expected hours and a rate such as 08:00-18:00=2m".to_owned())?;
        let hours = Hours::parse(hours).map_err(|error| error.to_string())?;
        Ok(Self { hours, kib_per_second: crate::cli::bandwidth(rate)? })
    }
}

/// The limits of a day.
#[derive(Debug, Clone)]
pub struct Limits {
    /// KiB per second at all other times, 0 for none.
    otherwise: u64,
    by_hour: Vec<HourLimit>,
}

impl Limits {
    /// Those of `by_hour`, and `otherwise` at all other times, in KiB per second, 0 for none.
    ///
    /// # Errors
    /// When two of them are about the same time.
    pub fn new(otherwise: u64, by_hour: &[HourLimit]) -> anyhow::Result<Self> {
        for (place, limit) in by_hour.iter().enumerate() {
            if by_hour[..place].iter().any(|other| other.hours.meets(&limit.hours)) {
                bail!("two bandwidths are given for {}", limit.hours.from.strftime("%H:%M"));
            }
        }
        Ok(Self { otherwise, by_hour: by_hour.to_vec() })
    }

    /// The limit at a time of the day, in KiB per second, 0 for none.
    fn at(&self, time: Time) -> u64 {
        let by_hour = self.by_hour.iter().find(|limit| limit.hours.contains(time));
        by_hour.map_or(self.otherwise, |limit| limit.kib_per_second)
    }

    /// A pace that follows the clock as long as the gauge is kept; `None` if the limit is always
    /// the same.
    pub fn follow(self) -> Option<Followed> {
        if self.by_hour.is_empty() {
            return None;
        }
        let pace = Pace::of_both(self.at(Zoned::now().time()));
        let paced = pace.clone();
        let following = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_AT_CLOCK).await;
                paced.set(self.at(Zoned::now().time()));
            }
        });
        Some(Followed { pace, following })
    }
}

/// A pace that follows the clock.
pub struct Followed {
    /// The pace.
    pub pace: Pace,
    following: tokio::task::JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.following.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(texts: &[&str]) -> anyhow::Result<Limits> {
        let by_hour = texts.iter().map(|text| text.parse().map_err(anyhow::Error::msg));
        Limits::new(100, &by_hour.collect::<anyhow::Result<Vec<_>>>()?)
    }

    #[test]
    fn each_time_has_its_limit() {
        let limits = limits(&["08:00-12:00=2m", "12:00-13:00=0", "22:00-06:00=8m"]).expect("sound");
        for (hour, minute, limit) in [
            (7, 59, 100),
            (8, 0, 2048),
            (11, 59, 2048),
            (12, 30, 0),
            (13, 0, 100),
            (22, 0, 8192),
            (5, 59, 8192),
            (6, 0, 100),
        ] {
            let time = Time::constant(hour, minute, 0, 0);
            assert_eq!(limits.at(time), limit, "{hour}:{minute}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (texts, part) in [
            (&["08:00-12:00=2m", "11:00-13:00=1m"][..], "11:00"),
            (&["20:00-06:00=2m", "05:00-07:00=1m"], "05:00"),
            (&["00:00-24:00=2m", "05:00-07:00=1m"], "05:00"),
            (&["08:00-12:00"], "such as"),
            (&["8-12=1m"], "no span of hours"),
            (&["08:00-12:00=fast"], "rate"),
        ] {
            let error = limits(texts).expect_err("refused").to_string();
            assert!(error.contains(part), "{texts:?}: {error}");
        }
    }

    #[tokio::test]
    async fn nothing_follows_a_limit_that_is_always_the_same() {
        assert!(limits(&[]).expect("sound").follow().is_none());
        assert!(limits(&["00:00-24:00=1m"]).expect("sound").follow().is_some());
    }
}
