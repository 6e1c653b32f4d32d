//! What was wrong with a run that was `partial`, in one sentence.

use std::collections::BTreeMap;

use crate::history::recorder::name_told;
use crate::history::store::{Past, Store};
use crate::itemize::shown;

/// How the text of a problem ends that is that of the whole run.
const NO_SOURCE: &str = "the source does not exist";

/// What was wrong with `run`.
///
/// # Errors
/// When the history cannot be read.
pub fn of(store: &Store, run: &Past) -> anyhow::Result<String> {
    Ok(described(&store.problems(run.id)?, run.id))
}

/// The same of the run with the number `id`, whose problems have severity, path and text.
fn described(problems: &[(String, String, String)], id: i64) -> String {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (severity, path, text) in problems {
        if severity != "partial" {
            continue;
        }
        let (name, told) = match path.as_str() {
            "" => (named_in(text), text.strip_prefix("bascule: ").unwrap_or(text).to_owned()),
            path => {
                let path = bascule_wire::shown(path.as_bytes()).to_string();
                (path.clone(), format!("{path}: {text}"))
            }
        };
        let told = shown(told.as_bytes());
        if told.ends_with(NO_SOURCE) {
            return told;
        }
        // Both ends may tell of one name; that of the first is shown.
        names.entry(name).or_insert(told);
    }
    match names.len() {
        0 => format!(
            "some files of the last two runs could not be brought over: `bascule history --run {id}` \
             shows what is known"
        ),
        1 => names.into_values().collect(),
        some => format!(
            "{some} files or folders of the last run could not be brought over or deleted: `bascule \
             history --run {id}` names them"
        ),
    }
}

/// The name in a text of the other end: what Bascule writes before a colon, and a stock rsync between
/// quotes; the whole text if there is none.
fn named_in(text: &str) -> String {
    name_told(text).or_else(|| text.split('"').nth(1)).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(problems: &[(&str, &str, &str)]) -> String {
        let owned = problems.iter().map(|(severity, path, text)| {
            ((*severity).to_owned(), (*path).to_owned(), (*text).to_owned())
        });
        described(&owned.collect::<Vec<_>>(), 7)
    }

    #[test]
    fn each_name_counts_once_and_warnings_do_not() {
        let moved = ("vanished", "joe/db", "it is in motion");
        let ours = ("partial", "joe/db", "it changed");
        let theirs = ("partial", "", "bascule: joe/db: its content did not match");
        assert_eq!(of(&[moved, theirs, ours]), "joe/db: its content did not match");
        let warning = ("warning", "", "bascule: nothing more is deleted in this run");
        assert_eq!(of(&[ours, warning]), "joe/db: it changed");
        let rsync = ("partial", "", "rsync: [receiver] mkstemp \"/joe/.1\" (in m) failed: no (1)");
        let two = of(&[ours, rsync, theirs, rsync, warning]);
        assert!(two.starts_with("2 files or folders") && two.contains("--run 7"), "{two}");
        assert!(of(&[warning]).starts_with("some files"));
    }

    #[test]
    fn a_source_that_is_missing_is_the_reason() {
        let missing = ("partial", "/mail/", "the source does not exist");
        let other = ("partial", "x\n\u{1b}[2J", "no");
        assert_eq!(of(&[other, missing]), "/mail/: the source does not exist");
        assert_eq!(of(&[other]), "x\\n\\x1b[2J: no");
    }
}
