//! The contract of every decoder, and the cursor that they read through.

use bytes::{Buf as _, BytesMut};

use crate::error::WireError;

/// Takes whole items off the front of a buffer.
pub trait Decode {
    /// What comes out.
    type Item;

    /// Decodes the next item from the front of `buf` and consumes its bytes.
    ///
    /// `Ok(None)` means that more bytes are needed; then neither `buf` nor the decoder's state
    /// has changed, unless the decoder's documentation says that it delivers in pieces.
    ///
    /// # Errors
    /// A [`WireError`] when the peer is wrong; the stream cannot be read any further.
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Self::Item>, WireError>;
}

/// Why a [`Cursor`] read stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The buffer ended inside the item.
    More,
    /// The item is wrong.
    Bad(WireError),
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Bad(error)
    }
}

/// Reads fields from a borrowed buffer without consuming it, so that an incomplete item can be
/// read again from its start.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Takes the next `n` bytes.
    ///
    /// # Errors
    /// [`Stop::More`] when fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Stop> {
        let end = self.position.checked_add(n).ok_or(Stop::More)?;
        let taken = self.bytes.get(self.position..end).ok_or(Stop::More)?;
        self.position = end;
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Stop::More`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`Stop::More`] at the end.
    pub fn byte(&mut self) -> Result<u8, Stop> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Reads a 16-bit little-endian integer (`short` of §1).
    ///
    /// # Errors
    /// [`Stop::More`] at the end.
    pub fn short(&mut self) -> Result<u16, Stop> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Reads a signed 32-bit little-endian integer (`int` of §1).
    ///
    /// # Errors
    /// [`Stop::More`] at the end.
    pub fn int(&mut self) -> Result<i32, Stop> {
        Ok(i32::from_le_bytes(self.array()?))
    }
}

/// Runs `read` on a cursor over `buf`; consumes what it read when it succeeds, nothing otherwise.
///
/// # Errors
/// The [`WireError`] of a [`Stop::Bad`].
pub fn decode_with<T>(
    buf: &mut BytesMut,
    read: impl FnOnce(&mut Cursor<'_>) -> Result<T, Stop>,
) -> Result<Option<T>, WireError> {
    let mut cursor = Cursor::new(buf);
    match read(&mut cursor) {
        Ok(item) => {
            let read = cursor.position();
            buf.advance(read);
            Ok(Some(item))
        }
        Err(Stop::More) => Ok(None),
        Err(Stop::Bad(error)) => Err(error),
    }
}

/// What the tests of every decoder share.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Decodes everything in `bytes`, handed over in chunks of `step` bytes. Returns the items
    /// and the bytes that were left over.
    pub(crate) fn decode_in_steps<D: Decode>(
        decoder: &mut D,
        bytes: &[u8],
        step: usize,
    ) -> Result<(Vec<D::Item>, Vec<u8>), WireError> {
        let mut buf = BytesMut::new();
        let mut items = Vec::new();
        for chunk in bytes.chunks(step.max(1)) {
            buf.extend_from_slice(chunk);
            while let Some(item) = decoder.decode(&mut buf)? {
                items.push(item);
            }
        }
        Ok((items, buf.to_vec()))
    }

    /// Checks that `bytes` decode alike in one piece and one byte at a time; returns the items.
    /// Bytes after the last item must be left alone.
    pub(crate) fn decode_both_ways<D>(make: impl Fn() -> D, bytes: &[u8]) -> Vec<D::Item>
    where
        D: Decode,
        D::Item: PartialEq + std::fmt::Debug,
    {
        let whole = decode_in_steps(&mut make(), bytes, usize::MAX).expect("valid in one piece");
        let single = decode_in_steps(&mut make(), bytes, 1).expect("valid byte by byte");
        assert_eq!(whole, single, "the split changed the result");
        whole.0
    }
}
