//! Every cap on what a peer may make us hold, in one place (§19.3).

/// Longest line of the opening (greeting, module, error), in bytes.
pub const MAX_LINE: usize = 4096;
/// Most bytes of lines before a transfer, of a daemon: message of the day, list of modules.
pub const MAX_LINES_BYTES: usize = 1 << 20;
/// Longest path name on the wire, in bytes.
pub const MAX_NAME: usize = 4096;
/// Longest symlink target, in bytes.
pub const MAX_LINK: usize = 4096;
/// Longest vstring, in bytes (the encoding's own limit).
pub const MAX_VSTRING: usize = 0x7fff;
/// Most arguments of a client.
pub const MAX_ARGS: usize = 16_000;
/// Most bytes of all arguments of a client together.
pub const MAX_ARGS_BYTES: usize = 1 << 20;
/// Longest filter rule, in bytes.
pub const MAX_RULE: usize = 8192;
/// Most bytes of all filter rules of a peer together, and of all rules from merge files that are in
/// force in one directory; each rule counts with [`RULE_OVERHEAD`].
pub const MAX_RULES_BYTES: usize = 8 << 20;
/// What a rule is counted as beside its pattern's length, in bytes.
pub const RULE_OVERHEAD: usize = 64;
/// Most merge files that a peer may have read in each directory.
pub const MAX_MERGES: usize = 64;
/// Most bytes of the users' and groups' names that follow a list, each counted with
/// [`ID_OVERHEAD`].
pub const MAX_IDS_BYTES: usize = 16 << 20;
/// What a name by id is counted as beside its own length, in bytes.
pub const ID_OVERHEAD: usize = 64;
/// Longest payload of an in-band message, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Longest block, in bytes, since protocol 30.
pub const MAX_BLOCK: u32 = 1 << 17;
/// Longest block, in bytes, before protocol 30.
pub const MAX_BLOCK_OLD: u32 = 1 << 29;
/// Most blocks of one file.
pub const MAX_BLOCKS: u32 = 1 << 26;
/// Most blocks whose sums are kept, some 50 bytes each: 512 GiB in blocks of the usual length. Of a
/// basis with more, none are used.
pub const MAX_KEPT_BLOCKS: u32 = 1 << 22;
/// Longest literal that we send in one token, in bytes.
pub const LITERAL_CHUNK: usize = 32 * 1024;
/// Longest literal that we accept in one token, in bytes.
pub const MAX_LITERAL: usize = 1 << 24;
/// Largest deletion count of each kind.
pub const MAX_DELETE_STAT: u32 = 1 << 28;
/// Most entries that one side of a transfer may list.
pub const MAX_ENTRIES: usize = 1 << 28;
