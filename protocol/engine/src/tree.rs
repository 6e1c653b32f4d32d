//! What a side of the transfer must be able to do.
//!
//! All paths are [`RelPath`]s beneath one root; no method follows a symlink in the last
//! component unless it says so, and none leaves the root.

use std::io;
use std::sync::Arc;

use bascule_wire::flist::{Device, Kind};

use crate::path::RelPath;

/// What `lstat` tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The kind.
    pub kind: Kind,
    /// Unix mode with its type bits.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of `mtime`.
    pub nanos: u32,
    /// When contents or attributes last changed, in seconds since 1970 and nanoseconds; nobody can
    /// set it. Zero where the system does not tell.
    pub changed: (i64, u32),
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device number of a device file.
    pub device: Device,
    /// The file system that the file is on.
    pub file_system: u64,
    /// Number within its file system.
    pub inode: u64,
    /// Names of this file.
    pub links: u64,
}

/// One name in a directory, with its `lstat`.
#[derive(Debug)]
pub struct DirEntry {
    /// The name: one component.
    pub name: Box<[u8]>,
    /// What it is; an error of kind `NotFound` means that it vanished since it was listed.
    pub metadata: io::Result<Metadata>,
}

/// A directory's names, in no order.
#[derive(Debug, Default)]
pub struct Listing {
    /// The names.
    pub entries: Vec<DirEntry>,
    /// Set when reading broke off: `entries` is then incomplete, and nothing may be deleted.
    pub error: Option<io::Error>,
}

/// An open file that is read at positions.
pub trait ReadAt: Send {
    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The file's metadata when it was opened: those of a regular file.
    fn opened(&self) -> &Metadata;

    /// The file's metadata now.
    ///
    /// # Errors
    /// What the file system says.
    fn metadata(&self) -> io::Result<Metadata>;

    /// Whether this is the file as it was in a snapshot, which may be older than what is listed.
    fn is_snapshot(&self) -> bool {
        false
    }
}

/// Opens a file again that could not be read because of `error`: a tree with snapshots shows it from
/// one once it met another program's lock.
///
/// # Errors
/// `error`, where no snapshot helps; or that and why there is none.
pub fn open_around_lock(
    tree: &dyn Source,
    path: &RelPath,
    file: &dyn ReadAt,
    error: io::Error,
) -> io::Result<Box<dyn ReadAt>> {
    if error.kind() != io::ErrorKind::ResourceBusy || file.is_snapshot() {
        return Err(error);
    }
    let file = tree.open(path)?;
    if file.is_snapshot() { Ok(file) } else { Err(error) }
}

/// How far symlinks are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only to what is beneath the root: a peer asked for it.
    Beneath,
    /// Anywhere: the user of this machine asked for it.
    Anywhere,
}

/// A tree that can be read.
pub trait Source: Send + Sync {
    /// The metadata of `path` itself, or of what it points to when `follow` is set (never
    /// outside the root).
    ///
    /// # Errors
    /// What the file system says.
    fn metadata(&self, path: &RelPath, follow: bool) -> io::Result<Metadata>;

    /// The names in a directory with their metadata, without `.` and `..`.
    ///
    /// # Errors
    /// When the directory cannot be opened; trouble while reading is in the [`Listing`].
    fn list(&self, path: &RelPath) -> io::Result<Listing>;

    /// Opens a regular file for reading. A symlink in its place is an error.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, path: &RelPath) -> io::Result<Box<dyn ReadAt>>;

    /// The target of a symlink.
    ///
    /// # Errors
    /// What the file system says.
    fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>>;

    /// This tree, but with symlinks taken for what they point to (`--copy-links`).
    ///
    /// # Errors
    /// `Unsupported` where that cannot be had.
    fn following(&self, reach: Reach) -> io::Result<Arc<dyn Source>>;

    /// Which file system a directory is on, the same after a reboot: a disk that is not mounted is
    /// known by it. 0 where that cannot be told.
    ///
    /// # Errors
    /// What the file system says.
    fn volume(&self, dir: &RelPath) -> io::Result<u64> {
        Ok(self.metadata(dir, false)?.file_system)
    }

    /// The name of a user, if this side knows it.
    fn user_name(&self, uid: u32) -> Option<Vec<u8>>;

    /// The name of a group, if this side knows it.
    fn group_name(&self, gid: u32) -> Option<Vec<u8>>;
}

/// What to set on a file. Applied in this order: owner and group, mode, time; changing the owner
/// clears set-id bits, and changing anything else would move the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// New owner.
    pub owner: Option<u32>,
    /// New group.
    pub group: Option<u32>,
    /// New permission bits (07777).
    pub mode: Option<u32>,
    /// New modification time: seconds since 1970 and nanoseconds.
    pub mtime: Option<(i64, u32)>,
}

impl Attributes {
    /// Sets all of them at once with `set`; when that fails one by one, so that a refused owner does
    /// not cost a file its time. Gives the names of those that failed, with the reasons.
    pub fn set_each(
        &self,
        mut set: impl FnMut(&Self) -> io::Result<()>,
    ) -> Vec<(&'static str, io::Error)> {
        if set(self).is_ok() {
            return Vec::new();
        }
        let Self { owner, group, mode, mtime } = *self;
        let none = Self::default();
        let each = [
            ("owner", Self { owner, ..none }),
            ("group", Self { group, ..none }),
            ("mode", Self { mode, ..none }),
            ("time", Self { mtime, ..none }),
        ];
        each.into_iter().filter_map(|(name, one)| Some((name, set(&one).err()?))).collect()
    }

    /// Whether there is nothing to set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which permission bits a target keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// All of them.
    All,
    /// Of a regular file, whether its owner may write it; nothing of all else (Windows).
    OwnerWrite,
}

/// What a target can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetAbilities {
    /// Owners can be changed at will (root).
    pub change_owner: bool,
    /// Symlinks have times that can be set.
    pub symlink_times: bool,
    /// Symlinks have modes that can be set.
    pub symlink_modes: bool,
    /// Device nodes can be made.
    pub make_devices: bool,
    /// The permissions that files keep.
    pub modes: Modes,
    /// Times are stored in multiples of this many nanoseconds.
    pub time_granularity: u32,
    /// Files that one run may hold open at once, beside those that it works on.
    pub spare_handles: usize,
}

/// How much a sync has put on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// What it was asked for.
    Alone,
    /// Everything on the same file system, which [`Metadata::file_system`] names.
    FileSystem(u64),
}

/// A file being written, not yet (or, for in-place updates, already) under its final name.
/// Dropping it removes a file that was not committed or kept.
pub trait Stage: Send {
    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// What the file system says.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Cuts or extends (with a hole) to `len` bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Sets attributes on the open file.
    ///
    /// # Errors
    /// What the file system says; the remaining attributes are then not set.
    fn apply(&mut self, attributes: &Attributes) -> io::Result<()>;

    /// Puts data and metadata on stable storage.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&mut self) -> io::Result<()>;

    /// The same, and all else that waits on the same file system where that can be had at once.
    ///
    /// # Errors
    /// What the file system says; it may be about another file.
    fn sync_all(&mut self) -> io::Result<Synced> {
        self.sync().map(|()| Synced::Alone)
    }

    /// The file system that the file is on.
    ///
    /// # Errors
    /// What the file system says.
    fn file_system(&self) -> io::Result<u64>;

    /// Renames the file over its final name, atomically.
    ///
    /// # Errors
    /// What the file system says; the staged file is then removed.
    fn commit(self: Box<Self>) -> io::Result<()>;

    /// Renames the file to `path` instead of its final name: a partial file to resume from.
    ///
    /// # Errors
    /// What the file system says; the staged file is then removed.
    fn keep_as(self: Box<Self>, path: &RelPath) -> io::Result<()>;
}

/// A tree that can be written.
pub trait Target: Source {
    /// What this target can do.
    fn abilities(&self) -> TargetAbilities;

    /// Makes a directory.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, path: &RelPath, mode: u32) -> io::Result<()>;

    /// Makes a symlink. An existing name is an error.
    ///
    /// # Errors
    /// What the file system says.
    fn symlink(&self, link_target: &[u8], path: &RelPath) -> io::Result<()>;

    /// Gives `existing` a second name. An existing `new` is an error; a symlink is linked itself.
    ///
    /// # Errors
    /// What the file system says.
    fn hard_link(&self, existing: &RelPath, new: &RelPath) -> io::Result<()>;

    /// Makes a device, FIFO or socket.
    ///
    /// # Errors
    /// What the file system says; `Unsupported` where there is no such thing.
    fn make_node(&self, path: &RelPath, kind: Kind, mode: u32, device: Device) -> io::Result<()>;

    /// Opens a new file `.NAME.XXXXXX` beside `path` (or in this tree's temp dir) to be renamed
    /// over `path`. Its permissions are 0600 until attributes are applied.
    ///
    /// # Errors
    /// What the file system says.
    fn stage(&self, path: &RelPath) -> io::Result<Box<dyn Stage>>;

    /// The tree below a directory of this one, as a target of its own that cannot leave it. Keeps
    /// the temp dir.
    ///
    /// # Errors
    /// What the file system says; `NotADirectory` when `path` is something else.
    fn subtree(&self, path: &RelPath) -> io::Result<Arc<dyn Target>>;

    /// This tree, staging its files in `dir` (a directory of this tree) from now on.
    ///
    /// # Errors
    /// What the file system says.
    fn with_temp_dir(&self, dir: &RelPath) -> io::Result<Arc<dyn Target>>;

    /// Opens `path` itself for an update in place, creating it when missing. Committing changes
    /// nothing more; dropping leaves the file as it is.
    ///
    /// # Errors
    /// What the file system says.
    fn open_in_place(&self, path: &RelPath) -> io::Result<Box<dyn Stage>>;

    /// Sets attributes of `path` itself, never of what a symlink points to.
    ///
    /// # Errors
    /// What the file system says; the remaining attributes are then not set.
    fn set_attributes(&self, path: &RelPath, kind: Kind, attributes: &Attributes)
    -> io::Result<()>;

    /// Renames within the root.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()>;

    /// Removes anything but a directory.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_file(&self, path: &RelPath) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_dir(&self, path: &RelPath) -> io::Result<()>;

    /// Puts on stable storage what `path` is: a directory's names and attributes, a file's data
    /// and attributes. Where that can be had at once, all else on the same file system as well.
    /// A symlink or special file is nothing without its directory: nothing is done.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self, path: &RelPath, kind: Kind) -> io::Result<Synced>;

    /// Bytes that can still be stored in `dir`, as far as this user is allowed to; `None` where
    /// that cannot be told.
    ///
    /// # Errors
    /// What the file system says.
    fn room(&self, dir: &RelPath) -> io::Result<Option<u64>>;

    /// The user of that name on this side.
    fn user_id(&self, name: &[u8]) -> Option<u32>;

    /// The group of that name on this side.
    fn group_id(&self, name: &[u8]) -> Option<u32>;

    /// The groups that this process may give a file to; `None` means any (root).
    fn usable_groups(&self) -> Option<Vec<u32>>;
}
