//! Finds jobs that bring different files to one folder: each would delete what the other brings.

use std::collections::BTreeMap;

use super::config::Job;
use crate::location::{Location, Remote};

/// Two jobs of which each would delete the files of the other.
pub fn targets(jobs: &BTreeMap<String, Job>) -> Option<(&str, &str)> {
    let mut seen: Vec<(&str, &Job, Vec<String>)> = Vec::new();
    for (name, job) in jobs {
        let folders = folders(job);
        let other = seen.iter().find(|(_, other, theirs)| {
            (deletes(job) || deletes(other))
                && job.sources != other.sources
                && folders.iter().any(|folder| theirs.contains(folder))
        });
        if let Some((other, ..)) = other {
            return Some((other, name));
        }
        seen.push((name, job, folders));
    }
    None
}

fn deletes(job: &Job) -> bool {
    !job.options.iter().any(|option| option == "--no-delete")
}

/// The folders of the target in which the job deletes: one for all sources that come by their
/// contents, and one by name for each other.
fn folders(job: &Job) -> Vec<String> {
    let Some(target) = target(job) else { return Vec::new() };
    let slashes = ['/', std::path::MAIN_SEPARATOR];
    let folders = job.sources.iter().map(|source| {
        if source.ends_with(slashes) {
            return target.clone();
        }
        let name = source.rsplit(slashes).next().unwrap_or_default();
        format!("{target}/{name}")
    });
    folders.collect()
}

/// The target in one form, without what does not matter: user, fingerprint, slashes at the end.
fn target(job: &Job) -> Option<String> {
    let trimmed = |path: &str| path.trim_end_matches(['/', std::path::MAIN_SEPARATOR]).to_owned();
    match Location::parse(job.target.as_ref()).ok()? {
        Location::Local(path) => Some(trimmed(&path.to_string_lossy())),
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
        for (one, other) in [
            (job("/a/", "/copy"), job("/b/", "/copy/")),
            (job("/a/mail", "/copy"), job("/b/mail", "/copy")),
            (job("/a/mail", "/copy"), job("/b/", "/copy/mail")),
            (job("/a/", "rsync://u@Host/m"), job("/b/", "host::m/")),
            (job("/a/", "/copy"), job("/b/", "/copy") + "\noptions = [\"--no-delete\"]"),
        ] {
            let error = format!("{:#}", both(&one, &other).expect_err("refused"));
            assert!(error.contains("[jobs.other] (line 4)"), "{error}");
        }
        let keeps = "\noptions = [\"--no-delete\"]";
        for (one, other) in [
            (job("/a/", "/copy"), job("/b/", "/copy/b")),
            (job("/a/mail", "/copy"), job("/b/web", "/copy")),
            (job("/a/", "rsync://h/m"), job("/b/", "rsync://h:8730/m")),
            (job("/a/", "/copy"), job("/a/", "/copy") + "\nbandwidth = \"1m\""),
            (job("/a/", "/copy") + keeps, job("/b/", "/copy") + keeps),
        ] {
            both(&one, &other).expect("each has a folder of its own");
        }
    }
}
