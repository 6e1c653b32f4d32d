//! `bascule restore`: brings back what runs with `--trash` have deleted or overwritten.
//!
//! A restore is one mirror without deletions, from the trash to the place that it stands for; in a
//! daemon's module, where nothing can be copied within, two: by way of a temporary folder here.

mod present;
mod swapped;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context as _, bail};
use bascule_engine::backup::TRASH;
use bascule_engine::outcome::ExitCode;
use bascule_engine::path::RelPath;
use bascule_engine::stop::Stop;
use bascule_platform::paths;

use crate::cli::{self, Connection, MaxList, Restore};
use crate::location::{Location, Remote, pin};
use crate::mirror;

/// Runs `bascule restore`; the exit code is that of the mirror behind it.
///
/// # Errors
/// When the command line makes no sense.
pub async fn restore(cli: &Restore, stop: Stop) -> anyhow::Result<ExitCode> {
    if let Some(job) = &cli.job {
        return swapped::restore(cli, job, stop).await;
    }
    let target = Target::parse(cli.target.as_deref().context("TARGET is missing")?)?;
    let Some(run) = &cli.run else {
        if !cli.paths.is_empty() {
            bail!(
                "say with --run from which run to bring that back; without PATHS they are listed"
            );
        }
        return list(&target, &cli.connection, stop).await;
    };
    let run = RelPath::parse(run.as_bytes()).ok().filter(|run| run.components().count() == 1);
    let run = run.context("--run: give the name of a run as `bascule restore TARGET` lists it")?;
    target.restore(cli, &run, &parts(&cli.paths)?, stop).await
}

/// What to bring back; nothing named is all of the run.
fn parts(paths: &[OsString]) -> anyhow::Result<Vec<RelPath>> {
    let parse = |path: &OsString| {
        let bytes = with_slashes(path);
        RelPath::parse(bytes.strip_suffix(b"/").unwrap_or(&bytes))
            .with_context(|| format!("{}: give a path relative to the target", path.display()))
    };
    paths.iter().map(parse).collect()
}

/// A path with slashes between its names, as rules and trees have them: on Windows people write
/// backslashes, which are in no name there.
fn with_slashes(path: &OsStr) -> Vec<u8> {
    let mut bytes = path.as_encoded_bytes().to_vec();
    for byte in bytes.iter_mut().filter(|byte| cfg!(windows) && **byte == b'\\') {
        *byte = b'/';
    }
    bytes
}

/// Shows which runs the trash holds.
async fn list(target: &Target, connection: &Connection, stop: Stop) -> anyhow::Result<ExitCode> {
    match target {
        Target::Remote { url, fingerprint } => {
            let url = trash(url, fingerprint);
            let connection = connection.clone();
            let list_limits = MaxList::default();
            mirror::list(&cli::List { url, connection, protocol: None, list_limits }, stop).await
        }
        Target::Local(folder) => {
            let trash = Path::new(folder).join(TRASH);
            let entries = match std::fs::read_dir(&trash) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    println!("there is no trash in {}", Path::new(folder).display());
                    return Ok(ExitCode::Success);
                }
                Err(error) => return Err(error).context(format!("reading {}", trash.display())),
            };
            let mut runs = entries
                .map(|entry| entry.map(|entry| entry.file_name().display().to_string()))
                .collect::<Result<Vec<_>, _>>()?;
            runs.sort();
            for run in runs {
                println!("{run}");
            }
            Ok(ExitCode::Success)
        }
    }
}

/// The destination of the runs whose trash it is.
enum Target {
    Local(OsString),
    Remote {
        /// As typed, without the fingerprint.
        url: OsString,
        fingerprint: Vec<u8>,
    },
}

impl Target {
    fn parse(typed: &OsStr) -> anyhow::Result<Self> {
        Ok(match Location::parse(typed)? {
            Location::Local(folder) => Self::Local(folder),
            Location::Remote(Remote { module, .. }) if module.is_empty() => {
                bail!("{}: the module is missing", typed.display())
            }
            Location::Remote(_) => {
                let typed = typed.as_encoded_bytes();
                let (url, fingerprint) = typed.split_at(pin(typed).unwrap_or(typed.len()));
                Self::Remote { url: text(url), fingerprint: fingerprint.to_vec() }
            }
        })
    }

    /// Brings back parts of a run.
    async fn restore(
        &self,
        cli: &Restore,
        run: &RelPath,
        parts: &[RelPath],
        stop: Stop,
    ) -> anyhow::Result<ExitCode> {
        let kept = [TRASH.as_bytes(), run.as_bytes(), b""];
        match self {
            Self::Local(folder) => {
                let from = joined(folder, &kept);
                check(&paths::native(&from), parts)?;
                copy(cli, (&from, &joined(folder, &[b""])), parts, stop, cli.dry_run).await
            }
            Self::Remote { url, fingerprint } => {
                let from = marked(joined(url, &kept), fingerprint);
                let to = marked(joined(url, &[b""]), fingerprint);
                let folder = tempfile::tempdir().context("a temporary folder is needed")?;
                let mut here = folder.path().as_os_str().to_owned();
                here.push("/");
                let fetched = copy(cli, (&from, &here), parts, stop.clone(), false).await?;
                if fetched != ExitCode::Success {
                    return Ok(fetched);
                }
                check(folder.path(), parts)?;
                copy(cli, (&here, &to), &[], stop, cli.dry_run).await
            }
        }
    }
}

/// Sees to it that everything is there that was named.
fn check(kept: &Path, parts: &[RelPath]) -> anyhow::Result<()> {
    for part in parts {
        if kept.join(text(part.as_bytes())).symlink_metadata().is_err() {
            bail!("{part}: that run has not deleted or overwritten it");
        }
    }
    Ok(())
}

/// One mirror that deletes nothing. What it overwrites goes to the trash in its turn.
async fn copy(
    cli: &Restore,
    (from, to): (&OsStr, &OsStr),
    parts: &[RelPath],
    stop: Stop,
    dry_run: bool,
) -> anyhow::Result<ExitCode> {
    // Folders in the trash have no times of their own worth keeping.
    let mut line: Vec<OsString> =
        ["--no-delete", "--mkpath", "--omit-dir-times", "--trash"].map(Into::into).to_vec();
    line.extend(cli.connection.arguments());
    for (on, flag) in [(dry_run, "--dry-run"), (cli.itemize_changes, "-i"), (cli.quiet, "-q")] {
        line.extend(on.then(|| flag.into()));
    }
    line.extend(rules(parts).into_iter().map(|rule| text(&[b"--filter=", &rule[..]].concat())));
    line.extend([OsString::from("--"), from.to_owned(), to.to_owned()]);
    let (mirror, matches) = cli::parse_mirror(line)?;
    mirror::mirror(&mirror, &matches, stop).await
}

/// Filter rules that take in `parts`, with what is below them, and nothing else.
fn rules(parts: &[RelPath]) -> Vec<Vec<u8>> {
    let mut rules = Vec::new();
    for part in parts {
        let name = without_wildcards(part.as_bytes());
        rules.push([b"+ /", &name[..]].concat());
        rules.push([b"+ /", &name[..], b"/**"].concat());
        let mut above = part.parent();
        while let Some(dir) = above.filter(|dir| !dir.is_root()) {
            rules.push([b"+ /", &without_wildcards(dir.as_bytes())[..], b"/"].concat());
            above = dir.parent();
        }
    }
    if !parts.is_empty() {
        rules.push(b"- *".to_vec());
    }
    rules
}

/// Path components behind a folder or URL; empty ones vanish, but a last one leaves its slash.
fn joined(base: &OsStr, parts: &[&[u8]]) -> OsString {
    let base = base.as_encoded_bytes();
    let mut path = base.strip_suffix(b"/").unwrap_or(base).to_vec();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    if parts.last().is_some_and(|last| last.is_empty()) {
        path.push(b'/');
    }
    text(&path)
}

/// A pattern that matches `name` alone. Without a wildcard, backslashes mean themselves.
pub(crate) fn without_wildcards(name: &[u8]) -> Vec<u8> {
    let is_wild = |byte: &u8| matches!(byte, b'*' | b'?' | b'[');
    if !name.iter().any(is_wild) {
        return name.to_vec();
    }
    let mut escaped = Vec::with_capacity(name.len());
    for byte in name {
        if is_wild(byte) || *byte == b'\\' {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

/// The trash of a daemon's module.
fn trash(url: &OsStr, fingerprint: &[u8]) -> OsString {
    marked(joined(url, &[TRASH.as_bytes(), b""]), fingerprint)
}

fn marked(mut url: OsString, fingerprint: &[u8]) -> OsString {
    url.push(text(fingerprint));
    url
}

/// Bytes of arguments, put together anew.
#[cfg(unix)]
fn text(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

/// Bytes of arguments, put together anew. Names that are no Unicode cannot be named here.
#[cfg(not(unix))]
fn text(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(parts: &[&str]) -> Vec<String> {
        let parse = |part: &&str| RelPath::parse(part.as_bytes()).expect("a legal path");
        let parts: Vec<_> = parts.iter().map(parse).collect();
        rules(&parts).into_iter().map(|rule| String::from_utf8(rule).expect("text")).collect()
    }

    #[test]
    fn rules_take_in_what_was_named_and_nothing_else() {
        assert_eq!(rules_of(&[]), Vec::<String>::new());
        let expected = ["+ /a/b/c", "+ /a/b/c/**", "+ /a/b/", "+ /a/", "- *"];
        assert_eq!(rules_of(&["a/b/c"]), expected);
        assert_eq!(
            rules_of(&["[x]\\y", "p\\q"])[..3],
            ["+ /\\[x]\\\\y", "+ /\\[x]\\\\y/**", "+ /p\\q"]
        );
    }

    #[test]
    fn a_target_keeps_its_fingerprint_and_the_marks_in_its_path() {
        let pin = format!("#sha256={}", "0".repeat(64));
        for (url, pin) in [("rsyncs://u@h/m/a#b", pin.as_str()), ("rsync://h/m/a#b/", "")] {
            let target = Target::parse(format!("{url}{pin}").as_ref()).expect("it makes sense");
            let Target::Remote { url: found, fingerprint } = target else { panic!("no URL") };
            assert_eq!((found.to_str(), &fingerprint[..]), (Some(url), pin.as_bytes()));
        }
    }

    #[test]
    fn the_trash_of_a_daemon_is_looked_for_under_its_fingerprint() {
        let pin = format!("#sha256={}", "0".repeat(64));
        let typed = format!("rsyncs://joe@h/mail/a#b/{pin}");
        let Target::Remote { url, fingerprint } =
            Target::parse(OsStr::new(&typed)).expect("a target")
        else {
            unreachable!("it is a URL")
        };
        assert_eq!(trash(&url, &fingerprint), *format!("rsyncs://joe@h/mail/a#b/{TRASH}/{pin}"));
    }

    #[test]
    fn backslashes_part_names_on_windows() {
        let parts = parts(&["user\\a b\\".into()]).expect("legal")[0].as_bytes().to_vec();
        let expected: &[u8] = if cfg!(windows) { b"user/a b" } else { b"user\\a b\\" };
        assert_eq!(parts, expected);
    }

    #[test]
    fn parts_keep_their_slashes_apart() {
        let join = |base: &str, parts: &[&str]| {
            let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
            joined(OsStr::new(base), &parts).into_string().expect("text")
        };
        assert_eq!(join("/srv/mail/", &["t", "run", ""]), "/srv/mail/t/run/");
        assert_eq!(join("rsync://h/m", &["", "a"]), "rsync://h/m/a");
    }
}
