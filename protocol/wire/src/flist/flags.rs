//! The entry flags (§9.1). Several bits change their meaning with the protocol or the file's kind.

/// Directory: named on the command line. Else: only keeps the flags from being 0.
pub const TOP_DIR: u32 = 0x0001;
/// The mode is the previous entry's.
pub const SAME_MODE: u32 = 0x0002;
/// Byte forms: a second byte follows (since 28). Varint form: only keeps the flags from being 0.
pub const EXTENDED: u32 = 0x0004;
/// The owner is the previous entry's, or does not travel.
pub const SAME_UID: u32 = 0x0008;
/// The group is the previous entry's, or does not travel.
pub const SAME_GID: u32 = 0x0010;
/// The name begins like the previous one; the length in common follows.
pub const SAME_NAME: u32 = 0x0020;
/// The length of the name's rest does not fit a byte.
pub const LONG_NAME: u32 = 0x0040;
/// The modification time is the previous entry's.
pub const SAME_TIME: u32 = 0x0080;
/// Device: the major number is the previous one (since 28).
pub const SAME_RDEV_MAJOR: u32 = 0x0100;
/// Directory: its contents are not part of the transfer (since 30).
pub const NO_CONTENT_DIR: u32 = 0x0100;
/// Member of a hard-link group (since 28).
pub const HLINKED: u32 = 0x0200;
/// The owner's name follows the id (since 30).
pub const USER_NAME_FOLLOWS: u32 = 0x0400;
/// The group's name follows the id (since 30).
pub const GROUP_NAME_FOLLOWS: u32 = 0x0800;
/// First member of its hard-link group (since 30, with [`HLINKED`]).
pub const HLINK_FIRST: u32 = 0x1000;
/// Alone with [`EXTENDED`]: the end of the list, with the error bits (safe flist).
pub const IO_ERROR_ENDLIST: u32 = 0x1000;
/// The nanoseconds of the modification time follow (since 31).
pub const MOD_NSEC: u32 = 0x2000;
