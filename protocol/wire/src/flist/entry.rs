//! One entry of a file list.

use std::sync::Arc;

/// The kind of a file, from the type bits of its Unix mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// The mask of the type bits in a Unix mode.
    pub const MASK: u32 = 0o170_000;

    /// Reads the type bits of `mode`; `None` when they name no kind.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & Self::MASK {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o060_000 => Self::BlockDevice,
            0o020_000 => Self::CharDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// The type bits.
    pub fn bits(self) -> u32 {
        match self {
            Self::File => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
            Self::BlockDevice => 0o060_000,
            Self::CharDevice => 0o020_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
        }
    }

    /// Block and character devices.
    pub fn is_device(self) -> bool {
        matches!(self, Self::BlockDevice | Self::CharDevice)
    }

    /// FIFOs and sockets.
    pub fn is_special(self) -> bool {
        matches!(self, Self::Fifo | Self::Socket)
    }
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The unit.
    pub minor: u32,
}

/// Membership of a hard-link group (since 30, §9.2.4, §9.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HardLink {
    /// The group: the index in *send order* (segment start + position) of its first member.
    pub group: u32,
    /// Whether this entry is that first member.
    pub first: bool,
}

/// One file, as the sender described it.
///
/// The name is split at its last slash; entries of one directory share `dir`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path of the parent relative to the transfer root, without a trailing slash; empty for
    /// entries at the root.
    pub dir: Arc<[u8]>,
    /// The last component; `.` for the transfer root itself.
    pub base: Box<[u8]>,
    /// Unix mode with its type bits.
    pub mode: u32,
    /// Size in bytes; not significant for directories, symlinks and devices.
    pub size: u64,
    /// Modification time in seconds since 1970; may be negative.
    pub mtime: i64,
    /// Nanoseconds of `mtime`, 0..=999 999 999; 0 before protocol 31.
    pub nanos: u32,
    /// Owner; 0 when owners do not travel.
    pub uid: u32,
    /// Group; 0 when groups do not travel.
    pub gid: u32,
    /// Named on the command line (`TOP_DIR`, §9.4); directories only.
    pub top_dir: bool,
    /// A directory whose contents are part of this transfer (§9.4); only these see deletions.
    pub content_dir: bool,
    /// The rarer fields.
    pub extra: Option<Box<Extra>>,
}

/// The fields that few entries carry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extra {
    /// Target of a symlink.
    pub link: Option<Box<[u8]>>,
    /// Device number, for devices.
    pub device: Option<Device>,
    /// Hard-link group.
    pub hard_link: Option<HardLink>,
    /// Whole-file digest under `-c`; regular files only.
    pub checksum: Option<Box<[u8]>>,
    /// Name of `uid`, inline with incremental recursion.
    pub user: Option<Box<[u8]>>,
    /// Name of `gid`, inline with incremental recursion.
    pub group: Option<Box<[u8]>>,
}

impl Entry {
    /// The kind, from the mode. Decoders refuse modes that name no kind, so this cannot fail
    /// for an entry of theirs; an unknown kind counts as a regular file.
    pub fn kind(&self) -> Kind {
        Kind::from_mode(self.mode).unwrap_or(Kind::File)
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == Kind::Directory
    }

    /// Whether this is the transfer root itself.
    pub fn is_root(&self) -> bool {
        self.dir.is_empty() && *self.base == *b"."
    }

    /// The whole path relative to the transfer root.
    pub fn path(&self) -> Vec<u8> {
        join(&self.dir, &self.base)
    }

    /// The permission bits of the mode (07777).
    pub fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    /// Bytes of memory that it takes, its directory's name apart: neighbours share that.
    pub fn weight(&self) -> usize {
        /// What an allocation costs beside its content.
        const ALLOCATION: usize = 16;
        let field =
            |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len() + ALLOCATION);
        let extra = self.extra.as_deref().map_or(0, |extra| {
            let Extra { link, checksum, user, group, device: _, hard_link: _ } = extra;
            let fields = field(link) + field(checksum) + field(user) + field(group);
            size_of::<Extra>() + ALLOCATION + fields
        });
        size_of::<Self>() + ALLOCATION + self.base.len() + extra
    }

    /// Target of a symlink.
    pub fn link(&self) -> Option<&[u8]> {
        self.extra.as_deref().and_then(|extra| extra.link.as_deref())
    }

    /// Device number.
    pub fn device(&self) -> Option<Device> {
        self.extra.as_deref().and_then(|extra| extra.device)
    }

    /// Hard-link group.
    pub fn hard_link(&self) -> Option<HardLink> {
        self.extra.as_deref().and_then(|extra| extra.hard_link)
    }

    /// Whole-file digest under `-c`.
    pub fn checksum(&self) -> Option<&[u8]> {
        self.extra.as_deref().and_then(|extra| extra.checksum.as_deref())
    }
}

/// Joins a directory path and a component; an empty directory adds nothing.
pub fn join(dir: &[u8], base: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return base.to_vec();
    }
    let mut path = Vec::with_capacity(dir.len() + 1 + base.len());
    path.extend_from_slice(dir);
    path.push(b'/');
    path.extend_from_slice(base);
    path
}
