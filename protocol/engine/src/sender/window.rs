//! A bounded window over content that is read from front to back.

use std::io;

use crate::generator::signature::read_full;
use crate::tree::ReadAt;

/// Bytes read at once beyond what is asked for.
const READ_AHEAD: usize = 256 * 1024;

/// What is searched and sent.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// All of a small file, in memory.
    Held(&'a [u8]),
    /// The first `len` bytes of a file.
    File {
        /// The file.
        file: &'a dyn ReadAt,
        /// Its length in bytes.
        len: u64,
    },
}

impl Content<'_> {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A window over a content. Of a file it holds what lies between the oldest byte still needed and
/// the newest one read, never the whole.
pub(super) struct Window<'a> {
    content: Content<'a>,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
}

impl<'a> Window<'a> {
    /// Begins at the front.
    pub(super) fn new(content: Content<'a>) -> Self {
        Self { content, buffer: Vec::new(), start: 0 }
    }

    /// Sees to it that the bytes from `from` up to `to` (or the end) are in the window; what lies
    /// before `keep` may be dropped.
    ///
    /// # Errors
    /// What the file system says; `UnexpectedEof` when the file has become shorter.
    pub(super) fn hold(&mut self, keep: u64, to: u64) -> io::Result<()> {
        let Content::File { file, len } = self.content else {
            return Ok(());
        };
        let to = to.min(len);
        let held = self.start + self.buffer.len() as u64;
        if to <= held {
            return Ok(());
        }
        let dropped = (keep.max(self.start) - self.start).min(self.buffer.len() as u64) as usize;
        self.buffer.drain(..dropped);
        self.start += dropped as u64;
        let wanted = (to + READ_AHEAD as u64).min(len) - held;
        let old = self.buffer.len();
        self.buffer.resize(old + wanted as usize, 0);
        let read = read_full(file, held, &mut self.buffer[old..]);
        let got = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(old + got);
        read?;
        if held + (got as u64) < to {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter while it was being read",
            ));
        }
        Ok(())
    }

    /// The bytes from `from` up to `to`, as far as they are held.
    pub(super) fn bytes(&self, from: u64, to: u64) -> &[u8] {
        let held = match self.content {
            Content::Held(bytes) => bytes,
            Content::File { .. } => &self.buffer,
        };
        let end = self.start + held.len() as u64;
        let (from, to) = (from.clamp(self.start, end), to.clamp(self.start, end));
        &held[(from - self.start) as usize..(to.max(from) - self.start) as usize]
    }
}
