//! Finds jobs that bring different files to one folder: one would delete what the other brings.

use std::collections::BTreeMap;

use super::config::Job;
use crate::location::{Location, Remote};

/// How options begin that say which names are left alone.
const RULES: [&str; 3] = ["--exclude", "--filter", "-f"];

/// Where one source of a job comes to.
struct Way {
    /// The source, without slashes at its end.
    from: String,
    /// The folder with its contents, in one form.
    to: String,
}

/// Two jobs of which one would delete the files of the other.
pub fn targets(jobs: &BTreeMap<String, Job>) -> Option<(&str, &str)> {
    let mut seen: Vec<(&str, &Job, Vec<Way>)> = Vec::new();
    for (name, job) in jobs {
        let ways = ways(job);
        let other = seen.iter().find(|(_, other, theirs)| {
            // The same at other hours, or with other limits.
            job.sources != other.sources
                && (deletes(job, &ways, theirs) || deletes(other, theirs, &ways))
        });
        if let Some((other, ..)) = other {
            return Some((other, name));
        }
        seen.push((name, job, ways));
    }
    None
}

/// Whether a job with these ways deletes what comes by the `others`: at its own folders, or, where no
/// rule of its own keeps it from that, beneath them.
fn deletes(job: &Job, ways: &[Way], others: &[Way]) -> bool {
    if job.options.iter().any(|option| option == "--no-delete") {
        return false;
    }
    let is_rule = |option: &String| RULES.iter().any(|start| option.starts_with(start));
    let has_rules =
        !job.exclude.is_empty() || !job.filters.is_empty() || job.options.iter().any(is_rule);
    others.iter().any(|other| {
        let beneath = ways.iter().filter_map(|way| Some((way, other.to.strip_prefix(&way.to)?)));
        let beneath = beneath.filter(|(_, rest)| rest.is_empty() || rest.starts_with('/'));
        let mut beneath = beneath.filter(|(_, rest)| rest.is_empty() || !has_rules).peekable();
        // One of the sources may be what the other brings, or have it in itself.
        beneath.peek().is_some()
            && !beneath.any(|(way, rest)| other.from == format!("{}{rest}", way.from))
    })
}

/// Where the sources come to: all that come by their contents to one folder, and each other to one of
/// its name.
fn ways(job: &Job) -> Vec<Way> {
    let Some(target) = target(job) else { return Vec::new() };
    let is_here = matches!(Location::parse(job.target.as_ref()), Ok(Location::Local(_)));
    let ways = job.sources.iter().map(|typed| {
        let source = match Location::parse(typed.as_ref()) {
            Ok(Location::Local(path)) => one_form(&path.to_string_lossy()),
            _ => typed.clone(),
        };
        let from = source.trim_end_matches('/').to_owned();
        if source.ends_with('/') {
            return Way { from, to: target.clone() };
        }
        let slashes = ['/', std::path::MAIN_SEPARATOR];
        let name = typed.rsplit(slashes).next().unwrap_or_default();
        let to = format!("{target}/{name}");
        Way { from, to: if is_here { one_form(&to) } else { to } }
    });
    ways.collect()
}

/// A path of this machine with slashes; to Windows, letters in either case are one folder.
fn one_form(path: &str) -> String {
    if !cfg!(windows) {
        return path.to_owned();
    }
    let path = path.replace('\\', "/").to_lowercase();
    path.strip_prefix("//?/").map_or_else(|| path.clone(), str::to_owned)
}

/// The target in one form, without what does not matter: user, fingerprint, slashes at the end.
fn target(job: &Job) -> Option<String> {
    let trimmed = |path: &str| path.trim_end_matches('/').to_owned();
    match Location::parse(job.target.as_ref()).ok()? {
        Location::Local(path) => Some(trimmed(&one_form(&path.to_string_lossy()))),
        Location::Remote(Remote { host, port, module, path, .. }) => {
            let (host, port) = (host.to_lowercase(), port.unwrap_or(873));
            let path = format!("/{module}/{}", String::from_utf8_lossy(&path));
            Some(format!("{host}:{port}{}", trimmed(&path)))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::jobs::load;

    #[test]
    fn two_jobs_do_not_delete_each_others_files() {
        let both = |one: &str, other: &str| {
            load::parse(&format!("[jobs.one]\n{one}\n[jobs.other]\n{other}\n"))
        };
        let job =
            |source: &str, target: &str| format!("sources = [\"{source}\"]\ntarget = \"{target}\"");
        let keeps = "\noptions = [\"--no-delete\"]";
        for (one, other) in [
            (job("/a/", "/copy"), job("/b/", "/copy/")),
            (job("/a/mail", "/copy"), job("/b/mail", "/copy")),
            (job("/a/mail", "/copy"), job("/b/", "/copy/mail")),
            (job("/a/", "rsync://u@Host/m"), job("/b/", "host::m/")),
            (job("/a/", "/copy"), job("/b/", "/copy") + keeps),
            (job("/a/", "/copy"), job("/b/", "/copy/b")),
            (job("/b/", "/copy/b"), job("/a/", "/copy")),
            (job("/a/", "rsync://h/m"), job("/b", "rsync://h/m")),
        ] {
            let error = format!("{:#}", both(&one, &other).expect_err("refused"));
            assert!(error.contains("[jobs.other] (line 4)"), "{error}");
        }
        for (one, other) in [
            (job("/a/", "/copy/a"), job("/b/", "/copy/ab")),
            (job("/a/", "/copy"), job("/a/b/", "/copy/b")),
            (job("/a/", "/copy") + "\nexclude = [\"/b/\"]", job("/b/", "/copy/b")),
            (job("/a/", "/copy") + keeps, job("/b/", "/copy/b")),
            (job("/a/mail", "/copy"), job("/b/web", "/copy")),
            (job("/a/", "rsync://h/m"), job("/b/", "rsync://h:8730/m")),
            (job("/a/", "/copy"), job("/a/", "/copy") + "\nbandwidth = \"1m\""),
            (job("/a/", "/copy") + keeps, job("/b/", "/copy") + keeps),
        ] {
            both(&one, &other).expect("each has a folder of its own");
        }
    }

    #[cfg(windows)]
    #[test]
    fn a_folder_of_windows_is_the_same_in_each_form() {
        let both = |one: (&str, &str), other: (&str, &str)| {
            let job = |(source, target)| format!("sources = ['{source}']\ntarget = '{target}'");
            load::parse(&format!("[jobs.one]\n{}\n[jobs.other]\n{}\n", job(one), job(other)))
        };
        let (one, inner) = ((r"D:\a\", r"E:\copy"), (r"D:\b\", r"E:\copy"));
        for same in [r"e:/Copy/", r"\\?\E:\copy", "/cygdrive/e/copy", r"E:\copy\b"] {
            assert!(both(one, (inner.0, same)).is_err(), "{same}");
        }
        both((r"D:\x\Mail", "h::m"), (r"D:\y\mail", "h::m")).expect("two folders on Linux");
        both(one, (r"d:/A/b", "e:/copy")).expect("the outer source has the inner one");
        both(one, (r"D:\a\b\", r"E:\copy\b\")).expect("the outer source has the inner one");
    }
}
