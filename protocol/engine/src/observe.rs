//! What happens, as typed events for any observer: progress, logs, metrics, tests.

use bascule_wire::Negotiated;
use bascule_wire::flist::Kind;
use bascule_wire::record::ItemFlags;

use crate::outcome::Problem;

/// Something happened in a run. Paths are relative to the transfer root, in the peer's bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Both ends have agreed on how to talk.
    Agreed(&'a Negotiated),
    /// The walker or the peer listed more files.
    Listed {
        /// Entries since the last event of this kind.
        entries: u64,
        /// Their bytes (regular files only).
        bytes: u64,
    },
    /// The regular files among them that are in one folder. A folder may be told about in parts.
    ListedIn {
        /// The folder; empty for the transfer root.
        folder: &'a [u8],
        /// Files since the last event about it.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// One entry of the list, when only a listing was asked for.
    Entry(&'a bascule_wire::flist::Entry),
    /// The list is complete: totals will not grow any more.
    ListComplete,
    /// The generator has compared more entries with the target. On the sending side this is known
    /// from its requests, which come in the order of the list.
    Checked {
        /// Entries since the last event of this kind.
        entries: u64,
        /// Their bytes (regular files only).
        bytes: u64,
    },
    /// A file's data were asked for.
    Requested {
        /// The file's size in bytes.
        bytes: u64,
    },
    /// A file's data is about to travel.
    TransferStarted {
        /// The file.
        path: &'a [u8],
        /// Its size in bytes.
        size: u64,
    },
    /// Some of a file's content was sent or rebuilt.
    TransferProgress {
        /// Bytes of file content since the last event of this kind.
        bytes: u64,
    },
    /// A file's data arrived whole.
    TransferDone {
        /// The file.
        path: &'a [u8],
        /// Its size in bytes.
        size: u64,
        /// Bytes that had to travel as literal data.
        literal: u64,
        /// Bytes taken from the basis.
        matched: u64,
    },
    /// An entry was found to differ and was (or in a dry run: would be) changed.
    Itemized {
        /// What differs.
        item: Item<'a>,
    },
    /// A name was (or would be) removed from the target.
    Deleted {
        /// The removed path.
        path: &'a [u8],
        /// What it was.
        kind: Kind,
    },
    /// Something went wrong with one file, or with the run.
    Problem(&'a Problem),
    /// A text of the peer for the user: information, not trouble.
    PeerText(&'a [u8]),
}

/// One itemized change, as `-i` shows it.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// What changed.
    pub flags: ItemFlags,
    /// What the entry is.
    pub kind: Kind,
    /// Path relative to the transfer root.
    pub path: &'a [u8],
    /// Target of a symlink.
    pub link: Option<&'a [u8]>,
    /// For a hard link: the name it was linked to.
    pub linked_to: Option<&'a [u8]>,
    /// Whether this side sent the data (`<`) or received it (`>`).
    pub sent: bool,
}

/// Receives every event, from any thread of the run.
pub trait Observer: Send + Sync {
    /// Takes one event. Must be quick: it runs on the thread that moves the data.
    fn on(&self, event: &Event<'_>);
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on(&self, _event: &Event<'_>) {}
}
