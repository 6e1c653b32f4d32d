//! Jobs whose final run is complete: the target is the live server then, or will be in a moment, and
//! a run that nobody asked for would delete the mail that it gets.

use jiff::Timestamp;

use crate::history::store::Past;
use crate::history::{Kind, Verdict};

/// When the final run began after which nothing has run any more, of the job whose last `runs` these
/// are, the oldest first. A run by hand that is none makes the job an ordinary one again.
pub fn since(runs: &[Past]) -> Option<Timestamp> {
    let last = runs.iter().rev().find(|run| run.verdict != Verdict::Running)?;
    let is_final = last.kind == Kind::Final.as_str() && last.verdict == Verdict::Complete;
    is_final.then_some(last.began)
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
        let began = Some(switched.began);
        assert_eq!(since(&[]), None);
        assert_eq!(since(&[past(Kind::Run, Verdict::Complete)]), None);
        assert_eq!(since(&[past(Kind::Final, Verdict::InMotion)]), None);
        assert_eq!(since(&[past(Kind::Run, Verdict::Complete), switched.clone()]), began);
        assert_eq!(since(&[switched.clone(), past(Kind::Run, Verdict::Running)]), began);
        for verdict in Verdict::ENDS {
            assert_eq!(since(&[switched.clone(), past(Kind::Run, verdict)]), None, "{verdict}");
        }
    }
}
