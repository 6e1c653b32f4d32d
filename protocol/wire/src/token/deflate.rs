//! `zlib` and `zlibx`: raw deflate, a new stream for every file (§13.2).

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress as Inflate, FlushCompress, FlushDecompress};

use super::compressed::{Decompress, PIECE};
use super::runs::{MAX_DATA, Runs, put_data};
use crate::error::WireError;
use crate::version::Version;

/// What a sync flush ends with; it is cut off and added back.
const FLUSH_TAIL: &[u8; 4] = &[0x00, 0x00, 0xff, 0xff];
/// Longest part of a match that enters the history at once, in bytes.
const INSERT: usize = 0xffff;
/// The usual level.
const LEVEL: u32 = 6;

/// Whether matched data enter the history (`zlib`), and whether long matches do so in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    None,
    InOrder,
    /// The first part again and again: a fault of protocol 30 and before that both ends share.
    FirstPartRepeated,
}

impl History {
    fn of(version: Version) -> Self {
        if version.feeds_long_matches_in_order() { Self::InOrder } else { Self::FirstPartRepeated }
    }

    /// The parts of matched data that enter the history.
    fn parts(self, data: &[u8]) -> impl Iterator<Item = &[u8]> {
        let in_order = self == Self::InOrder;
        let count = if self == Self::None { 0 } else { data.len().div_ceil(INSERT) };
        (0..count).map(move |part| {
            let length = (data.len() - part * INSERT).min(INSERT);
            let from = if in_order { part * INSERT } else { 0 };
            &data[from..from + length]
        })
    }
}

/// Compresses tokens.
pub(super) struct Deflater {
    stream: Compress,
    history: History,
    runs: Runs,
    compressed: Vec<u8>,
    after_data: bool,
}

impl Deflater {
    pub(super) fn with_history(level: Option<i32>, version: Version) -> Self {
        Self::new(level, History::of(version))
    }

    pub(super) fn without_history(level: Option<i32>) -> Self {
        Self::new(level, History::None)
    }

    fn new(level: Option<i32>, history: History) -> Self {
        let level = level.and_then(|level| u32::try_from(level).ok()).unwrap_or(LEVEL).min(9);
        Self {
            stream: Compress::new(Compression::new(level), false),
            history,
            runs: Runs::default(),
            compressed: Vec::new(),
            after_data: false,
        }
    }

    pub(super) fn literal(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
        if data.is_empty() {
            return Ok(());
        }
        self.runs.flush(out);
        self.after_data = true;
        self.run_stream(data, FlushCompress::None)?;
        // The last bytes stay: they may turn out to be the tail of a flush.
        while self.compressed.len() >= MAX_DATA + FLUSH_TAIL.len() {
            put_data(&self.compressed[..MAX_DATA], out);
            self.compressed.drain(..MAX_DATA);
        }
        Ok(())
    }

    pub(super) fn matched(
        &mut self,
        number: u32,
        data: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        self.flush(out)?;
        self.runs.push(number, out);
        for part in self.history.parts(data) {
            self.run_stream(part, FlushCompress::Sync)?;
            self.compressed.clear();
        }
        Ok(())
    }

    pub(super) fn end(&mut self, out: &mut BytesMut) -> Result<(), WireError> {
        self.flush(out)?;
        self.runs.end(out);
        self.stream.reset();
        Ok(())
    }

    fn flush(&mut self, out: &mut BytesMut) -> Result<(), WireError> {
        if !std::mem::take(&mut self.after_data) {
            return Ok(());
        }
        self.run_stream(&[], FlushCompress::Sync)?;
        let cut = self.compressed.len().saturating_sub(FLUSH_TAIL.len());
        if self.compressed.get(cut..) == Some(FLUSH_TAIL) {
            self.compressed.truncate(cut);
        }
        put_data(&self.compressed, out);
        self.compressed.clear();
        Ok(())
    }

    fn run_stream(&mut self, mut data: &[u8], flush: FlushCompress) -> Result<(), WireError> {
        loop {
            self.compressed.reserve(PIECE);
            let room = self.compressed.capacity() - self.compressed.len();
            let (consumed, produced) = (self.stream.total_in(), self.stream.total_out());
            self.stream
                .compress_vec(data, &mut self.compressed, flush)
                .map_err(|error| WireError::malformed("deflate", error.to_string()))?;
            let consumed = (self.stream.total_in() - consumed) as usize;
            let produced = (self.stream.total_out() - produced) as usize;
            data = data.get(consumed..).unwrap_or_default();
            if data.is_empty() && produced < room {
                return Ok(());
            }
        }
    }
}

/// Decompresses tokens.
pub(super) struct Inflater {
    stream: Inflate,
    history: History,
}

impl Inflater {
    pub(super) fn with_history(version: Version) -> Self {
        Self { stream: Inflate::new(false), history: History::of(version) }
    }

    pub(super) fn without_history() -> Self {
        Self { stream: Inflate::new(false), history: History::None }
    }

    /// Takes a matched block into the history, as a stored block whose output is dropped.
    pub(super) fn insert(&mut self, data: &[u8]) -> Result<(), WireError> {
        let mut dropped = Vec::with_capacity(PIECE);
        for part in self.history.parts(data) {
            let [low, high, ..] = part.len().to_le_bytes();
            let header = [0, low, high, !low, !high];
            for input in [&header[..], part] {
                let mut input = Bytes::copy_from_slice(input);
                while !input.is_empty() {
                    dropped.clear();
                    let before = input.len();
                    self.decompress(&mut input, &mut dropped)?;
                    if input.len() == before && dropped.is_empty() {
                        return Err(WireError::malformed("inflate", "it takes no more data"));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Decompress for Inflater {
    fn decompress(&mut self, input: &mut Bytes, output: &mut Vec<u8>) -> Result<(), WireError> {
        output.reserve_exact(PIECE);
        let consumed = self.stream.total_in();
        self.stream
            .decompress_vec(input, output, FlushDecompress::Sync)
            .map_err(|error| WireError::malformed("compressed data", error.to_string()))?;
        input.advance((self.stream.total_in() - consumed) as usize);
        Ok(())
    }

    fn flush_tail(&self) -> &'static [u8] {
        FLUSH_TAIL
    }

    fn end_of_file(&mut self) -> Result<(), WireError> {
        self.stream.reset(false);
        Ok(())
    }
}
