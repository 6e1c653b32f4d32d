//! Names in one open directory: found, made, renamed, removed.
//!
//! Windows finds a file by any spelling of its name: `FOO` and `foo`, the short `LONGFI~1` for a
//! long name. To a mirror these are different files. So a name counts only as the disk spells it:
//! another spelling finds nothing, and nothing is made beside a name that differs in case only.

use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::os::windows::io::{AsHandle, AsRawHandle as _, OwnedHandle};

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_DIRECTORY_FILE, FILE_DISPOSITION_DELETE, FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE,
    FILE_DISPOSITION_POSIX_SEMANTICS, FILE_OPEN, FILE_OPEN_REPARSE_POINT,
    FILE_RENAME_IGNORE_READONLY_ATTRIBUTE, FILE_RENAME_INFORMATION, FILE_RENAME_POSIX_SEMANTICS,
    FILE_RENAME_REPLACE_IF_EXISTS, FileDispositionInformation, FileDispositionInformationEx,
    FileLinkInformation, FileRenameInformation, FileRenameInformationEx,
};
use windows_sys::Win32::Foundation::{
    STATUS_ACCESS_DENIED, STATUS_DELETE_PENDING, STATUS_NO_SUCH_FILE, STATUS_OBJECT_NAME_COLLISION,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_WRITE_ATTRIBUTES,
};

use super::attributes::{Told, set_read_only};
use super::listing;
use super::names::{Name, from_disk};
use super::status::{patiently, patiently_while};
use super::sys::{self, How, Status};

/// Opens what there is and nothing else, a reparse point itself.
pub(super) const EXISTING: How = How {
    access: FILE_READ_ATTRIBUTES,
    disposition: FILE_OPEN,
    options: FILE_OPEN_REPARSE_POINT,
    refuse_reparse: false,
};

/// Whether a directory has a name.
#[derive(Debug, PartialEq, Eq)]
enum Spelling {
    /// It has.
    Exact,
    /// Windows would find this one instead.
    Other(Vec<u16>),
    /// It has none that Windows takes for it.
    None,
}

fn spelling(dir: impl AsHandle, name: &Name) -> io::Result<Spelling> {
    // A search is bound to its handle.
    let how = How { access: FILE_LIST_DIRECTORY, ..EXISTING };
    let search = patiently(|| sys::open_at(&dir, &[], &how))?;
    let mut found = Spelling::None;
    for record in listing::records(&search, Some(name.units())) {
        let units = record?.units;
        if units == name.units() {
            return Ok(Spelling::Exact);
        }
        found = Spelling::Other(units);
    }
    Ok(found)
}

/// Opens a name that exists, spelled exactly so.
pub(super) fn open(dir: impl AsHandle, name: &Name, how: &How) -> io::Result<OwnedHandle> {
    let file = match patiently(|| sys::open_at(&dir, name.units(), how)) {
        Ok(file) => file,
        Err(status) if is_missing(status) || status.0 == STATUS_DELETE_PENDING => {
            // What can never be made is told so before any data are asked for.
            name.clone().for_new()?;
            return Err(ErrorKind::NotFound.into());
        }
        Err(status) => return Err(status.into()),
    };
    match spelling(dir, name)? {
        Spelling::Exact => Ok(file),
        Spelling::Other(_) | Spelling::None => Err(ErrorKind::NotFound.into()),
    }
}

/// Whether there is no such name.
pub(super) fn is_missing(status: Status) -> bool {
    matches!(
        status.0,
        STATUS_OBJECT_NAME_NOT_FOUND | STATUS_OBJECT_PATH_NOT_FOUND | STATUS_NO_SUCH_FILE
    )
}

/// Makes a file or directory that is not there yet, open as `how` says.
pub(super) fn create(dir: impl AsHandle, name: &Name, how: &How) -> io::Result<OwnedHandle> {
    patiently(|| sys::open_at(&dir, name.units(), how)).map_err(|status| match status.0 {
        STATUS_OBJECT_NAME_COLLISION => match refuse_other_spelling(&dir, name) {
            Err(error) => error,
            Ok(()) => status.into(),
        },
        _ => status.into(),
    })
}

/// Refuses to make `name` where Windows would take it for another file that is there.
pub(super) fn refuse_other_spelling(dir: impl AsHandle, name: &Name) -> io::Result<()> {
    let Spelling::Other(units) = spelling(dir, name)? else { return Ok(()) };
    let other = from_disk(&units).unwrap_or_else(|shown| shown);
    let other = String::from_utf8_lossy(&other);
    Err(io::Error::new(
        ErrorKind::AlreadyExists,
        format!("\"{other}\" is there, and Windows takes both names for one"),
    ))
}

/// Renames an open file (with the right to delete it) over whatever file has `name` in `dir`, at
/// once where the file system can.
pub(super) fn rename(file: impl AsHandle, dir: impl AsHandle, name: &Name) -> io::Result<()> {
    refuse_other_spelling_of_others(&file, &dir, name)?;
    const REPLACE: u32 = FILE_RENAME_REPLACE_IF_EXISTS | FILE_RENAME_POSIX_SEMANTICS;
    let extended = |flags| {
        let (wanted, bytes) = new_name(flags, &dir, name);
        patiently(|| sys::set(&file, FileRenameInformationEx, &wanted, bytes))
    };
    let renamed = extended(REPLACE | FILE_RENAME_IGNORE_READONLY_ATTRIBUTE);
    match renamed {
        // Known since Windows 10 1607, the read-only part since 1809; not on every file system.
        Err(status) if status.is_unsupported() => {}
        done => return Ok(done?),
    }
    let plain = || match extended(REPLACE) {
        Err(status) if status.is_unsupported() => {
            let (wanted, bytes) = new_name(FILE_RENAME_REPLACE_IF_EXISTS, &dir, name);
            patiently(|| sys::set(&file, FileRenameInformation, &wanted, bytes))
        }
        done => done,
    };
    match plain() {
        Err(status) if status.is_refused() => {
            with_read_only_lifted(&dir, name, plain).map_err(|error| in_use(&dir, name, error))
        }
        done => Ok(done?),
    }
}

/// A plain rename over a file that another program has open is refused without that reason.
fn in_use(dir: impl AsHandle, name: &Name, status: Status) -> io::Error {
    if status.0 == STATUS_ACCESS_DENIED
        && patiently(|| sys::open_at(&dir, name.units(), &EXISTING)).is_ok()
    {
        return io::Error::new(
            ErrorKind::PermissionDenied,
            "the old file may not be replaced: it is open in another program, or protected",
        );
    }
    status.into()
}

/// A rename to another case of the file's own name is what was asked for.
fn refuse_other_spelling_of_others(
    file: impl AsHandle,
    dir: impl AsHandle,
    name: &Name,
) -> io::Result<()> {
    let Err(refused) = refuse_other_spelling(&dir, name) else { return Ok(()) };
    let there = patiently(|| sys::open_at(&dir, name.units(), &EXISTING))?;
    if Told::of(file)?.index == Told::of(there)?.index { Ok(()) } else { Err(refused) }
}

/// Gives an open file a second name. An existing name is an error.
pub(super) fn link(file: impl AsHandle, dir: impl AsHandle, name: &Name) -> io::Result<()> {
    // The structure of a link is that of a rename.
    let (wanted, bytes) = new_name(0, &dir, name);
    patiently(|| sys::set(&file, FileLinkInformation, &wanted, bytes)).map_err(
        |status| match status.0 {
            STATUS_OBJECT_NAME_COLLISION => match refuse_other_spelling(&dir, name) {
                Err(error) => error,
                Ok(()) => status.into(),
            },
            _ => status.into(),
        },
    )
}

/// Removes a name: of an empty directory, or of anything else.
pub(super) fn remove(dir: impl AsHandle, name: &Name, is_dir: bool) -> io::Result<()> {
    let options = EXISTING.options | if is_dir { FILE_DIRECTORY_FILE } else { 0 };
    let how = How { access: DELETE | FILE_READ_ATTRIBUTES, options, ..EXISTING };
    let file = open(&dir, name, &how)?;
    if !is_dir && Told::of(&file)?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    match patiently(|| mark_deleted(&file)) {
        Err(status) if status.is_refused() => {
            drop(file);
            with_read_only_lifted(&dir, name, || {
                let file = sys::open_at(&dir, name.units(), &how)?;
                mark_deleted(&file)
            })?;
            Ok(())
        }
        done => Ok(done?),
    }
}

/// Removes an open file (with the right to delete it): at once where the file system can, else
/// when the last program closes it.
pub(super) fn mark_deleted(file: impl AsHandle) -> Result<(), Status> {
    const FLAGS: u32 = FILE_DISPOSITION_DELETE
        | FILE_DISPOSITION_POSIX_SEMANTICS
        | FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE;
    match sys::set(&file, FileDispositionInformationEx, &[FLAGS.into()], 4) {
        Err(status) if status.is_unsupported() => {}
        done => return done,
    }
    sys::set(file, FileDispositionInformation, &[1], 1)
}

/// Does something that a read-only file does not allow; it stays read-only if that fails all the
/// same. Only needed where the file system does not take the order to look past it.
fn with_read_only_lifted(
    dir: impl AsHandle,
    name: &Name,
    mut act: impl FnMut() -> Result<(), Status>,
) -> Result<(), Status> {
    let how = How { access: FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES, ..EXISTING };
    let lifted = match sys::open_at(&dir, name.units(), &how) {
        Ok(file) => set_read_only(&file, false)?,
        Err(status) if is_missing(status) => false,
        Err(status) => return Err(status),
    };
    // A plain rename or removal is refused, too, as long as some program has the file open.
    let done = patiently_while(|status| status.is_busy() || status.is_refused(), &mut act);
    if done.is_err() && lifted {
        // What has failed is told; this would tell nothing new.
        let _ = sys::open_at(&dir, name.units(), &how).and_then(|file| set_read_only(file, true));
    }
    done
}

/// A `FILE_RENAME_INFORMATION` and its length in bytes.
fn new_name(flags: u32, dir: impl AsHandle, name: &Name) -> (Vec<u64>, usize) {
    const ROOT: usize = offset_of!(FILE_RENAME_INFORMATION, RootDirectory);
    const LENGTH: usize = offset_of!(FILE_RENAME_INFORMATION, FileNameLength);
    const NAME: usize = offset_of!(FILE_RENAME_INFORMATION, FileName);
    let units = name.units();
    let mut bytes = vec![0; NAME];
    bytes[..4].copy_from_slice(&flags.to_ne_bytes());
    let root = dir.as_handle().as_raw_handle() as usize;
    bytes[ROOT..ROOT + size_of::<usize>()].copy_from_slice(&root.to_ne_bytes());
    let length = u32::try_from(size_of_val(units)).unwrap_or(u32::MAX);
    bytes[LENGTH..LENGTH + 4].copy_from_slice(&length.to_ne_bytes());
    bytes.extend(units.iter().flat_map(|unit| unit.to_ne_bytes()));
    let count = bytes.len().max(size_of::<FILE_RENAME_INFORMATION>());
    bytes.resize(count.next_multiple_of(8), 0);
    let words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().expect("chunks of eight bytes")));
    (words.collect(), count)
}
