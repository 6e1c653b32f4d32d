//! Tokens: literal data and block matches, plain or compressed (§13).

mod compressed;
mod deflate;
mod lz4;
mod plain;
mod runs;
mod zstd;

use bytes::{Bytes, BytesMut};

use crate::decode::Decode;
use crate::error::WireError;
use crate::names::CompressName;
use crate::setup::Negotiated;

use compressed::CompressedDecoder;
use deflate::{Deflater, Inflater};
use lz4::{Lz4Decoder, Lz4Encoder};
use plain::PlainDecoder;
use zstd::{ZstdDecoder, ZstdEncoder};

/// One step in rebuilding a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// Data that are not in the basis.
    Literal(Bytes),
    /// The block of the basis with this number. The caller checks it against the count.
    Match(u32),
    /// The end of the file; its whole-file sum follows.
    End,
}

/// Encodes the tokens of all files of a run.
pub struct TokenEncoder(Encoder);

enum Encoder {
    Plain,
    Deflate(Box<Deflater>),
    Zstd(Box<ZstdEncoder>),
    Lz4(Box<Lz4Encoder>),
}

impl TokenEncoder {
    /// Prepares the agreed compression with `level` or its usual level.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] when the compressor cannot be set up.
    pub fn new(negotiated: &Negotiated, level: Option<i32>) -> Result<Self, WireError> {
        Ok(Self(match negotiated.compress {
            CompressName::None => Encoder::Plain,
            CompressName::Zlib => {
                Encoder::Deflate(Box::new(Deflater::with_history(level, negotiated.version)))
            }
            CompressName::Zlibx => Encoder::Deflate(Box::new(Deflater::without_history(level))),
            CompressName::Zstd => Encoder::Zstd(Box::new(ZstdEncoder::new(level)?)),
            CompressName::Lz4 => Encoder::Lz4(Box::default()),
        }))
    }

    /// Appends literal data.
    ///
    /// # Errors
    /// When the compressor fails.
    pub fn literal(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), WireError> {
        match &mut self.0 {
            Encoder::Plain => {
                plain::put_literal(data, out);
                Ok(())
            }
            Encoder::Deflate(encoder) => encoder.literal(data, out),
            Encoder::Zstd(encoder) => encoder.literal(data, out),
            Encoder::Lz4(encoder) => {
                encoder.literal(data, out);
                Ok(())
            }
        }
    }

    /// Appends a match of block `number`, whose content is `data`.
    ///
    /// # Errors
    /// When the compressor fails.
    pub fn matched(
        &mut self,
        number: u32,
        data: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        match &mut self.0 {
            Encoder::Plain => {
                plain::put_match(number, out);
                Ok(())
            }
            Encoder::Deflate(encoder) => encoder.matched(number, data, out),
            Encoder::Zstd(encoder) => encoder.matched(number, out),
            Encoder::Lz4(encoder) => {
                encoder.matched(number, out);
                Ok(())
            }
        }
    }

    /// Appends the end of the file and makes ready for the next.
    ///
    /// # Errors
    /// When the compressor fails.
    pub fn end(&mut self, out: &mut BytesMut) -> Result<(), WireError> {
        match &mut self.0 {
            Encoder::Plain => {
                plain::put_end(out);
                Ok(())
            }
            Encoder::Deflate(encoder) => encoder.end(out),
            Encoder::Zstd(encoder) => encoder.end(out),
            Encoder::Lz4(encoder) => {
                encoder.end(out);
                Ok(())
            }
        }
    }
}

/// Decodes the tokens of all files of a run. Literal data come in pieces of at most 64 KiB,
/// however well they were compressed.
pub struct TokenDecoder(Decoder);

enum Decoder {
    Plain(PlainDecoder),
    Deflate(Box<CompressedDecoder<Inflater>>),
    Zstd(Box<CompressedDecoder<ZstdDecoder>>),
    Lz4(Box<CompressedDecoder<Lz4Decoder>>),
}

impl TokenDecoder {
    /// Prepares the agreed decompression.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] when the decompressor cannot be set up.
    pub fn new(negotiated: &Negotiated) -> Result<Self, WireError> {
        Ok(Self(match negotiated.compress {
            CompressName::None => Decoder::Plain(PlainDecoder::default()),
            CompressName::Zlib => Decoder::Deflate(Box::new(CompressedDecoder::new(
                Inflater::with_history(negotiated.version),
            ))),
            CompressName::Zlibx => {
                Decoder::Deflate(Box::new(CompressedDecoder::new(Inflater::without_history())))
            }
            CompressName::Zstd => {
                Decoder::Zstd(Box::new(CompressedDecoder::new(ZstdDecoder::new()?)))
            }
            CompressName::Lz4 => Decoder::Lz4(Box::new(CompressedDecoder::new(Lz4Decoder))),
        }))
    }

    /// Tells the content of the block that the last [`Token::Match`] named: the old zlib mode
    /// takes it into its history.
    ///
    /// # Errors
    /// When the decompressor fails.
    pub fn matched_data(&mut self, data: &[u8]) -> Result<(), WireError> {
        match &mut self.0 {
            Decoder::Deflate(decoder) => decoder.inner_mut().insert(data),
            Decoder::Plain(_) | Decoder::Zstd(_) | Decoder::Lz4(_) => Ok(()),
        }
    }
}

impl Decode for TokenDecoder {
    type Item = Token;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Token>, WireError> {
        match &mut self.0 {
            Decoder::Plain(decoder) => decoder.decode(buf),
            Decoder::Deflate(decoder) => decoder.decode(buf),
            Decoder::Zstd(decoder) => decoder.decode(buf),
            Decoder::Lz4(decoder) => decoder.decode(buf),
        }
    }
}

#[cfg(test)]
mod tests;
