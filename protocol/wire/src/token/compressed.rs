//! Decodes the framing that all compressions share (§13.2).

use bytes::{Buf as _, Bytes, BytesMut};

use super::Token;
use super::runs::{ABSOLUTE, ABSOLUTE_RUN, DATA, END, RELATIVE, RELATIVE_RUN};
use crate::decode::{Cursor, Decode, Stop};
use crate::error::WireError;

/// Largest piece of decompressed data that is handed out at once, in bytes.
pub(super) const PIECE: usize = 64 * 1024;

/// Turns chunks of compressed data into data.
pub(super) trait Decompress {
    /// Decompresses from the front of `input`, consuming what it used, into at most [`PIECE`]
    /// bytes appended to `output`. It is called again while it fills `output` or leaves input.
    fn decompress(&mut self, input: &mut Bytes, output: &mut Vec<u8>) -> Result<(), WireError>;

    /// What has to be decompressed at the end of a group of data.
    fn flush_tail(&self) -> &'static [u8] {
        &[]
    }

    /// A file has ended.
    fn end_of_file(&mut self) -> Result<(), WireError>;
}

/// Decodes flags; data go through `D`.
pub(super) struct CompressedDecoder<D> {
    decompressor: D,
    input: Bytes,
    /// Whether `input` may still give something.
    pumping: bool,
    /// Whether data came since the last match or file end.
    after_data: bool,
    last: u32,
    /// Matches left of a run.
    run: u32,
}

enum Flag {
    End,
    Data(Bytes),
    Run { start: u32, more: u32 },
}

impl<D: Decompress> CompressedDecoder<D> {
    pub(super) fn new(decompressor: D) -> Self {
        Self {
            decompressor,
            input: Bytes::new(),
            pumping: false,
            after_data: false,
            last: 0,
            run: 0,
        }
    }

    pub(super) fn inner_mut(&mut self) -> &mut D {
        &mut self.decompressor
    }

    /// The next piece of the data at hand.
    fn pump(&mut self) -> Result<Option<Token>, WireError> {
        while self.pumping {
            let before = self.input.len();
            let mut output = Vec::new();
            self.decompressor.decompress(&mut self.input, &mut output)?;
            if output.len() < PIECE && self.input.is_empty() {
                self.pumping = false;
            } else if output.is_empty() && self.input.len() == before {
                return Err(WireError::malformed("compressed data", "they lead nowhere"));
            }
            if !output.is_empty() {
                return Ok(Some(Token::Literal(output.into())));
            }
        }
        Ok(None)
    }

    fn feed(&mut self, input: Bytes) {
        self.input = input;
        self.pumping = true;
    }

    fn read_flag(&self, cursor: &mut Cursor<'_>) -> Result<Flag, Stop> {
        let flag = cursor.byte()?;
        Ok(match flag {
            END => Flag::End,
            ABSOLUTE | ABSOLUTE_RUN => {
                let number = cursor.int()?;
                let start = u32::try_from(number)
                    .map_err(|_| WireError::malformed("token", format!("block {number}")))?;
                Flag::Run { start, more: run_length(flag == ABSOLUTE_RUN, cursor)? }
            }
            RELATIVE.. => {
                let start = self.last + u32::from(flag & 0x3f);
                let more = run_length(flag & RELATIVE_RUN == RELATIVE_RUN, cursor)?;
                Flag::Run { start, more }
            }
            DATA.. => {
                let length = usize::from(flag & 0x3f) << 8 | usize::from(cursor.byte()?);
                Flag::Data(Bytes::copy_from_slice(cursor.take(length)?))
            }
            _ => return Err(WireError::malformed("token", format!("flag {flag:#04x}")).into()),
        })
    }
}

fn run_length(present: bool, cursor: &mut Cursor<'_>) -> Result<u32, Stop> {
    if present { Ok(u32::from(cursor.short()?)) } else { Ok(0) }
}

impl<D: Decompress> Decode for CompressedDecoder<D> {
    type Item = Token;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Token>, WireError> {
        loop {
            if let Some(literal) = self.pump()? {
                return Ok(Some(literal));
            }
            if self.run > 0 {
                self.run -= 1;
                self.last += 1;
                return Ok(Some(Token::Match(self.last)));
            }
            // The flag stays in the buffer until the data before it are flushed.
            let mut cursor = Cursor::new(buf);
            let flag = match self.read_flag(&mut cursor) {
                Ok(flag) => flag,
                Err(Stop::More) => return Ok(None),
                Err(Stop::Bad(error)) => return Err(error),
            };
            let read = cursor.position();
            if !matches!(flag, Flag::Data(_)) && self.after_data {
                self.after_data = false;
                self.feed(Bytes::from_static(self.decompressor.flush_tail()));
                continue;
            }
            buf.advance(read);
            match flag {
                Flag::Data(data) => {
                    self.after_data = true;
                    self.feed(data);
                }
                Flag::Run { start, more } => {
                    let last = start.checked_add(more).filter(|last| i32::try_from(*last).is_ok());
                    if last.is_none() {
                        return Err(WireError::malformed("token", "a block number overflows"));
                    }
                    self.last = start;
                    self.run = more;
                    return Ok(Some(Token::Match(start)));
                }
                Flag::End => {
                    self.last = 0;
                    self.decompressor.end_of_file()?;
                    return Ok(Some(Token::End));
                }
            }
        }
    }
}
