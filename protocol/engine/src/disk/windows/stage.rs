//! Files being written: under a temporary name until they are complete, or in place.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::windows::fs::FileExt as _;
use std::os::windows::io::OwnedHandle;
use std::sync::Arc;

use windows_sys::Wdk::Storage::FileSystem::{FILE_CREATE, FILE_NON_DIRECTORY_FILE};
use windows_sys::Win32::Foundation::ERROR_NOT_SAME_DEVICE;
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA,
};

use super::attributes::{Told, apply, set_read_only};
use super::names::Name;
use super::place::{self, EXISTING, mark_deleted};
use super::root::{Root, volume_of};
use super::status::in_words;
use super::sys::{How, Status};
use crate::path::{RelPath, temporary_name};
use crate::tree::{Attributes, Stage};

/// Names tried for a temporary file before giving up.
const TRIES: u32 = 100;
/// Bytes copied at once out of a temp dir on another volume.
const COPY: usize = 256 * 1024;

/// The rights that writing a file takes.
pub(super) const WRITING: u32 =
    FILE_READ_DATA | FILE_WRITE_DATA | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;

/// A temporary file that becomes `target` when it is complete. It is renamed and removed by its
/// handle: whatever happens to its name, no other file is touched.
pub(super) struct TemporaryFile {
    root: Arc<Root>,
    file: File,
    target: RelPath,
    /// Whether it still has its temporary name.
    pending: bool,
}

impl TemporaryFile {
    /// Makes a temporary file for `target` in `dir`.
    pub(super) fn create(root: Arc<Root>, dir: &OwnedHandle, target: &RelPath) -> io::Result<Self> {
        let file = create_temporary(dir, target)?;
        Ok(Self { root, file, target: target.clone(), pending: true })
    }

    fn rename_to(&mut self, path: &RelPath) -> io::Result<()> {
        let (dir, name) = self.root.parent_of(path)?;
        let name = name.for_new()?;
        match place::rename(&self.file, &dir, &name) {
            Ok(()) => {
                self.pending = false;
                Ok(())
            }
            Err(error) if is_other_volume(&error) => self.copy_to(path, &dir, &name),
            Err(error) => Err(error),
        }
    }

    /// Moves the file out of a temp dir on another volume: by way of a temporary file where it
    /// belongs, so that its name is never half there.
    fn copy_to(&self, path: &RelPath, dir: &OwnedHandle, name: &Name) -> io::Result<()> {
        let copy = create_temporary(dir, path)?;
        let copied = self.copy_into(&copy).and_then(|()| place::rename(&copy, dir, name));
        copied.inspect_err(|_| {
            // The error that matters is the copy's.
            let _ = discard(&copy);
        })
    }

    fn copy_into(&self, copy: &File) -> io::Result<()> {
        let mut buffer = vec![0; COPY];
        let mut offset = 0;
        loop {
            let read = self.file.seek_read(&mut buffer, offset)?;
            if read == 0 {
                break;
            }
            write_all_at(copy, offset, &buffer[..read])?;
            offset += read as u64;
        }
        let seen = Told::of(&self.file)?.metadata(0, 0);
        let all = Attributes {
            mode: Some(seen.mode),
            mtime: Some((seen.mtime, seen.nanos)),
            ..Attributes::default()
        };
        apply(copy, &all)
    }
}

fn is_other_volume(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_NOT_SAME_DEVICE.cast_signed())
}

/// Makes a file `.NAME.XXXXXX` for `path` in `dir`.
fn create_temporary(dir: &OwnedHandle, path: &RelPath) -> io::Result<File> {
    // Better to hear it now than when all data have come.
    Name::of(path.base())?.for_new()?;
    let how = How {
        access: WRITING | DELETE,
        disposition: FILE_CREATE,
        options: EXISTING.options | FILE_NON_DIRECTORY_FILE,
        refuse_reparse: false,
    };
    for attempt in 0..TRIES {
        let name = Name::of(temporary_name(path, attempt).base())?;
        match place::create(dir, &name, &how) {
            Ok(file) => return Ok(file.into()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "no free temporary name was found"))
}

/// Removes a temporary file that is not wanted, whatever attributes it has got by now.
fn discard(file: &File) -> Result<(), Status> {
    match mark_deleted(file) {
        Err(status) if status.is_refused() => {
            set_read_only(file, false)?;
            mark_deleted(file)
        }
        done => done,
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.pending {
            // Nobody is left to tell; a later run finds and replaces what stays.
            let _ = discard(&self.file);
        }
    }
}

impl Stage for TemporaryFile {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, offset, data)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.seek_read(buf, offset).map_err(in_words)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(in_words)
    }

    fn apply(&mut self, attributes: &Attributes) -> io::Result<()> {
        apply(&self.file, attributes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn file_system(&self) -> io::Result<u64> {
        volume_of(&self.file)
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
    pub(super) file: File,
}

impl Stage for InPlaceFile {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, offset, data)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.seek_read(buf, offset).map_err(in_words)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(in_words)
    }

    fn apply(&mut self, attributes: &Attributes) -> io::Result<()> {
        apply(&self.file, attributes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn file_system(&self) -> io::Result<u64> {
        volume_of(&self.file)
    }

    fn commit(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }

    fn keep_as(self: Box<Self>, _path: &RelPath) -> io::Result<()> {
        Err(io::Error::new(ErrorKind::Unsupported, "a file updated in place has no other name"))
    }
}

fn write_all_at(file: &File, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match file.seek_write(data, offset) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                data = &data[written..];
            }
            Err(error) => return Err(in_words(error)),
        }
    }
    Ok(())
}
