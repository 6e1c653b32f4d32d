//! File indexes and the markers that share their code (§1).

use bytes::BytesMut;

use crate::decode::{Cursor, Stop};
use crate::error::WireError;
use crate::varint::PutWire as _;
use crate::version::Version;

/// A decoded index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// `NDX_DONE`: the end of a segment or phase.
    Done,
    /// `NDX_FLIST_EOF`: there are no more segments.
    ListEof,
    /// `NDX_DEL_STATS`: deletion statistics follow.
    DelStats,
    /// The segment of the directory with this number follows.
    Segment(u32),
    /// A file of the list.
    File(u32),
}

/// The markers below this value name segments.
const SEGMENT_BASE: i32 = -101;

impl Index {
    fn number(self) -> i32 {
        match self {
            Self::Done => -1,
            Self::ListEof => -2,
            Self::DelStats => -3,
            Self::Segment(dir) => SEGMENT_BASE.saturating_sub_unsigned(dir),
            Self::File(index) => i32::try_from(index).unwrap_or(i32::MAX),
        }
    }

    fn of(number: i32) -> Result<Self, WireError> {
        Ok(match number {
            0.. => Self::File(number.unsigned_abs()),
            -1 => Self::Done,
            -2 => Self::ListEof,
            -3 => Self::DelStats,
            ..=SEGMENT_BASE => Self::Segment(number.abs_diff(SEGMENT_BASE)),
            _ => return Err(WireError::malformed("file index", format!("{number}"))),
        })
    }
}

/// The state of one direction's index code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexCode {
    version: Version,
    positive: i32,
    negative: i32,
}

impl IndexCode {
    /// A fresh direction.
    pub fn new(version: Version) -> Self {
        Self { version, positive: -1, negative: 1 }
    }

    /// Appends an index.
    pub fn put(&mut self, index: Index, out: &mut BytesMut) {
        let number = index.number();
        if !self.version.has_varints() {
            out.put_int(number);
            return;
        }
        if number == -1 {
            out.put_byte(0);
            return;
        }
        let (magnitude, previous) = if number >= 0 {
            (number, &mut self.positive)
        } else {
            out.put_byte(0xff);
            (number.saturating_neg(), &mut self.negative)
        };
        let delta = i64::from(magnitude) - i64::from(*previous);
        *previous = magnitude;
        match delta {
            1..=0xfd => out.put_byte(delta.to_le_bytes()[0]),
            0 | 0xfe..=0x7fff => {
                let [low, high, ..] = delta.to_le_bytes();
                out.extend_from_slice(&[0xfe, high, low]);
            }
            _ => {
                let [a, b, c, d] = magnitude.to_le_bytes();
                out.extend_from_slice(&[0xfe, 0x80 | d, a, b, c]);
            }
        }
    }

    /// Reads an index and changes the state: work on a copy and keep it when the whole record is
    /// there.
    ///
    /// # Errors
    /// [`Stop::More`] at the end; [`Stop::Bad`] for a number that means nothing.
    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<Index, Stop> {
        if !self.version.has_varints() {
            return Ok(Index::of(cursor.int()?)?);
        }
        let mut lead = cursor.byte()?;
        if lead == 0 {
            return Ok(Index::Done);
        }
        let negative = lead == 0xff;
        if negative {
            lead = cursor.byte()?;
        }
        let previous = if negative { &mut self.negative } else { &mut self.positive };
        let magnitude = if lead == 0xfe {
            let [high, low] = cursor.array()?;
            if high & 0x80 != 0 {
                let [b, c] = cursor.array()?;
                i32::from_le_bytes([low, b, c, high & 0x7f])
            } else {
                previous.wrapping_add(i32::from(u16::from_be_bytes([high, low])))
            }
        } else {
            previous.wrapping_add(i32::from(lead))
        };
        if magnitude < 0 {
            return Err(WireError::malformed("file index", "out of range").into());
        }
        *previous = magnitude;
        let number = if negative { -magnitude } else { magnitude };
        match Index::of(number)? {
            // A negative code must not spell a file or a plain end.
            Index::File(_) | Index::Done if negative => {
                Err(WireError::malformed("file index", format!("{number}")).into())
            }
            index => Ok(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(indexes: &[Index]) -> Vec<u8> {
        let mut code = IndexCode::new(Version::NEWEST);
        let mut out = BytesMut::new();
        for index in indexes {
            code.put(*index, &mut out);
        }
        out.to_vec()
    }

    #[test]
    fn gives_the_bytes_of_the_reference() {
        assert_eq!(encoded(&[Index::File(0), Index::File(2)]), [1, 2]);
        assert_eq!(encoded(&[Index::Done]), [0]);
        let markers = [Index::ListEof, Index::Segment(1), Index::ListEof];
        assert_eq!(encoded(&markers[..1]), [0xff, 1]);
        assert_eq!(encoded(&markers[1..2]), [0xff, 0x65]);
        assert_eq!(encoded(&markers[1..]), [0xff, 0x65, 0xff, 0xfe, 0x80, 2, 0, 0]);
        assert_eq!(encoded(&[Index::File(4), Index::File(4)]), [5, 0xfe, 0, 0]);
    }

    fn any_index() -> impl Strategy<Value = Index> {
        prop_oneof![
            Just(Index::Done),
            Just(Index::ListEof),
            Just(Index::DelStats),
            (0_u32..100_000).prop_map(Index::Segment),
            (0_u32..=0x7fff_ffff).prop_map(Index::File),
            (0_u32..400).prop_map(Index::File),
        ]
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(
            indexes in proptest::collection::vec(any_index(), 0..40),
            old in any::<bool>(),
        ) {
            let version = if old { Version::OLDEST } else { Version::NEWEST };
            let mut code = IndexCode::new(version);
            let mut out = BytesMut::new();
            for index in &indexes {
                code.put(*index, &mut out);
            }
            let mut code = IndexCode::new(version);
            let mut cursor = Cursor::new(&out);
            for index in &indexes {
                prop_assert_eq!(code.read(&mut cursor), Ok(*index));
            }
            prop_assert_eq!(cursor.remaining(), 0);
        }
    }
}
