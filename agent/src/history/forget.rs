//! Old runs go from the history.

use jiff::{SignedDuration, Timestamp};
use rusqlite::params;

use super::store::{Store, moment};

/// So many runs of each job stay whatever their age: a clock that was ahead once must not empty the
/// history.
const KEPT: u32 = 200;

impl Store {
    /// Forgets the runs that began more than `days` days before `now` and are not among the last of
    /// their job; gives how many.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn forget(&self, days: u32, now: Timestamp) -> anyhow::Result<usize> {
        let age = SignedDuration::from_hours(24 * i64::from(days));
        let before = now.checked_sub(age).unwrap_or(Timestamp::MIN);
        Ok(self.sql().execute(
            "DELETE FROM runs WHERE began < ?1 AND id IN (
                SELECT id FROM (
                    SELECT id, row_number() OVER (PARTITION BY job ORDER BY id DESC) AS place
                    FROM runs)
                WHERE place > ?2)",
            params![moment(before), KEPT],
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Account, Ended, Kind, Phases};
    use bascule_engine::outcome::{Counters, ExitCode};

    fn after_days(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 86_400 * days).expect("a moment")
    }

    fn run(store: &mut Store, job: &str, began: Timestamp) -> i64 {
        let id = store.begin(job, Kind::Run, began, None).expect("begun");
        let ended = Ended {
            exit: ExitCode::Success,
            error: None,
            seconds: 1.0,
            phases: Phases::default(),
            attempts: 1,
            counters: Counters::default(),
            problems: Vec::new(),
            accounts: [("joe".to_owned(), Account::default())].into(),
            largest: None,
        };
        store.end(id, began, &ended).expect("ended");
        id
    }

    #[test]
    fn old_runs_go_but_for_the_last_of_each_job() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path()).expect("a store");
        let kept = i64::from(KEPT);
        let first = run(&mut store, "mail", after_days(0));
        run(&mut store, "archive", after_days(0));
        for day in 1..=kept {
            run(&mut store, "mail", after_days(day));
        }
        assert_eq!(store.forget(u32::MAX, after_days(kept)).expect("readable"), 0);
        assert_eq!(store.forget(400, after_days(kept)).expect("readable"), 0, "none is so old");
        // Ten years ahead, for one run.
        assert_eq!(store.forget(400, after_days(3650)).expect("forgotten"), 1);
        assert!(store.run(first).expect("readable").is_none());
        assert!(store.accounts(first).expect("readable").is_empty(), "they have to go too");
        let of = |job| store.last(Some(job), u32::MAX).expect("readable").len();
        assert_eq!((of("mail"), of("archive")), (KEPT as usize, 1));
    }
}
