//! `zstd`: one stream for the whole session, flushed before each match and file end (§13.2).

use bytes::{Buf as _, Bytes, BytesMut};
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

use super::compressed::{Decompress, PIECE};
use super::runs::{Runs, put_data};
use crate::error::WireError;

/// The usual level.
const LEVEL: i32 = 3;
/// Largest window that a peer may make us hold: 2^27 bytes, what level 19 of a stock peer needs.
const WINDOW_LOG: u32 = 27;

/// Compresses tokens.
pub(super) struct ZstdEncoder {
    context: CCtx<'static>,
    runs: Runs,
    after_data: bool,
    buffer: Vec<u8>,
}

impl ZstdEncoder {
    pub(super) fn new(level: Option<i32>) -> Result<Self, WireError> {
        let mut context = CCtx::create();
        let range = zstd_safe::min_c_level()..=zstd_safe::max_c_level();
        let level = level.unwrap_or(LEVEL).clamp(*range.start(), *range.end());
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
        Ok(Self { context, runs: Runs::default(), after_data: false, buffer: Vec::new() })
    }

    pub(super) fn literal(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
        if data.is_empty() {
            return Ok(());
        }
        self.runs.flush(out);
        self.after_data = true;
        self.run(data, ZSTD_EndDirective::ZSTD_e_continue, out)
    }

    pub(super) fn matched(&mut self, number: u32, out: &mut BytesMut) -> Result<(), WireError> {
        self.flush(out)?;
        self.runs.push(number, out);
        Ok(())
    }

    pub(super) fn end(&mut self, out: &mut BytesMut) -> Result<(), WireError> {
        self.flush(out)?;
        self.runs.end(out);
        Ok(())
    }

    fn flush(&mut self, out: &mut BytesMut) -> Result<(), WireError> {
        if std::mem::take(&mut self.after_data) {
            self.run(&[], ZSTD_EndDirective::ZSTD_e_flush, out)?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        data: &[u8],
        directive: ZSTD_EndDirective,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        let mut input = InBuffer::around(data);
        loop {
            self.buffer.clear();
            self.buffer.reserve(PIECE);
            let mut output = OutBuffer::around(&mut self.buffer);
            let left = self
                .context
                .compress_stream2(&mut output, &mut input, directive)
                .map_err(failed)?;
            put_data(output.as_slice(), out);
            let flushed = left == 0 || directive == ZSTD_EndDirective::ZSTD_e_continue;
            if input.pos() == data.len() && flushed {
                return Ok(());
            }
        }
    }
}

/// Decompresses tokens.
pub(super) struct ZstdDecoder {
    context: DCtx<'static>,
    /// Whether the last piece was filled: more may wait inside.
    filled: bool,
}

impl ZstdDecoder {
    pub(super) fn new() -> Result<Self, WireError> {
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(failed)?;
        Ok(Self { context, filled: false })
    }
}

impl Decompress for ZstdDecoder {
    fn decompress(&mut self, input: &mut Bytes, output: &mut Vec<u8>) -> Result<(), WireError> {
        if input.is_empty() && !self.filled {
            return Ok(());
        }
        output.reserve_exact(PIECE);
        let mut source = InBuffer::around(input);
        let mut sink = OutBuffer::around(output);
        self.context.decompress_stream(&mut sink, &mut source).map_err(failed)?;
        let consumed = source.pos();
        self.filled = sink.pos() >= PIECE;
        input.advance(consumed);
        Ok(())
    }

    fn end_of_file(&mut self) -> Result<(), WireError> {
        Ok(())
    }
}

fn failed(code: usize) -> WireError {
    WireError::malformed("zstd stream", zstd_safe::get_error_name(code))
}
