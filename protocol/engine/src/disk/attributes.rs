//! Owner, mode and time, in the order that keeps all three.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use bascule_wire::flist::{Device, Kind};
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod,
    fchown, futimens, major, minor, utimensat,
};

use crate::tree::{Attributes, Metadata};

/// Translates what the kernel tells.
pub(super) fn metadata(stat: &Stat) -> Metadata {
    let mode = stat.st_mode;
    Metadata {
        kind: Kind::from_mode(mode).unwrap_or(Kind::File),
        mode,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: stat.st_mtime,
        nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        changed: (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        uid: stat.st_uid,
        gid: stat.st_gid,
        device: Device { major: major(stat.st_rdev), minor: minor(stat.st_rdev) },
        file_system: stat.st_dev,
        inode: stat.st_ino,
        links: stat.st_nlink,
    }
}

/// Sets attributes of an open file.
pub(super) fn apply_open(fd: impl AsFd, attributes: &Attributes) -> io::Result<()> {
    let (owner, group) = ids(attributes);
    if owner.is_some() || group.is_some() {
        fchown(&fd, owner, group)?;
    }
    if let Some(mode) = attributes.mode {
        fchmod(&fd, Mode::from_raw_mode(mode & 0o7777))?;
    }
    if let Some(times) = times(attributes) {
        futimens(&fd, &times)?;
    }
    Ok(())
}

/// Sets attributes of a name, never of what a symlink points to.
pub(super) fn apply_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    kind: Kind,
    attributes: &Attributes,
) -> io::Result<()> {
    let (owner, group) = ids(attributes);
    if owner.is_some() || group.is_some() {
        chownat(dir, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if let Some(mode) = attributes.mode.filter(|_| kind != Kind::Symlink) {
        chmod_no_follow(dir, name, kind, mode)?;
    }
    if let Some(times) = times(attributes) {
        utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Changes a mode without following a symlink that took the name's place: files and directories
/// through an open descriptor, the rest by the kernel's own no-follow call where it has one.
fn chmod_no_follow(dir: BorrowedFd<'_>, name: &[u8], kind: Kind, mode: u32) -> io::Result<()> {
    use rustix::fs::{OFlags, openat};

    let mode = Mode::from_raw_mode(mode & 0o7777);
    if kind == Kind::File || kind == Kind::Directory {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        match openat(dir, name, flags, Mode::empty()) {
            Ok(fd) => return Ok(fchmod(&fd, mode)?),
            // Not readable for us: its owner may still change its mode.
            Err(rustix::io::Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match chmodat(dir, name, mode, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            let path = openat(
                dir,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let stat = rustix::fs::fstat(&path)?;
            if Kind::from_mode(stat.st_mode) == Some(Kind::Symlink) {
                return Err(io::Error::other("a symlink took its place"));
            }
            // The name cannot lead away any more than it did a moment ago: it is a leaf, and
            // what it names was just seen to be no symlink.
            let procfs = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&path));
            Ok(rustix::fs::chmod(procfs, mode)?)
        }
        other => Ok(other?),
    }
}

fn ids(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    (attributes.owner.map(Uid::from_raw), attributes.group.map(Gid::from_raw))
}

fn times(attributes: &Attributes) -> Option<Timestamps> {
    let (seconds, nanos) = attributes.mtime?;
    Some(Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    })
}
