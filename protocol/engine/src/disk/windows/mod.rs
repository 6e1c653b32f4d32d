//! The disk of a Windows system, by the kernel's own calls: they alone open a name relative to an
//! open directory, and they know no limit on the length of paths.

mod attributes;
mod fallback;
mod links;
mod listing;
mod names;
mod place;
mod root;
mod source;
mod stage;
mod status;
mod sys;
mod target;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::path::Path;
use std::sync::Arc;

use fallback::Fallback;
use root::Root;

use super::Snapshots;
use crate::path::RelPath;

/// A tree on disk, held by a handle of its root.
#[derive(Debug, Clone)]
pub struct Disk {
    root: Arc<Root>,
    temp_dir: Option<Arc<OwnedHandle>>,
    fallback: Option<Arc<Fallback>>,
}

impl Disk {
    /// Opens the directory `path` as a root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: Arc::new(Root::open(path)?), temp_dir: None, fallback: None })
    }

    /// This tree, staging its files in a directory anywhere on this machine.
    ///
    /// # Errors
    /// What the file system says.
    pub fn with_temp_path(self, dir: &Path) -> io::Result<Self> {
        Ok(Self { temp_dir: Some(Root::open(dir)?.handle()), ..self })
    }

    /// This tree, reading from snapshots what other programs keep to themselves.
    ///
    /// # Errors
    /// None here; `Unsupported` on other systems.
    pub fn with_snapshots(self, snapshots: Arc<dyn Snapshots>) -> io::Result<Self> {
        Ok(Self { fallback: Some(Arc::new(Fallback::new(snapshots))), ..self })
    }

    /// Opens `path` itself, whatever it is.
    fn open_as_is(&self, path: &RelPath, how: &sys::How) -> io::Result<OwnedHandle> {
        if path.is_root() {
            return Ok(status::patiently(|| sys::open_at(self.root.handle(), &[], how))?);
        }
        let (dir, name) = self.root.parent_of(path)?;
        place::open(&dir, &name, how)
    }

    /// Opens `path` if it is a regular file.
    fn open_file(&self, path: &RelPath, how: &sys::How) -> io::Result<(File, attributes::Told)> {
        let file = if self.root.follows() {
            self.root.open_following(path, how)?
        } else {
            self.open_as_is(path, how)?
        };
        let told = attributes::Told::of(&file)?;
        if told.is_link() {
            return Err(io::Error::other("a symlink or junction is in its place"));
        }
        if told.is_dir() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if !told.is_stored_otherwise() || self.root.follows() {
            return Ok((file.into(), told));
        }
        // Opened as a reparse point it would not show its content. What is opened now is no symlink
        // either: the kernel refuses to follow one.
        let how = sys::How {
            options: how.options & !place::EXISTING.options,
            refuse_reparse: true,
            ..*how
        };
        let file = self.open_as_is(path, &how)?;
        let told = attributes::Told::of(&file)?;
        Ok((file.into(), told))
    }
}
