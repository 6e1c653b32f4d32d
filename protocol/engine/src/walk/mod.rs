//! The walker: lists the source one directory at a time.

use std::sync::Arc;

use crate::path::RelPath;
use crate::tree::Source;

/// One thing to send: a source argument of the command line or of a client's request.
#[derive(Clone)]
pub struct SourceArg {
    /// The tree that holds it.
    pub tree: Arc<dyn Source>,
    /// The directory to which the names on the wire are relative.
    pub base: RelPath,
    /// What to send, relative to `base`. The root means the contents of `base` (a trailing slash
    /// on the command line): it becomes the entry `.`.
    pub top: RelPath,
}
