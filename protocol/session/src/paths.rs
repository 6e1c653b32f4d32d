//! The paths of a client's request: cleaned, expanded, turned into what the engine takes (§2.7).

use std::collections::HashMap;
use std::sync::Arc;

use bascule_engine::empty::Unreachable;
use bascule_engine::filter::wildmatch;
use bascule_engine::outcome::{ExitCode, Fatal};
use bascule_engine::path::RelPath;
use bascule_engine::tree::{Source, Target};
use bascule_engine::walk::SourceArg;
use bascule_wire::flist::Kind;
use bascule_wire::shown;

/// Most names that the patterns of one request may expand to.
const MAX_EXPANDED: usize = 100_000;
/// Most folders that one request may open: each holds a descriptor to the end of the run, and those
/// are all clients' together.
const MAX_FOLDERS: usize = 1000;

/// The sources of a pull: each path relative to the module, with its globs expanded.
///
/// # Errors
/// [`ExitCode::Syntax`] for a path that no file can have, and for too many.
pub(crate) fn sources(root: &Arc<dyn Target>, paths: &[Vec<u8>]) -> Result<Vec<SourceArg>, Fatal> {
    let mut args = Vec::new();
    let mut folders: HashMap<RelPath, Arc<dyn Source>> = HashMap::new();
    for path in paths {
        let (cleaned, contents) = clean(path)?;
        let room = MAX_EXPANDED - args.len();
        for expanded in expand(root, &cleaned, contents, room).ok_or_else(too_many)? {
            let named = expanded.as_bytes().to_vec();
            let (base, top) = if contents {
                (expanded, RelPath::root())
            } else {
                let (parent, base) = expanded.split();
                (parent, RelPath::parse(base).map_err(|error| unusable(path, &error))?)
            };
            let tree = match folders.get(&base) {
                Some(tree) => Arc::clone(tree),
                None if folders.len() >= MAX_FOLDERS => return Err(too_many()),
                None => {
                    let tree: Arc<dyn Source> = match root.subtree(&base) {
                        Ok(tree) => tree,
                        Err(error) => Arc::new(Unreachable(error)),
                    };
                    folders.insert(base.clone(), Arc::clone(&tree));
                    tree
                }
            };
            args.push(SourceArg { tree, base, named, top });
        }
    }
    Ok(args)
}

/// The destination of a push, and whether it was written as a directory.
///
/// # Errors
/// [`ExitCode::Syntax`] for a path that no file can have.
pub(crate) fn destination(path: &[u8]) -> Result<(RelPath, bool), Fatal> {
    let (cleaned, is_directory) = clean(path)?;
    Ok((cleaned, is_directory))
}

/// Takes a path as a client writes it: `.` and empty components go, `..` goes up but never above
/// the module. Tells whether it means the contents of a directory.
fn clean(path: &[u8]) -> Result<(RelPath, bool), Fatal> {
    let mut components: Vec<&[u8]> = Vec::new();
    let mut contents = true;
    for component in path.split(|byte| *byte == b'/') {
        contents = matches!(component, b"" | b"." | b"..");
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop();
            }
            other => components.push(other),
        }
    }
    let cleaned =
        RelPath::parse(&components.join(&b'/')).map_err(|error| unusable(path, &error))?;
    let contents = contents || cleaned.is_root();
    Ok((cleaned, contents))
}

/// Expands wildcards component by component, like a shell; a pattern without a match stays as it
/// is, without its backslashes. With `dirs`, only directories are found. `None` when that is more
/// than `room`.
fn expand(
    tree: &Arc<dyn Target>,
    pattern: &RelPath,
    dirs: bool,
    room: usize,
) -> Option<Vec<RelPath>> {
    if !pattern.as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')) {
        return (room > 0).then(|| vec![pattern.clone()]);
    }
    let mut found = vec![RelPath::root()];
    for component in pattern.components() {
        let is_glob = component.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
        let mut next = Vec::new();
        for dir in &found {
            if !is_glob {
                next.extend(dir.join(&unescape(component)));
                continue;
            }
            // The way there may lead through a symlink within the module.
            let listed = tree.subtree(dir).and_then(|tree| tree.list(&RelPath::root()));
            let Ok(listing) = listed else { continue };
            let mut names: Vec<_> = listing
                .entries
                .into_iter()
                .map(|entry| entry.name)
                .filter(|name| component.starts_with(b".") || !name.starts_with(b"."))
                .filter(|name| wildmatch(component, name))
                .collect();
            names.sort();
            next.extend(names.iter().filter_map(|name| dir.join(name).ok()));
            if next.len() > room {
                return None;
            }
        }
        found = next;
    }
    if dirs {
        found.retain(|path| tree.metadata(path, true).is_ok_and(|met| met.kind == Kind::Directory));
    }
    if found.is_empty() {
        found.extend(RelPath::parse(&unescape(pattern.as_bytes())));
    }
    (found.len() <= room).then_some(found)
}

fn too_many() -> Fatal {
    Fatal::new(
        ExitCode::Syntax,
        format!(
            "the paths stand for more than {MAX_EXPANDED} names, or are in more than \
             {MAX_FOLDERS} folders: name the folder above them instead"
        ),
    )
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            other => plain.push(*other),
        }
    }
    plain
}

fn unusable(path: &[u8], error: &dyn std::fmt::Display) -> Fatal {
    Fatal::new(ExitCode::Syntax, format!("{}: {error}", shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(path: &str) -> (String, bool) {
        let (path, contents) = clean(path.as_bytes()).expect("a usable path");
        (String::from_utf8(path.as_bytes().to_vec()).expect("ASCII"), contents)
    }

    #[test]
    fn cleans_what_clients_write() {
        assert_eq!(cleaned(""), (String::new(), true));
        assert_eq!(cleaned("a/b"), ("a/b".to_owned(), false));
        assert_eq!(cleaned("a/b/"), ("a/b".to_owned(), true));
        assert_eq!(cleaned("./-x"), ("-x".to_owned(), false));
        assert_eq!(cleaned("a/./b/."), ("a/b".to_owned(), true));
        assert_eq!(cleaned("../../etc/passwd"), ("etc/passwd".to_owned(), false));
        assert_eq!(cleaned("a/.."), (String::new(), true));
    }

    #[test]
    fn takes_backslashes_off() {
        assert_eq!(unescape(b"a\\*b\\\\"), b"a*b\\");
    }
}
