//! Says where in `bascule.toml` a mistake is and what was probably meant, without showing values: one
//! of them may be a password that somebody has typed where a file's name belongs, and the text goes to
//! logs and notices.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// What is wrong with a text that is no configuration.
pub fn describe(text: &str, error: &toml::de::Error) -> String {
    let span = error.span().unwrap_or_default();
    let (line, column) = position(text, span.start);
    let what = without_value(text, span, error.message());
    format!("line {line}, column {column}: {what}{}", hint(error.message()).unwrap_or_default())
}

/// What is wrong, by the words of the parser, which shows values that it does not expect.
fn without_value(text: &str, span: Range<usize>, message: &str) -> String {
    let is_value = text.get(span).is_some_and(|typed| typed.starts_with(['"', '\'']));
    if is_value && let Some((_, known)) = message.split_once("`, expected ") {
        return format!(
            "a text where a key and a value belong, such as KEY.NAME = \"…\" or KEY = {{ NAME = \"…\" }} \
             with the NAME {}",
            known.trim_start_matches("one of ")
        );
    }
    match message.strip_prefix("invalid type: string ").and_then(|rest| rest.rsplit_once(", ")) {
        Some((_, expected)) => format!("invalid type: a string, {expected}"),
        None => message.to_owned(),
    }
}

/// What was probably meant by a name that nobody knows.
fn hint(message: &str) -> Option<String> {
    let unknown = ["unknown field ", "unknown variant "];
    let rest = unknown.iter().find_map(|start| message.strip_prefix(start))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let typed = quoted.next()?;
    Some(meant(typed, quoted))
}

/// "; did you mean …?", if one of `known` is near enough.
pub fn meant<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|name| (strsim::jaro_winkler(typed, name), name));
    match near.max_by(|(left, _), (right, _)| left.total_cmp(right)) {
        Some((nearness, name)) if nearness > 0.7 => format!("; did you mean \"{name}\"?"),
        _ => String::new(),
    }
}

/// The line of the first of `path` that is a key of the configuration, looked for from the last on:
/// that of a job, and where it has none, that of the table with all of them. 1 if there is none.
pub fn line_of(text: &str, path: &[&str]) -> usize {
    let Ok(document) = DeTable::parse(text) else { return 1 };
    let mut table = document.get_ref();
    let mut at = 0;
    for name in path {
        let Some((key, value)) = table.get_key_value(*name) else { break };
        at = key.span().start;
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    position(text, at).0
}

/// Line and column of a place, counted from 1, the column in characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::config::Config;

    const JOB: &str = "[jobs.mail]\nsources = [\"/mail/\"]\ntarget = \"/copy\"\n";

    fn described(more: &str) -> String {
        let text = format!("{JOB}{more}");
        let error = toml::from_str::<Config>(&text).expect_err("refused");
        describe(&text, &error)
    }

    #[test]
    fn names_are_suggested_at_every_level() {
        for (more, place, meant) in [
            ("exlude = []", "line 4, column 1", "exclude"),
            ("guard = { percnt = 3 }", "line 4, column 11", "percent"),
            ("goal.undr = \"3m\"", "line 4, column 6", "under"),
            ("schedule.evry = \"3m\"", "line 4, column 10", "every"),
            ("password.fil = \"/x\"", "line 4, column 10", "file"),
            ("[notify.mail]\nservr = \"x\"", "line 5, column 1", "server"),
            ("[job.mail]", "line 4, column 2", "jobs"),
        ] {
            let text = described(more);
            assert!(text.starts_with(place), "{more}: {text}");
            assert!(text.ends_with(&format!("did you mean \"{meant}\"?")), "{more}: {text}");
        }
    }

    #[test]
    fn a_password_in_the_wrong_place_is_not_shown() {
        for more in [
            "password = \"hunter2\"",
            "password = 'hunter2'",
            "password = hunter2",
            "password = [\"hunter2\"]",
            "password.value = \"hunter2\"",
            "password.file = \"hunter2\"\npassword.file = \"hunter2\"",
            "passwrd = \"hunter2\"",
            "trash_days = \"hunter2\"",
            "trash_days = \"a, hunter2\"",
            "options = \"--password=hunter2\"",
            "[notify.mail]\nserver = \"x\"\nfrom = \"a\"\nto = []\npassword = \"hunter2\"",
        ] {
            let text = described(more);
            assert!(text.starts_with("line ") && !text.contains("hunter2"), "{more}: {text}");
        }
        let text = described("password = \"hunter2\"");
        assert!(text.contains("`file`") && text.contains("`credential`"), "{text}");
    }

    #[test]
    fn a_job_is_found_however_it_is_written() {
        for (text, line) in [
            ("a = 1\n[jobs.mail] # why\n", 2),
            ("\n\n[ jobs . \"mail\" ]\n", 3),
            ("a = 1\njobs.mail.target = \"x\"\n", 2),
            ("[jobs]\nother = {}\nmail = {}\n", 3),
            ("a = 1\n[jobs]\n", 2),
            ("a = 1\n", 1),
        ] {
            assert_eq!(line_of(text, &["jobs", "mail"]), line, "{text}");
        }
        assert_eq!(position("é = 1\r\nü = x", 13), (2, 5));
    }
}
