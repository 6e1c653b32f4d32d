//! The two ends of a verification: which trees, which of them remote.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bascule_engine::disk::Disk;
use bascule_engine::path::RelPath;
use bascule_engine::walk::SourceArg;

use super::context::Place;
use super::findings::End;
use crate::local;
use crate::location::{Location, Remote};
use crate::restore::without_wildcards;

/// An end of a verification.
pub enum Side {
    /// A tree of this machine.
    Here {
        /// What of it is compared.
        arg: SourceArg,
        /// Its absolute path, as typed.
        name: PathBuf,
    },
    /// A daemon's.
    There {
        /// The daemon and its module.
        remote: Remote,
        /// What of it is compared, as the daemon takes it.
        path: Vec<u8>,
    },
}

impl Side {
    /// The end for a report.
    pub fn name(&self) -> String {
        match self {
            Self::Here { name, .. } => name.display().to_string(),
            Self::There { remote, .. } => remote.to_string(),
        }
    }

    /// The tree, if it is on this machine.
    pub fn place(&self) -> Option<Place> {
        let Self::Here { arg, name } = self else { return None };
        Some(Place { tree: Arc::clone(&arg.tree), name: name.display().to_string() })
    }
}

/// Both ends, of which one at least is here. What does not exist is told as what cannot be used.
///
/// # Errors
/// When the command line makes no sense.
pub fn resolve(paths: &[OsString]) -> anyhow::Result<Result<[Side; 2], String>> {
    let [source, target] = paths else { bail!("a source and a target are needed") };
    let source = match Location::parse(source)? {
        Location::Local(path) => Side::Here { arg: local::source(&path)?, name: absolute(&path)? },
        Location::Remote(remote) => {
            let path = remote.path.clone();
            Side::There { remote: with_module(remote)?, path }
        }
    };
    let top = match &source {
        Side::Here { arg, .. } => arg.top.clone(),
        Side::There { path, .. } => remote_top(path)?,
    };
    let target = match Location::parse(target)? {
        Location::Local(path) => match Disk::open(Path::new(&path)) {
            Ok(disk) => {
                let named = path.as_encoded_bytes().to_vec();
                let arg = SourceArg { tree: Arc::new(disk), base: RelPath::root(), named, top };
                Side::Here { arg, name: absolute(&path)? }
            }
            Err(error) => return Ok(Err(format!("{}: {error}", path.display()))),
        },
        Location::Remote(remote) => {
            let path = below(&remote.path, &top);
            Side::There { remote: with_module(remote)?, path }
        }
    };
    if let (Side::There { .. }, Side::There { .. }) = (&source, &target) {
        bail!("the source and the target cannot both be remote: verify at one of the two machines");
    }
    for side in [&source, &target] {
        if let Side::Here { arg, name } = side
            && let Err(error) = arg.tree.metadata(&arg.top, arg.top.is_root())
        {
            let what = if arg.top.is_root() { String::new() } else { format!(": {}", arg.top) };
            return Ok(Err(format!("{}{what}: {error}", name.display())));
        }
    }
    Ok(Ok([source, target]))
}

/// Refuses a file to write that is within one of the ends.
///
/// # Errors
/// When it is.
pub fn keep_out(file: &Path, sides: &[Side; 2]) -> anyhow::Result<()> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    for (end, side) in [End::Source, End::Target].into_iter().zip(sides) {
        let Side::Here { name, .. } = side else { continue };
        if name.canonicalize().is_ok_and(|tree| folder.starts_with(tree)) {
            bail!("{}: nothing is written at the {}", file.display(), end.as_str());
        }
    }
    Ok(())
}

fn absolute(path: &OsStr) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

fn with_module(remote: Remote) -> anyhow::Result<Remote> {
    if remote.module.is_empty() {
        bail!("{}: the module is missing; `bascule list` shows the daemon's modules", remote.host);
    }
    Ok(remote)
}

/// The name under which a remote source lists what it has; the root when its contents are meant.
fn remote_top(path: &[u8]) -> anyhow::Result<RelPath> {
    match path.rsplit(|byte| *byte == b'/').next() {
        None | Some(b"" | b"." | b"..") => Ok(RelPath::root()),
        Some(name) => Ok(RelPath::parse(name)?),
    }
}

/// What a daemon is asked for that holds the target: `top` below `path`, or the contents of `path`.
fn below(path: &[u8], top: &RelPath) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let whole = match path {
        b"" => top.as_bytes().to_vec(),
        _ => [path, b"/", top.as_bytes()].concat(),
    };
    // A mirror takes the name of its destination as it is; a list would take wildcards in it.
    without_wildcards(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_holds_what_the_source_is_called() {
        let root = RelPath::root();
        let mail = RelPath::parse(b"mail").expect("legal");
        for (path, top, expected) in [
            ("", &root, ""),
            ("to", &root, "to/"),
            ("to/", &root, "to/"),
            ("", &mail, "mail"),
            ("a/to/", &mail, "a/to/mail"),
            ("[a]", &root, "\\[a]/"),
        ] {
            assert_eq!(below(path.as_bytes(), top), expected.as_bytes(), "{path}");
        }
        for (path, expected) in [("", &root), ("a/", &root), ("a/.", &root), ("a/mail", &mail)] {
            assert_eq!(remote_top(path.as_bytes()).expect("legal"), *expected, "{path}");
        }
    }
}
