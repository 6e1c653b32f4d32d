//! Files being written: under a temporary name until they are complete, or in place.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, fsync, ftruncate, renameat, unlinkat};
use rustix::io::{pread, pwrite};

use super::attributes::apply_open;
use super::root::Root;
use crate::path::RelPath;
use crate::tree::{Attributes, Stage};

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
        renameat(self.dir.as_fd(), &self.name[..], dir.as_fd(), base)?;
        self.pending = false;
        Ok(())
    }
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
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
