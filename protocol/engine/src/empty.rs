//! Trees with nothing in them: what a dry run sees where the destination does not exist yet, and
//! what a source is that cannot be opened.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bascule_wire::flist::{Device, Kind};

use crate::path::RelPath;
use crate::tree::{
    Attributes, Listing, Metadata, Modes, Reach, ReadAt, Source, Stage, Synced, Target,
    TargetAbilities,
};

/// An empty directory that cannot be written.
#[derive(Debug, Clone, Copy)]
pub struct EmptyTree(pub TargetAbilities);

impl EmptyTree {
    /// The destination of a run that lists and stores nothing.
    pub fn nowhere() -> Self {
        Self(TargetAbilities {
            change_owner: false,
            symlink_times: true,
            symlink_modes: false,
            make_devices: false,
            modes: Modes::All,
            time_granularity: 1,
            spare_handles: 0,
        })
    }
}

fn missing<T>() -> io::Result<T> {
    Err(ErrorKind::NotFound.into())
}

fn unwritable<T>() -> io::Result<T> {
    Err(io::Error::new(ErrorKind::Unsupported, "nothing is written in a dry run"))
}

/// A source that could not be opened: whatever is asked of it fails for that reason.
#[derive(Debug)]
pub struct Unreachable(pub io::Error);

impl Unreachable {
    fn fail<T>(&self) -> io::Result<T> {
        Err(io::Error::new(self.0.kind(), self.0.to_string()))
    }
}

impl Source for Unreachable {
    fn metadata(&self, _path: &RelPath, _follow: bool) -> io::Result<Metadata> {
        self.fail()
    }

    fn list(&self, _path: &RelPath) -> io::Result<Listing> {
        self.fail()
    }

    fn open(&self, _path: &RelPath) -> io::Result<Box<dyn ReadAt>> {
        self.fail()
    }

    fn read_link(&self, _path: &RelPath) -> io::Result<Vec<u8>> {
        self.fail()
    }

    fn following(&self, _reach: Reach) -> io::Result<Arc<dyn Source>> {
        Ok(Arc::new(Self(io::Error::new(self.0.kind(), self.0.to_string()))))
    }

    fn user_name(&self, _uid: u32) -> Option<Vec<u8>> {
        None
    }

    fn group_name(&self, _gid: u32) -> Option<Vec<u8>> {
        None
    }
}

impl Source for EmptyTree {
    fn metadata(&self, _path: &RelPath, _follow: bool) -> io::Result<Metadata> {
        missing()
    }

    fn list(&self, path: &RelPath) -> io::Result<Listing> {
        if path.is_root() { Ok(Listing::default()) } else { missing() }
    }

    fn open(&self, _path: &RelPath) -> io::Result<Box<dyn ReadAt>> {
        missing()
    }

    fn read_link(&self, _path: &RelPath) -> io::Result<Vec<u8>> {
        missing()
    }

    fn following(&self, _reach: Reach) -> io::Result<Arc<dyn Source>> {
        missing()
    }

    fn user_name(&self, _uid: u32) -> Option<Vec<u8>> {
        None
    }

    fn group_name(&self, _gid: u32) -> Option<Vec<u8>> {
        None
    }
}

impl Target for EmptyTree {
    fn abilities(&self) -> TargetAbilities {
        self.0
    }

    fn create_dir(&self, _path: &RelPath, _mode: u32) -> io::Result<()> {
        unwritable()
    }

    fn symlink(&self, _link_target: &[u8], _path: &RelPath) -> io::Result<()> {
        unwritable()
    }

    fn hard_link(&self, _existing: &RelPath, _new: &RelPath) -> io::Result<()> {
        unwritable()
    }

    fn make_node(
        &self,
        _path: &RelPath,
        _kind: Kind,
        _mode: u32,
        _device: Device,
    ) -> io::Result<()> {
        unwritable()
    }

    fn stage(&self, _path: &RelPath) -> io::Result<Box<dyn Stage>> {
        unwritable()
    }

    fn subtree(&self, _path: &RelPath) -> io::Result<Arc<dyn Target>> {
        missing()
    }

    fn with_temp_dir(&self, _dir: &RelPath) -> io::Result<Arc<dyn Target>> {
        missing()
    }

    fn open_in_place(&self, _path: &RelPath) -> io::Result<Box<dyn Stage>> {
        unwritable()
    }

    fn set_attributes(
        &self,
        _path: &RelPath,
        _kind: Kind,
        _attributes: &Attributes,
    ) -> io::Result<()> {
        unwritable()
    }

    fn rename(&self, _from: &RelPath, _to: &RelPath) -> io::Result<()> {
        unwritable()
    }

    fn remove_file(&self, _path: &RelPath) -> io::Result<()> {
        unwritable()
    }

    fn remove_dir(&self, _path: &RelPath) -> io::Result<()> {
        unwritable()
    }

    fn sync(&self, _path: &RelPath, _kind: Kind) -> io::Result<Synced> {
        unwritable()
    }

    fn room(&self, _dir: &RelPath) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn user_id(&self, _name: &[u8]) -> Option<u32> {
        None
    }

    fn group_id(&self, _name: &[u8]) -> Option<u32> {
        None
    }

    fn usable_groups(&self) -> Option<Vec<u32>> {
        None
    }
}
