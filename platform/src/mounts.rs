//! Which disk is mounted where.

#[cfg(windows)]
mod windows;

use std::io;
use std::path::{Path, PathBuf};

/// The folder at which the file system of `path` is mounted: `path` or one above it. A file system
/// that is mounted a second time within itself is not told apart.
///
/// # Errors
/// When `path` or a folder above it cannot be looked at.
pub fn mount_point(path: &Path) -> io::Result<PathBuf> {
    let path = crate::paths::canonical(path)?;
    #[cfg(windows)]
    return windows::volume_path(&path);
    #[cfg(not(windows))]
    {
        let device = device(&path)?;
        let mut point = path.as_path();
        while let Some(above) = point.parent() {
            if self::device(above)? != device {
                break;
            }
            point = above;
        }
        Ok(point.to_path_buf())
    }
}

/// Whether a file system is mounted at `dir` itself.
///
/// # Errors
/// As [`mount_point`].
pub fn is_mount_point(dir: &Path) -> io::Result<bool> {
    Ok(mount_point(dir)? == crate::paths::canonical(dir)?)
}

/// The bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Those that users without privileges can still fill.
    pub free: u64,
    /// All.
    pub size: u64,
}

/// The room in the file system of `path`; `None` where it has no size of its own.
///
/// # Errors
/// When it cannot be asked.
pub fn room(path: &Path) -> io::Result<Option<Room>> {
    #[cfg(windows)]
    return windows::room(path).map(Some);
    #[cfg(not(windows))]
    {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok((stat.f_blocks > 0)
            .then(|| Room { free: bytes(stat.f_bavail), size: bytes(stat.f_blocks) }))
    }
}

#[cfg(not(windows))]
fn device(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(path.symlink_metadata()?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_below_its_mount_point() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(!is_mount_point(dir.path()).expect("a folder"));
        let point = mount_point(dir.path()).expect("a folder");
        assert!(crate::paths::canonical(dir.path()).expect("a folder").starts_with(&point));
        assert!(is_mount_point(&point).expect("a folder"));
        assert!(mount_point(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn a_folder_has_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let room = room(dir.path()).expect("it answers").expect("a disk with a size");
        assert!(room.size > 0 && room.free <= room.size, "{room:?}");
        assert!(super::room(&dir.path().join("missing")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn proc_is_mounted() {
        assert!(is_mount_point(Path::new("/proc")).expect("a folder"));
        assert_eq!(mount_point(Path::new("/proc/sys")).expect("a folder"), Path::new("/proc"));
    }
}
