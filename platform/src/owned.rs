//! Files and folders that belong to whom the folder belongs in which they are made: what root makes in
//! the state folder of a service of another user has to be usable for that service.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes an empty file, unless there is something of that name: that is not even opened.
///
/// # Errors
/// When it cannot be made.
pub fn create(path: &Path) -> io::Result<()> {
    match File::create_new(path) {
        // What was there before, such as a symlink of that user to somebody else's file, is never
        // given away.
        Ok(file) => {
            give(path, &file);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a folder, unless it is there.
///
/// # Errors
/// When it cannot be made.
pub fn create_dir(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => {
            if let Ok(folder) = opened_folder(path) {
                give(path, &folder);
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// The folder itself, whatever its name leads to by now.
#[cfg(unix)]
fn opened_folder(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};

    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// On Windows what the ACL of a folder says is inherited: there is nothing to give.
#[cfg(not(unix))]
fn opened_folder(_path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where that is not allowed, such as on a share that takes root for nobody, it stays as it is.
#[cfg(unix)]
fn give(made: &Path, opened: &File) {
    use std::os::unix::fs::MetadataExt as _;

    let Some(folder) = made.parent().filter(|_| crate::privileges::runs_as_root()) else { return };
    if let Ok(owner) = folder.metadata()
        && owner.uid() != 0
    {
        let _ = std::os::unix::fs::fchown(opened, Some(owner.uid()), Some(owner.gid()));
    }
}

/// As above.
#[cfg(not(unix))]
#[expect(clippy::missing_const_for_fn, reason = "Unix has work here")]
fn give(_made: &Path, _opened: &File) {}

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
