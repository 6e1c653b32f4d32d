//! `bascule restore --job`: a job with its ends swapped, under the same guard. What a source has
//! that the target has not stays unless deletions are asked for, and what is overwritten goes to the
//! source's trash.

use anyhow::{Context as _, bail};
use bascule_engine::outcome::ExitCode;
use bascule_engine::path::RelPath;
use bascule_engine::stop::Stop;

use super::{parts, present, rules};
use crate::cli::{self, Restore};
use crate::jobs::config::Job;
use crate::jobs::line::{self, Wanted};
use crate::jobs::load::Loaded;
use crate::jobs::lock::Lock;
use crate::location::split_pin;
use crate::mirror::{self, Watchers};

/// For how many days the source's trash is kept if the job does not say.
const TRASH_DAYS: u32 = 30;

/// Mirrors the target of the job `name` back to its sources.
///
/// # Errors
/// When there is no such job, it is being run, or its ends cannot be swapped.
pub(super) async fn restore(cli: &Restore, name: &str, stop: Stop) -> anyhow::Result<ExitCode> {
    let loaded = Loaded::open(cli.config.as_deref())?;
    let job = loaded.job(name)?;
    if let Some(password) = &job.password {
        password.check()?;
    }
    let paths: Vec<_> = cli.target.iter().chain(&cli.paths).cloned().collect();
    let parts = parts(&paths)?;
    let state = loaded.state()?;
    // No run is to take away at the target what is on its way back.
    let _lock = Lock::take(&state, name)?;
    present::check(job, &parts, &state, &stop).await?;
    let wanted =
        Wanted { dry_run: cli.dry_run, allow_deletes: cli.allow_deletes, ..Wanted::default() };
    let mut code = ExitCode::Success;
    for back in swapped(job, &parts, cli.delete)? {
        let mut line = line::arguments(&back, &wanted)?;
        let flags = [
            (
                !cli.delete && !back.options.iter().any(|option| option == "--no-delete"),
                "--no-delete",
            ),
            (cli.itemize_changes, "-i"),
            (cli.quiet, "-q"),
        ];
        let flags = flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag.into());
        line.splice(0..0, flags);
        let (mut mirror, matches) = cli::parse_mirror(line)?;
        mirror.connection.notes = Some(state.clone());
        let ended = mirror::carry_out(&mirror, &matches, Watchers::default(), stop.clone()).await?;
        if code == ExitCode::Success {
            code = ended.exit;
        }
        if stop.is_stopped() {
            break;
        }
    }
    Ok(code)
}

/// The job from its target to each of its sources; only `parts` of the target if some are named.
/// `deletes` says whether names that the source alone has are to go.
fn swapped(job: &Job, parts: &[RelPath], deletes: bool) -> anyhow::Result<Vec<Job>> {
    let is_contents = |source: &String| source.ends_with(['/', '\\']);
    if job.sources.len() > 1 && job.sources.iter().any(is_contents) {
        bail!(
            "the contents of several sources are one folder at the target: nobody can tell which \
             file came from which. Use `bascule mirror` with the target and one source"
        );
    }
    let (target, fingerprint) = split_pin(&job.target);
    let target = target.trim_end_matches(['/', '\\']);
    let wanted = rules(parts).into_iter().map(String::from_utf8);
    let wanted: Vec<String> =
        wanted.collect::<Result<_, _>>().context("a path that is not UTF-8")?;
    let kept = if deletes && !parts.is_empty() { kept(job)? } else { Vec::new() };
    let back = job.sources.iter().map(|source| {
        let (source, mark) = split_pin(source);
        // As it went: the contents of a folder, or a folder by its name.
        let (from, to) = if source.ends_with(['/', '\\']) {
            (format!("{target}/{fingerprint}"), format!("{source}{mark}"))
        } else {
            let (above, name) = source.rsplit_once(['/', '\\']).with_context(|| {
                format!("{source}: name this source by its whole path, so that it can come back")
            })?;
            (format!("{target}/{name}{fingerprint}"), format!("{above}/{mark}"))
        };
        Ok(Job {
            sources: vec![from],
            target: to,
            filters: kept.iter().chain(&wanted).chain(&job.filters).cloned().collect(),
            options: options(job, deletes),
            trash_days: Some(job.trash_days.unwrap_or(TRASH_DAYS)),
            ..job.clone()
        })
    });
    back.collect()
}

/// Rules that keep at the source what the job leaves out, and the target therefore never had: the
/// rules that take `parts` in come before the job's own.
fn kept(job: &Job) -> anyhow::Result<Vec<String>> {
    let of_filters = job.filters.iter().map(|rule| {
        rule.strip_prefix("- ").or_else(|| rule.strip_prefix("exclude ")).map(str::to_owned)
    });
    let of_exclude = job.exclude.iter().map(|pattern| match pattern.strip_prefix("- ") {
        Some(pattern) => Some(pattern.to_owned()),
        None => Some(pattern.clone()).filter(|text| text != "!" && !text.starts_with("+ ")),
    });
    let left_out: Option<Vec<String>> = of_filters.chain(of_exclude).collect();
    let has_more = job.options.iter().any(|option| {
        let rules = ["--exclude", "--include", "--filter", "-f"];
        rules.iter().any(|rule| option.starts_with(rule))
    });
    let left_out = left_out.filter(|_| !has_more).context(
        "--delete with PATHS: some rules of this job do not merely leave names out, or stand among \
         its `options`; what the source alone has to keep cannot be told. Leave out --delete or PATHS",
    )?;
    Ok(left_out.into_iter().map(|pattern| format!("P {pattern}")).collect())
}

/// The job's options without those that say when a run deletes, unless something is to be deleted.
fn options(job: &Job, deletes: bool) -> Vec<String> {
    const TIMING: [&str; 6] = [
        "--delete",
        "--delete-before",
        "--delete-during",
        "--del",
        "--delete-delay",
        "--delete-after",
    ];
    // What a run deletes at the target because it leaves it out, the source never sent there.
    let fits = |option: &&String| {
        *option != "--delete-excluded" && (deletes || !TIMING.contains(&option.as_str()))
    };
    job.options.iter().filter(fits).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::load;

    fn ends(text: &str) -> anyhow::Result<Vec<(String, String)>> {
        let config = load::parse(&format!("[jobs.a]\n{text}"))?;
        let back = swapped(&config.jobs["a"], &[], false)?;
        Ok(back.into_iter().map(|mut job| (job.sources.remove(0), job.target)).collect())
    }

    fn back(text: &str, parts: &[&str], deletes: bool) -> anyhow::Result<Job> {
        let text = format!("[jobs.a]\nsources = [\"/mail/\"]\ntarget = \"/copy\"\n{text}");
        let parse = |part: &&str| RelPath::parse(part.as_bytes()).expect("a legal path");
        let parts: Vec<_> = parts.iter().map(parse).collect();
        let job = load::parse(&text)?.jobs["a"].clone();
        Ok(swapped(&job, &parts, deletes)?.remove(0))
    }

    #[test]
    fn what_a_job_leaves_out_stays_at_the_source() {
        let rules = "exclude = [\"*.tmp\"]\nfilters = [\"- /x\"]\n";
        let filters = |deletes| back(rules, &["joe"], deletes).expect("swapped").filters;
        let own = ["+ /joe", "+ /joe/**", "- *", "- /x"];
        assert_eq!(filters(false), own);
        assert_eq!(filters(true)[..2], ["P /x", "P *.tmp"]);
        assert_eq!(filters(true)[2..], own);
        assert_eq!(back(rules, &[], true).expect("swapped").filters, ["- /x"]);
        for rules in ["filters = [\"+ a\"]", "exclude = [\"+ a\"]", "options = [\"-f- a\"]"] {
            let error = back(rules, &["joe"], true).expect_err("refused").to_string();
            assert!(error.contains("Leave out --delete"), "{error}");
            assert!(back(rules, &["joe"], false).is_ok());
        }
    }

    #[test]
    fn options_about_deletions_are_those_of_a_run() {
        let text = "options = [\"--delete-after\", \"--delete-excluded\", \"-c\"]";
        assert_eq!(back(text, &[], false).expect("swapped").options, ["-c"]);
        assert_eq!(back(text, &[], true).expect("swapped").options, ["--delete-after", "-c"]);
    }

    #[test]
    fn what_went_by_its_contents_comes_back_so() {
        let pin = format!("#sha256={}", "0".repeat(64));
        for (sources, target, expected) in [
            ("\"/mail/\"", "/copy", vec![("/copy/", "/mail/")]),
            ("\"/mail\"", "/copy/", vec![("/copy/mail", "/")]),
            ("\"/a#1/\"", "/copy #2", vec![("/copy #2/", "/a#1/")]),
            (
                "\"/a/mail\", \"/b/arch\"",
                "h::m/x",
                vec![("h::m/x/mail", "/a/"), ("h::m/x/arch", "/b/")],
            ),
        ] {
            let text = format!("sources = [{sources}]\ntarget = \"{target}\"");
            let expected: Vec<_> =
                expected.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
            assert_eq!(ends(&text).expect("swapped"), expected, "{text}");
        }
        let text = format!("sources = [\"/mail/\"]\ntarget = \"rsyncs://u@h/m/{pin}\"");
        let expected = (format!("rsyncs://u@h/m/{pin}"), "/mail/".to_owned());
        assert_eq!(ends(&text).expect("swapped"), [expected]);
        let several = ends("sources = [\"/a/\", \"/b/\"]\ntarget = \"c\"");
        assert!(several.expect_err("ambiguous").to_string().contains("several sources"));
    }
}
