//! An independent judge: describes a tree by the standard library alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Everything that a mirror has to keep, as one line per path.
pub type Description = BTreeMap<Vec<u8>, String>;

/// Describes `root`: type, size, mtime with nanoseconds, mode, owner, link target, hard-link
/// group, SHA-256. With `hard_links` off, link counts do not matter.
///
/// # Errors
/// When the tree cannot be read.
pub fn describe(root: &Path, hard_links: bool) -> io::Result<Description> {
    let mut description = Description::new();
    let mut first_names = BTreeMap::new();
    visit(root, root, hard_links, &mut first_names, &mut description)?;
    Ok(description)
}

/// Whether a name is that of a temporary file, `.NAME.XXXXXX`.
pub fn is_temporary(name: &[u8]) -> bool {
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    base.starts_with(b".") && base.len() > 8 && base[base.len() - 7] == b'.'
}

/// Whether a receiver has ended that lost its peer: it keeps what it has under another name.
pub fn has_settled(root: &Path) -> bool {
    // A name that goes in this moment makes the description fail.
    describe(root, true).is_ok_and(|names| !names.keys().any(|name| is_temporary(name)))
}

fn visit(
    root: &Path,
    path: &Path,
    hard_links: bool,
    first_names: &mut BTreeMap<(u64, u64), Vec<u8>>,
    description: &mut Description,
) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let name = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes().to_vec();
    let kind = metadata.file_type();
    let what = if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_symlink() {
        format!("symlink to {:?}", fs::read_link(path)?)
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else if kind.is_file() {
        let digest = Sha256::digest(fs::read(path)?);
        format!("file of {} bytes, sha256 {}", metadata.size(), hex(&digest))
    } else {
        format!("device {}", metadata.rdev())
    };
    // Directories have more names by their nature.
    let group = if hard_links && !kind.is_dir() && metadata.nlink() > 1 {
        let key = (metadata.dev(), metadata.ino());
        let first = first_names.entry(key).or_insert_with(|| name.clone());
        format!(", linked with {}", first.escape_ascii())
    } else {
        String::new()
    };
    let mode = if kind.is_symlink() { 0 } else { metadata.mode() & 0o7777 };
    // A directory that is in no list keeps the moment of its last change: that of the test.
    let is_fresh = kind.is_dir()
        && metadata.modified()?.elapsed().is_ok_and(|age| age < Duration::from_secs(3600));
    let time = if is_fresh {
        "during the test".to_owned()
    } else {
        format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec())
    };
    let line = format!(
        "{what}, mode {mode:o}, owner {}:{}, mtime {time}{group}",
        metadata.uid(),
        metadata.gid()
    );
    description.insert(name, line);
    if kind.is_dir() {
        let mut children: Vec<_> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
        children.sort_by_key(fs::DirEntry::file_name);
        for child in children {
            visit(root, &child.path(), hard_links, first_names, description)?;
        }
    }
    Ok(())
}

/// The differences between two descriptions, as lines; empty when they are equal.
pub fn differences(left: &Description, right: &Description) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    names
        .into_iter()
        .filter(|name| left.get(*name) != right.get(*name))
        .map(|name| {
            let show = |side: &Description| {
                side.get(name).cloned().unwrap_or_else(|| "missing".to_owned())
            };
            format!("{}: {} <> {}", name.escape_ascii(), show(left), show(right))
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
