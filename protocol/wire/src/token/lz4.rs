//! `lz4`: every chunk is an independent raw block (§13.2).

use bytes::{Bytes, BytesMut};

use super::compressed::{Decompress, PIECE};
use super::runs::{MAX_DATA, Runs, put_data};
use crate::error::WireError;

/// Compresses tokens.
#[derive(Default)]
pub(super) struct Lz4Encoder {
    runs: Runs,
}

impl Lz4Encoder {
    pub(super) fn literal(&mut self, data: &[u8], out: &mut BytesMut) {
        if data.is_empty() {
            return;
        }
        self.runs.flush(out);
        let mut rest = data;
        while !rest.is_empty() {
            let mut length = rest.len().min(MAX_DATA);
            loop {
                let compressed = lz4_flex::block::compress(&rest[..length]);
                if compressed.len() <= MAX_DATA {
                    put_data(&compressed, out);
                    break;
                }
                length /= 2;
            }
            rest = &rest[length..];
        }
    }

    pub(super) fn matched(&mut self, number: u32, out: &mut BytesMut) {
        self.runs.push(number, out);
    }

    pub(super) fn end(&mut self, out: &mut BytesMut) {
        self.runs.end(out);
    }
}

/// Decompresses tokens.
#[derive(Default)]
pub(super) struct Lz4Decoder;

impl Decompress for Lz4Decoder {
    fn decompress(&mut self, input: &mut Bytes, output: &mut Vec<u8>) -> Result<(), WireError> {
        if input.is_empty() {
            return Ok(());
        }
        // Chunks are made from at most 16 383 bytes; some peers use larger ones.
        let block = lz4_flex::block::decompress(input, PIECE)
            .map_err(|error| WireError::malformed("lz4 block", error.to_string()))?;
        output.extend_from_slice(&block);
        input.clear();
        Ok(())
    }

    fn end_of_file(&mut self) -> Result<(), WireError> {
        Ok(())
    }
}
