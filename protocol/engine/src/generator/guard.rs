//! The delete guard: a deletion that nobody expected is held back before it starts.

use std::sync::atomic::Ordering;

use bascule_wire::options::DeleteGuard;

use crate::run::Run;

/// What a run knows of both ends when it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// Regular files in the sender's list.
    pub listed_files: u64,
    /// Names of the list that the target had before the run.
    pub kept: u64,
}

impl Stock {
    /// What `run` has counted by now; complete only at the end of the list.
    pub fn of(run: &Run) -> Self {
        let tally = run.tally();
        let listed = tally.listed.load(Ordering::Relaxed);
        Self {
            listed_files: tally.listed_files.load(Ordering::Relaxed),
            kept: listed.saturating_sub(tally.created.load(Ordering::Relaxed)),
        }
    }
}

/// Why `doomed` names may not go; `None` when they may.
pub fn objection(guard: &DeleteGuard, doomed: u64, stock: Stock) -> Option<String> {
    if doomed == 0 {
        return None;
    }
    if let Some(allowed) = guard.allowed {
        return (doomed > allowed).then(|| {
            format!(
                "nothing is deleted: {doomed} names would go, and --allow-deletes allows {allowed}"
            )
        });
    }
    let remedy =
        format!("look with -n -i; if that is right, run again with --allow-deletes {doomed}");
    if stock.listed_files == 0 {
        return Some(format!(
            "nothing is deleted: the source has no files at all, and {doomed} names would go; {remedy}"
        ));
    }
    let DeleteGuard { percent, names, .. } = *guard;
    let held = stock.kept.saturating_add(doomed);
    let beyond = u128::from(doomed) * 100 > u128::from(percent) * u128::from(held);
    (doomed > names && beyond).then(|| {
        format!(
            "nothing is deleted: {doomed} of {held} names would go, more than {names} and more \
             than {percent} %; {remedy}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Stock = Stock { listed_files: 10_000, kept: 10_000 };

    #[test]
    fn a_few_names_or_a_small_part_may_go() {
        let guard = DeleteGuard::default();
        for (doomed, kept, may_go) in [
            (0, 0, true),
            (100, 100, true),
            (101, 908, false),
            (101, 909, true),
            (1_000, 9_000, true),
            (1_001, 9_000, false),
            (u64::MAX, u64::MAX, false),
        ] {
            let stock = Stock { kept, ..FULL };
            assert_eq!(objection(&guard, doomed, stock).is_none(), may_go, "{doomed} of {kept}");
        }
    }

    #[test]
    fn nothing_goes_for_a_source_without_files() {
        let stock = Stock { listed_files: 0, ..FULL };
        assert_eq!(objection(&DeleteGuard::default(), 0, stock), None);
        let text = objection(&DeleteGuard::default(), 1, stock).expect("held back");
        assert!(text.contains("--allow-deletes 1"), "{text}");
    }

    #[test]
    fn the_user_may_allow_a_number() {
        let guard = DeleteGuard { allowed: Some(500), ..DeleteGuard::default() };
        for stock in [FULL, Stock { listed_files: 0, kept: 0 }] {
            assert_eq!(objection(&guard, 500, stock), None);
            assert!(objection(&guard, 501, stock).is_some());
        }
    }
}
