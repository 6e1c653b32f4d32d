//! Whether a series of runs converges, and if it does not, why.

use std::fmt;

use crate::history::store::Past;
use crate::history::{Phases, Verdict as Ended};
use crate::human::{duration, size};
use crate::itemize::shown;
use crate::jobs::cut_off;
use crate::retry::BUSY;

use super::goal::Goal;
use super::model::Model;

/// Where a series of runs stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Enough runs in a row were within the limits: the switch can be planned.
    Converged,
    /// Not there yet, and on the way.
    Converging,
    /// The runs do not become shorter any more.
    Stalled,
    /// Something has to be seen to: no further run will get around it.
    Blocked,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Converged, Self::Converging, Self::Stalled, Self::Blocked];

    /// Its name in texts and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Converging => "converging",
            Self::Stalled => "stalled",
            Self::Blocked => "blocked",
        }
    }

    /// The exit code of `bascule converge` for it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Converged => 0,
            Self::Converging => 40,
            Self::Stalled => 41,
            Self::Blocked => 42,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is conspicuous about the last runs, beside their durations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conspicuous {
    /// A file that was a large part of each of the last runs: its path, its bytes, and the part of
    /// all bytes, from 0 to 1.
    pub file: Option<(String, u64, f64)>,
    /// The same for an account.
    pub account: Option<(String, f64)>,
    /// What was wrong with the last run that went through, if it was partial.
    pub trouble: Option<String>,
}

/// Where the series `runs` stands, the oldest first, and why it is not further.
pub fn judge(
    runs: &[Past],
    goal: &Goal,
    model: Option<&Model>,
    conspicuous: &Conspicuous,
) -> (Verdict, Vec<String>) {
    if let Some(text) = cut_off_again(runs) {
        return (Verdict::Blocked, vec![text]);
    }
    // A run that somebody stopped says nothing about the others.
    let ended =
        runs.iter().filter(|run| run.verdict != Ended::Running && !run.verdict.was_stopped());
    let ended: Vec<&Past> = ended.collect();
    let Some(last) = ended.last() else {
        let reason = if runs.is_empty() { "nothing has run yet" } else { "no run has ended yet" };
        return (Verdict::Converging, vec![reason.to_owned()]);
    };
    if let Some(text) = block(&ended, last, conspicuous) {
        return (Verdict::Blocked, vec![text]);
    }
    let in_a_row = ended.iter().rev().take_while(|run| goal.is_met_by(run)).count();
    if in_a_row >= goal.times {
        return (Verdict::Converged, Vec::new());
    }
    let through: Vec<&Past> =
        ended.iter().copied().filter(|run| run.verdict.went_through()).collect();
    let seconds: Vec<f64> = through.iter().filter_map(|run| run.seconds).collect();
    if in_a_row == 0
        && let Some(reasons) = stalled(&seconds, goal, model, conspicuous, looks_most(&through))
    {
        return (Verdict::Stalled, reasons);
    }
    let reasons = match in_a_row {
        0 => goal.misses(last),
        some => vec![format!(
            "{some} of the {} runs in a row that are needed were within the limits",
            goal.times
        )],
    };
    (Verdict::Converging, reasons)
}

/// What kills run after run is nothing that runs get around. Once may be a coincidence.
fn cut_off_again(runs: &[Past]) -> Option<String> {
    let ended = runs.iter().filter(|run| run.verdict != Ended::Running);
    (cut_off::in_a_row(ended) >= 2).then(|| {
        "the last two runs were cut off: the log of the system says what killed them, such as too \
         little memory"
            .to_owned()
    })
}

/// What no further run will get around.
fn block(ended: &[&Past], last: &Past, conspicuous: &Conspicuous) -> Option<String> {
    let before = ended.len().checked_sub(2).map(|at| ended[at]);
    match last.verdict {
        Ended::Held => Some(format!(
            "the guard held deletions back: look at `bascule diff {0}`, then let them go once with \
             `bascule run {0} --allow-deletes NUM`",
            last.job
        )),
        // Once may be a coincidence.
        Ended::Partial if before.is_some_and(|run| run.verdict == Ended::Partial) => {
            let text = conspicuous.trouble.as_deref().unwrap_or("the last two runs were partial");
            Some(text.to_owned())
        }
        Ended::Failed
            if !may_pass(last) || before.is_some_and(|run| run.verdict == Ended::Failed) =>
        {
            let text = last.error.as_deref().unwrap_or("the last run failed");
            Some(text.to_owned())
        }
        _ => None,
    }
}

/// Whether a failure may be over in a while: no connection, a daemon that is busy or was stopped. A
/// daemon that does not let anybody in ends with the code of a busy one, 5, and other words.
fn may_pass(run: &Past) -> bool {
    match run.exit_code {
        Some(5) => run.error.as_deref().is_some_and(|text| text.contains(BUSY)),
        code => matches!(code, Some(10 | 12 | 20 | 30 | 35)),
    }
}

/// Why the runs do not become shorter, if they do not.
fn stalled(
    seconds: &[f64],
    goal: &Goal,
    model: Option<&Model>,
    conspicuous: &Conspicuous,
    looks_most: bool,
) -> Option<Vec<String>> {
    let (last, before) = match seconds {
        [.., a, b, c, d, e, f] => (median([*d, *e, *f]), median([*a, *b, *c])),
        _ => return None,
    };
    if last < 0.9 * before {
        return None;
    }
    // Slow now, and short again at night: that is no stall.
    if let Some(model) = model
        && model.good_hours(goal.under).iter().any(|good| *good)
    {
        return None;
    }
    let mut reasons = vec![format!(
        "the last runs took about {}, those before them {}; the limit is {}",
        duration(last),
        duration(before),
        duration(goal.under)
    )];
    if let Some(model) = model {
        if looks_most && model.fixed >= goal.under {
            reasons.push(format!(
                "looking through the tree takes {} even when nothing has changed",
                duration(model.fixed)
            ));
        }
        if model.load() >= 1.0 {
            let rate = model.rates.iter().sum::<f64>() / 24.0 * 3600.0;
            reasons.push(format!(
                "changes of {} an hour come up, and {} an hour can be copied",
                size(rate as u64),
                size((3600.0 / model.per_work) as u64)
            ));
        }
    }
    if let Some((path, bytes, part)) = &conspicuous.file {
        reasons.push(format!(
            "one file is {:.0} % of each run: {} ({})",
            part * 100.0,
            shown(path.as_bytes()),
            size(*bytes)
        ));
    }
    if let Some((account, part)) = &conspicuous.account {
        let account = shown(account.as_bytes());
        reasons.push(format!("one account is {:.0} % of each run: {account}", part * 100.0));
    }
    Some(reasons)
}

/// Whether most of each of the last runs went by before the list was complete. Where all runs find the
/// same work, such as one file that always changes, durations alone do not tell its time from that
/// for the look.
fn looks_most(through: &[&Past]) -> bool {
    let last = &through[through.len().saturating_sub(3)..];
    last.iter().all(|run| {
        let Phases { connect, list, transfer, finish } = run.phases;
        list >= 0.5 * (connect + list + transfer + finish)
    })
}

fn median(mut three: [f64; 3]) -> f64 {
    three.sort_by(f64::total_cmp);
    three[1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converge::model::{Sample, later};
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    const GOAL: Goal = Goal { under: 600.0, files: None, bytes: None, times: 2 };

    fn past(number: usize, verdict: Ended, seconds: f64) -> Past {
        let began = later(Timestamp::UNIX_EPOCH, 1_800_000_000.0 + 7200.0 * number as f64);
        Past {
            id: number as i64,
            job: "mail".into(),
            kind: "run".into(),
            began,
            seconds: Some(seconds),
            phases: Phases::default(),
            exit_code: Some(0),
            verdict,
            error: None,
            attempts: 1,
            files_listed: 1000,
            bytes_listed: 1 << 30,
            created: 0,
            files_transferred: 10,
            bytes_transferred: 1 << 20,
            literal_bytes: 1 << 20,
            deleted: 1,
            problems: 0,
            wire_bytes: 0,
            largest: None,
            forecast: None,
        }
    }

    fn series(seconds: &[f64]) -> Vec<Past> {
        let runs = seconds.iter().enumerate();
        runs.map(|(number, seconds)| past(number, Ended::Complete, *seconds)).collect()
    }

    fn verdict(runs: &[Past], goal: &Goal) -> Verdict {
        judge(runs, goal, None, &Conspicuous::default()).0
    }

    #[test]
    fn the_limit_has_to_hold_in_a_row() {
        assert_eq!(verdict(&[], &GOAL), Verdict::Converging);
        assert_eq!(verdict(&series(&[9000.0, 800.0]), &GOAL), Verdict::Converging);
        assert_eq!(verdict(&series(&[800.0, 500.0]), &GOAL), Verdict::Converging);
        assert_eq!(verdict(&series(&[500.0, 800.0, 500.0]), &GOAL), Verdict::Converging);
        assert_eq!(verdict(&series(&[800.0, 500.0, 400.0]), &GOAL), Verdict::Converged);
        let few = Goal { files: Some(10), ..GOAL };
        assert_eq!(verdict(&series(&[500.0, 500.0]), &few), Verdict::Converging);
        let few = Goal { files: Some(11), bytes: Some(1 << 20), ..GOAL };
        assert_eq!(verdict(&series(&[500.0, 500.0]), &few), Verdict::Converged);
    }

    #[test]
    fn runs_that_stay_long_are_stalled_and_say_why() {
        let runs = series(&[9000.0, 900.0, 880.0, 910.0, 890.0, 900.0, 905.0]);
        let zone = TimeZone::UTC;
        let samples: Vec<Sample> = runs
            .iter()
            .map(|run| Sample {
                began: run.began,
                seconds: run.seconds.unwrap_or_default(),
                files: 10,
                bytes: 1 << 20,
            })
            .collect();
        let model = Model::learn(&samples, &zone);
        let conspicuous = Conspicuous {
            file: Some(("joe/inbox/flags.dat".into(), 1 << 20, 0.9)),
            account: Some(("joe\nann".into(), 0.95)),
            trouble: None,
        };
        let (verdict, reasons) = judge(&runs, &GOAL, model.as_ref(), &conspicuous);
        assert_eq!(verdict, Verdict::Stalled);
        let text = reasons.join("\n");
        for part in [
            "about 15 min",
            "looking through the tree",
            "90 % of each run: joe/inbox",
            "run: joe\\#012ann",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // What takes its time after the list is no look.
        let mut sending = runs.clone();
        for run in &mut sending {
            run.phases = Phases { list: 60.0, transfer: 800.0, ..Phases::default() };
        }
        let (verdict, reasons) = judge(&sending, &GOAL, model.as_ref(), &conspicuous);
        assert_eq!(verdict, Verdict::Stalled);
        let text = reasons.join("\n");
        assert!(!text.contains("looking through") && text.contains("joe/inbox"), "{text}");
        let shrinking = series(&[9000.0, 3000.0, 2000.0, 1500.0, 1200.0, 1000.0, 900.0]);
        assert_eq!(judge(&shrinking, &GOAL, None, &conspicuous).0, Verdict::Converging);
    }

    #[test]
    fn says_which_limit_the_last_run_did_not_keep() {
        let reasons =
            |runs: &[Past], goal| judge(runs, goal, None, &Conspicuous::default()).1.join("; ");
        let runs = series(&[500.0]);
        let few = Goal { files: Some(10), bytes: Some(1000), ..GOAL };
        assert_eq!(
            reasons(&runs, &few),
            "the last run sent or deleted 11 files; the limit is 10; the last run sent 1.0 MiB; the \
             limit is 1000 B"
        );
        let slow = series(&[900.0]);
        assert_eq!(
            reasons(&slow, &GOAL),
            "the last run took 15 min 00 s; the limit is 10 min 00 s"
        );
        let partial = [past(0, Ended::Complete, 500.0), past(1, Ended::Partial, 5.0)];
        assert_eq!(reasons(&partial, &GOAL), "the last run was not complete: partial");
    }

    #[test]
    fn what_needs_a_hand_blocks() {
        let mut runs = series(&[500.0, 400.0]);
        runs.push(past(2, Ended::Held, 300.0));
        assert_eq!(verdict(&runs, &GOAL), Verdict::Blocked);
        let mut runs = series(&[500.0]);
        runs.push(past(1, Ended::Partial, 300.0));
        assert_eq!(verdict(&runs, &GOAL), Verdict::Converging);
        runs.push(past(2, Ended::Partial, 300.0));
        let conspicuous = Conspicuous { trouble: Some("joe: no".into()), ..Conspicuous::default() };
        let blocked = (Verdict::Blocked, vec!["joe: no".to_owned()]);
        assert_eq!(judge(&runs, &GOAL, None, &conspicuous), blocked);
        let failed = |number, code, text: &str| Past {
            exit_code: Some(code),
            error: Some(text.to_owned()),
            ..past(number, Ended::Failed, 1.0)
        };
        let mut runs = series(&[500.0]);
        runs.push(failed(1, 10, "no connection"));
        assert_eq!(verdict(&runs, &GOAL), Verdict::Converging);
        runs.push(failed(2, 10, "no connection"));
        assert_eq!(verdict(&runs, &GOAL), Verdict::Blocked);
        // What somebody stopped is none of them, but for what is killed again and again.
        let mut runs = series(&[500.0, 400.0]);
        runs.push(past(2, Ended::Interrupted, 1.0));
        runs.push(past(3, Ended::CutOff, 1.0));
        runs.push(past(4, Ended::Running, 0.0));
        assert_eq!(verdict(&runs, &GOAL), Verdict::Converged);
        runs.insert(4, past(4, Ended::CutOff, 1.0));
        assert_eq!(verdict(&runs, &GOAL), Verdict::Blocked);
        let busy = "max connections (2) reached -- try again later";
        let runs = [past(0, Ended::Complete, 500.0), failed(1, 5, busy)];
        assert_eq!(verdict(&runs, &GOAL), Verdict::Converging);
        let runs = [past(0, Ended::Complete, 500.0), failed(1, 5, "auth failed on module mail")];
        assert_eq!(verdict(&runs, &GOAL), Verdict::Blocked);
        let runs = [failed(0, 3, "the source is on another disk")];
        let (verdict, reasons) = judge(&runs, &GOAL, None, &Conspicuous::default());
        assert_eq!(
            (verdict, reasons[0].as_str()),
            (Verdict::Blocked, "the source is on another disk")
        );
    }
}
