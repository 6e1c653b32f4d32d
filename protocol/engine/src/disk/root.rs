//! Opens directories beneath a root descriptor, and nothing outside it (§19.1).

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};

use crate::path::RelPath;
use crate::tree::Reach;

/// Set once the kernel (or a container's rules) turned out to lack `openat2`.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Directories that stay open, so that the files of one directory cost one look-up.
const CACHED: usize = 4;

/// A place to start from: to pass through a directory, searching it is enough.
const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory that nothing opened through it can leave.
#[derive(Debug)]
pub(super) struct Root {
    fd: Arc<OwnedFd>,
    recent: Mutex<Vec<(RelPath, Arc<OwnedFd>)>>,
    /// Set for a source whose symlinks are taken for what they point to.
    follow: Option<Reach>,
}

impl Root {
    /// Opens the directory `path`; symlinks on the way are followed, since the administrator
    /// named it.
    pub(super) fn open(path: &std::path::Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::of(Arc::new(open(path, flags, Mode::empty())?)))
    }

    fn of(fd: Arc<OwnedFd>) -> Self {
        Self { fd, recent: Mutex::new(Vec::new()), follow: None }
    }

    /// The same directory, with symlinks beneath it taken for what they point to.
    pub(super) fn following(&self, reach: Reach) -> Self {
        Self { fd: Arc::clone(&self.fd), recent: Mutex::new(Vec::new()), follow: Some(reach) }
    }

    pub(super) fn follows(&self) -> bool {
        self.follow.is_some()
    }

    /// The directory itself.
    pub(super) fn handle(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// A directory beneath this one as a root of its own. Symlinks that stay beneath this root
    /// are followed: the destination is named by a user, not by a list.
    pub(super) fn subroot(&self, path: &RelPath) -> io::Result<Self> {
        if path.is_root() {
            return Ok(Self::of(Arc::clone(&self.fd)));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.open_following(path, flags) {
            Ok(fd) => Ok(Self::of(Arc::new(fd))),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(Self::of(self.directory(path)?))
            }
            Err(error) => Err(error),
        }
    }

    /// Opens `path` with `flags`, following symlinks: only within the root, unless this is a
    /// source whose user wants them followed anywhere.
    pub(super) fn open_following(&self, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        if self.follow == Some(Reach::Anywhere) {
            let flags = flags | OFlags::CLOEXEC;
            return Ok(openat(self.fd.as_fd(), path.as_bytes(), flags, Mode::empty())?);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match self.openat2(path, flags | OFlags::CLOEXEC, resolve) {
            Some(opened) => opened,
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The directory that holds `path`, and the last component. The root itself is held by
    /// itself under the name `.`.
    pub(super) fn parent_of<'a>(&self, path: &'a RelPath) -> io::Result<(Arc<OwnedFd>, &'a [u8])> {
        if path.is_root() {
            return Ok((Arc::clone(&self.fd), b"."));
        }
        let (parent, base) = path.split();
        Ok((self.directory(&parent)?, base))
    }

    /// An open directory; symlinks anywhere in its path are refused, or followed if this is such a
    /// source.
    pub(super) fn directory(&self, path: &RelPath) -> io::Result<Arc<OwnedFd>> {
        if path.is_root() {
            return Ok(Arc::clone(&self.fd));
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|(known, _)| known == path) {
            let found = recent.remove(at);
            let fd = Arc::clone(&found.1);
            recent.push(found);
            return Ok(fd);
        }
        drop(recent);
        let fd = Arc::new(self.open_directory(path)?);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= CACHED {
            recent.remove(0);
        }
        recent.push((path.clone(), Arc::clone(&fd)));
        Ok(fd)
    }

    /// A directory opened to be listed, on a descriptor of its own: another thread may list it as
    /// well. That takes no right to search it.
    pub(super) fn listable(&self, path: &RelPath) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if self.follows() && !path.is_root() {
            return self.open_following(path, flags);
        }
        let (dir, base) = self.parent_of(path)?;
        openat(dir.as_fd(), base, flags | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|error| not_through_a_symlink(error.into()))
    }

    /// Forgets what is cached at and below `path`: it was renamed or removed.
    pub(super) fn forget(&self, path: &RelPath) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(known, _)| !known.is_within(path));
    }

    fn open_directory(&self, path: &RelPath) -> io::Result<OwnedFd> {
        if self.follows() {
            return self.open_following(path, OFlags::PATH | OFlags::DIRECTORY);
        }
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        let opened = match self.openat2(path, DIRECTORY, resolve) {
            Some(opened) => opened,
            None => self.walk_to(path),
        };
        opened.map_err(not_through_a_symlink)
    }

    /// `None` when the system call is not to be had here.
    fn openat2(
        &self,
        path: &RelPath,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Option<io::Result<OwnedFd>> {
        if NO_OPENAT2.load(Ordering::Relaxed) {
            return None;
        }
        loop {
            match openat2(self.fd.as_fd(), path.as_bytes(), flags, Mode::empty(), resolve) {
                Ok(fd) => return Some(Ok(fd)),
                // A rename raced with the look-up: the kernel asks to try again.
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                    NO_OPENAT2.store(true, Ordering::Relaxed);
                    return None;
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }

    /// The same by hand: one component at a time, no symlink followed.
    fn walk_to(&self, path: &RelPath) -> io::Result<OwnedFd> {
        let mut current: Option<OwnedFd> = None;
        for component in path.components() {
            let at = current.as_ref().map_or_else(|| self.fd.as_fd(), |fd| fd.as_fd());
            current = Some(openat(at, component, DIRECTORY, Mode::empty())?);
        }
        current.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// To a tree that follows no symlinks, a symlink is just no directory.
fn not_through_a_symlink(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return io::Error::new(io::ErrorKind::NotADirectory, "a symlink is in the way");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a legal path")
    }

    #[test]
    fn rule_19_1_no_symlink_leads_anywhere() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("folders");
        std::os::unix::fs::symlink("/", dir.path().join("out")).expect("a symlink");
        std::os::unix::fs::symlink("a", dir.path().join("in")).expect("a symlink");
        let root = Root::open(dir.path()).expect("a root");
        for walk in [Root::open_directory, Root::walk_to] {
            assert!(walk(&root, &path("a/b")).is_ok());
            for refused in ["out", "out/etc", "in", "in/b", "missing"] {
                assert!(walk(&root, &path(refused)).is_err(), "{refused}");
            }
        }
        for refused in ["out", "in/b"] {
            let error = root.directory(&path(refused)).expect_err(refused);
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{refused}");
        }
        assert!(root.subroot(&path("in/b")).is_ok());
        assert!(root.subroot(&path("out")).is_err());
    }

    #[test]
    fn forgets_what_moved() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("folders");
        let root = Root::open(dir.path()).expect("a root");
        root.directory(&path("a/b")).expect("it is there");
        std::fs::rename(dir.path().join("a"), dir.path().join("c")).expect("a rename");
        root.forget(&path("a"));
        assert!(root.directory(&path("a/b")).is_err());
        assert!(root.directory(&path("c/b")).is_ok());
    }
}
