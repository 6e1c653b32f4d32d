//! A job as a command line: that of `bascule mirror`, and that of a stock rsync.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bascule_engine::backup::TRASH;
use bascule_engine::generator::delete::PARTIAL_DIR;
use bascule_platform::paths;
use bascule_platform::secret::{self, sealed};
use bascule_platform::shell;
use bascule_wire::options::DeleteGuard;
use clap::ArgMatches;
use zeroize::Zeroizing;

use super::config::{Job, Secret};
use crate::cli::{self, Mirror};
use crate::location::{Location, Remote, Security};
use crate::options;

/// What one run is asked for beside what stands in the job.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Change nothing.
    pub dry_run: bool,
    /// The last run before the switch: success means stable storage.
    pub is_final: bool,
    /// Up to so many names may be deleted, whatever the guard says.
    pub allow_deletes: Option<u64>,
    /// Nobody asks for it: not after the final run.
    pub is_by_itself: bool,
    /// No guard at all: for a folder that was made to be emptied.
    pub is_unguarded: bool,
}

/// Options that a job has keys for; they have no place among its `options`.
const OWN_KEYS: [(&str, &str); 8] = [
    ("--password-file", "password"),
    ("--delete-guard", "guard"),
    ("--trash", "trash_days"),
    ("--durable", "durable"),
    ("--bwlimit", "bandwidth"),
    ("--bwlimit-hours", "bandwidth_hours"),
    ("--allow-deletes", "`bascule run JOB --allow-deletes`"),
    ("--dry-run", "`bascule diff JOB`"),
];

/// The option for the password.
const PASSWORD_FILE: &str = "--password-file=";

/// Options that a stock rsync does not know, and whether the next word may be their value.
const ONLY_OURS: [(&str, bool); 16] = [
    ("--json", false),
    ("--no-partial-dir", false),
    ("--bwlimit-hours", true),
    ("--delete-guard", true),
    ("--trash", false),
    ("--retries", true),
    ("--retry-wait", true),
    ("--ca-file", true),
    ("--client-cert", true),
    ("--client-key", true),
    ("--allow-plain", false),
    ("--no-delete", false),
    ("--durable", false),
    ("--max-entries", true),
    ("--max-list-memory", true),
    ("--shadow-copy", false),
];

/// What stands behind `bascule mirror`.
///
/// # Errors
/// When the job names no source, gives an option that has a key of its own, or names a secret that
/// is not to be had here.
pub fn arguments(job: &Job, wanted: &Wanted) -> anyhow::Result<Vec<OsString>> {
    if job.sources.is_empty() {
        bail!("`sources` names nothing to mirror");
    }
    for option in &job.options {
        let name = option.split('=').next().unwrap_or_default();
        if let Some((_, key)) = OWN_KEYS.iter().find(|(own, _)| *own == name) {
            bail!("{name} does not belong among the `options` of a job: use {key}");
        }
    }
    let mut line: Vec<OsString> = Vec::new();
    let mut add = |text: String| line.push(text.into());
    for rule in &job.filters {
        add(format!("--filter={rule}"));
    }
    for pattern in &job.exclude {
        add(format!("--exclude={pattern}"));
    }
    let guard = DeleteGuard { percent: job.guard.percent, names: job.guard.names, allowed: None };
    if wanted.is_unguarded {
        add("--delete-guard=off".to_owned());
    } else if guard != DeleteGuard::default() {
        add(format!("--delete-guard={},{}", job.guard.percent, job.guard.names));
    }
    if let Some(names) = wanted.allow_deletes {
        add(format!("--allow-deletes={names}"));
    }
    if let Some(days) = job.trash_days {
        add(format!("--trash={days}"));
    }
    if let Some(rate) = &job.bandwidth {
        add(format!("--bwlimit={rate}"));
    }
    for (hours, rate) in &job.bandwidth_hours {
        add(format!("--bwlimit-hours={hours}={rate}"));
    }
    if job.durable || wanted.is_final {
        add("--durable".to_owned());
    }
    if wanted.dry_run {
        add("--dry-run".to_owned());
    }
    if let Some(secret) = &job.password {
        if let Secret::Credential(name) = secret
            && (name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.'))
        {
            bail!("\"{}\" is no name of a credential", name.escape_debug());
        }
        let mut option = OsString::from(PASSWORD_FILE);
        option.push(secret.shown());
        line.push(option);
    }
    line.extend(job.options.iter().map(OsString::from));
    line.push("--".into());
    line.extend(job.sources.iter().chain([&job.target]).map(OsString::from));
    Ok(line)
}

/// The job as `bascule mirror` would understand it.
///
/// # Errors
/// As [`arguments`], and when `bascule mirror` would refuse it.
pub fn parsed(job: &Job, wanted: &Wanted) -> anyhow::Result<(Box<Mirror>, ArgMatches)> {
    let (mirror, matches) = cli::parse_mirror(arguments(job, wanted)?)?;
    // Nothing that a run would stumble over is to come up in the night.
    if mirror.paths.len() != job.sources.len() + 1 {
        bail!("`options` holds something that is no option; what is mirrored belongs to `sources`");
    }
    if mirror.run.dry_run && !wanted.dry_run {
        bail!(
            "-n among the `options`: every run would change nothing and count as complete; use \
             `bascule diff JOB`"
        );
    }
    ends(&mirror.paths)?;
    options::options(&mirror.run, &mirror.connection)?;
    options::filters(&mirror.run.names, &matches, None)?;
    Ok((mirror, matches))
}

/// Sees to it that there is something to mirror, and that one end is on this machine.
fn ends(paths: &[OsString]) -> anyhow::Result<()> {
    let mut remote = Vec::new();
    for path in paths {
        match Location::parse(path)? {
            Location::Local(path) if path.is_empty() => bail!("an end of the mirror has no name"),
            Location::Local(_) => remote.push(false),
            Location::Remote(Remote { module, host, .. }) if module.is_empty() => {
                bail!("{host}: the module is missing; `bascule list` shows the daemon's modules")
            }
            Location::Remote(_) => remote.push(true),
        }
    }
    if remote.split_last().is_some_and(|(target, sources)| *target && sources.contains(&true)) {
        bail!("sources and target cannot both be remote");
    }
    Ok(())
}

/// The line for a shell that does the same by `bascule mirror`.
///
/// # Errors
/// As [`arguments`].
pub fn of_bascule(job: &Job) -> anyhow::Result<String> {
    let words = arguments(job, &Wanted::default())?;
    let words = words.into_iter().filter(|word| word != "--" || needs_dashes(job));
    Ok(typed(["bascule".into(), "mirror".into()].into_iter().chain(words)))
}

/// Whether "--" has to part the ends from the options: one of them looks like an option.
fn needs_dashes(job: &Job) -> bool {
    job.sources.iter().chain([&job.target]).any(|end| end.starts_with('-'))
}

/// The line for a shell by which a stock rsync comes as near as it can; what only Bascule does is
/// left out.
///
/// # Errors
/// As [`arguments`].
pub fn of_rsync(job: &Job) -> anyhow::Result<String> {
    let mut words: Vec<OsString> = ["-a", "--modify-window=-1"].map(OsString::from).to_vec();
    let (mirror, _) = parsed(job, &Wanted::default())?;
    if !mirror.run.no_delete {
        words.push("--delete-delay".into());
    }
    if !mirror.run.no_partial_dir && !mirror.run.inplace {
        words.push(format!("--partial-dir={PARTIAL_DIR}").into());
    }
    // Bascule leaves the trash of a target alone, whichever run made it; rsync has to be told.
    for side in ['H', 'P'] {
        words.push(format!("--filter={side} /{TRASH}/").into());
    }
    if job.durable {
        words.push("--fsync".into());
    }
    let mut program = "rsync";
    let mut skip_value = false;
    for word in arguments(job, &Wanted::default())? {
        let text = word.to_string_lossy();
        if std::mem::take(&mut skip_value) || (text == "--" && !needs_dashes(job)) {
            continue;
        }
        let name = text.split('=').next().unwrap_or_default();
        if let Some((_, has_value)) = ONLY_OURS.iter().find(|(ours, _)| *ours == name) {
            skip_value = *has_value && !text.contains('=');
            continue;
        }
        match Location::parse(&word) {
            Ok(Location::Remote(remote)) if !text.starts_with('-') => {
                if remote.security != Security::Plain {
                    program = "rsync-ssl";
                }
                let mut url = "rsync://".to_owned();
                if let Some(user) = &remote.user {
                    url.push_str(&format!("{user}@"));
                }
                let host = if remote.host.contains(':') {
                    format!("[{}]", remote.host)
                } else {
                    remote.host
                };
                url.push_str(&host);
                if let Some(port) = remote.port {
                    url.push_str(&format!(":{port}"));
                }
                url.push_str(&format!("/{}/", remote.module));
                let mut url = OsString::from(url);
                url.push(String::from_utf8_lossy(&remote.path).as_ref());
                words.push(url);
            }
            Ok(Location::Local(_)) if !text.starts_with('-') => {
                words.push(for_rsync(&text).into_owned().into());
            }
            _ => match (text.strip_prefix(PASSWORD_FILE), &job.password) {
                // Nobody but Bascule can open that file: rsync asks.
                (Some(_), Some(Secret::Dpapi(_))) => {}
                (Some(file), _) => words.push(format!("{PASSWORD_FILE}{}", for_rsync(file)).into()),
                (None, _) => words.push(word),
            },
        }
    }
    Ok(typed(std::iter::once(program.into()).chain(words)))
}

/// A path as the rsync of this system takes it: on Windows that is one of Cygwin, to which `C:` is the
/// name of a machine.
fn for_rsync(path: &str) -> Cow<'_, str> {
    if cfg!(windows) { paths::for_cygwin(path).into() } else { path.into() }
}

/// Words as the shells of this system read them.
fn typed(words: impl Iterator<Item = OsString>) -> String {
    words.map(|word| shell::word(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

impl Secret {
    /// The file that it is in; for a credential that nobody handed out, where it would be.
    fn shown(&self) -> PathBuf {
        match self {
            Self::File(file) | Self::Dpapi(file) => file.clone(),
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
                PathBuf::from(folder.unwrap_or_else(|| "$CREDENTIALS_DIRECTORY".into())).join(name)
            }
        }
    }

    /// Reads it: the first line, without its end. Error texts call it `what`.
    ///
    /// # Errors
    /// When it cannot be had, others can read it, or it is no text.
    pub fn read(&self, what: &str) -> anyhow::Result<Zeroizing<String>> {
        self.check()?;
        let file = self.shown();
        let bytes = secret::read_as(&file, what)?;
        let text = std::str::from_utf8(secret::first_line(&bytes))
            .with_context(|| format!("{what} {} is not UTF-8", file.display()))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// Whether it can be had here.
    ///
    /// # Errors
    /// When the service manager hands out no credentials; when a file is not sealed that should be.
    pub fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Credential(name) => {
                std::env::var_os("CREDENTIALS_DIRECTORY").map(|_| ()).with_context(|| {
                    format!(
                        "the credential {name} is only there in a service of systemd that has \
                         LoadCredential={name}:FILE"
                    )
                })
            }
            Self::Dpapi(file) => {
                if !cfg!(windows) {
                    bail!("password.dpapi is for Windows: here use password.file or .credential");
                }
                let content = std::fs::read(file).with_context(|| file.display().to_string())?;
                if !sealed::is_sealed(&content) {
                    let named = shell::word(&file.to_string_lossy());
                    bail!("{} is not sealed: write it with `bascule seal {named}`", file.display());
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bascule_platform::shell::word;

    use super::*;
    use crate::jobs::load;

    fn job(text: &str) -> Job {
        let config = load::parse(&format!("[jobs.mail]\n{text}")).expect("it makes sense");
        config.jobs["mail"].clone()
    }

    #[test]
    fn says_the_same_to_bascule_and_to_rsync() {
        let pin = "0".repeat(64);
        let job = job(&format!(
            r##"sources = ["/opt/my mail/"]
            target = "rsyncs://admin@target:8730/mail/here/#sha256={pin}"
            password.file = "/etc/pass"
            exclude = ["it's"]
            trash_days = 7
            bandwidth = "20m"
            bandwidth_hours = {{ "08:00-18:00" = "2m" }}
            durable = true
            options = ["-z", "--retries", "3", "--checksum-choice=md5"]"##
        ));
        let url = format!("rsyncs://admin@target:8730/mail/here/#sha256={pin}");
        assert_eq!(
            of_bascule(&job).expect("a line"),
            format!(
                "bascule mirror {} --trash=7 --bwlimit=20m --bwlimit-hours=08:00-18:00=2m --durable \
                 --password-file=/etc/pass -z --retries 3 --checksum-choice=md5 {} {}",
                word("--exclude=it's"),
                word("/opt/my mail/"),
                word(&url),
            )
        );
        assert_eq!(
            of_rsync(&job).expect("a line"),
            format!(
                "rsync-ssl -a --modify-window=-1 --delete-delay --partial-dir=.bascule-partial {} {} \
                 --fsync {} --bwlimit=20m --password-file=/etc/pass -z --checksum-choice=md5 {} {}",
                word("--filter=H /.bascule-trash/"),
                word("--filter=P /.bascule-trash/"),
                word("--exclude=it's"),
                word("/opt/my mail/"),
                word("rsync://admin@target:8730/mail/here/"),
            )
        );
    }

    #[cfg(windows)]
    #[test]
    fn tells_paths_of_windows_to_an_rsync_of_cygwin() {
        let job = job(r"sources = ['C:\my mail\', '\\server\share\x\']
            target = 'rsync://admin@target/mail/'
            password.file = 'C:\pass'");
        let line = of_bascule(&job).expect("a line");
        assert!(line.contains(r#"--password-file=C:\pass "C:\my mail/""#), "{line}");
        let line = of_rsync(&job).expect("a line");
        let expected =
            r#"--password-file=/cygdrive/c/pass "/cygdrive/c/my mail/" //server/share/x/ "#;
        assert!(line.contains(expected), "{line}");
    }

    #[test]
    fn what_is_ours_alone_is_not_told_to_rsync() {
        let job = job("sources = [\"-a/\"]\ntarget = \"b\"\n\
             options = [\"--json\", \"--no-partial-dir\", \"--retries\", \"3\", \"--no-delete\"]");
        let line = of_rsync(&job).expect("a line");
        assert_eq!(
            line,
            format!(
                "rsync -a --modify-window=-1 {} {} -- -a/ b",
                word("--filter=H /.bascule-trash/"),
                word("--filter=P /.bascule-trash/"),
            )
        );
        assert!(of_bascule(&job).expect("a line").ends_with(" -- -a/ b"));
    }

    #[test]
    fn a_final_run_is_durable_and_a_diff_changes_nothing() {
        let job = job("sources = [\"a/\"]\ntarget = \"b\"");
        let mirror = |wanted| parsed(&job, &wanted).expect("a mirror").0.run;
        let plain = mirror(Wanted::default());
        assert!(!plain.durable && !plain.dry_run);
        assert!(mirror(Wanted { is_final: true, ..Wanted::default() }).durable);
        assert!(mirror(Wanted { dry_run: true, ..Wanted::default() }).dry_run);
        let allowed = mirror(Wanted { allow_deletes: Some(7), ..Wanted::default() });
        assert_eq!(allowed.allow_deletes, Some(7));
    }
}
