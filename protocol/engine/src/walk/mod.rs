//! The walker: lists the source one directory at a time.

mod digests;
mod hardlinks;
mod scan;

use std::sync::Arc;

use bascule_wire::flist::Entry;

use crate::path::RelPath;
use crate::tree::{Metadata, Source};

pub use hardlinks::HardLinks;
pub use scan::{Rules, Walker};

/// One thing to send: a source argument of the command line or of a client's request.
#[derive(Clone)]
pub struct SourceArg {
    /// The directory to which the names on the wire are relative.
    pub tree: Arc<dyn Source>,
    /// Where that directory is in a daemon's module; the root where there is none.
    pub base: RelPath,
    /// As the user named it, for messages.
    pub named: Vec<u8>,
    /// What to send, relative to `tree`. The root means its contents (a trailing slash on the
    /// command line): it becomes the entry `.`.
    pub top: RelPath,
}

/// Something that the walker has listed.
#[derive(Debug, Clone)]
pub struct Found {
    /// As it travels.
    pub entry: Entry,
    /// The number of the source argument that it came from.
    pub arg: usize,
    /// What it is on disk.
    pub metadata: Metadata,
}
