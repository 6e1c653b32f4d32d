//! The local end of a run: folders as sources or destination, and the daemon in this process
//! that serves a local destination.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bascule_engine::disk::Disk;
use bascule_engine::empty::Unreachable;
use bascule_engine::ledger::ListLimits;
use bascule_engine::outcome::ExitCode;
use bascule_engine::path::RelPath;
use bascule_engine::receiver::Destination;
use bascule_engine::symlinks::SymlinkTargets;
use bascule_engine::tree::{Source, Target};
use bascule_engine::walk::SourceArg;
use bascule_platform::snapshot::ShadowCopies;
use bascule_session::site::{
    LoginAttempt, ModuleLine, ModuleRules, OpenModule, Peer, Refusal, Site,
};

/// A source folder or file; with a trailing slash, a folder's contents.
///
/// # Errors
/// When no file can have such a name. One that does not exist is the walker's to report.
pub fn source(path: &OsStr) -> anyhow::Result<SourceArg> {
    source_with(path, None)
}

/// The same; files that other programs keep to themselves are read from `shadows`.
///
/// # Errors
/// As [`source`]; and where there are no such files.
pub fn source_with(path: &OsStr, shadows: Option<&Arc<ShadowCopies>>) -> anyhow::Result<SourceArg> {
    let named = path.as_encoded_bytes().to_vec();
    let (folder, top) = if means_contents(path) {
        (PathBuf::from(path), RelPath::root())
    } else {
        split(Path::new(path))?
    };
    let tree: Arc<dyn Source> = match (Disk::open(&folder), shadows) {
        (Ok(disk), None) => Arc::new(disk),
        (Ok(disk), Some(shadows)) => {
            let shadows = Arc::clone(shadows);
            let root_of = move |volume: &str| shadows.of(volume).map_err(io::Error::other);
            Arc::new(disk.with_snapshots(Arc::new(root_of))?)
        }
        (Err(error), _) => Arc::new(Unreachable(error)),
    };
    Ok(SourceArg { tree, base: RelPath::root(), named, top })
}

/// A destination folder or file name, held by its nearest existing parent.
///
/// Files are staged in `temp_dir`, an absolute path, if there is one.
///
/// # Errors
/// When no parent can be opened, or the temp dir cannot.
pub fn destination(path: &OsStr, temp_dir: Option<&Path>) -> anyhow::Result<Destination> {
    let is_directory = means_contents(path);
    let path = Path::new(path);
    if path.is_dir() {
        let tree = open(path, temp_dir)?;
        return Ok(Destination { tree, path: RelPath::root(), is_directory });
    }
    let (mut parent, name) = split(path)?;
    let mut below = name.as_bytes().to_vec();
    while !parent.is_dir() {
        let (above, name) = split(&parent)?;
        below = [name.as_bytes(), b"/", &below].concat();
        parent = above;
    }
    let tree = open(&parent, temp_dir)?;
    let path = RelPath::parse(&below)?;
    Ok(Destination { tree, path, is_directory })
}

fn open(path: &Path, temp_dir: Option<&Path>) -> anyhow::Result<Arc<dyn Target>> {
    let disk = Disk::open(path).with_context(|| path.display().to_string())?;
    Ok(match temp_dir {
        Some(dir) => Arc::new(
            disk.with_temp_path(dir)
                .with_context(|| format!("the temp dir {} cannot be used", dir.display()))?,
        ),
        None => Arc::new(disk),
    })
}

/// Whether a path of a source means what is in it.
pub(crate) fn means_contents(path: &OsStr) -> bool {
    let bytes = path.as_encoded_bytes();
    let last = bytes.rsplit(|byte| std::path::is_separator(char::from(*byte))).next();
    matches!(last, Some(b"" | b"." | b".."))
}

/// The parent folder and the last component.
fn split(path: &Path) -> anyhow::Result<(PathBuf, RelPath)> {
    let name = path.file_name().with_context(|| format!("{}: no file name", path.display()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Ok((parent, RelPath::parse(name.as_encoded_bytes())?))
}

/// A daemon in this process with one module: the tree of a local destination.
pub struct LocalSite {
    /// The tree.
    pub tree: Arc<dyn Target>,
}

/// The name of the one module.
pub const MODULE: &[u8] = b"local";

impl Site for LocalSite {
    fn motd(&self) -> Option<Vec<u8>> {
        None
    }

    fn modules(&self, _peer: &Peer) -> Vec<ModuleLine> {
        Vec::new()
    }

    fn open(&self, _name: &[u8], _peer: &Peer) -> Result<Box<dyn OpenModule>, Refusal> {
        Ok(Box::new(LocalModule { tree: Arc::clone(&self.tree) }))
    }
}

struct LocalModule {
    tree: Arc<dyn Target>,
}

impl OpenModule for LocalModule {
    fn needs_login(&self) -> bool {
        false
    }

    fn login(&mut self, _attempt: &LoginAttempt<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn enter(&mut self) -> Result<ModuleRules, Refusal> {
        Ok(ModuleRules {
            name: "local".into(),
            root: Arc::clone(&self.tree),
            read_only: false,
            unreceivable: None,
            write_only: false,
            filters: Vec::new(),
            incoming_chmod: None,
            outgoing_chmod: None,
            numeric_ids: false,
            refuse_options: Vec::new(),
            timeout: 0,
            durable: false,
            // The list comes from this process.
            list_limits: ListLimits::NONE,
            symlink_targets: SymlinkTargets::Verbatim,
            enter_thread: None,
        })
    }

    fn before_transfer(&mut self, _args: &[Vec<u8>]) -> Result<(), Refusal> {
        Ok(())
    }

    fn after_transfer(&mut self, _exit: ExitCode) {}
}
