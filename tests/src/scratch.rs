//! Trees for the tests: every kind of file, awkward names, times and modes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

/// The time around which everything happens: 2023-11-14T22:13:20Z.
pub const T0: i64 = 1_700_000_000;

/// Bytes that look random and are the same in every run.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// Writes a file with its mode and time.
///
/// # Errors
/// What the file system says.
pub fn file(root: &Path, name: &[u8], data: &[u8], mode: u32, time: (i64, i64)) -> io::Result<()> {
    let path = root.join(OsStr::from_bytes(name));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, data)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    set_time(&path, time)
}

/// Sets the modification time of a name itself.
///
/// # Errors
/// What the file system says.
pub fn set_time(path: &Path, (seconds, nanos): (i64, i64)) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The content of `delta.bin` at the source.
fn delta_new() -> Vec<u8> {
    noise(1, 200_000)
}

/// A source with everything in it. Needs root for owners.
///
/// # Errors
/// What the file system says.
pub fn source(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    file(root, b"a.txt", b"hello world\n", 0o644, (T0, 123_456_789))?;
    file(root, b"delta.bin", &delta_new(), 0o644, (T0 + 10, 0))?;
    file(root, b"empty", b"", 0o600, (T0 + 20, 0))?;
    file(root, b"prog.sh", b"#!/bin/sh\nexit 0\n", 0o755, (T0 + 30, 1))?;
    file(root, b"same.txt", b"identical on both sides\n", 0o644, (T0 + 40, 0))?;
    let text: Vec<u8> =
        (0..2000).flat_map(|n| format!("line {n} of text\n").into_bytes()).collect();
    file(root, b"text.txt", &text, 0o640, (T0 + 50, 999_999_999))?;
    chown(root.join("text.txt"), Some(12_345), Some(54_321))?;
    chown(root.join("prog.sh"), Some(1), Some(1))?;
    file(root, b"dir1/b.txt", b"in dir1\n", 0o600, (T0, 0))?;
    file(root, b"dir1/sub/c.txt", b"in dir1/sub\n", 0o644, (T0, 0))?;
    file(root, b"dir10/e.txt", b"sort check\n", 0o644, (T0, 0))?;
    file(root, b"dir-x", b"file next to dirs\n", 0o644, (T0, 0))?;
    fs::create_dir(root.join("dir2"))?;
    fs::set_permissions(root.join("dir2"), fs::Permissions::from_mode(0o1770))?;
    file(root, b"new\nline", b"1", 0o644, (T0, 0))?;
    file(root, b"-rf", b"2", 0o644, (T0, 0))?;
    file(root, b"not \xff\xfe utf8", b"3", 0o644, (T0, 0))?;
    file(root, &[b'n'; 255], b"4", 0o644, (T0, 0))?;
    file(root, b"past", b"p", 0o644, (-86_400, 5))?;
    file(root, b"future", b"f", 0o644, (5_000_000_000, 7))?;
    file(root, b"retyped/now a dir", b"x", 0o644, (T0, 0))?;
    file(root, b"retyped2", b"now a file", 0o644, (T0, 0))?;
    symlink("a.txt", root.join("link"))?;
    symlink("nowhere", root.join("retyped3"))?;
    lchown(root.join("link"), Some(7), Some(8))?;
    set_time(&root.join("link"), (T0 + 60, 42))?;
    set_time(&root.join("retyped3"), (T0, 0))?;
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)?;
    set_time(&root.join("pipe"), (T0, 0))?;
    file(root, b"h1", b"linked data\n", 0o644, (T0, 0))?;
    fs::hard_link(root.join("h1"), root.join("h2"))?;
    fs::hard_link(root.join("h1"), root.join("dir1/h3"))?;
    settle(root)
}

/// A destination with something to update, replace, retype and delete.
///
/// # Errors
/// What the file system says.
pub fn destination(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let new = delta_new();
    let old = [&new[..3000], b"CHANGED", &new[3007..90_000], b"0123456789", &new[90_000..190_000]];
    file(root, b"delta.bin", &old.concat(), 0o644, (T0 - 1000, 0))?;
    file(root, b"same.txt", b"identical on both sides\n", 0o644, (T0 + 40, 0))?;
    file(root, b"text.txt", b"short", 0o644, (T0, 0))?;
    file(root, b"extra.txt", b"to be deleted\n", 0o644, (T0, 0))?;
    file(root, b"extra.sh", b"to be deleted, or excluded\n", 0o644, (T0, 0))?;
    file(root, b"olddir/x.txt", b"to be deleted too\n", 0o644, (T0, 0))?;
    file(root, b"olddir/deep/y.txt", b"and this\n", 0o644, (T0, 0))?;
    file(root, b"dir1/b.txt", b"in dir1\n", 0o644, (T0, 0))?;
    file(root, b"dir1/gone", b"x", 0o644, (T0, 0))?;
    file(root, b"retyped", b"still a file", 0o644, (T0, 0))?;
    file(root, b"retyped2/still", b"a dir", 0o644, (T0, 0))?;
    file(root, b"retyped3", b"still a file", 0o644, (T0, 0))?;
    symlink("elsewhere", root.join("link"))?;
    settle(root)
}

/// Gives every directory the same old time.
///
/// # Errors
/// What the file system says.
pub fn settle(dir: &Path) -> io::Result<()> {
    for child in fs::read_dir(dir)? {
        let child = child?;
        if child.file_type()?.is_dir() {
            settle(&child.path())?;
        }
    }
    let time = UNIX_EPOCH + Duration::from_secs(T0.unsigned_abs() - 5000);
    File::open(dir)?.set_modified(time)
}
