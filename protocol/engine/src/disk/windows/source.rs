//! Reading a tree.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::windows::fs::FileExt as _;
use std::sync::Arc;

use windows_sys::Wdk::Storage::FileSystem::FILE_NON_DIRECTORY_FILE;
use windows_sys::Win32::Storage::FileSystem::{FILE_READ_ATTRIBUTES, FILE_READ_DATA};

use super::attributes::Told;
use super::fallback::Fallback;
use super::place::EXISTING;
use super::root::volume_of;
use super::status::{in_words, locked};
use super::sys::How;
use super::{Disk, links, listing};
use crate::path::RelPath;
use crate::tree::{Listing, Metadata, Reach, ReadAt, Source};

/// The rights that reading a file takes; others may go on writing to it.
const READING: How = How {
    access: FILE_READ_DATA | FILE_READ_ATTRIBUTES,
    options: EXISTING.options | FILE_NON_DIRECTORY_FILE,
    ..EXISTING
};

pub(super) struct OpenFile {
    file: File,
    volume: u64,
    opened: Metadata,
    is_snapshot: bool,
    /// Whom to tell of a lock of another program.
    fallback: Option<(Arc<Fallback>, RelPath)>,
}

impl OpenFile {
    /// What reading gave, in words; a lock is remembered, so that the file is not opened here again.
    pub(super) fn told(&self, read: io::Result<usize>) -> io::Result<usize> {
        let read = read.map_err(in_words);
        if let (Err(error), Some((fallback, path))) = (&read, &self.fallback)
            && error.kind() == ErrorKind::ResourceBusy
        {
            fallback.note_locked(path);
        }
        read
    }
}

impl ReadAt for OpenFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.told(self.file.seek_read(buf, offset))
    }

    fn opened(&self) -> &Metadata {
        &self.opened
    }

    fn metadata(&self) -> io::Result<Metadata> {
        Ok(Told::of(&self.file)?.metadata(self.volume, 0))
    }

    fn is_snapshot(&self) -> bool {
        self.is_snapshot
    }
}

impl Disk {
    pub(super) fn open_here(&self, path: &RelPath) -> io::Result<OpenFile> {
        let (file, told) = self.open_file(path, &READING)?;
        let volume = if self.root.follows() { volume_of(&file)? } else { self.root.volume() };
        let fallback = self.fallback.as_ref().map(|fallback| (Arc::clone(fallback), path.clone()));
        let opened = told.metadata(volume, 0);
        Ok(OpenFile { file, volume, opened, is_snapshot: false, fallback })
    }
}

impl Source for Disk {
    /// A symlink within the tree is followed only by a source that is made for it
    /// ([`Source::following`]): `follow` alone means nothing here.
    fn metadata(&self, path: &RelPath, follow: bool) -> io::Result<Metadata> {
        if follow && self.root.follows() && !path.is_root() {
            let file = self.root.open_following(path, &EXISTING)?;
            return Ok(Told::of(&file)?.metadata(volume_of(&file)?, 0));
        }
        let file = self.open_as_is(path, &EXISTING)?;
        let told = Told::of(&file)?;
        Ok(told.metadata(self.root.volume(), links::target_length(&file, &told)))
    }

    fn list(&self, path: &RelPath) -> io::Result<Listing> {
        let dir = self.root.listable(path)?;
        let volume = if self.root.follows() { volume_of(&dir)? } else { self.root.volume() };
        Ok(listing::list(&dir, volume))
    }

    fn open(&self, path: &RelPath) -> io::Result<Box<dyn ReadAt>> {
        let Some(fallback) = &self.fallback else { return Ok(Box::new(self.open_here(path)?)) };
        let busy = match self.open_here(path) {
            Ok(_) if fallback.is_locked(path) => locked(),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => error,
            opened => return Ok(Box::new(opened?)),
        };
        let open = |snapshot: &Self| snapshot.open_here(path);
        let file = fallback.try_with(&self.root, &busy, open)?;
        Ok(Box::new(OpenFile { is_snapshot: true, ..file }))
    }

    fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        links::target(self.open_as_is(path, &EXISTING)?)
    }

    fn following(&self, reach: Reach) -> io::Result<Arc<dyn Source>> {
        let fallback = self.fallback.clone();
        Ok(Arc::new(Self { root: Arc::new(self.root.following(reach)), temp_dir: None, fallback }))
    }

    fn user_name(&self, _uid: u32) -> Option<Vec<u8>> {
        None
    }

    fn group_name(&self, _gid: u32) -> Option<Vec<u8>> {
        None
    }
}
