//! Reads `bascule.toml`; says what is wrong with it, in which line, and what was probably meant.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_platform::metrics::endpoint::parse_address;
use bascule_platform::text;
use clap::ArgMatches;

use super::config::{ACCOUNT_DEPTH_MOST, Config, Job, KEEP_DAYS_MOST};
use super::line;
use super::mistake::{describe, line_of, meant};
use super::schedule::Plan;
use super::shared;
use crate::cli::Mirror;
use crate::converge::goal::Goal;

/// A configuration whose jobs make sense.
#[derive(Debug)]
pub struct Loaded {
    /// Where it was read.
    pub file: PathBuf,
    /// What stands in it.
    pub config: Config,
}

impl Loaded {
    /// Reads `file`, by default the system's.
    ///
    /// # Errors
    /// When it cannot be read, with the line of what makes no sense.
    pub fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let file = match file {
            Some(file) => file.to_owned(),
            None => default_file()?,
        };
        let shown = file.display();
        let bytes = std::fs::read(&file).with_context(|| {
            format!("cannot read {shown}; write one with `bascule init`, or name it with --config")
        })?;
        let bytes = text::unmarked(&bytes).with_context(|| format!("{shown} cannot be used"))?;
        let text = String::from_utf8(bytes.into_owned()).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            anyhow::anyhow!("{shown} cannot be used: line {line} is not UTF-8; save it as UTF-8")
        })?;
        let config = parse(&text).with_context(|| format!("{shown} cannot be used"))?;
        Ok(Self { file, config })
    }

    /// The job of that name.
    ///
    /// # Errors
    /// When there is none, with the names that there are.
    pub fn job(&self, name: &str) -> anyhow::Result<&Job> {
        let Some(job) = self.config.jobs.get(name) else {
            let known: Vec<&str> = self.config.jobs.keys().map(String::as_str).collect();
            let (name, file) = (name.escape_debug(), self.file.display());
            if known.is_empty() {
                bail!("there is no job \"{name}\" in {file}, and no other: docs/jobs.md shows one");
            }
            bail!(
                "there is no job \"{name}\" in {file}{}; the jobs are: {}",
                meant(&name.to_string(), known.iter().copied()),
                known.join(", ")
            );
        };
        Ok(job)
    }

    /// The folder of the history and the locks. One that is not named by its whole path is beside
    /// the configuration: whoever runs a job, from whatever folder, has to take the same lock.
    ///
    /// # Errors
    /// When neither the configuration nor the environment names one.
    pub fn state(&self) -> anyhow::Result<PathBuf> {
        if let Some(state) = &self.config.state {
            let file = std::path::absolute(&self.file).context("the configuration's path")?;
            return Ok(file.parent().map_or_else(|| state.clone(), |beside| beside.join(state)));
        }
        bascule_platform::state::folder("bascule").with_context(|| {
            format!(
                "there is no home directory; name a folder with `state` in {}",
                self.file.display()
            )
        })
    }
}

/// The system's configuration file.
///
/// # Errors
/// When the environment of a Windows system does not say where it is.
pub fn default_file() -> anyhow::Result<PathBuf> {
    bascule_platform::state::configuration("bascule.toml")
        .context("the environment names no folder for configurations; name the file with --config")
}

/// Parses a configuration and checks each job.
///
/// # Errors
/// What makes no sense, and where.
pub fn parse(text: &str) -> anyhow::Result<Config> {
    let config: Config =
        toml::from_str(text).map_err(|error| anyhow::anyhow!(describe(text, &error)))?;
    if let Some(metrics) = &config.metrics {
        parse_address(&metrics.listen)
            .map_err(|error| anyhow::anyhow!("[metrics] listen: {error}"))?;
    }
    // As many as the history can count back from any moment; at 0 no run would be kept at all.
    if !(1..=KEEP_DAYS_MOST).contains(&config.keep_days) {
        let line = line_of(text, &["keep_days"]);
        bail!("line {line}: `keep_days` has to be from 1 to {KEEP_DAYS_MOST}");
    }
    for (name, job) in &config.jobs {
        check(name, job).with_context(|| {
            let line = line_of(text, &["jobs", name]);
            format!("[jobs.{}] (line {line})", shown(name))
        })?;
    }
    if let Some((one, other)) = shared::targets(&config.jobs) {
        let line = line_of(text, &["jobs", other]);
        bail!(
            "[jobs.{other}] (line {line}): its files come to the same folder as those of \
             [jobs.{one}] or to one inside it, and one job would delete what the other brings: give \
             each a folder of its own, let the outer job leave the inner folder out (`exclude`), or \
             give both options = [\"--no-delete\"]"
        );
    }
    config.notify.check().with_context(|| format!("line {}", line_of(text, &["notify"])))?;
    Ok(config)
}

/// Checks whether a job can be called that.
///
/// # Errors
/// For any other name, with what names are made of.
pub fn check_name(name: &str) -> anyhow::Result<()> {
    if !is_name(name) {
        bail!("the name of a job is made of up to 100 letters, digits, '_' and '-'");
    }
    Ok(())
}

/// A name becomes a part of names of files.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !name.is_empty() && name.len() <= 100 && name.chars().all(fits)
}

/// What `bascule mirror` would be told.
fn check(name: &str, job: &Job) -> anyhow::Result<(Box<Mirror>, ArgMatches)> {
    check_name(name)?;
    if job.account_depth > ACCOUNT_DEPTH_MOST {
        bail!("`account_depth` has to be from 0 to {ACCOUNT_DEPTH_MOST}");
    }
    Plan::of(job)?;
    Goal::of(job)?;
    line::parsed(job, &line::Wanted::default())
}

/// The name of a job as a key, in quotes where it needs them.
fn shown(name: &str) -> String {
    if is_name(name) { name.to_owned() } else { format!("\"{}\"", name.escape_debug()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r##"
        [jobs.mail]
        sources = ["/opt/mail/example.com/"]
        target = "rsyncs://admin@target/mail/#sha256=0000000000000000000000000000000000000000000000000000000000000000"
        password.file = "/etc/bascule/password"
        exclude = ["*.tmp"]
        guard = { percent = 5 }
        trash_days = 30
    "##;

    #[test]
    fn what_is_left_out_has_defaults() {
        let config = parse(GOOD).expect("it makes sense");
        let job = &config.jobs["mail"];
        assert_eq!((job.guard.percent, job.guard.names, job.account_depth), (5, 100, 1));
        assert_eq!(config.keep_days, 400);
    }

    #[test]
    fn tells_the_line_and_what_was_meant() {
        let twisted = GOOD.replace("exclude", "exlude");
        let error = format!("{:#}", parse(&twisted).expect_err("refused"));
        assert!(error.contains("line 6") && error.contains("did you mean \"exclude\"?"), "{error}");
        let top = format!("stat = \"/x\"\n{GOOD}");
        let error = format!("{:#}", parse(&top).expect_err("refused"));
        assert!(error.contains("line 1") && error.contains("did you mean \"state\"?"), "{error}");
    }

    #[test]
    fn metrics_need_an_address_with_a_port() {
        let with = |listen| format!("[metrics]\nlisten = \"{listen}\"\n{GOOD}");
        let config = parse(&with("127.0.0.1:9873")).expect("it makes sense");
        assert!(config.metrics.is_some());
        let error = format!("{:#}", parse(&with("9873")).expect_err("refused"));
        assert!(error.contains("[metrics] listen: \"9873\" is no address"), "{error}");
    }

    #[test]
    fn a_job_that_no_mirror_could_run_is_refused() {
        for (from, to, reason) in [
            ("trash_days = 30", "options = [\"--no-such\"]", "--no-such"),
            ("trash_days = 30", "bandwidth = \"fast\"", "--bwlimit"),
            ("trash_days = 30", "bandwidth_hours = { \"8-18\" = \"2m\" }", "no span of hours"),
            (
                "trash_days = 30",
                "bandwidth_hours = { \"08:00-18:00\" = \"2m\", \"17:00-19:00\" = \"1m\" }",
                "two bandwidths",
            ),
            (
                "rsyncs://admin@target/mail/#sha256=00",
                "rsyncs://admin@target/mail/#sha256=zz",
                "sha256",
            ),
            ("trash_days = 30", "filters = [\"nonsense\"]", "nonsense"),
            ("{ percent = 5 }", "{ percent = 101 }", "--delete-guard"),
            ("trash_days = 30", "options = [\"--password-file=x\"]", "password"),
            ("[\"/opt/mail/example.com/\"]", "[]", "sources"),
            ("trash_days = 30", "options = [\"-vn\"]", "bascule diff"),
            ("trash_days = 30", "options = [\"/etc/\"]", "no option"),
            ("trash_days = 30", "options = [\"--\", \"/etc/\"]", "no option"),
            ("[\"/opt/mail/example.com/\"]", "[\"rsync://h/m/\"]", "both be remote"),
            ("[\"/opt/mail/example.com/\"]", "[\"\"]", "no name"),
            ("target/mail/#", "target/#", "module is missing"),
            ("trash_days = 30", "account_depth = 9", "account_depth"),
            ("trash_days = 30", "goal.under = \"0s\"", "goal.under"),
            ("trash_days = 30", "goal.times = 0", "goal.times"),
        ] {
            let twisted = GOOD.replace(from, to);
            assert_ne!(twisted, GOOD);
            let error = format!("{:#}", parse(&twisted).expect_err(to));
            assert!(error.contains(reason) && error.contains("(line 2)"), "{to}: {error}");
        }
    }

    #[test]
    fn days_that_no_history_can_keep_are_refused() {
        for days in ["0", "36501", "4294967295"] {
            let text = format!("keep_days = {days}\n{GOOD}");
            let error = format!("{:#}", parse(&text).expect_err("refused"));
            assert!(error.contains("line 1: `keep_days`"), "{error}");
        }
        assert!(parse(&format!("keep_days = 36500\n{GOOD}")).is_ok());
    }

    #[test]
    fn the_state_folder_is_the_same_from_wherever() {
        let folder = std::env::temp_dir();
        let state = |state: &str| {
            let config = parse(&format!("state = '{state}'\n{GOOD}")).expect("it makes sense");
            Loaded { file: folder.join("x.toml"), config }.state().expect("a folder")
        };
        assert_eq!(state("here"), folder.join("here"));
        let full = folder.join("there");
        assert_eq!(state(full.to_str().expect("a text")), full);
    }

    #[test]
    fn reads_what_the_editors_of_windows_save() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bascule.toml");
        let utf_16: Vec<u8> =
            format!("\u{feff}{GOOD}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        for content in [format!("\u{feff}{GOOD}").into_bytes(), utf_16] {
            std::fs::write(&file, &content).expect("written");
            assert!(Loaded::open(Some(&file)).expect("read").job("mail").is_ok());
        }
        std::fs::write(&file, b"# \n# \xe9t\xe9").expect("written");
        let error = Loaded::open(Some(&file)).expect_err("ANSI").to_string();
        assert!(error.contains("line 2 is not UTF-8"), "{error}");
    }

    #[test]
    fn names_the_jobs_there_are() {
        let loaded = Loaded { file: "x.toml".into(), config: parse(GOOD).expect("it makes sense") };
        assert!(loaded.job("mail").is_ok());
        let error = loaded.job("mial").expect_err("none").to_string();
        assert!(error.contains("did you mean \"mail\"?") && error.contains("the jobs are: mail"));
    }
}
