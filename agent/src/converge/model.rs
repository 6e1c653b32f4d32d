//! Learns from past runs how long the next will take.
//!
//! A run takes a fixed time, in which the tree is looked through, and a time for the work that it
//! finds. Work gathers between the beginnings of two runs, faster in some hours of the day than in
//! others. What a run will take follows from when it begins.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What moving one file costs beside its bytes, as bytes: opening, naming and dating it.
const FILE_COST: f64 = 16_384.0;
/// How much less a run counts than the one after it.
const FADING: f64 = 0.8;
/// Work is added up in steps of so many seconds.
const STEP: f64 = 300.0;
/// The part of a forecast that past forecasts of the same kind were wrong by, when there were none.
const UNPROVEN: (f64, f64) = (0.5, 2.0);
/// So many past forecasts show how good they are.
const PROOFS: usize = 10;

/// What is known of a past run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// Files whose data travelled, and names that were deleted.
    pub files: u64,
    /// The bytes of those files.
    pub bytes: u64,
}

impl Sample {
    fn work(&self) -> f64 {
        self.bytes as f64 + self.files as f64 * FILE_COST
    }
}

/// A duration with the range in which it will probably be, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Most probably.
    pub seconds: f64,
    /// Hardly less.
    pub least: f64,
    /// Hardly more.
    pub most: f64,
}

/// What was learned.
#[derive(Debug, Clone)]
pub struct Model {
    /// Seconds of a run that finds nothing to do.
    pub fixed: f64,
    /// Seconds for a unit of work (a byte).
    pub per_work: f64,
    /// Units of work that come up in a second, by the hour of the day.
    pub rates: [f64; 24],
    /// What real durations were, in parts of those forecast: the least and the most.
    spread: (f64, f64),
    /// When the last run began: what came up later is still to be copied.
    last: Timestamp,
    zone: TimeZone,
}

impl Model {
    /// Learns from `samples`, the oldest first, with the hours of `zone`. `None` before the second
    /// run has ended: one says nothing about what comes up meanwhile.
    pub fn learn(samples: &[Sample], zone: &TimeZone) -> Option<Self> {
        let spread = spread(samples, zone).unwrap_or(UNPROVEN);
        Some(Self { spread, ..Self::unproven(samples, zone)? })
    }

    /// The same, without a look at how good such forecasts were.
    fn unproven(samples: &[Sample], zone: &TimeZone) -> Option<Self> {
        let last = samples.last().filter(|_| samples.len() >= 2)?;
        let (fixed, per_work) = costs(samples);
        let rates = rates(samples, zone);
        let (spread, zone) = (UNPROVEN, zone.clone());
        Some(Self { fixed, per_work, rates, spread, last: last.began, zone })
    }

    /// How long a run will take that begins at `at`.
    pub fn run(&self, at: Timestamp) -> Forecast {
        self.after(self.last, at)
    }

    /// How long the last run will take, with the source standing still, when the run before it
    /// begins at `at` and the lock comes at its end.
    pub fn final_run(&self, at: Timestamp) -> Forecast {
        let before = self.run(at).seconds;
        self.after(at, later(at, before))
    }

    /// How long a run takes that begins at `at`, after one that began at `from`.
    pub fn after(&self, from: Timestamp, at: Timestamp) -> Forecast {
        let seconds = self.fixed + self.per_work * self.work(from, at);
        let (least, most) = self.spread;
        Forecast { seconds, least: seconds * least, most: seconds * most }
    }

    /// The work that comes up from `from` to `to`.
    fn work(&self, from: Timestamp, to: Timestamp) -> f64 {
        // A clock that was put back gives no negative work.
        let span = seconds_between(from, to).max(0.0);
        let steps = (span / STEP).ceil().clamp(1.0, 10_000.0);
        let step = span / steps;
        let middle = |number: f64| later(from, (number + 0.5) * step);
        (0..steps as u32)
            .map(|number| self.rates[hour(middle(f64::from(number)), &self.zone)] * step)
            .sum()
    }

    /// Seconds of copying that come up in each second, in the mean over a day: at 1 or more the runs
    /// never catch up.
    pub fn load(&self) -> f64 {
        self.per_work * self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }

    /// When a run first takes less than `limit` seconds, if runs begin no sooner than `every` seconds
    /// after each other, from `now` on for `days` days.
    pub fn reaches(&self, limit: f64, every: f64, now: Timestamp, days: u32) -> Option<Timestamp> {
        let end = later(now, f64::from(days) * 86_400.0);
        let (mut from, mut at) = (self.last, now);
        while at < end {
            let seconds = self.after(from, at).seconds;
            if seconds < limit {
                return Some(at);
            }
            (from, at) = (at, later(at, seconds.max(every).max(60.0)));
        }
        None
    }

    /// The hours of the day in which a run takes less than `limit` seconds, if runs follow each
    /// other: for each hour whether it does.
    pub fn good_hours(&self, limit: f64) -> [bool; 24] {
        self.rates.map(|rate| {
            let load = self.per_work * rate;
            load < 1.0 && self.fixed / (1.0 - load) < limit
        })
    }
}

/// The fixed time of a run and the time for a unit of work: weighted least squares, neither below
/// nothing.
fn costs(samples: &[Sample]) -> (f64, f64) {
    // The first run copies everything, and is unlike all others once there are some.
    let used = if samples.len() > 3 { &samples[1..] } else { samples };
    let mut sums = [0.0; 5];
    let mut weight = 1.0;
    for sample in used.iter().rev() {
        let (work, seconds) = (sample.work(), sample.seconds);
        let terms = [1.0, work, seconds, work * work, work * seconds];
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += weight * term);
        weight *= FADING;
    }
    let [n, work, seconds, work_work, work_seconds] = sums;
    let variance = n * work_work - work * work;
    let slope = (n * work_seconds - work * seconds) / variance;
    // The same amount of work in every run says nothing about its price.
    let is_known = variance > 1e-6 * n * work_work && slope.is_finite();
    if is_known && slope >= 0.0 {
        let fixed = (seconds - slope * work) / n;
        if fixed >= 0.0 {
            return (fixed, slope);
        }
        // Through nothing: all of the time is work.
        return (0.0, work_seconds / work_work);
    }
    (seconds / n, 0.0)
}

/// The work that comes up in a second, by the hour of the day; hours that were not seen get the
/// mean of those that were.
fn rates(samples: &[Sample], zone: &TimeZone) -> [f64; 24] {
    let (mut work, mut time) = ([0.0; 24], [0.0; 24]);
    let mut weight = 1.0;
    for pair in samples.windows(2).rev() {
        let [before, after] = pair else { continue };
        let span = seconds_between(before.began, after.began);
        if span <= 0.0 {
            continue;
        }
        let steps = (span / STEP).ceil().clamp(1.0, 10_000.0);
        for number in 0..steps as u32 {
            let at = later(before.began, (f64::from(number) + 0.5) * span / steps);
            let hour = hour(at, zone);
            work[hour] += weight * after.work() / steps;
            time[hour] += weight * span / steps;
        }
        weight *= FADING;
    }
    let all_time: f64 = time.iter().sum();
    let mean = if all_time > 0.0 { work.iter().sum::<f64>() / all_time } else { 0.0 };
    std::array::from_fn(|hour| if time[hour] > 0.0 { work[hour] / time[hour] } else { mean })
}

/// What real durations were, in parts of those that would have been forecast just before them.
fn spread(samples: &[Sample], zone: &TimeZone) -> Option<(f64, f64)> {
    // The first forecasts are the poorest.
    let proofs = samples.len().saturating_sub(PROOFS).max(2)..samples.len();
    let part = |known: usize| {
        let next = &samples[known];
        let forecast = Model::unproven(&samples[..known], zone)?.run(next.began).seconds;
        (forecast > 0.0).then(|| next.seconds / forecast)
    };
    let mut parts: Vec<f64> = proofs.filter_map(part).collect();
    if parts.len() < 3 {
        return None;
    }
    parts.sort_by(f64::total_cmp);
    let at = |part: f64| parts[((parts.len() - 1) as f64 * part).round() as usize];
    Some((at(0.1).min(1.0), at(0.9).max(1.0)))
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// The moment `seconds` after `at`, as far as the calendar goes: at its end for more seconds than it
/// has, so that whoever goes on from moment to moment arrives.
pub fn later(at: Timestamp, seconds: f64) -> Timestamp {
    match SignedDuration::try_from_secs_f64(seconds) {
        Ok(span) => at.saturating_add(span).unwrap_or(at),
        Err(_) if seconds > 0.0 => Timestamp::MAX,
        Err(_) => at,
    }
}

fn hour(at: Timestamp, zone: &TimeZone) -> usize {
    usize::from(at.to_zoned(zone.clone()).hour().unsigned_abs()).min(23)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    /// A source on which `rate` bytes a second come up at an hour, copied at 10 MiB a second after
    /// a look of a minute.
    fn simulated(runs: usize, pause: f64, rate: impl Fn(usize) -> f64) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut at = Timestamp::from_second(1_800_000_000).expect("a moment");
        let mut work = 20_000.0 * MIB;
        for _ in 0..runs {
            let seconds = 60.0 + work / (10.0 * MIB);
            samples.push(Sample { began: at, seconds, files: 0, bytes: work as u64 });
            let next = later(at, seconds + pause);
            work = 0.0;
            let mut clock = at;
            while clock < next {
                work += rate(hour(clock, &TimeZone::UTC)) * 60.0;
                clock = later(clock, 60.0);
            }
            at = next;
        }
        samples
    }

    fn within(forecast: Forecast, seconds: f64, part: f64) -> bool {
        (forecast.seconds / seconds - 1.0).abs() < part
    }

    #[test]
    fn one_run_says_nothing() {
        let samples = simulated(1, 0.0, |_| MIB);
        assert!(Model::learn(&samples, &TimeZone::UTC).is_none());
    }

    #[test]
    fn foretells_a_steady_source() {
        let samples = simulated(12, 600.0, |_| MIB);
        for known in 4..11 {
            let model = Model::learn(&samples[..known], &TimeZone::UTC).expect("enough runs");
            let next = samples[known];
            let forecast = model.run(next.began);
            assert!(within(forecast, next.seconds, 0.1), "{known}: {forecast:?} {next:?}");
            assert!(forecast.least <= forecast.seconds && forecast.seconds <= forecast.most);
        }
        let model = Model::learn(&samples, &TimeZone::UTC).expect("enough runs");
        assert!((model.load() - 0.1).abs() < 0.02, "{}", model.load());
        assert!((model.fixed - 60.0).abs() < 10.0, "{}", model.fixed);
    }

    #[test]
    fn the_day_has_a_rhythm() {
        let rhythm = |hour: usize| if (8..18).contains(&hour) { 8.0 * MIB } else { 0.1 * MIB };
        let samples = simulated(140, 600.0, rhythm);
        let model = Model::learn(&samples, &TimeZone::UTC).expect("enough runs");
        let hours = model.good_hours(120.0);
        assert!(hours[2] && hours[22], "{hours:?}");
        assert!(!hours[10] && !hours[15], "{hours:?}");
        // At ten in the morning the limit is hours away.
        let noon = Timestamp::from_second(1_800_000_000 - 1_800_000_000 % 86_400 + 40 * 86_400);
        let noon = later(noon.expect("a moment"), 10.0 * 3600.0);
        let model = Model { last: later(noon, -600.0), ..model };
        let reached = model.reaches(120.0, 0.0, noon, 2).expect("in the evening");
        let reached = hour(reached, &TimeZone::UTC);
        assert!((17..21).contains(&reached), "{reached}");
    }

    #[test]
    fn more_than_can_be_copied_never_ends() {
        let samples = simulated(8, 0.0, |_| 20.0 * MIB);
        let model = Model::learn(&samples, &TimeZone::UTC).expect("enough runs");
        assert!(model.load() > 1.0, "{}", model.load());
        let last = samples.last().expect("some");
        assert_eq!(model.reaches(600.0, 0.0, later(last.began, last.seconds), 2), None);
    }

    #[test]
    fn a_clock_that_was_put_back_makes_no_run_shorter() {
        let samples = simulated(8, 600.0, |_| MIB);
        let model = Model::learn(&samples, &TimeZone::UTC).expect("enough runs");
        let before = later(model.last, -30.0 * 86_400.0);
        assert!(model.run(before).seconds >= model.fixed, "{:?}", model.run(before));
    }

    #[test]
    fn a_time_that_no_calendar_has_ends_the_look_ahead() {
        let samples = simulated(8, 600.0, |_| MIB);
        let model = Model::learn(&samples, &TimeZone::UTC).expect("enough runs");
        for fixed in [1e300, f64::INFINITY, f64::NAN] {
            let model = Model { fixed, ..model.clone() };
            assert_eq!(model.reaches(600.0, 0.0, model.last, 7), None, "{fixed}");
        }
    }

    #[test]
    fn a_source_that_stands_still_costs_the_look() {
        let samples = simulated(8, 600.0, |_| 0.0);
        let model = Model::learn(&samples, &TimeZone::UTC).expect("enough runs");
        let now = later(samples[7].began, 600.0);
        assert!(within(model.run(now), 60.0, 0.05), "{:?}", model.run(now));
        assert!(within(model.final_run(now), 60.0, 0.05));
    }
}
