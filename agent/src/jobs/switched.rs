//! Jobs whose final run is complete: the target is the live server then, or will be in a moment, and
//! a run that nobody asked for would delete the mail that it gets.

use crate::history::store::{Past, Store, last_ended};
use crate::history::{Kind, Verdict};

/// Whether nothing has run any more after a complete final run of the job whose last `runs` these are,
/// the oldest first. A run by hand that is none makes the job an ordinary one again.
pub fn is_so(runs: &[Past]) -> bool {
    last_ended(runs)
        .is_some_and(|last| last.kind == Kind::Final.as_str() && last.verdict == Verdict::Complete)
}

/// The same of the job that the history knows as `job`.
///
/// # Errors
/// When it cannot be read.
pub fn in_history(store: &Store, job: &str) -> anyhow::Result<bool> {
    // One of them may be going on.
    Ok(is_so(&store.last(Some(job), 2)?))
}

/// What an operator has to know of it.
pub fn text(job: &str) -> String {
    format!(
        "the final run of {job} is complete: its schedule rests, so that no run deletes what the \
         target gets from now on; if the switch is called off, `bascule run {job}` makes it go on"
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
        assert!(is_so(&[switched.clone(), past(Kind::Run, Verdict::Running)]));
        for verdict in Verdict::ENDS {
            assert!(!is_so(&[switched.clone(), past(Kind::Run, verdict)]), "{verdict}");
        }
    }
}
