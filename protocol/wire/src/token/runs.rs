//! The flag bytes of compressed tokens, and runs of consecutive matches (§13.2).

use bytes::BytesMut;

use crate::varint::PutWire as _;

/// End of a file.
pub(super) const END: u8 = 0x00;
/// An absolute block number follows.
pub(super) const ABSOLUTE: u8 = 0x20;
/// An absolute block number and the length of a run follow.
pub(super) const ABSOLUTE_RUN: u8 = 0x21;
/// Compressed data; the low 6 bits are the high bits of their length.
pub(super) const DATA: u8 = 0x40;
/// A match relative to the last one; the low 6 bits are the distance.
pub(super) const RELATIVE: u8 = 0x80;
/// As [`RELATIVE`], with the length of a run.
pub(super) const RELATIVE_RUN: u8 = 0xc0;
/// Largest distance of the relative forms.
pub(super) const MAX_DISTANCE: u32 = 63;
/// Most bytes of compressed data behind one flag.
pub(super) const MAX_DATA: usize = 16_383;

/// Collects consecutive matches and writes them as one run.
#[derive(Debug, Default)]
pub(super) struct Runs {
    last_end: u32,
    run: Option<(u32, u16)>,
}

impl Runs {
    /// Takes a match; writes the run before it if it does not go on.
    pub(super) fn push(&mut self, number: u32, out: &mut BytesMut) {
        if let Some((start, more)) = &mut self.run
            && *more < u16::MAX
            && start.checked_add(u32::from(*more) + 1) == Some(number)
        {
            *more += 1;
            return;
        }
        self.flush(out);
        self.run = Some((number, 0));
    }

    /// Writes the run that waits, if any.
    pub(super) fn flush(&mut self, out: &mut BytesMut) {
        let Some((start, more)) = self.run.take() else {
            return;
        };
        let distance = start.checked_sub(self.last_end).filter(|far| *far <= MAX_DISTANCE);
        match distance.and_then(|distance| u8::try_from(distance).ok()) {
            Some(distance) => {
                out.put_byte(distance | if more == 0 { RELATIVE } else { RELATIVE_RUN });
            }
            None => {
                out.put_byte(if more == 0 { ABSOLUTE } else { ABSOLUTE_RUN });
                out.put_int(start.cast_signed());
            }
        }
        if more > 0 {
            out.put_short(more);
        }
        self.last_end = start + u32::from(more);
    }

    /// Writes what waits and the end of the file.
    pub(super) fn end(&mut self, out: &mut BytesMut) {
        self.flush(out);
        out.put_byte(END);
        *self = Self::default();
    }
}

/// Writes compressed data behind flags.
pub(super) fn put_data(data: &[u8], out: &mut BytesMut) {
    for chunk in data.chunks(MAX_DATA) {
        let [low, high, ..] = chunk.len().to_le_bytes();
        out.extend_from_slice(&[DATA | high, low]);
        out.extend_from_slice(chunk);
    }
}
