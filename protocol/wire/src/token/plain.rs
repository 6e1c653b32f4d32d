//! Uncompressed tokens (§13.1).

use bytes::{Buf as _, BytesMut};

use super::Token;
use crate::decode::{Cursor, Decode};
use crate::error::WireError;
use crate::limits::{LITERAL_CHUNK, MAX_LITERAL};
use crate::varint::PutWire as _;

/// Largest piece of a literal that is handed out at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Appends literal data in chunks that every peer accepts.
pub(super) fn put_literal(data: &[u8], out: &mut BytesMut) {
    for chunk in data.chunks(LITERAL_CHUNK) {
        out.put_int(i32::try_from(chunk.len()).unwrap_or(i32::MAX));
        out.extend_from_slice(chunk);
    }
}

/// Appends a match.
pub(super) fn put_match(number: u32, out: &mut BytesMut) {
    out.put_int((-1_i32).saturating_sub_unsigned(number));
}

/// Appends the end of a file.
pub(super) fn put_end(out: &mut BytesMut) {
    out.put_int(0);
}

/// Decodes uncompressed tokens; a literal comes in the pieces in which it arrives.
#[derive(Debug, Default)]
pub(super) struct PlainDecoder {
    /// Bytes left of a literal.
    literal: usize,
}

impl Decode for PlainDecoder {
    type Item = Token;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Token>, WireError> {
        if self.literal == 0 {
            let Ok(token) = Cursor::new(buf).int() else {
                return Ok(None);
            };
            let token = match token {
                0 => Token::End,
                ..0 => Token::Match(token.abs_diff(-1)),
                1.. => {
                    let length = token.unsigned_abs() as usize;
                    if length > MAX_LITERAL {
                        let detail = format!("{length} bytes of literal data");
                        return Err(WireError::malformed("token", detail));
                    }
                    self.literal = length;
                    buf.advance(4);
                    return self.decode(buf);
                }
            };
            buf.advance(4);
            return Ok(Some(token));
        }
        let here = self.literal.min(buf.len()).min(PIECE);
        if here == 0 {
            return Ok(None);
        }
        self.literal -= here;
        Ok(Some(Token::Literal(buf.split_to(here).freeze())))
    }
}
