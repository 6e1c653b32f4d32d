//! Compat flags, checksum and compression names: everything fixed between the arguments and the
//! first multiplexed byte (§3, §5).

use crate::names::{ChecksumName, CompressName};
use crate::version::Version;

/// The compat flags of §3, as the server sends them in one varint (since 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompatFlags(pub u32);

impl CompatFlags {
    /// Incremental recursion (§10).
    pub const INC_RECURSE: u32 = 0x001;
    /// The server can set the times of symlinks.
    pub const SYMLINK_TIMES: u32 = 0x002;
    /// Symlink contents are converted by iconv.
    pub const SYMLINK_ICONV: u32 = 0x004;
    /// The end of a list may carry the error bits.
    pub const SAFE_FLIST: u32 = 0x008;
    /// The xattr hard-link optimisation is off.
    pub const AVOID_XATTR_OPTIM: u32 = 0x010;
    /// Block sums put the seed first.
    pub const CHECKSUM_SEED_FIX: u32 = 0x020;
    /// `--inplace` works together with a partial-dir.
    pub const INPLACE_PARTIAL_DIR: u32 = 0x040;
    /// File flags are varints, and names are negotiated.
    pub const VARINT_FLIST_FLAGS: u32 = 0x080;
    /// Id 0 carries its name.
    pub const ID0_NAMES: u32 = 0x100;

    /// Whether all bits of `flag` are set.
    pub fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }
}

/// What both ends agreed on before the transfer: made once, then shared by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The protocol number in use.
    pub version: Version,
    /// The server's compat flags; all zero before protocol 30.
    pub compat: CompatFlags,
    /// The digest of blocks and whole files.
    pub checksum: ChecksumName,
    /// The digest in the file list under `-c`.
    pub list_checksum: ChecksumName,
    /// The compression of token data; `None` when the data travel plain.
    pub compress: CompressName,
    /// The seed of block sums; 0 means unseeded.
    pub seed: i32,
}

impl Negotiated {
    /// Whether lists come one directory at a time (§10).
    pub fn incremental(&self) -> bool {
        self.compat.has(CompatFlags::INC_RECURSE)
    }

    /// Whether file flags are varints (§9.1).
    pub fn varint_flags(&self) -> bool {
        self.compat.has(CompatFlags::VARINT_FLIST_FLAGS)
    }

    /// Whether the end of a list may carry the error bits (§9.3).
    pub fn safe_flist(&self) -> bool {
        self.compat.has(CompatFlags::SAFE_FLIST) || self.version.implies_safe_flist()
    }
}
