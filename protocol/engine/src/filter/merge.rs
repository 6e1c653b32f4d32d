//! Per-directory merge files (`dir-merge`).

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bascule_wire::filter::{Rule, RuleKind};
use bascule_wire::limits::MAX_RULES_BYTES;

use super::ModuleView;
use super::matcher::Matcher;
use crate::generator::signature::read_full;
use crate::path::RelPath;
use crate::tree::Source;
use bascule_wire::shown;

/// Largest merge file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The rules of one directory's file, and those that it inherits.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) rules: Vec<Matcher>,
    pub(super) above: Option<Arc<Self>>,
    /// What the rules of this file weigh, in bytes.
    pub(super) own_weight: usize,
    /// The same of all rules in force here, inherited ones included.
    weight: usize,
}

/// Reads the merge file of `dir`; without one, or with one that the `module` hides, what is inherited
/// stays.
///
/// # Errors
/// When the file is there and cannot be read, or is no list of rules. What it says instead is not
/// told: a peer can name any file.
pub(super) fn read(
    tree: &dyn Source,
    dir: &RelPath,
    merge: &Rule,
    module: Option<&ModuleView>,
    inherited: Option<Arc<Merged>>,
) -> io::Result<Option<Arc<Merged>>> {
    let inherited = inherited.filter(|_| !merge.no_inherit);
    let Ok(path) = dir.join(merge.pattern.strip_prefix(b"/").unwrap_or(&merge.pattern)) else {
        return Ok(inherited);
    };
    if module.is_some_and(|module| module.hides_on_the_way(&path, false)) {
        return Ok(inherited);
    }
    let file = match tree.open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(inherited);
        }
        Err(error) => return Err(error),
    };
    let size = file.opened().size;
    if size > MAX_FILE {
        return Err(io::Error::other("a filter file larger than 1 MiB"));
    }
    let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
    let read = read_full(&*file, 0, &mut text)?;
    text.truncate(read);
    let mut rules = Vec::new();
    let mut above = inherited;
    for (number, line) in (1..).zip(lines(&text, merge.word_split)) {
        let mut rule = match merge.lines_are {
            Some(include) => {
                Rule::plain(if include { RuleKind::Include } else { RuleKind::Exclude }, line)
            }
            None if merge.cvs => Rule::plain(RuleKind::Exclude, line),
            None => Rule::parse(line).map_err(|_| {
                let name = shown(path.as_bytes());
                let text = format!("rule {number} in {name} is none");
                io::Error::new(ErrorKind::InvalidData, text)
            })?,
        };
        super::check(&rule).map_err(|error| io::Error::new(ErrorKind::Unsupported, error))?;
        match rule.kind {
            RuleKind::Clear => {
                rules.clear();
                above = None;
            }
            RuleKind::Exclude | RuleKind::Include => {
                rule.sender_side |= merge.sender_side;
                rule.receiver_side |= merge.receiver_side;
                rule.perishable |= merge.perishable;
                rules.push(Matcher::new(&rule, dir.as_bytes()));
            }
            RuleKind::Merge | RuleKind::DirMerge => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "a filter file may not merge further files",
                ));
            }
        }
    }
    let own_weight = rules.iter().map(Matcher::weight).sum();
    let weight = above.as_ref().map_or(0, |above| above.weight) + own_weight;
    if weight > MAX_RULES_BYTES {
        // Each directory can add a file of its own, and whoever pushes can make them all.
        return Err(io::Error::other("the filter files from here up take more than 8 MiB"));
    }
    Ok(Some(Arc::new(Merged { rules, above, own_weight, weight })))
}

fn lines(text: &[u8], words: bool) -> impl Iterator<Item = &[u8]> {
    text.split(move |byte| matches!(byte, b'\n' | b'\r') || (words && byte.is_ascii_whitespace()))
        .filter(move |line| !line.is_empty() && (words || !matches!(line[0], b'#' | b';')))
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::{FilterSide, ModuleFilter};
    use super::*;
    use crate::disk::Disk;

    fn read_in(
        root: &std::path::Path,
        merge: &str,
        hidden: Option<&str>,
    ) -> io::Result<Option<Arc<Merged>>> {
        let tree = Arc::new(Disk::open(root)?);
        let rule = |text: &str| Rule::parse(text.as_bytes()).expect("a rule");
        let module = hidden.map(|hidden| {
            let source: Arc<dyn Source> = Arc::<Disk>::clone(&tree);
            let filter = ModuleFilter::new(&[rule(hidden)], FilterSide::Sender, source);
            ModuleView { filter: filter.expect("rules"), base: RelPath::root() }
        });
        let dir = RelPath::parse(b"a").expect("legal");
        read(&*tree, &dir, &rule(merge), module.as_ref(), None)
    }

    #[test]
    fn what_a_module_hides_is_no_filter_file() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        std::fs::create_dir(dir.path().join("a")).expect("a folder");
        std::fs::write(dir.path().join("a/secret"), "my password\n").expect("a file");
        let read = |merge, hidden| read_in(dir.path(), merge, hidden);
        // Each line would be a pattern, and what a peer sees of its own names would tell it.
        assert!(read(":- secret", None).expect("readable").is_some());
        for hidden in ["- secret", "- /a/", "- /a/secret"] {
            assert!(read(":- secret", Some(hidden)).expect("as if absent").is_none(), "{hidden}");
        }
        let error = read(": secret", None).expect_err("no rules").to_string();
        assert!(error.contains("rule 1 in a/secret") && !error.contains("password"), "{error}");
    }
}
