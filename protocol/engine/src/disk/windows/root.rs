//! Opens directories beneath an open one, and nothing outside it (§19.1): one component at a time,
//! each relative to the handle of the one before, no symlink or junction followed.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use windows_sys::Wdk::Storage::FileSystem::{FILE_DIRECTORY_FILE, FileFsVolumeInformation};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_BACKUP_SEMANTICS, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, SYNCHRONIZE,
};

use super::attributes::{Told, u32_at};
use super::names::Name;
use super::place::{self, EXISTING, is_missing};
use super::status::patiently;
use super::sys::{self, How};
use crate::path::RelPath;
use crate::tree::Reach;

/// Directories that stay open, so that the files of one directory cost one look-up.
const CACHED: usize = 4;

const DIRECTORY: How = How { options: EXISTING.options | FILE_DIRECTORY_FILE, ..EXISTING };

/// An open directory that nothing opened through it can leave.
#[derive(Debug)]
pub(super) struct Root {
    handle: Arc<OwnedHandle>,
    volume: u64,
    recent: Mutex<Vec<(RelPath, Arc<OwnedHandle>)>>,
    /// Set for a source whose symlinks are taken for what they point to.
    follow: Option<Reach>,
}

impl Root {
    /// Opens the directory `path`; symlinks on the way are followed, since the administrator
    /// named it. Paths may be as long as they like.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .access_mode(FILE_READ_ATTRIBUTES | FILE_LIST_DIRECTORY | SYNCHRONIZE)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path)?;
        let handle = OwnedHandle::from(file);
        if !Told::of(&handle)?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Self::of(Arc::new(handle))
    }

    fn of(handle: Arc<OwnedHandle>) -> io::Result<Self> {
        let volume = volume_of(&handle)?;
        Ok(Self { handle, volume, recent: Mutex::new(Vec::new()), follow: None })
    }

    /// The same directory, with symlinks beneath it taken for what they point to.
    pub(super) fn following(&self, reach: Reach) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
            volume: self.volume,
            recent: Mutex::new(Vec::new()),
            follow: Some(reach),
        }
    }

    pub(super) fn follows(&self) -> bool {
        self.follow.is_some()
    }

    /// The directory itself.
    pub(super) fn handle(&self) -> Arc<OwnedHandle> {
        Arc::clone(&self.handle)
    }

    /// The volume's serial number. What is beneath is on the same one: another is mounted by a
    /// junction.
    pub(super) fn volume(&self) -> u64 {
        self.volume
    }

    /// A directory beneath this one as a root of its own.
    pub(super) fn subroot(&self, path: &RelPath) -> io::Result<Self> {
        Self::of(self.directory(path)?)
    }

    /// Opens `path` for a source that follows symlinks; only to what is beneath the root, unless
    /// its user wants them followed anywhere.
    pub(super) fn open_following(&self, path: &RelPath, how: &How) -> io::Result<OwnedHandle> {
        let mut units = Vec::new();
        for component in path.components() {
            if !units.is_empty() {
                units.push(u16::from(b'\\'));
            }
            units.extend_from_slice(Name::of(component)?.units());
        }
        let how = How { options: how.options & !EXISTING.options, ..*how };
        let opened = patiently(|| sys::open_at(&self.handle, &units, &how));
        let opened = opened.map_err(|status| match is_missing(status) {
            true => ErrorKind::NotFound.into(),
            false => io::Error::from(status),
        })?;
        if self.follow != Some(Reach::Anywhere) {
            let (root, path) = (sys::final_path(&self.handle)?, sys::final_path(&opened)?);
            let separator = u16::from(b'\\');
            let is_beneath = path.strip_prefix(&root[..]).is_some_and(|rest| {
                rest.is_empty() || rest[0] == separator || root.last() == Some(&separator)
            });
            if !is_beneath {
                return Err(io::Error::new(
                    ErrorKind::PermissionDenied,
                    "the symlink leads out of the tree",
                ));
            }
        }
        Ok(opened)
    }

    /// The directory that holds `path`, and the last component.
    ///
    /// # Errors
    /// `InvalidInput` for the root itself, which has no name.
    pub(super) fn parent_of(&self, path: &RelPath) -> io::Result<(Arc<OwnedHandle>, Name)> {
        let (parent, base) = path.split();
        let name = Name::of(base)?;
        Ok((self.directory(&parent)?, name))
    }

    /// An open directory; symlinks and junctions anywhere in its path are refused, or followed if
    /// this is such a source.
    pub(super) fn directory(&self, path: &RelPath) -> io::Result<Arc<OwnedHandle>> {
        if path.is_root() {
            return Ok(Arc::clone(&self.handle));
        }
        if let Some(known) = self.cached(path) {
            return Ok(known);
        }
        let opened = if self.follows() {
            self.open_following(path, &DIRECTORY)?
        } else {
            self.walk_to(path)?
        };
        let opened = Arc::new(opened);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= CACHED {
            recent.remove(0);
        }
        recent.push((path.clone(), Arc::clone(&opened)));
        Ok(opened)
    }

    /// A directory opened to be listed, on a handle of its own: a search is bound to its handle.
    pub(super) fn listable(&self, path: &RelPath) -> io::Result<OwnedHandle> {
        let how = How { access: FILE_READ_ATTRIBUTES | FILE_LIST_DIRECTORY, ..DIRECTORY };
        if self.follows() && !path.is_root() {
            return self.open_following(path, &how);
        }
        let dir = self.directory(path)?;
        Ok(patiently(|| sys::open_at(&dir, &[], &how))?)
    }

    /// Forgets, and closes, what is cached at and below `path`: it is about to be renamed or
    /// removed, and an open directory would stand in the way.
    pub(super) fn forget(&self, path: &RelPath) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(known, _)| !known.is_within(path));
    }

    fn cached(&self, path: &RelPath) -> Option<Arc<OwnedHandle>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().position(|(known, _)| known == path)?;
        let found = recent.remove(at);
        let handle = Arc::clone(&found.1);
        recent.push(found);
        Some(handle)
    }

    /// One component at a time, from the nearest directory that is open.
    fn walk_to(&self, path: &RelPath) -> io::Result<OwnedHandle> {
        let (parent, base) = path.split();
        let above = match self.cached(&parent) {
            Some(known) => known,
            None if parent.is_root() => Arc::clone(&self.handle),
            None => Arc::new(self.walk_to(&parent)?),
        };
        let opened = place::open(&above, &Name::of(base)?, &DIRECTORY)?;
        if Told::of(&opened)?.is_link() {
            return Err(io::Error::new(
                ErrorKind::NotADirectory,
                "a symlink or junction is in the way",
            ));
        }
        Ok(opened)
    }
}

/// The serial number of the volume that an open file is on.
pub(super) fn volume_of(file: impl AsHandle) -> io::Result<u64> {
    // The label, which follows, is cut off.
    let mut answer = [0; 4];
    sys::query_volume(file, FileFsVolumeInformation, &mut answer)?;
    Ok(u32_at(&answer, 8).into())
}
