//! The words of all notices.

use jiff::Timestamp;

use super::notice::{Notice, Place, What};
use crate::human::duration;
use crate::jobs::table::moment;

/// Where a notice is from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The name of this machine.
    pub host: String,
    /// What a command needs to find the configuration, with a space before it; nothing for the
    /// system's.
    pub option: String,
}

/// A notice in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The name of the machine that it is from.
    pub host: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
}

/// What is said about one kind of event.
struct Said {
    /// The subject, without the machine and the job.
    title: String,
    happened: String,
    means: String,
    todo: String,
    /// Commands for this configuration, without the option that names it.
    commands: Vec<String>,
}

/// Puts a notice into words.
pub fn render(notice: &Notice, origin: &Origin) -> Rendered {
    let job = notice.job.as_deref().unwrap_or("JOB");
    let said = said(&notice.what, job, notice.since, notice.at);
    let Origin { host, option } = origin;
    let about = notice.job.as_ref().map_or_else(String::new, |job| format!("{job}: "));
    let subject = format!("[bascule {host}] {about}{}", said.title);
    let mut body = format!("{}\n\n", said.happened);
    if let Some(job) = &notice.job {
        body.push_str(&format!("Job:        {job}\n"));
    }
    body.push_str(&format!("Machine:    {host}\nNoticed:    {}\n", moment(notice.at)));
    if let Some(since) = notice.since {
        body.push_str(&format!("Since:      {}\n", moment(since)));
    }
    if !said.means.is_empty() {
        body.push_str(&format!("\nWhat it means: {}\n", said.means));
    }
    body.push_str(&format!("\nWhat to do: {}\n", said.todo));
    for command in &said.commands {
        body.push_str(&format!("\n    {command}{option}\n"));
    }
    Rendered { host: host.clone(), subject, body }
}

fn said(what: &What, job: &str, since: Option<Timestamp>, at: Timestamp) -> Said {
    let for_long = since.map(|since| at.duration_since(since).as_secs_f64()).unwrap_or_default();
    match what {
        What::RunFailed { run, code, error } => Said {
            title: if for_long >= 3600.0 {
                format!("still failing after {}", duration(for_long))
            } else {
                "a run failed".to_owned()
            },
            happened: match run {
                Some(run) => {
                    format!("Run {run} could not be carried out (exit code {code}):\n{error}")
                }
                None => format!("A run could not be begun:\n{error}"),
            },
            means: "the target falls behind until runs work again. What had arrived is kept. The \
                    service goes on trying by itself and says so once when it works again; while \
                    it does not, this is told once a day."
                .to_owned(),
            todo: "read the reason above. If the network or the target was only away for a while, \
                   nothing. Otherwise these try the job out and say what to do:"
                .to_owned(),
            commands: match run {
                Some(run) => {
                    vec![format!("bascule check {job}"), format!("bascule history --run {run}")]
                }
                None => vec![format!("bascule check {job}")],
            },
        },
        What::RunCutOff { run } => Said {
            title: "a run was cut off".to_owned(),
            happened: format!(
                "Run {run} never came to its end, or could not say how it ended: its program was \
                 killed, the machine went down, or the history could not be written."
            ),
            means:
                "nothing is lost: what had arrived is kept, and the next run goes on from it. The \
                    service begins it by itself and says so once when it went through."
                    .to_owned(),
            todo: "if somebody restarted the machine, nothing. Otherwise look for what killed the \
                   program, such as too little memory (`bascule service logs` and the system's log). \
                   This shows the runs:"
                .to_owned(),
            commands: vec![format!("bascule history {job}")],
        },
        What::RunRecovered { run } => Said {
            title: "runs work again".to_owned(),
            happened: format!(
                "Run {run} went through; for {} before it none had.",
                duration(for_long)
            ),
            means: "the target is catching up: what changed meanwhile has been mirrored by this \
                    run, unless files of it could not be transferred."
                .to_owned(),
            todo: "nothing. This shows what the run did:".to_owned(),
            commands: vec![format!("bascule history --run {run}")],
        },
        What::Converged { final_run } => Said {
            title: "converged, the switch can be planned".to_owned(),
            happened: match final_run {
                Some((seconds, most)) => format!(
                    "The last runs were within the limits of the job's goal. The final run will \
                     take about {} (hardly more than {}).",
                    duration(*seconds),
                    duration(*most)
                ),
                None => "The last runs were within the limits of the job's goal.".to_owned(),
            },
            means:
                "the switch to the target will be about as short as that. It stays so only while \
                    runs go on."
                    .to_owned(),
            todo:
                "plan the switch. Stop the mail server, then do the final run, after which the \
                   schedule of the job rests; before that, this shows the forecast of the moment:"
                    .to_owned(),
            commands: vec![
                format!("bascule converge {job} --look"),
                format!("bascule run {job} --final"),
            ],
        },
        What::Stalled { reasons } => Said {
            title: "stalled, runs do not become shorter".to_owned(),
            happened: format!(
                "The last runs are hardly shorter than those before them:\n{}",
                lines(reasons)
            ),
            means: "more runs of the same kind will not reach the goal of the job.".to_owned(),
            todo:
                "look at the reasons above: leave out what need not be moved (`exclude`), give it \
                   more bandwidth, or accept a longer final run (`goal.under`). These show where \
                   the time goes:"
                    .to_owned(),
            commands: vec![
                format!("bascule converge {job} --look"),
                format!("bascule history {job}"),
            ],
        },
        What::Blocked { reasons } => Said {
            title: "blocked, somebody has to look".to_owned(),
            happened: format!("No further run will get around this:\n{}", lines(reasons)),
            means: "the rest is mirrored, but the target is not complete.".to_owned(),
            todo:
                "see which files it is and why; mostly it is their permissions, or names that the \
                   target cannot store. The first of these has the numbers of the runs; `bascule \
                   history --run NUM` names the files of one:"
                    .to_owned(),
            commands: vec![format!("bascule history {job}"), format!("bascule check {job}")],
        },
        What::GuardTripped { run, text } => Said {
            title: "deletions are held back".to_owned(),
            happened: format!("Run {run} deleted nothing at the target:\n{text}"),
            means:
                "so many names are gone from the source that it may be a mistake, such as a disk \
                    that is not mounted. New and changed files have been mirrored; deletions wait, \
                    in the next runs as well."
                    .to_owned(),
            todo: "see what would be deleted. If that is right, let it go once, with a number no \
                   smaller than what the first command shows; if it is not, repair the source:"
                .to_owned(),
            commands: vec![
                format!("bascule diff {job}"),
                format!("bascule run {job} --allow-deletes NUM"),
            ],
        },
        What::DiskLow { place: Place::Target, text } => Said {
            title: "the target's disk is full or nearly so".to_owned(),
            happened: text.clone(),
            means: "files that do not fit are left out, and the target is not complete until they \
                    fit."
                .to_owned(),
            todo: "make room at the target, or give it a larger disk; the next run goes on by \
                   itself. This tells what a run would need:"
                .to_owned(),
            commands: vec![format!("bascule check {job}")],
        },
        What::DiskLow { place: Place::State, text } => Said {
            title: "the disk of Bascule's own state is nearly full".to_owned(),
            happened: text.clone(),
            means: "without room no run can be kept in the history; then none is begun, and no \
                    notice can be sent either."
                .to_owned(),
            todo: "make room on that disk of this machine, or move the folder to another one and \
                   name it with `state` in bascule.toml. This shows whether the jobs still run:"
                .to_owned(),
            commands: vec!["bascule status".to_owned()],
        },
        What::NothingRan { hours } => Said {
            title: format!("nothing ran for {hours} hours"),
            happened: format!("No run of any job has begun for {hours} hours."),
            means:
                "the target falls behind. A run may hang, be held up by another that never ends, \
                    or the schedules name no moment in that time; or the service did not run."
                    .to_owned(),
            todo:
                "see what the jobs are doing, and what the log says (`bascule service logs`). If \
                   the schedules are meant like that, raise `silence_hours` in [notify]:"
                    .to_owned(),
            commands: vec!["bascule status".to_owned()],
        },
        What::HistoryUnusable { error } => Said {
            title: "the history cannot be used, nothing runs".to_owned(),
            happened: format!("Bascule cannot use its history, and begins no run:\n{error}"),
            means: "the target falls behind. Nothing is wrong with what has been mirrored. Other \
                    notices wait in the history too, and cannot be sent."
                .to_owned(),
            todo: "read the reason above. Where the disk is full, make room; where it is somebody's \
                   permissions, give them back; a history of a newer version needs that version. One \
                   that is damaged: stop the service, put history.sqlite3 and the files whose names \
                   begin with that aside, start it again. A new history begins then, which does not \
                   know of final runs: once the switch is done, leave the service stopped. The \
                   service goes on by itself when this tells no error any more:"
                .to_owned(),
            commands: vec!["bascule status".to_owned()],
        },
        What::Digest(digest) => Said {
            title: digest.title(),
            happened: digest.text(),
            means: String::new(),
            todo: "nothing, if all of it is as expected. This shows more:".to_owned(),
            commands: vec!["bascule status".to_owned()],
        },
        What::Test => Said {
            title: "a test of the notices".to_owned(),
            happened: "Somebody ran `bascule notify` to see whether notices arrive. This one did."
                .to_owned(),
            means: "notices about failures will come the same way.".to_owned(),
            todo: "nothing.".to_owned(),
            commands: Vec::new(),
        },
    }
}

fn lines(reasons: &[String]) -> String {
    let lines: Vec<String> = reasons.iter().map(|reason| format!("- {reason}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::notices::digest::Digest;
    use crate::notices::notice::Event;
    use clap::Parser as _;
    use jiff::SignedDuration;

    fn one_of_each() -> Vec<What> {
        let reasons = vec!["because".to_owned()];
        vec![
            What::RunFailed { run: Some(31), code: 10, error: "no connection to target".into() },
            What::RunFailed { run: None, code: 1, error: "no such credential".into() },
            What::RunCutOff { run: 30 },
            What::RunRecovered { run: 32 },
            What::Converged { final_run: Some((120.0, 180.0)) },
            What::Stalled { reasons: reasons.clone() },
            What::Blocked { reasons },
            What::GuardTripped { run: 33, text: "900 of 1000 names".into() },
            What::DiskLow { place: Place::Target, text: "the target is full".into() },
            What::DiskLow { place: Place::State, text: "12 MiB are left".into() },
            What::NothingRan { hours: 26 },
            What::HistoryUnusable { error: "database disk image is malformed".into() },
            What::Digest(Digest::default()),
            What::Test,
        ]
    }

    fn rendered(what: What, job: Option<&str>, since: i64) -> Rendered {
        let at = Timestamp::from_second(1_800_000_000).expect("a moment");
        let since = Some(at - SignedDuration::from_mins(since));
        let origin = Origin { host: "mail1".into(), option: " --config=/x.toml".into() };
        render(&Notice { what, job: job.map(ToOwned::to_owned), at, since }, &origin)
    }

    #[test]
    fn every_event_has_words_and_says_what_to_do() {
        let mut seen = std::collections::BTreeSet::new();
        for what in one_of_each() {
            seen.insert(what.event());
            let is_test = what == What::Test;
            let Rendered { subject, body, .. } = rendered(what, Some("mail"), 5);
            assert!(subject.starts_with("[bascule mail1] mail: "), "{subject}");
            assert!(subject.is_ascii() && subject.len() < 90 && !subject.contains('\n'));
            assert!(body.contains("What to do: "), "{body}");
            assert!(is_test || body.contains("    bascule "), "{body}");
            assert!(is_test || body.contains(" --config=/x.toml\n"), "{body}");
        }
        assert_eq!(seen.len(), Event::ALL.len(), "{seen:?}");
        assert!(Event::ALL.iter().all(|event| Event::parse(event.as_str()) == Some(*event)));
    }

    #[test]
    fn every_command_is_one_that_there_is() {
        for what in one_of_each() {
            let Rendered { body, .. } = rendered(what, Some("mail"), 5);
            for command in body.lines().filter_map(|line| line.strip_prefix("    bascule ")) {
                let words = format!("bascule {command}").replace("NUM", "5");
                let read = Cli::try_parse_from(words.split(' '));
                assert!(read.is_ok(), "{command}: {}", read.expect_err("an error"));
            }
        }
    }

    #[test]
    fn a_failure_is_told_in_plain_words() {
        let failed =
            || What::RunFailed { run: Some(31), code: 10, error: "no connection to target".into() };
        let first = rendered(failed(), Some("mail"), 0);
        assert_eq!(first.subject, "[bascule mail1] mail: a run failed");
        for part in [
            "Run 31 could not be carried out (exit code 10):\nno connection to target\n",
            "Job:        mail\n",
            "\n    bascule check mail --config=/x.toml\n",
        ] {
            assert!(first.body.contains(part), "{part}: {}", first.body);
        }
        let later = rendered(failed(), Some("mail"), 60 * 24);
        assert_eq!(later.subject, "[bascule mail1] mail: still failing after 24 h 00 min");
    }
}
