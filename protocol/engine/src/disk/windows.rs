//! The disk of a Windows system: not there yet. Every attempt to open a tree says so.

use std::io;
use std::sync::Arc;

use bascule_wire::flist::{Device, Kind};

use crate::path::RelPath;
use crate::tree::{
    Attributes, Listing, Metadata, Reach, ReadAt, Source, Stage, Synced, Target, TargetAbilities,
};

/// A tree on disk. It cannot be opened on Windows yet, so no value of this type exists there.
#[derive(Debug, Clone)]
pub struct Disk(Never);

#[derive(Debug, Clone)]
enum Never {}

impl Disk {
    /// Opens the directory `path` as a root.
    ///
    /// # Errors
    /// Always [`io::ErrorKind::Unsupported`] in this version.
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{}: this version of Bascule cannot use Windows disks yet", path.display()),
        ))
    }

    /// This tree, staging its files in a directory anywhere on this machine.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_temp_path(self, _dir: &std::path::Path) -> io::Result<Self> {
        match self.0 {}
    }
}

impl Source for Disk {
    fn metadata(&self, _path: &RelPath, _follow: bool) -> io::Result<Metadata> {
        match self.0 {}
    }

    fn list(&self, _path: &RelPath) -> io::Result<Listing> {
        match self.0 {}
    }

    fn open(&self, _path: &RelPath) -> io::Result<Box<dyn ReadAt>> {
        match self.0 {}
    }

    fn read_link(&self, _path: &RelPath) -> io::Result<Vec<u8>> {
        match self.0 {}
    }

    fn following(&self, _reach: Reach) -> io::Result<Arc<dyn Source>> {
        match self.0 {}
    }

    fn user_name(&self, _uid: u32) -> Option<Vec<u8>> {
        match self.0 {}
    }

    fn group_name(&self, _gid: u32) -> Option<Vec<u8>> {
        match self.0 {}
    }
}

impl Target for Disk {
    fn abilities(&self) -> TargetAbilities {
        match self.0 {}
    }

    fn create_dir(&self, _path: &RelPath, _mode: u32) -> io::Result<()> {
        match self.0 {}
    }

    fn symlink(&self, _link_target: &[u8], _path: &RelPath) -> io::Result<()> {
        match self.0 {}
    }

    fn hard_link(&self, _existing: &RelPath, _new: &RelPath) -> io::Result<()> {
        match self.0 {}
    }

    fn make_node(
        &self,
        _path: &RelPath,
        _kind: Kind,
        _mode: u32,
        _device: Device,
    ) -> io::Result<()> {
        match self.0 {}
    }

    fn stage(&self, _path: &RelPath) -> io::Result<Box<dyn Stage>> {
        match self.0 {}
    }

    fn subtree(&self, _path: &RelPath) -> io::Result<Arc<dyn Target>> {
        match self.0 {}
    }

    fn with_temp_dir(&self, _dir: &RelPath) -> io::Result<Arc<dyn Target>> {
        match self.0 {}
    }

    fn open_in_place(&self, _path: &RelPath) -> io::Result<Box<dyn Stage>> {
        match self.0 {}
    }

    fn set_attributes(
        &self,
        _path: &RelPath,
        _kind: Kind,
        _attributes: &Attributes,
    ) -> io::Result<()> {
        match self.0 {}
    }

    fn rename(&self, _from: &RelPath, _to: &RelPath) -> io::Result<()> {
        match self.0 {}
    }

    fn remove_file(&self, _path: &RelPath) -> io::Result<()> {
        match self.0 {}
    }

    fn remove_dir(&self, _path: &RelPath) -> io::Result<()> {
        match self.0 {}
    }

    fn sync(&self, _path: &RelPath, _kind: Kind) -> io::Result<Synced> {
        match self.0 {}
    }

    fn room(&self, _dir: &RelPath) -> io::Result<Option<u64>> {
        match self.0 {}
    }

    fn user_id(&self, _name: &[u8]) -> Option<u32> {
        match self.0 {}
    }

    fn group_id(&self, _name: &[u8]) -> Option<u32> {
        match self.0 {}
    }

    fn usable_groups(&self) -> Option<Vec<u32>> {
        match self.0 {}
    }
}
