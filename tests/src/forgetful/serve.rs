//! The kernel's questions to the forgetful disk. Nothing may be cached: the test changes what is
//! there behind the kernel's back.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::image::{Node, What};
use super::{State, Step};

/// How long the kernel may believe what it was told.
const TTL: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;

pub(super) struct Served(pub(super) Arc<Mutex<State>>);

impl Served {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Errno>) -> Result<T, Errno> {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn make(
        &self,
        request: &Request,
        step: Step,
        (dir, name): (INodeNo, &OsStr),
        what: What,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        self.with(|state| {
            state.step(step, name)?;
            let number = state.image.make(dir.0, name, what, mode)?;
            let node = state.image.node_mut(number)?;
            (node.uid, node.gid) = (request.uid(), request.gid());
            Ok(attributes(number, node))
        })
    }
}

fn attributes(number: u64, node: &Node) -> FileAttr {
    let kind = kind_of(node);
    FileAttr {
        ino: INodeNo(number),
        size: node.size(),
        blocks: node.size().div_ceil(512),
        atime: node.mtime,
        mtime: node.mtime,
        ctime: node.mtime,
        crtime: node.mtime,
        kind,
        perm: node.mode,
        nlink: 1 + u32::from(kind == FileType::Directory),
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        flags: 0,
        blksize: BLOCK,
    }
}

fn kind_of(node: &Node) -> FileType {
    match &node.what {
        What::File(_) => FileType::RegularFile,
        What::Dir(_) => FileType::Directory,
        What::Symlink(_) => FileType::Symlink,
    }
}

fn entry(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.with(|state| {
            let number = state.image.find(parent.0, name)?;
            Ok(attributes(number, state.image.node(number)?))
        });
        entry(reply, found);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(|state| Ok(attributes(ino.0, state.image.node(ino.0)?))) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.with(|state| {
            if let Some(size) = size {
                state.step_on(Step::SetLength, ino.0)?;
                let size = usize::try_from(size).map_err(|_| Errno::EFBIG)?;
                state.image.content(ino.0)?.resize(size, 0);
            }
            if uid.is_some() || gid.is_some() {
                state.step_on(Step::SetOwner, ino.0)?;
                let node = state.image.node_mut(ino.0)?;
                node.uid = uid.unwrap_or(node.uid);
                node.gid = gid.unwrap_or(node.gid);
            }
            if let Some(mode) = mode {
                state.step_on(Step::SetMode, ino.0)?;
                let mode = u16::try_from(mode & 0o7777).unwrap_or(0);
                state.image.node_mut(ino.0)?.mode = mode;
            }
            if let Some(time) = mtime {
                state.step_on(Step::SetTime, ino.0)?;
                state.image.node_mut(ino.0)?.mtime = match time {
                    TimeOrNow::SpecificTime(time) => time,
                    TimeOrNow::Now => SystemTime::now(),
                };
            }
            Ok(attributes(ino.0, state.image.node(ino.0)?))
        });
        match set {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.with(|state| match &state.image.node(ino.0)?.what {
            What::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        });
        match target {
            Ok(target) => reply.data(target.as_os_str().as_encoded_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let what = What::Dir(Default::default());
        entry(reply, self.make(request, Step::MakeDir, (parent, name), what, mode & !umask));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let what = What::Symlink(target.into());
        entry(reply, self.make(request, Step::MakeSymlink, (parent, name), what, 0o777));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let what = What::File(Vec::new());
        match self.make(request, Step::Create, (parent, name), what, mode & !umask) {
            Ok(attr) => reply.created(
                &TTL,
                &attr,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.with(|state| {
            state.step(Step::Remove, name)?;
            state.image.remove(parent.0, name)
        });
        empty(reply, removed);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        to_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.with(|state| {
            state.step(Step::Rename, to_name)?;
            state.image.rename((parent.0, name), (to.0, to_name))
        });
        empty(reply, renamed);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.with(|state| {
            state.step(Step::Link, name)?;
            state.image.link(ino.0, parent.0, name)?;
            Ok(attributes(ino.0, state.image.node(ino.0)?))
        });
        entry(reply, linked);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.with(|state| state.step_on(Step::Open, ino.0)) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.with(|state| {
            state.step_on(Step::Read, ino.0)?;
            let data = state.image.content(ino.0)?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
            let end = from.saturating_add(size as usize).min(data.len());
            Ok(data[from..end].to_vec())
        });
        match read {
            Ok(data) => reply.data(&data),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.with(|state| {
            state.step_on(Step::Write, ino.0)?;
            let from = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
            let end = from.saturating_add(data.len());
            let more = end.saturating_sub(state.image.content(ino.0)?.len());
            if more as u64 > state.left() {
                return Err(Errno::ENOSPC);
            }
            let content = state.image.content(ino.0)?;
            content.resize(content.len().max(end), 0);
            content[from..end].copy_from_slice(data);
            u32::try_from(data.len()).map_err(|_| Errno::EFBIG)
        });
        match written {
            Ok(written) => reply.written(written),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.with(|state| {
            state.step_on(Step::Sync, ino.0)?;
            state.image.sync(ino.0)
        });
        empty(reply, synced);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.with(|state| {
            state.step_on(Step::SyncDir, ino.0)?;
            state.image.sync(ino.0)
        });
        empty(reply, synced);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.with(|state| {
            let mut entries = vec![(ino.0, FileType::Directory, ".".into())];
            for (name, number) in state.image.names(ino.0)? {
                entries.push((*number, kind_of(state.image.node(*number)?), name.clone()));
            }
            Ok(entries)
        });
        let entries = match listed {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        for (at, (number, kind, name)) in (1..).zip(entries) {
            if at > offset && reply.add(INodeNo(number), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (total, left) = self
            .with(|state| {
                let plenty = (1 << 40, 1 << 40);
                let is_known = state.tells_room && state.capacity != u64::MAX;
                Ok(if is_known { (state.capacity, state.left()) } else { plenty })
            })
            .unwrap_or_default();
        let blocks = |bytes: u64| bytes / u64::from(BLOCK);
        reply.statfs(blocks(total), blocks(left), blocks(left), 0, 0, BLOCK, 255, BLOCK);
    }
}
