//! The report of a verification, for people.

use std::fmt::Write as _;
use std::time::Duration;

use bascule_engine::outcome::ExitCode;
use bascule_wire::flist::{Entry, Kind};

use super::context::Names;
use super::findings::{Aspect, Difference, Found};
use super::report::{Report, exit_code, kind_name, time};
use crate::human::{duration, size};
use crate::itemize::{printable, shown};

/// Names that are told for each aspect; a report for machines has more.
const MOST_TOLD: usize = 20;

/// The whole report, without its last line end.
pub fn report(report: &Report, found: &Found, elapsed: Duration) -> String {
    let after = duration(elapsed.as_secs_f64());
    let verdict = match exit_code(found) {
        ExitCode::Success => "identical",
        ExitCode::Vanished => "identical but for what changed meanwhile; verify again",
        _ => "NOT identical",
    };
    let Report { source, target, proof, compared, .. } = report;
    let mut text = format!("{verdict}, after {after}\n");
    for (label, end, names) in
        [("source", source, &report.source_names), ("target", target, &report.target_names)]
    {
        line(&mut text, label, &format!("{}: {}", printable(end.as_bytes()), names_of(names)));
    }
    let mut contents = format!(
        "{} files, {}, by {}",
        compared.files,
        size(compared.bytes),
        proof.digest.to_uppercase()
    );
    if compared.files_not_read_again > 0 {
        let again = compared.files_not_read_again;
        let _ = write!(contents, " ({again} times without reading a file again)");
    }
    line(&mut text, "contents", &contents);
    let mut others = vec![format!("times {}", proof.times)];
    others.extend(proof.permissions.then(|| "permissions".to_owned()));
    others.extend(proof.owners.then(|| "owners".to_owned()));
    line(&mut text, "as well", &others.join(", "));
    for aspect in Aspect::ALL {
        let count = found.counts.get(&aspect).copied().unwrap_or(0);
        if count == 0 {
            continue;
        }
        let _ = writeln!(text, "{} ({count}):", heading(aspect));
        let of_it = found.differences.iter().filter(|found| found.aspects.contains(&aspect));
        for difference in of_it.take(MOST_TOLD) {
            let _ = writeln!(text, "  {}", told(difference, aspect));
        }
        if count > MOST_TOLD as u64 {
            let _ = writeln!(text, "  and {} more", count - MOST_TOLD as u64);
        }
    }
    if !found.texts.is_empty() {
        text.push_str("messages:\n");
        for said in found.texts.iter().take(MOST_TOLD) {
            let _ = writeln!(text, "  {}", printable(said.as_bytes()));
        }
    }
    text.trim_end().to_owned()
}

fn line(text: &mut String, label: &str, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {label:<10} {content}");
}

fn names_of(names: &Names) -> String {
    let Names { files, bytes, directories, symlinks, others } = names;
    let mut text = format!("{files} files, {}, {directories} directories", size(*bytes));
    for (count, name) in [(symlinks, "symlinks"), (others, "others")] {
        if *count > 0 {
            let _ = write!(text, ", {count} {name}");
        }
    }
    text
}

fn heading(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Missing => "missing at the target",
        Aspect::Extra => "at the target alone",
        Aspect::Kind => "of another kind",
        Aspect::Content => "with another content",
        Aspect::Time => "with another time",
        Aspect::Permissions => "with other permissions",
        Aspect::Owner => "with another owner or group",
        Aspect::Unreadable => "not readable",
        Aspect::InMotion => "changed meanwhile, so nothing is known of them",
    }
}

/// One difference in one aspect, on one line.
fn told(difference: &Difference, aspect: Aspect) -> String {
    let path = match &difference.path[..] {
        b"" => "(the whole end)".to_owned(),
        path => shown(path),
    };
    let ends = [&difference.source, &difference.target];
    let both = |tell: &dyn Fn(&Entry) -> String| {
        let tell = |end: &Option<Entry>| end.as_ref().map_or_else(|| "?".to_owned(), tell);
        let [source, target] = ends.map(tell);
        if source == target { source } else { format!("{source}, target {target}") }
    };
    let more = match aspect {
        Aspect::Missing | Aspect::Extra => {
            let only = ends.into_iter().flatten().next();
            only.map_or_else(String::new, |entry| match entry.kind() {
                Kind::File => format!("{} bytes", entry.size),
                kind => kind_name(kind).to_owned(),
            })
        }
        Aspect::Kind => both(&|entry| kind_name(entry.kind()).to_owned()),
        Aspect::Content => both(&content),
        Aspect::Time => both(&time),
        Aspect::Permissions => both(&|entry| format!("{:04o}", entry.permissions())),
        Aspect::Owner => both(&|entry| format!("{}:{}", entry.uid, entry.gid)),
        Aspect::Unreadable | Aspect::InMotion => {
            difference.why.as_ref().map_or_else(String::new, |why| printable(why.as_bytes()))
        }
    };
    if more.is_empty() { path } else { format!("{path}: {more}") }
}

fn content(entry: &Entry) -> String {
    match (entry.link(), entry.device()) {
        (Some(link), _) => format!("-> {}", shown(link)),
        (None, Some(device)) => format!("device {},{}", device.major, device.minor),
        (None, None) => format!("{} bytes", entry.size),
    }
}
