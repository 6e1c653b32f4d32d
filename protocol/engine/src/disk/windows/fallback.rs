//! Files that other programs keep to themselves, read from a snapshot of their volume.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::root::Root;
use super::{Disk, sys};
use crate::disk::Snapshots;
use crate::path::RelPath;

/// What a tree does when another program keeps a file to itself.
pub(super) struct Fallback {
    snapshots: Arc<dyn Snapshots>,
    /// The same tree in a snapshot, or why it is not to be had: asked for once.
    tree: OnceLock<Result<Disk, String>>,
    /// Files of which another program has locked a part: they open, and cannot be read.
    locked: Mutex<HashSet<RelPath>>,
}

impl Fallback {
    pub(super) fn new(snapshots: Arc<dyn Snapshots>) -> Self {
        Self { snapshots, tree: OnceLock::new(), locked: Mutex::default() }
    }

    /// Remembers a file that met a lock while it was read.
    pub(super) fn note_locked(&self, path: &RelPath) {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
    }

    pub(super) fn is_locked(&self, path: &RelPath) -> bool {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// Does with the tree in the snapshot what another program, for the reason `busy`, does not let
    /// be done with the tree beneath `root`. No symlink or junction is followed in it: it would lead
    /// back out.
    pub(super) fn try_with<T>(
        &self,
        root: &Root,
        busy: &io::Error,
        attempt: impl FnOnce(&Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let both = |text: String| io::Error::new(ErrorKind::ResourceBusy, format!("{busy}{text}"));
        let tree = self.tree.get_or_init(|| self.find(root).map_err(|error| error.to_string()));
        let tree = tree
            .as_ref()
            .map_err(|error| both(format!(", and there is no snapshot of its volume: {error}")))?;
        attempt(tree).map_err(|error| match error.kind() {
            ErrorKind::NotFound => both(", and it was not there yet in the snapshot".to_owned()),
            _ => both(format!(", and could not be opened in the snapshot: {error}")),
        })
    }

    fn find(&self, root: &Root) -> io::Result<Disk> {
        let path = sys::volume_path(root.handle()).map_err(|error| {
            let text = format!("its folder is on no volume of this machine ({error})");
            io::Error::new(error.kind(), text)
        })?;
        let path = String::from_utf16(&path)
            .map_err(|_| io::Error::other("its folder has a name that is no valid Unicode"))?;
        let end = path.find(r"}\").ok_or_else(|| io::Error::other("its volume has no name"))?;
        let (volume, below) = path.split_at(end + 2);
        // Not `join`: the root of a snapshot's device is one only with its backslash.
        let mut shown: OsString = self.snapshots.root_of(volume)?.into();
        if !shown.as_encoded_bytes().ends_with(br"\") {
            shown.push(r"\");
        }
        shown.push(below);
        let shown = PathBuf::from(shown);
        Disk::open(&shown).map_err(|error| {
            io::Error::new(error.kind(), format!("{} cannot be opened: {error}", shown.display()))
        })
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("tree", &self.tree).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::os::windows::fs::OpenOptionsExt as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::tree::{Reach, ReadAt, Source, open_around_lock};

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a legal path")
    }

    /// A tree, and another folder that stands for a snapshot of its volume.
    struct Scratch {
        live: tempfile::TempDir,
        snapshot: tempfile::TempDir,
        asked: Arc<AtomicUsize>,
    }

    impl Scratch {
        fn new() -> Self {
            let folder = || tempfile::tempdir().expect("a scratch folder");
            let scratch = Self { live: folder(), snapshot: folder(), asked: Arc::default() };
            fs::create_dir_all(scratch.shown()).expect("a folder");
            scratch
        }

        /// Where the snapshot shows the tree.
        fn shown(&self) -> PathBuf {
            let live = self.live.path().canonicalize().expect("there");
            self.snapshot.path().join(live.components().skip(2).collect::<PathBuf>())
        }

        fn write(&self, name: &str, now: &str, before: &str) {
            fs::write(self.live.path().join(name), now).expect("a file");
            let shown = self.shown().join(name);
            fs::write(&shown, before).expect("a file");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            let file = OpenOptions::new().write(true).open(shown).expect("a file");
            file.set_modified(time).expect("a time");
        }

        /// As a program that shares nothing.
        fn hold(&self, name: &str) -> File {
            let mut options = OpenOptions::new();
            options.read(true).write(true).share_mode(0);
            options.open(self.live.path().join(name)).expect("held")
        }

        fn disk(&self) -> Disk {
            let (root, asked) = (self.snapshot.path().to_owned(), Arc::clone(&self.asked));
            self.disk_with(move |volume: &str| {
                let id = volume.strip_prefix(r"\\?\Volume{").expect("a volume");
                assert_eq!((id.len(), &id[id.len() - 2..]), (38, r"}\"));
                asked.fetch_add(1, Ordering::Relaxed);
                Ok(root.clone())
            })
        }

        fn disk_with(&self, snapshots: impl Snapshots + 'static) -> Disk {
            let disk = Disk::open(self.live.path()).expect("a tree");
            disk.with_snapshots(Arc::new(snapshots)).expect("Windows")
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    fn content(file: &dyn ReadAt) -> String {
        let mut content = vec![0; 100];
        let read = file.read_at(0, &mut content).expect("read");
        content.truncate(read);
        String::from_utf8(content).expect("text")
    }

    #[test]
    fn a_held_file_is_read_from_the_snapshot_with_its_size_and_time() {
        let scratch = Scratch::new();
        for name in ["free", "a", "b"] {
            scratch.write(name, "the content of now", "of then");
        }
        let disk = scratch.disk();
        let _held = ["a", "b"].map(|name| scratch.hold(name));
        let free = disk.open(&path("free")).expect("open");
        assert_eq!((free.is_snapshot(), scratch.asked()), (false, 0));
        assert_eq!(content(&*free), "the content of now");
        let following = disk.following(Reach::Anywhere).expect("followed");
        for tree in [&disk as &dyn Source, &*following] {
            for name in ["a", "b"] {
                let file = tree.open(&path(name)).expect("in the snapshot");
                assert!(file.is_snapshot());
                assert_eq!(content(&*file), "of then");
                assert_eq!((file.opened().size, file.opened().mtime), (7, 1_000_000_000));
                assert_eq!(file.metadata().expect("told"), *file.opened());
                let listed = tree.metadata(&path(name), true).expect("there");
                assert_eq!(listed.size, 18);
            }
        }
        assert_eq!(scratch.asked(), 1);
    }

    #[test]
    fn without_snapshots_it_is_open_in_another_program() {
        let scratch = Scratch::new();
        scratch.write("a", "now", "then");
        let disk = Disk::open(scratch.live.path()).expect("a tree");
        let held = scratch.hold("a");
        let error = disk.open(&path("a")).map(drop).expect_err("held");
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert_eq!(error.to_string(), "it is open in another program");
        drop(held);
        assert_eq!(content(&*disk.open(&path("a")).expect("free")), "now");
    }

    #[test]
    fn both_reasons_are_told_and_no_snapshot_is_asked_for_twice() {
        let scratch = Scratch::new();
        for name in ["a", "b"] {
            scratch.write(name, "now", "then");
        }
        let asked = Arc::clone(&scratch.asked);
        let disk = scratch.disk_with(move |_: &str| {
            asked.fetch_add(1, Ordering::Relaxed);
            Err(io::Error::other("the moon is full"))
        });
        for name in ["a", "b"] {
            let _held = scratch.hold(name);
            let error = disk.open(&path(name)).map(drop).expect_err("held");
            assert_eq!(error.kind(), ErrorKind::ResourceBusy);
            assert_eq!(
                error.to_string(),
                "it is open in another program, and there is no snapshot of its volume: \
                 the moon is full"
            );
        }
        assert_eq!(scratch.asked(), 1);
        assert_eq!(content(&*disk.open(&path("a")).expect("free")), "now");
    }

    #[test]
    fn a_file_that_the_snapshot_has_not_is_told_as_such() {
        let scratch = Scratch::new();
        scratch.write("a", "now", "then");
        fs::remove_file(scratch.shown().join("a")).expect("removed");
        let _held = scratch.hold("a");
        let error = scratch.disk().open(&path("a")).map(drop).expect_err("not there");
        assert!(error.to_string().ends_with("it was not there yet in the snapshot"), "{error}");
        fs::remove_dir(scratch.shown()).expect("removed");
        let error = scratch.disk().open(&path("a")).map(drop).expect_err("not there");
        assert!(error.to_string().contains("cannot be opened"), "{error}");
    }

    /// Wine lets locked parts be read, so what Windows answers is said here in its place.
    #[test]
    fn a_file_with_a_lock_is_read_from_the_snapshot_from_then_on() {
        const ERROR_LOCK_VIOLATION: i32 = 33;
        let locked = || Err(io::Error::from_raw_os_error(ERROR_LOCK_VIOLATION));
        let scratch = Scratch::new();
        scratch.write("a", "now", "then");
        let disk = scratch.disk();
        let file = disk.open_here(&path("a")).expect("shared");
        assert_eq!(content(&file), "now");
        file.told(Err(io::Error::other("the disk"))).expect_err("failed");
        assert!(!disk.open(&path("a")).expect("shared").is_snapshot());
        let met = file.told(locked()).expect_err("locked");
        assert_eq!((met.kind(), scratch.asked()), (ErrorKind::ResourceBusy, 0));
        let again = open_around_lock(&disk, &path("a"), &file, met).expect("in the snapshot");
        assert_eq!((content(&*again).as_str(), again.is_snapshot()), ("then", true));
        assert_eq!(content(&*disk.open(&path("a")).expect("in the snapshot")), "then");
        let other = open_around_lock(&disk, &path("a"), &file, io::Error::other("the disk"));
        assert_eq!(other.map(drop).expect_err("no lock").to_string(), "the disk");
        let plain = Disk::open(scratch.live.path()).expect("a tree");
        let file = plain.open_here(&path("a")).expect("shared");
        let met = file.told(locked()).expect_err("locked");
        let error = open_around_lock(&plain, &path("a"), &file, met).map(drop);
        assert_eq!(error.expect_err("locked").to_string(), "it is open in another program");
    }
}
