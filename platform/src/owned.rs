//! Files and folders that belong to whom the folder belongs in which they are made: what root makes in
//! the state folder of a service of another user has to be usable for that service.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes an empty file, unless there is something of that name: that is not even opened.
///
/// # Errors
/// When it cannot be made, or given to the owner of its folder.
pub fn create(path: &Path) -> io::Result<()> {
    match File::create_new(path) {
        // What was there before, such as a symlink of that user to somebody else's file, is never
        // given away.
        Ok(file) => give(path, |uid, gid| given::file(&file, uid, gid)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a folder, unless it is there.
///
/// # Errors
/// When it cannot be made, or given to the owner of the folder above it.
pub fn create_dir(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => give(path, |uid, gid| given::name(path, uid, gid)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn give(made: &Path, to: impl FnOnce(u32, u32) -> io::Result<()>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let Some(folder) = made.parent().filter(|_| crate::privileges::runs_as_root()) else {
        return Ok(());
    };
    let owner = folder.metadata()?;
    if owner.uid() == 0 { Ok(()) } else { to(owner.uid(), owner.gid()) }
}

#[cfg(unix)]
mod given {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(super) fn file(file: &File, uid: u32, gid: u32) -> io::Result<()> {
        std::os::unix::fs::fchown(file, Some(uid), Some(gid))
    }

    pub(super) fn name(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))
    }
}

/// On Windows what the ACL of a folder says is inherited.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "Unix can fail here")]
fn give(_made: &Path, _to: impl FnOnce(u32, u32) -> io::Result<()>) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
mod given {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(super) fn file(_file: &File, _uid: u32, _gid: u32) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn name(_path: &Path, _uid: u32, _gid: u32) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    use super::*;

    #[test]
    fn what_root_makes_belongs_to_the_folders_owner_and_what_was_there_stays_whose_it_is() {
        if !crate::privileges::runs_as_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path().join("state");
        std::fs::create_dir(&state).expect("a folder");
        chown(&state, Some(4321), Some(4322)).expect("given away");
        let owner = |path: &Path| {
            let metadata = path.symlink_metadata().expect("there");
            (metadata.uid(), metadata.gid())
        };
        create_dir(&state.join("locks")).expect("made");
        create_dir(&state.join("locks")).expect("there already");
        create(&state.join("locks/mail.lock")).expect("made");
        for made in ["locks", "locks/mail.lock"] {
            assert_eq!(owner(&state.join(made)), (4321, 4322), "{made}");
        }
        let roots = dir.path().join("roots");
        std::fs::write(&roots, "").expect("a file");
        symlink(&roots, state.join("link")).expect("a symlink");
        create(&state.join("link")).expect("there already");
        assert_eq!(owner(&roots), (0, 0));
        create(&dir.path().join("own")).expect("made");
        assert_eq!(owner(&dir.path().join("own")), (0, 0));
    }
}
