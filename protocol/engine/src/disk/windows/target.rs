//! Changing a tree.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::sync::Arc;

use bascule_wire::flist::{Device, Kind};
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_NON_DIRECTORY_FILE, FileFsFullSizeInformation,
};
use windows_sys::Wdk::System::SystemServices::FILE_FS_FULL_SIZE_INFORMATION;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_INVALID_FUNCTION};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_ADD_FILE, FILE_READ_ATTRIBUTES, FILE_WRITE_ATTRIBUTES,
};

use super::Disk;
use super::attributes::{apply, set_read_only, u32_at, u64_at};
use super::place::{self, EXISTING};
use super::root::Root;
use super::stage::{InPlaceFile, TemporaryFile, WRITING};
use super::status::patiently;
use super::sys::{self, How};
use crate::path::RelPath;
use crate::tree::{Attributes, Modes, Stage, Synced, Target, TargetAbilities};

/// Files that one run may hold open. Windows has no limit that matters; this is for other programs,
/// which cannot remove an open file on an older file system.
const SPARE_HANDLES: usize = 256;

impl Disk {
    /// Opens a regular file for writing, also one that is read-only; it stays what it is.
    fn open_for_writing(&self, path: &RelPath) -> io::Result<File> {
        let how = How {
            access: WRITING,
            options: EXISTING.options | FILE_NON_DIRECTORY_FILE,
            ..EXISTING
        };
        match self.open_file(path, &how) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let attributes = self.open_for_attributes(path)?;
                if !set_read_only(&attributes, false)? {
                    return Err(error);
                }
                let opened = self.open_file(path, &how);
                set_read_only(&attributes, true)?;
                opened
            }
            opened => opened,
        }
        .map(|(file, _)| file)
    }

    fn open_for_attributes(&self, path: &RelPath) -> io::Result<File> {
        let how = How { access: FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES, ..EXISTING };
        Ok(self.open_as_is(path, &how)?.into())
    }
}

impl Target for Disk {
    fn abilities(&self) -> TargetAbilities {
        TargetAbilities {
            change_owner: false,
            symlink_times: false,
            symlink_modes: false,
            make_devices: false,
            modes: Modes::OwnerWrite,
            time_granularity: 100,
            spare_handles: SPARE_HANDLES,
        }
    }

    /// Whatever `mode` says: permissions are inherited from the directory above.
    fn create_dir(&self, path: &RelPath, _mode: u32) -> io::Result<()> {
        let (dir, name) = self.root.parent_of(path)?;
        let how = How {
            disposition: FILE_CREATE,
            options: EXISTING.options | FILE_DIRECTORY_FILE,
            ..EXISTING
        };
        place::create(&dir, &name.for_new()?, &how).map(drop)
    }

    fn symlink(&self, _link_target: &[u8], _path: &RelPath) -> io::Result<()> {
        Err(io::Error::new(ErrorKind::Unsupported, "Bascule makes no symlinks on Windows"))
    }

    fn hard_link(&self, existing: &RelPath, new: &RelPath) -> io::Result<()> {
        let file = self.open_for_attributes(existing)?;
        let (dir, name) = self.root.parent_of(new)?;
        place::link(&file, &dir, &name.for_new()?)
    }

    fn make_node(&self, _: &RelPath, _: Kind, _: u32, _: Device) -> io::Result<()> {
        let text = "Windows has no devices, FIFOs or sockets among its files";
        Err(io::Error::new(ErrorKind::Unsupported, text))
    }

    fn stage(&self, path: &RelPath) -> io::Result<Box<dyn Stage>> {
        let dir = match &self.temp_dir {
            Some(dir) => Arc::clone(dir),
            None => self.root.parent_of(path)?.0,
        };
        Ok(Box::new(TemporaryFile::create(Arc::clone(&self.root), &dir, path)?))
    }

    fn subtree(&self, path: &RelPath) -> io::Result<Arc<dyn Target>> {
        let root = Arc::new(self.root.subroot(path)?);
        Ok(Arc::new(Self { root, temp_dir: self.temp_dir.clone(), fallback: None }))
    }

    fn with_temp_dir(&self, dir: &RelPath) -> io::Result<Arc<dyn Target>> {
        let temp_dir = Some(self.root.directory(dir)?);
        Ok(Arc::new(Self { temp_dir, ..self.clone() }))
    }

    fn open_in_place(&self, path: &RelPath) -> io::Result<Box<dyn Stage>> {
        match self.open_for_writing(path) {
            Ok(file) => Ok(Box::new(InPlaceFile { file })),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (dir, name) = self.root.parent_of(path)?;
                let how = How {
                    access: WRITING,
                    disposition: FILE_CREATE,
                    options: EXISTING.options | FILE_NON_DIRECTORY_FILE,
                    refuse_reparse: false,
                };
                let file = place::create(&dir, &name.for_new()?, &how)?.into();
                Ok(Box::new(InPlaceFile { file }))
            }
            Err(error) => Err(error),
        }
    }

    fn set_attributes(
        &self,
        path: &RelPath,
        _kind: Kind,
        attributes: &Attributes,
    ) -> io::Result<()> {
        apply(self.open_for_attributes(path)?, attributes)
    }

    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        let how = How { access: DELETE | FILE_READ_ATTRIBUTES, ..EXISTING };
        let (dir, name) = self.root.parent_of(to)?;
        let file = self.open_as_is(from, &how)?;
        self.root.forget(from);
        self.root.forget(to);
        place::rename(&file, &dir, &name.for_new()?)
    }

    fn remove_file(&self, path: &RelPath) -> io::Result<()> {
        let (dir, name) = self.root.parent_of(path)?;
        place::remove(&dir, &name, false)
    }

    fn remove_dir(&self, path: &RelPath) -> io::Result<()> {
        let (dir, name) = self.root.parent_of(path)?;
        self.root.forget(path);
        place::remove(&dir, &name, true)
    }

    fn sync(&self, path: &RelPath, kind: Kind) -> io::Result<Synced> {
        match kind {
            Kind::Directory => sync_directory(&self.root, path)?,
            Kind::File => self.open_for_writing(path)?.sync_all()?,
            _ => {}
        }
        Ok(Synced::Alone)
    }

    fn room(&self, dir: &RelPath) -> io::Result<Option<u64>> {
        let dir = self.root.directory(dir)?;
        let mut answer = [0; size_of::<FILE_FS_FULL_SIZE_INFORMATION>().div_ceil(8)];
        sys::query_volume(&dir, FileFsFullSizeInformation, &mut answer)?;
        let number = |offset| u64::from(u32_at(&answer, offset));
        let units = u64_at(
            &answer,
            offset_of!(FILE_FS_FULL_SIZE_INFORMATION, CallerAvailableAllocationUnits),
        );
        let sectors = number(offset_of!(FILE_FS_FULL_SIZE_INFORMATION, SectorsPerAllocationUnit));
        let bytes = number(offset_of!(FILE_FS_FULL_SIZE_INFORMATION, BytesPerSector));
        Ok(Some(units.saturating_mul(sectors).saturating_mul(bytes)))
    }

    fn user_id(&self, _name: &[u8]) -> Option<u32> {
        None
    }

    fn group_id(&self, _name: &[u8]) -> Option<u32> {
        None
    }

    fn usable_groups(&self) -> Option<Vec<u32>> {
        Some(Vec::new())
    }
}

/// Flushes a directory where the file system can: NTFS and ReFS do, others have nothing to flush.
fn sync_directory(root: &Root, path: &RelPath) -> io::Result<()> {
    let dir = root.directory(path)?;
    let how = How {
        access: FILE_ADD_FILE | FILE_READ_ATTRIBUTES,
        options: EXISTING.options | FILE_DIRECTORY_FILE,
        ..EXISTING
    };
    let dir: File = patiently(|| sys::open_at(&dir, &[], &how))?.into();
    match dir.sync_all() {
        Err(error) if cannot_flush(&error) => Ok(()),
        done => done,
    }
}

fn cannot_flush(error: &io::Error) -> bool {
    let code = error.raw_os_error().unwrap_or(0).cast_unsigned();
    code == ERROR_INVALID_FUNCTION || code == ERROR_ACCESS_DENIED
}
