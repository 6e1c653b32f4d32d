//! Per-directory merge files (`dir-merge`).

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bascule_wire::filter::{Rule, RuleKind};

use super::matcher::Matcher;
use crate::generator::signature::read_full;
use crate::path::RelPath;
use crate::tree::Source;

/// Largest merge file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The rules of one directory's file, and those that it inherits.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) rules: Vec<Matcher>,
    pub(super) above: Option<Arc<Self>>,
}

/// Reads the merge file of `dir`; without one, what is inherited stays.
///
/// # Errors
/// When the file is there and cannot be read, or is no list of rules.
pub(super) fn read(
    tree: &dyn Source,
    dir: &RelPath,
    merge: &Rule,
    inherited: Option<Arc<Merged>>,
) -> io::Result<Option<Arc<Merged>>> {
    let inherited = inherited.filter(|_| !merge.no_inherit);
    let Ok(path) = dir.join(merge.pattern.strip_prefix(b"/").unwrap_or(&merge.pattern)) else {
        return Ok(inherited);
    };
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
    for line in lines(&text, merge.word_split) {
        let mut rule = match merge.lines_are {
            Some(include) => {
                Rule::plain(if include { RuleKind::Include } else { RuleKind::Exclude }, line)
            }
            None if merge.cvs => Rule::plain(RuleKind::Exclude, line),
            None => Rule::parse(line)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?,
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
    Ok(Some(Arc::new(Merged { rules, above })))
}

fn lines(text: &[u8], words: bool) -> impl Iterator<Item = &[u8]> {
    text.split(move |byte| matches!(byte, b'\n' | b'\r') || (words && byte.is_ascii_whitespace()))
        .filter(move |line| !line.is_empty() && (words || !matches!(line[0], b'#' | b';')))
}
