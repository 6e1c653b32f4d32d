//! Jobs whose final run is complete: the target is the live server then, or will be in a moment, and
//! a run that nobody asked for would delete the mail that it gets.

use std::fmt;
use std::path::Path;

use super::cut_off;
use crate::history::store::{Past, Store};
use crate::history::{Kind, Verdict};

/// Runs that are looked at for one that says something.
const LAST: u32 = 200;

/// Whether nothing has run any more after a complete final run of the job whose last `runs` these are,
/// the oldest first. A run by hand that is none makes the job an ordinary one again; one that was
/// stopped, and another final run that is not complete, leave it as it is.
pub fn is_so(runs: &[Past]) -> bool {
    let is_final = |run: &Past| run.kind == Kind::Final.as_str();
    let says = |run: &&Past| match run.verdict {
        Verdict::Running | Verdict::Interrupted | Verdict::CutOff => false,
        Verdict::Complete => true,
        _ => !is_final(run),
    };
    let last = runs.iter().rev().find(says);
    last.is_some_and(|last| is_final(last) && last.verdict == Verdict::Complete)
}

/// The same of the job that the history in the folder `state` knows as `job`; a run whose end is not
/// in the history yet counts.
///
/// # Errors
/// When it cannot be read.
pub fn in_history(store: &Store, state: &Path, job: &str) -> anyhow::Result<bool> {
    Ok(is_so(&cut_off::seen(state, store.last(Some(job), LAST)?)))
}

/// Why a run that nobody asked for was not begun.
#[derive(Debug)]
pub struct Rests {
    /// The name of the job.
    pub job: String,
}

impl fmt::Display for Rests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.job))
    }
}

impl std::error::Error for Rests {}

/// What an operator has to know of it.
pub fn text(job: &str) -> String {
    format!(
        "the final run of {job} is complete: its schedule rests, so that no run deletes what the \
         target gets from now on; if the switch is called off, `bascule run {job}` makes it go on"
    )
}

/// What somebody has to know who runs such a job all the same.
pub fn warning(job: &str) -> String {
    format!(
        "the final run of {job} is complete: this run deletes what the target has got since, and \
         once it has ended, unless it is stopped, the job is an ordinary job again and its schedule \
         goes on"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(kind: Kind, verdict: Verdict) -> Past {
        Past {
            kind: kind.as_str().into(),
            verdict,
            ..crate::jobs::table::tests::past(verdict, None)
        }
    }

    #[test]
    fn only_a_complete_final_run_that_is_the_last_rests_the_schedule() {
        let switched = past(Kind::Final, Verdict::Complete);
        assert!(!is_so(&[]));
        assert!(!is_so(&[past(Kind::Run, Verdict::Complete)]));
        assert!(!is_so(&[past(Kind::Final, Verdict::InMotion)]));
        assert!(is_so(&[past(Kind::Run, Verdict::Complete), switched.clone()]));
        let stopped = [Verdict::Running, Verdict::Interrupted, Verdict::CutOff];
        for verdict in Verdict::ENDS.into_iter().chain(stopped) {
            let rests = is_so(&[switched.clone(), past(Kind::Run, verdict)]);
            assert_eq!(rests, stopped.contains(&verdict), "{verdict}");
            assert!(is_so(&[switched.clone(), past(Kind::Final, verdict)]), "{verdict}");
        }
    }
}
