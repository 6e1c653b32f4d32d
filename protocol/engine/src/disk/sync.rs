//! Putting what was written on stable storage: all of a file system at once where that can be relied
//! on, else one file or directory at a time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FsWord, fstat, fstatfs, fsync, syncfs};

use crate::tree::Synced;

/// File systems on which `syncfs` has written data, names and attributes when it returns, by the
/// magic numbers of statfs(2). On others it may do nothing: through FUSE it never reaches the file
/// system.
const SYNC_AS_A_WHOLE: [FsWord; 6] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0xF2F5_2010, // F2FS
    0x2FC1_2FC1, // ZFS
    0x0102_1994, // tmpfs: there is nothing to write
];

/// Puts an open file or directory on stable storage, and all else on its file system if possible.
pub(super) fn sync_with_all(file: &OwnedFd) -> io::Result<Synced> {
    if SYNC_AS_A_WHOLE.contains(&fstatfs(file.as_fd())?.f_type) {
        syncfs(file.as_fd())?;
        return Ok(Synced::FileSystem(fstat(file.as_fd())?.st_dev));
    }
    fsync(file.as_fd())?;
    Ok(Synced::Alone)
}
