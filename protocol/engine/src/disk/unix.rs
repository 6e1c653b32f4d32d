//! The disk of a Unix system.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use bascule_wire::flist::{Device, Kind};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, fstat, fstatvfs, linkat, makedev, mkdirat, mknodat,
    openat, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::process::{Resource, getegid, geteuid, getgroups, getrlimit};

use super::Snapshots;
use super::attributes::{apply_at, metadata};
use super::names::Names;
use super::root::Root;
use super::stage::{InPlaceFile, TemporaryFile, create_temporary};
use super::sync::sync_with_all;
use crate::path::RelPath;
use crate::tree::{
    Attributes, DirEntry, Listing, Metadata, Modes, Reach, ReadAt, Source, Stage, Synced, Target,
    TargetAbilities,
};

/// Bytes of directory entries read at once.
const DIR_BUFFER: usize = 64 * 1024;

/// A tree on disk, held by a descriptor of its root.
#[derive(Debug, Clone)]
pub struct Disk {
    root: Arc<Root>,
    temp_dir: Option<Arc<OwnedFd>>,
}

impl Disk {
    /// Opens the directory `path` as a root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        Ok(Self { root: Arc::new(Root::open(path)?), temp_dir: None })
    }

    /// This tree, staging its files in a directory anywhere on this machine.
    ///
    /// # Errors
    /// What the file system says.
    pub fn with_temp_path(self, dir: &std::path::Path) -> io::Result<Self> {
        Ok(Self { temp_dir: Some(Root::open(dir)?.handle()), ..self })
    }

    /// This tree, reading from snapshots what other programs keep to themselves.
    ///
    /// # Errors
    /// `Unsupported`: here no program can keep a file from being read.
    pub fn with_snapshots(self, _snapshots: Arc<dyn Snapshots>) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only Windows reads files from snapshots"))
    }

    fn open_file(
        &self,
        path: &RelPath,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<(OwnedFd, Metadata)> {
        // Without NONBLOCK a FIFO in the file's place would hold this thread for ever.
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = if self.root.follows() {
            self.root.open_following(path, flags)?
        } else {
            let (dir, base) = self.root.parent_of(path)?;
            openat(dir.as_fd(), base, flags | OFlags::NOFOLLOW, mode).map_err(
                |error| match error {
                    rustix::io::Errno::LOOP => io::Error::other("a symlink is in its place"),
                    other => other.into(),
                },
            )?
        };
        let opened = metadata(&fstat(&file)?);
        if opened.kind == Kind::File {
            Ok((file, opened))
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    }
}

struct OpenFile {
    file: OwnedFd,
    opened: Metadata,
}

impl ReadAt for OpenFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.file, buf, offset)?)
    }

    fn opened(&self) -> &Metadata {
        &self.opened
    }

    fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata(&fstat(&self.file)?))
    }
}

impl Source for Disk {
    fn metadata(&self, path: &RelPath, follow: bool) -> io::Result<Metadata> {
        if follow && !path.is_root() {
            match self.root.open_following(path, OFlags::PATH) {
                Ok(fd) => return Ok(metadata(&fstat(&fd)?)),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(error) => return Err(error),
            }
        }
        let (dir, base) = self.root.parent_of(path)?;
        Ok(metadata(&statat(dir.as_fd(), base, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn list(&self, path: &RelPath) -> io::Result<Listing> {
        let fd = self.root.listable(path)?;
        let mut buffer = vec![MaybeUninit::uninit(); DIR_BUFFER];
        let mut reader = RawDir::new(&fd, &mut buffer);
        let mut listing = Listing::default();
        while let Some(entry) = reader.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    listing.error = Some(error.into());
                    break;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW);
            listing.entries.push(DirEntry {
                name: name.to_bytes().into(),
                metadata: stat.map(|stat| metadata(&stat)).map_err(Into::into),
            });
        }
        Ok(listing)
    }

    fn open(&self, path: &RelPath) -> io::Result<Box<dyn ReadAt>> {
        let (file, opened) = self.open_file(path, OFlags::RDONLY, Mode::empty())?;
        Ok(Box::new(OpenFile { file, opened }))
    }

    fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        let (dir, base) = self.root.parent_of(path)?;
        Ok(readlinkat(dir.as_fd(), base, Vec::new())?.into_bytes())
    }

    fn following(&self, reach: Reach) -> io::Result<Arc<dyn Source>> {
        Ok(Arc::new(Self { root: Arc::new(self.root.following(reach)), temp_dir: None }))
    }

    fn volume(&self, dir: &RelPath) -> io::Result<u64> {
        // A device number may be another's after a reboot; this is made from the disk's own name.
        Ok(fstatvfs(self.root.directory(dir)?)?.f_fsid)
    }

    fn user_name(&self, uid: u32) -> Option<Vec<u8>> {
        Names::users().name(uid)
    }

    fn group_name(&self, gid: u32) -> Option<Vec<u8>> {
        Names::groups().name(gid)
    }
}

/// A share of what this process may open: other runs, and a sender in the same process, open files
/// as well.
fn spare_handles() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 16).unwrap_or(usize::MAX)
}

impl Target for Disk {
    fn abilities(&self) -> TargetAbilities {
        let is_root = geteuid().is_root();
        TargetAbilities {
            change_owner: is_root,
            symlink_times: true,
            symlink_modes: false,
            make_devices: is_root,
            modes: Modes::All,
            time_granularity: 1,
            spare_handles: spare_handles(),
        }
    }

    fn create_dir(&self, path: &RelPath, mode: u32) -> io::Result<()> {
        let (dir, base) = self.root.parent_of(path)?;
        Ok(mkdirat(dir.as_fd(), base, Mode::from_raw_mode(mode & 0o7777))?)
    }

    fn symlink(&self, link_target: &[u8], path: &RelPath) -> io::Result<()> {
        let (dir, base) = self.root.parent_of(path)?;
        Ok(symlinkat(link_target, dir.as_fd(), base)?)
    }

    fn hard_link(&self, existing: &RelPath, new: &RelPath) -> io::Result<()> {
        let (from, existing) = self.root.parent_of(existing)?;
        let (to, new) = self.root.parent_of(new)?;
        Ok(linkat(from.as_fd(), existing, to.as_fd(), new, AtFlags::empty())?)
    }

    fn make_node(&self, path: &RelPath, kind: Kind, mode: u32, device: Device) -> io::Result<()> {
        let file_type = match kind {
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::File | Kind::Directory | Kind::Symlink => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        };
        let (dir, base) = self.root.parent_of(path)?;
        let number = makedev(device.major, device.minor);
        Ok(mknodat(dir.as_fd(), base, file_type, Mode::from_raw_mode(mode & 0o7777), number)?)
    }

    fn stage(&self, path: &RelPath) -> io::Result<Box<dyn Stage>> {
        let dir = match &self.temp_dir {
            Some(dir) => Arc::clone(dir),
            None => self.root.parent_of(path)?.0,
        };
        let (file, name) = create_temporary(&dir, path)?;
        Ok(Box::new(TemporaryFile {
            root: Arc::clone(&self.root),
            file,
            dir,
            name,
            target: path.clone(),
            pending: true,
        }))
    }

    fn subtree(&self, path: &RelPath) -> io::Result<Arc<dyn Target>> {
        let root = Arc::new(self.root.subroot(path)?);
        Ok(Arc::new(Self { root, temp_dir: self.temp_dir.clone() }))
    }

    fn with_temp_dir(&self, dir: &RelPath) -> io::Result<Arc<dyn Target>> {
        let temp_dir = Some(self.root.directory(dir)?);
        Ok(Arc::new(Self { root: Arc::clone(&self.root), temp_dir }))
    }

    fn open_in_place(&self, path: &RelPath) -> io::Result<Box<dyn Stage>> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let (file, _) = self.open_file(path, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Box::new(InPlaceFile { file }))
    }

    fn set_attributes(
        &self,
        path: &RelPath,
        kind: Kind,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let (dir, base) = self.root.parent_of(path)?;
        apply_at(dir.as_fd(), base, kind, attributes)
    }

    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        let (from_dir, from_base) = self.root.parent_of(from)?;
        let (to_dir, to_base) = self.root.parent_of(to)?;
        renameat(from_dir.as_fd(), from_base, to_dir.as_fd(), to_base)?;
        self.root.forget(from);
        self.root.forget(to);
        Ok(())
    }

    fn remove_file(&self, path: &RelPath) -> io::Result<()> {
        let (dir, base) = self.root.parent_of(path)?;
        Ok(unlinkat(dir.as_fd(), base, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &RelPath) -> io::Result<()> {
        let (dir, base) = self.root.parent_of(path)?;
        self.root.forget(path);
        Ok(unlinkat(dir.as_fd(), base, AtFlags::REMOVEDIR)?)
    }

    fn sync(&self, path: &RelPath, kind: Kind) -> io::Result<Synced> {
        match kind {
            Kind::Directory => sync_with_all(&self.root.listable(path)?),
            Kind::File => sync_with_all(&self.open_file(path, OFlags::RDONLY, Mode::empty())?.0),
            _ => Ok(Synced::Alone),
        }
    }

    fn room(&self, dir: &RelPath) -> io::Result<Option<u64>> {
        let stat = fstatvfs(self.root.directory(dir)?)?;
        // Some file systems without a size of their own say that they have no blocks at all.
        Ok((stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    fn user_id(&self, name: &[u8]) -> Option<u32> {
        Names::users().id(name)
    }

    fn group_id(&self, name: &[u8]) -> Option<u32> {
        Names::groups().id(name)
    }

    fn usable_groups(&self) -> Option<Vec<u32>> {
        if geteuid().is_root() {
            return None;
        }
        let supplementary = getgroups().unwrap_or_default();
        Some(supplementary.iter().chain([&getegid()]).map(|group| group.as_raw()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turned_into_something_else_since_it_was_listed_is_not_opened() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let (module, secret) = (dir.path().join("module"), dir.path().join("secret"));
        std::fs::create_dir(&module).expect("a folder");
        std::fs::write(&secret, "not yours").expect("a file");
        std::fs::write(module.join("file"), "yours").expect("a file");
        std::os::unix::fs::symlink(&secret, module.join("link")).expect("a symlink");
        std::os::unix::fs::symlink("file", module.join("within")).expect("a symlink");
        let kind = FileType::Fifo;
        mknodat(rustix::fs::CWD, module.join("fifo"), kind, Mode::RUSR, 0).expect("a FIFO");
        let disk = Disk::open(&module).expect("a tree");
        let open = |name: &str| {
            let opened = disk.open(&RelPath::parse(name.as_bytes()).expect("legal"));
            opened.map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(open("file"), Ok(()));
        assert_eq!(open("link"), Err("a symlink is in its place".to_owned()));
        assert_eq!(open("within"), Err("a symlink is in its place".to_owned()));
        assert_eq!(open("fifo"), Err("it is not a regular file".to_owned()));
    }
}
