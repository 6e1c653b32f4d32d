//! Files that hold passwords and keys.

#[cfg(windows)]
mod dpapi;
pub mod sealed;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::text;

/// Reads a file that only its owner may read, and what is [`sealed`] in it. What was read is wiped
/// from memory when it is dropped.
///
/// # Errors
/// When it cannot be read or opened. On Unix also when others may read it, when it is a symlink of another
/// user, who could make it point to what this user alone may read.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_as(path, "the password file")
}

/// The same for a file that error texts call `what`.
///
/// # Errors
/// As [`read`].
pub fn read_as(path: &Path, what: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let shown = path.display();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{what} {shown}: {error}"));
    refuse_symlinks_of_others(path).map_err(named)?;
    let mut file = File::open(path).map_err(named)?;
    check(&file).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            io::Error::new(error.kind(), format!("{what} {shown} {error}"))
        }
        _ => named(error),
    })?;
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.read_to_end(&mut text).map_err(named)?;
    text::unmarked_secret(text).and_then(sealed::open).map_err(named)
}

/// The first line of what was read, without its end: passwords have a line of their own.
pub fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default()
}

/// Writes a file that only its owner can read, on Windows the administrators and LocalSystem too,
/// whole or not at all. With `replace` it takes the place of one that is there.
///
/// # Errors
/// When it cannot be written, or is there already.
pub fn write(path: &Path, text: &(impl AsRef<[u8]> + ?Sized), replace: bool) -> io::Result<()> {
    placed(path, text.as_ref(), replace)
}

#[cfg(unix)]
fn placed(path: &Path, text: &[u8], replace: bool) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let staged = path.with_extension(format!("new.{}", std::process::id()));
    let target = if replace { &staged } else { path };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = match options.open(target) {
        // Left behind by a process that is gone and had our number.
        Err(error) if replace && error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(target)?;
            options.open(target)?
        }
        other => other?,
    };
    let written = file.write_all(text).and_then(|()| file.sync_all());
    let placed =
        written.and_then(|()| if replace { std::fs::rename(target, path) } else { Ok(()) });
    if placed.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(target);
    }
    placed
}

/// Windows gives a new file the rights of its folder, and a handle that somebody has opened keeps what
/// it may: so it is made in a folder that nobody else can look into.
#[cfg(not(unix))]
fn placed(path: &Path, text: &[u8], replace: bool) -> io::Result<()> {
    let folder = path.with_extension(format!("new.{}", std::process::id()));
    match std::fs::create_dir(&folder) {
        // Left behind by a process that is gone and had our number.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_dir_all(&folder)?;
            std::fs::create_dir(&folder)?;
        }
        other => other?,
    }
    let staged = folder.join("secret");
    let placed = crate::acl::keep_to_administrators(&folder)
        .and_then(|()| File::create_new(&staged))
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        // What it has by its folder would go with it.
        .and_then(|()| crate::acl::keep_to_administrators(&staged))
        .and_then(|()| match replace {
            true => std::fs::rename(&staged, path),
            false => std::fs::hard_link(&staged, path).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                // Not every file system of Windows has hard links.
                _ if path.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
                _ => std::fs::rename(&staged, path),
            }),
        });
    // The first error is the one to tell.
    let _ = std::fs::remove_dir_all(&folder);
    placed
}

#[cfg(unix)]
fn refuse_symlinks_of_others(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = path.symlink_metadata()?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.is_symlink() && ![0, own].contains(&metadata.uid()) {
        return Err(io::Error::other("it is a symlink of another user: name the file itself"));
    }
    Ok(())
}

#[cfg(unix)]
fn check(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    if file.metadata()?.permissions().mode() & 0o007 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "may be read by others: run chmod 600 on it",
        ));
    }
    Ok(())
}

/// What others may read there is a matter of ACLs.
#[cfg(not(unix))]
fn refuse_symlinks_of_others(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// As for symlinks.
#[cfg(not(unix))]
fn check(_file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod writing_tests {
    use super::*;

    #[test]
    fn a_secret_is_placed_whole_and_replaces_only_what_it_is_to_replace() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("joe.password");
        write(&file, "one\n", false).expect("new");
        let error = write(&file, "two\n", false).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&file).expect("readable").as_slice(), b"one\n");
        write(&file, "three\n", true).expect("replaced");
        assert_eq!(read(&file).expect("readable").as_slice(), b"three\n");
        assert_eq!(dir.path().read_dir().expect("a folder").count(), 1, "nothing else stays");
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

    use super::*;

    #[test]
    fn rule_19_6_only_private_files_are_read_and_no_symlink_of_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("password");
        fs::write(&file, "secret\n").expect("a file");
        let allow = |mode| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
        };
        allow(0o644);
        let error = read(&file).expect_err("others may read it").to_string();
        assert!(error.contains("chmod 600") && !error.contains("secret"), "{error}");
        allow(0o600);
        assert_eq!(read(&file).expect("private").as_slice(), b"secret\n");
        let link = dir.path().join("link");
        symlink(&file, &link).expect("a symlink");
        assert!(read(&link).is_ok(), "one's own");
        assert!(read(dir.path()).is_err(), "a folder");
        if crate::privileges::runs_as_root() {
            lchown(&link, Some(65_534), None).expect("given away");
            let error = read(&link).expect_err("another's").to_string();
            assert!(error.contains("symlink of another user"), "{error}");
        }
    }

    #[test]
    fn an_editors_mark_is_no_part_of_a_password() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("password");
        write(&file, "\u{feff}geheim é\r\n", false).expect("written");
        assert_eq!(first_line(&read(&file).expect("read")), "geheim é".as_bytes());
    }
}
