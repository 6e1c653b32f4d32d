//! Files being written: under a temporary name until they are complete, or in place.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, fsync, ftruncate, openat, renameat, unlinkat};
use rustix::io::{Errno, pread, pwrite};

use super::attributes::{apply_open, metadata};
use super::root::Root;
use super::sync::sync_with_all;
use crate::path::{RelPath, temporary_name};
use crate::tree::{Attributes, Stage, Synced};

/// Names tried for a temporary file before giving up.
const TRIES: u32 = 100;
/// Bytes copied at once out of a temp dir on another file system.
const COPY: usize = 256 * 1024;

/// A temporary file that becomes `target` when it is complete.
pub(super) struct TemporaryFile {
    pub(super) root: Arc<Root>,
    pub(super) file: OwnedFd,
    /// The directory and the name that it has now.
    pub(super) dir: Arc<OwnedFd>,
    pub(super) name: Vec<u8>,
    pub(super) target: RelPath,
    /// Whether it still has its temporary name.
    pub(super) pending: bool,
}

impl TemporaryFile {
    fn rename_to(&mut self, path: &RelPath) -> io::Result<()> {
        let (dir, base) = self.root.parent_of(path)?;
        match renameat(self.dir.as_fd(), &self.name[..], dir.as_fd(), base) {
            Ok(()) => {
                self.pending = false;
                Ok(())
            }
            Err(Errno::XDEV) => self.copy_to(path),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves the file out of a temp dir on another file system: by way of a temporary file where
    /// it belongs, so that its name is never half there.
    fn copy_to(&self, path: &RelPath) -> io::Result<()> {
        let (dir, base) = self.root.parent_of(path)?;
        let (file, name) = create_temporary(&dir, path)?;
        let copied = self.copy_into(&file).and_then(|()| {
            renameat(dir.as_fd(), &name[..], dir.as_fd(), base)?;
            Ok(())
        });
        copied.inspect_err(|_| {
            // The error that matters is the copy's.
            let _ = unlinkat(dir.as_fd(), &name[..], AtFlags::empty());
        })
    }

    fn copy_into(&self, file: &OwnedFd) -> io::Result<()> {
        let seen = metadata(&fstat(&self.file)?);
        let mut buffer = vec![0; COPY];
        let mut offset = 0;
        loop {
            let read = pread(&self.file, &mut buffer, offset)?;
            if read == 0 {
                break;
            }
            write_all_at(file, offset, &buffer[..read])?;
            offset += read as u64;
        }
        let new = metadata(&fstat(file)?);
        let all = Attributes {
            owner: (seen.uid != new.uid).then_some(seen.uid),
            group: (seen.gid != new.gid).then_some(seen.gid),
            mode: Some(seen.mode & 0o7777),
            mtime: Some((seen.mtime, seen.nanos)),
        };
        apply_open(file, &all)
    }
}

/// Makes a file `.NAME.XXXXXX` for `path` in `dir`; gives it with its name.
pub(super) fn create_temporary(dir: &OwnedFd, path: &RelPath) -> io::Result<(OwnedFd, Vec<u8>)> {
    let flags = OFlags::RDWR
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NOCTTY;
    for attempt in 0..TRIES {
        let temporary = temporary_name(path, attempt);
        match openat(dir, temporary.base(), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((file, temporary.base().to_vec())),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free temporary name was found"))
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.pending {
            // Nobody is left to tell; a later run finds and replaces what stays.
            let _ = unlinkat(self.dir.as_fd(), &self.name[..], AtFlags::empty());
        }
    }
}

impl Stage for TemporaryFile {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, offset, data)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(pread(&self.file, buf, offset)?)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Ok(ftruncate(&self.file, len)?)
    }

    fn apply(&mut self, attributes: &Attributes) -> io::Result<()> {
        apply_open(&self.file, attributes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(fsync(&self.file)?)
    }

    fn sync_all(&mut self) -> io::Result<Synced> {
        sync_with_all(&self.file)
    }

    fn file_system(&self) -> io::Result<u64> {
        Ok(fstat(&self.file)?.st_dev)
    }

    fn commit(mut self: Box<Self>) -> io::Result<()> {
        let target = self.target.clone();
        self.rename_to(&target)
    }

    fn keep_as(mut self: Box<Self>, path: &RelPath) -> io::Result<()> {
        self.rename_to(path)
    }
}

/// A file that is updated under its own name.
pub(super) struct InPlaceFile {
    pub(super) file: OwnedFd,
}

impl Stage for InPlaceFile {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, offset, data)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(pread(&self.file, buf, offset)?)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Ok(ftruncate(&self.file, len)?)
    }

    fn apply(&mut self, attributes: &Attributes) -> io::Result<()> {
        apply_open(&self.file, attributes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(fsync(&self.file)?)
    }

    fn sync_all(&mut self) -> io::Result<Synced> {
        sync_with_all(&self.file)
    }

    fn file_system(&self) -> io::Result<u64> {
        Ok(fstat(&self.file)?.st_dev)
    }

    fn commit(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }

    fn keep_as(self: Box<Self>, _path: &RelPath) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a file updated in place has no other name"))
    }
}

fn write_all_at(file: &OwnedFd, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match pwrite(file, data, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                data = &data[written..];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
