//! The loop of `bascule converge`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bascule_engine::outcome::ExitCode;
use bascule_engine::stop::Stop;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::goal::Goal;
use super::model::{Forecast, Model};
use super::options::Converge;
use super::verdict::{Verdict, judge};
use super::{LAST, conspicuous, model_of};
use crate::history::store::{Past, Store};
use crate::history::{Ended, Verdict as RunVerdict};
use crate::human::duration;
use crate::jobs::line::Wanted;
use crate::jobs::load::Loaded;
use crate::jobs::lock::Lock;
use crate::jobs::run::{self, Shown};
use crate::jobs::switched::{self, Rests};
use crate::jobs::table::{document, moment};
use crate::notices::{deliver, note};
use crate::output::print;
use crate::retry;

/// The longest wait after a failure.
const LONGEST_WAIT: f64 = 600.0;
/// How often it is looked whether somebody else's run is over.
const LOOK_AT_LOCK: Duration = Duration::from_secs(1);
/// How many days ahead it is looked for the moment from which on the limit holds.
const DAYS: u32 = 7;

/// Where a job stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The verdict on the series of its runs.
    pub verdict: Verdict,
    /// Why it is not further.
    pub reasons: Vec<String>,
    /// How long the next run will take if it begins now.
    pub next: Option<Forecast>,
    /// How long the final run will take if the next begins now and the lock comes at its end.
    pub last: Option<Forecast>,
    /// When a run will first be within the limit; `None` if not in the days that were looked at.
    pub reached: Option<Timestamp>,
    /// The hours of the day in which runs are within the limit, once the model knows them.
    pub hours: Option<[bool; 24]>,
}

/// Says where the job `name` stands at `now`, with runs that begin no sooner than `every` seconds
/// after each other.
///
/// # Errors
/// When the history cannot be read.
pub fn standing(
    store: &Store,
    name: &str,
    goal: &Goal,
    every: f64,
    now: Timestamp,
) -> anyhow::Result<Standing> {
    let runs = store.last(Some(name), LAST)?;
    let model = model_of(&runs);
    let conspicuous = conspicuous(store, &runs)?;
    let (verdict, reasons) = judge(&runs, goal, model.as_ref(), &conspicuous);
    let of = |ask: fn(&Model, Timestamp) -> Forecast| model.as_ref().map(|model| ask(model, now));
    Ok(Standing {
        verdict,
        reasons,
        next: of(Model::run),
        last: of(Model::final_run),
        // No further run gets around what somebody has to see to.
        reached: model
            .as_ref()
            .filter(|_| verdict != Verdict::Blocked)
            .and_then(|model| model.reaches(goal.under, every, now, DAYS)),
        hours: model.as_ref().map(|model| model.good_hours(goal.under)),
    })
}

/// Runs `bascule converge`; gives the exit code.
///
/// # Errors
/// When there is no such job, or the history cannot be used.
pub async fn converge(cli: &Converge, stop: Stop) -> anyhow::Result<u8> {
    let loaded = Loaded::open(cli.configuration.config.as_deref())?;
    let own = Goal::of(loaded.job(&cli.job)?)?;
    let goal = Goal {
        under: cli.under.unwrap_or(own.under),
        files: cli.max_files.or(own.files),
        bytes: cli.max_bytes.or(own.bytes),
        times: cli.times.map_or(own.times, usize::from),
    };
    let state = loaded.state()?;
    if cli.look {
        let store = Store::open(&state)?;
        let standing = standing(&store, &cli.job, &goal, cli.every, Timestamp::now())?;
        tell(cli.json, None, &standing);
        return Ok(standing.verdict.exit_code());
    }
    let mut failures = 0;
    // The service may be running the job: its run counts as one of the series, and is waited for.
    for number in 1_u32.. {
        if !others_run_is_over(&state, &cli.job, &stop).await {
            return Ok(ExitCode::Interrupted.code());
        }
        let began = Instant::now();
        let once = once(&loaded, cli, &goal, stop.clone()).await;
        if stop.is_stopped() {
            return Ok(ExitCode::Interrupted.code());
        }
        let has_failed = match once {
            Ok(Once::Ran { verdict, has_failed }) => {
                let is_over = verdict != Verdict::Converging && !cli.keep;
                if is_over || cli.max_runs.is_some_and(|most| number >= most) {
                    return Ok(verdict.exit_code());
                }
                has_failed
            }
            Ok(Once::Switched) if number == 1 => anyhow::bail!(switched::text(&cli.job)),
            Ok(Once::Switched) => {
                eprintln!("bascule: {}", switched::text(&cli.job));
                return Ok(Verdict::Converged.exit_code());
            }
            // It went before: what is wrong here may pass, and nobody is watching.
            Err(error) if cli.keep && number > 1 => {
                let error = format!("{error:#}");
                eprintln!("bascule: the job {} could not be run: {error}", cli.job);
                note::unbegun(&loaded, &cli.job, &error);
                deliver::by_hand(&loaded).await;
                true
            }
            Err(error) => return Err(error),
        };
        failures = if has_failed { failures + 1 } else { 0 };
        let wait = (cli.every - began.elapsed().as_secs_f64()).max(after_failures(failures));
        if !retry::wait(Duration::from_secs_f64(wait.max(0.0)), &stop).await {
            return Ok(ExitCode::Interrupted.code());
        }
    }
    anyhow::bail!("the runs cannot be counted any more")
}

/// What came of one round.
enum Once {
    /// A run has ended, and the series stands like this.
    Ran { verdict: Verdict, has_failed: bool },
    /// Somebody has done the final run: nothing runs any more.
    Switched,
}

/// Runs the job once and tells where it stands.
async fn once(loaded: &Loaded, cli: &Converge, goal: &Goal, stop: Stop) -> anyhow::Result<Once> {
    let wanted = Wanted { is_by_itself: true, ..Wanted::default() };
    let shown = Shown { quiet: true, ..Shown::default() };
    let ended = match run::run(loaded, &cli.job, wanted, shown, stop).await {
        Err(error) if error.is::<Rests>() => return Ok(Once::Switched),
        ended => ended?,
    };
    let store = Store::open(&loaded.state()?)?;
    let standing = standing(&store, &cli.job, goal, cli.every, Timestamp::now())?;
    let past = store.last(Some(&cli.job), 1)?.pop().context("the run is not in the history")?;
    tell(cli.json, Some(&past), &standing);
    note::stands(loaded, &cli.job, &standing);
    deliver::by_hand(loaded).await;
    Ok(Once::Ran { verdict: standing.verdict, has_failed: has_failed(&ended) })
}

/// Waits for the end of a run that somebody else has begun; tells whether nobody has stopped that.
async fn others_run_is_over(state: &Path, job: &str, stop: &Stop) -> bool {
    if Lock::is_taken(state, job) {
        eprintln!("bascule: somebody else is running the job {job}; it goes on after that run");
    }
    while Lock::is_taken(state, job) {
        if !retry::wait(LOOK_AT_LOCK, stop).await {
            return false;
        }
    }
    true
}

fn has_failed(ended: &Ended) -> bool {
    RunVerdict::of(ended.exit) == RunVerdict::Failed
}

/// How long to wait after so many failed runs: each has tried several times itself.
pub fn after_failures(failures: u32) -> f64 {
    match failures.checked_sub(1) {
        None => 0.0,
        Some(doublings) => (10.0 * f64::from(2_u32.saturating_pow(doublings))).min(LONGEST_WAIT),
    }
}

fn tell(as_json: bool, run: Option<&Past>, standing: &Standing) {
    print(&if as_json { format!("{}\n", describe(run, standing)) } else { text(run, standing) });
}

/// Where a job stands as a document.
pub fn describe(run: Option<&Past>, standing: &Standing) -> Value {
    let forecast = |forecast: Option<Forecast>| {
        forecast.map(|forecast| {
            json!({
                "seconds": forecast.seconds,
                "least": forecast.least,
                "most": forecast.most,
            })
        })
    };
    let hours = standing.hours.map(|hours| {
        let good = (0..24).filter(|hour| hours[*hour]);
        good.collect::<Vec<usize>>()
    });
    json!({
        "verdict": standing.verdict.as_str(),
        "reasons": standing.reasons,
        "next_run": forecast(standing.next),
        "final_run": forecast(standing.last),
        "within_the_limit_from": standing.reached.map(|at| at.to_string()),
        "good_hours": hours,
        "run": run.map(document),
    })
}

/// The same for people.
fn text(run: Option<&Past>, standing: &Standing) -> String {
    let mut text = String::new();
    if let Some(run) = run {
        let took = run.seconds.map_or_else(String::new, duration);
        text.push_str(&format!(
            "{}  run {}: {}, {took}, {} files sent, {} deleted\n",
            moment(run.began),
            run.id,
            run.verdict,
            run.files_transferred,
            run.deleted,
        ));
    }
    text.push_str(&format!("  {}", standing.verdict));
    for (number, reason) in standing.reasons.iter().enumerate() {
        text.push_str(if number == 0 { ": " } else { "; " });
        text.push_str(reason);
    }
    text.push('\n');
    let range = |forecast: &Forecast| {
        format!(
            "{} ({} to {})",
            duration(forecast.seconds),
            duration(forecast.least),
            duration(forecast.most)
        )
    };
    if let (Some(next), Some(last)) = (&standing.next, &standing.last) {
        text.push_str(&format!(
            "  the next run: {}; the final one: {}\n",
            range(next),
            range(last)
        ));
    }
    if matches!(standing.verdict, Verdict::Converging | Verdict::Stalled) && standing.next.is_some()
    {
        text.push_str(&match standing.reached {
            Some(at) => format!("  within the limit: from about {}\n", moment(at)),
            None => format!("  within the limit: not in the next {DAYS} days\n"),
        });
    }
    if let Some(hours) = standing.hours.filter(|hours| !hours.iter().all(|good| *good)) {
        text.push_str(&format!("  hours of the day in which the limit holds: {}\n", spans(&hours)));
    }
    text
}

/// Hours as spans: `18:00 to 07:00`.
fn spans(hours: &[bool; 24]) -> String {
    let begins = (0..24).filter(|hour| hours[*hour] && !hours[(hour + 23) % 24]);
    let spans = begins.map(|begin| {
        let length = (0..24).take_while(|more| hours[(begin + more) % 24]).count();
        format!("{begin:02}:00 to {:02}:00", (begin + length) % 24)
    });
    let spans: Vec<String> = spans.collect();
    if spans.is_empty() { "none".to_owned() } else { spans.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_told_as_spans() {
        let hours = |good: &[usize]| std::array::from_fn(|hour| good.contains(&hour));
        assert_eq!(spans(&hours(&[22, 23, 0, 1])), "22:00 to 02:00");
        assert_eq!(spans(&hours(&[3, 12, 13])), "03:00 to 04:00, 12:00 to 14:00");
        assert_eq!(spans(&hours(&[])), "none");
    }

    #[test]
    fn waits_grow_with_failures() {
        let waits: Vec<f64> = [0, 1, 2, 3, 60].into_iter().map(after_failures).collect();
        assert_eq!(waits, [0.0, 10.0, 20.0, 40.0, LONGEST_WAIT]);
    }
}
