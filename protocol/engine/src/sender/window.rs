//! A bounded window over a file that is read from front to back.

use std::io;

use crate::generator::signature::read_full;
use crate::tree::ReadAt;

/// Bytes read at once beyond what is asked for.
const READ_AHEAD: usize = 256 * 1024;

/// A window over the first `len` bytes of a file. It holds what lies between the oldest byte still
/// needed and the newest one read, never the whole file.
pub(super) struct Window<'a> {
    file: &'a dyn ReadAt,
    len: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
}

impl<'a> Window<'a> {
    /// Begins at the front of the file.
    pub(super) fn new(file: &'a dyn ReadAt, len: u64) -> Self {
        Self { file, len, buffer: Vec::new(), start: 0 }
    }

    /// Sees to it that the bytes from `from` up to `to` (or the end) are in the window; what lies
    /// before `keep` may be dropped.
    ///
    /// # Errors
    /// What the file system says; `UnexpectedEof` when the file has become shorter.
    pub(super) fn hold(&mut self, keep: u64, to: u64) -> io::Result<()> {
        let to = to.min(self.len);
        let held = self.start + self.buffer.len() as u64;
        if to <= held {
            return Ok(());
        }
        let dropped = (keep.max(self.start) - self.start).min(self.buffer.len() as u64) as usize;
        self.buffer.drain(..dropped);
        self.start += dropped as u64;
        let wanted = (to + READ_AHEAD as u64).min(self.len) - held;
        let old = self.buffer.len();
        self.buffer.resize(old + wanted as usize, 0);
        let read = read_full(self.file, held, &mut self.buffer[old..]);
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
        let end = self.start + self.buffer.len() as u64;
        let (from, to) = (from.clamp(self.start, end), to.clamp(self.start, end));
        &self.buffer[(from - self.start) as usize..(to.max(from) - self.start) as usize]
    }
}
