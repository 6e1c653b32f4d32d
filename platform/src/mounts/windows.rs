//! Volumes of Windows.
#![allow(unsafe_code, reason = "volumes are found by a C function alone")]

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::ptr;

use windows_sys::Win32::Storage::FileSystem::{GetDiskFreeSpaceExW, GetVolumePathNameW};

use super::Room;

/// The drive, share or folder at which the volume of `path`, an absolute path, is mounted.
///
/// # Errors
/// What Windows says.
pub(super) fn volume_path(path: &Path) -> io::Result<PathBuf> {
    let name: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    // No longer than the path itself, with a separator and an end.
    let mut volume = vec![0_u16; name.len() + 4];
    let room = u32::try_from(volume.len()).unwrap_or(u32::MAX);
    // SAFETY: `name` ends with NUL and lives through the call; `volume` has `room` elements.
    if unsafe { GetVolumePathNameW(name.as_ptr(), volume.as_mut_ptr(), room) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let length = volume.iter().position(|unit| *unit == 0).unwrap_or(volume.len());
    Ok(PathBuf::from(OsString::from_wide(&volume[..length])))
}

/// The room in the volume of `path`, as far as this account may use it.
///
/// # Errors
/// What Windows says.
pub(super) fn room(path: &Path) -> io::Result<Room> {
    // A folder on a share needs a separator at its end.
    let name: Vec<u16> = path.join("").as_os_str().encode_wide().chain([0]).collect();
    let (mut free, mut size) = (0_u64, 0_u64);
    // SAFETY: `name` ends with NUL and lives through the call, and so do both numbers; the third is
    // not asked for.
    let asked =
        unsafe { GetDiskFreeSpaceExW(name.as_ptr(), &mut free, &mut size, ptr::null_mut()) };
    if asked == 0 { Err(io::Error::last_os_error()) } else { Ok(Room { free, size }) }
}
