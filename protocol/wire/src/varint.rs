//! Integers and strings of the wire (§1): fixed integers of every protocol, varints since 30.
//!
//! Reading extends [`Cursor`]; writing is [`PutWire`]. Where a field changed its form with
//! protocol 30, the `…30` methods choose by version.

use bytes::BytesMut;

use crate::decode::{Cursor, Stop};
use crate::error::WireError;
use crate::limits::MAX_VSTRING;
use crate::version::Version;

/// Writes the integers and strings of §1 to a buffer.
///
/// Its names overlap with those of `bytes::BufMut`; import one of the two. Raw bytes go in with
/// `BytesMut::extend_from_slice`.
pub trait PutWire {
    /// Writes one byte.
    fn put_byte(&mut self, value: u8);

    /// Writes a 16-bit little-endian integer (`short`).
    fn put_short(&mut self, value: u16);

    /// Writes a signed 32-bit little-endian integer (`int`).
    fn put_int(&mut self, value: i32);

    /// Writes a varint of 1 to 5 bytes (since 30).
    fn put_varint(&mut self, value: i32);

    /// Writes a varlong of `min` to 9 bytes (since 30); `min` is 3 to 8.
    fn put_varlong(&mut self, value: i64, min: usize);

    /// Writes a longint: 4 bytes when `value` fits 31 bits, otherwise 12 (before 30).
    fn put_longint(&mut self, value: i64);

    /// Writes a length and the bytes.
    ///
    /// # Errors
    /// [`WireError::Malformed`] beyond 32767 bytes, which the encoding cannot express.
    fn put_vstring(&mut self, bytes: &[u8]) -> Result<(), WireError>;

    /// Writes a varint since protocol 30, an int before.
    fn put_varint30(&mut self, version: Version, value: i32);

    /// Writes a varlong since protocol 30, a longint before.
    fn put_varlong30(&mut self, version: Version, value: i64, min: usize);
}

impl PutWire for BytesMut {
    fn put_byte(&mut self, value: u8) {
        self.extend_from_slice(&[value]);
    }

    fn put_short(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_int(&mut self, value: i32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_varint(&mut self, value: i32) {
        put_prefixed(self, &value.to_le_bytes(), 1);
    }

    fn put_varlong(&mut self, value: i64, min: usize) {
        put_prefixed(self, &value.to_le_bytes(), min.clamp(3, 8));
    }

    fn put_longint(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(short) if short >= 0 => self.put_int(short),
            _ => {
                self.put_int(-1);
                self.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    fn put_vstring(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let length = u16::try_from(bytes.len())
            .ok()
            .filter(|&length| usize::from(length) <= MAX_VSTRING)
            .ok_or_else(|| {
                let detail = format!("{} bytes do not fit (at most 32767)", bytes.len());
                WireError::malformed("vstring", detail)
            })?;
        let [high, low] = length.to_be_bytes();
        if length > 0x7f {
            self.put_byte(0x80 | high);
        }
        self.put_byte(low);
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn put_varint30(&mut self, version: Version, value: i32) {
        if version.has_varints() {
            self.put_varint(value);
        } else {
            self.put_int(value);
        }
    }

    fn put_varlong30(&mut self, version: Version, value: i64, min: usize) {
        if version.has_varints() {
            self.put_varlong(value, min);
        } else {
            self.put_longint(value);
        }
    }
}

impl<'a> Cursor<'a> {
    /// Reads a varint of 1 to 5 bytes (since 30).
    ///
    /// # Errors
    /// [`Stop::More`] at the end; [`Stop::Bad`] when the lead byte announces more than 4 bytes.
    pub fn varint(&mut self) -> Result<i32, Stop> {
        let lead = self.byte()?;
        let extra = extra_bytes(lead);
        if extra > 4 {
            return Err(overlong("varint", lead));
        }
        let value = place(self.take(extra)?, top_byte(lead, extra));
        let [a, b, c, d, ..] = value;
        Ok(i32::from_le_bytes([a, b, c, d]))
    }

    /// Reads a varlong of `min` to 9 bytes (since 30); `min` is 3 to 8.
    ///
    /// # Errors
    /// [`Stop::More`] at the end; [`Stop::Bad`] when the lead byte announces more than 9 bytes.
    pub fn varlong(&mut self, min: usize) -> Result<i64, Stop> {
        let lead = self.byte()?;
        let extra = extra_bytes(lead);
        let low = min.clamp(3, 8) - 1 + extra;
        if low > 8 {
            return Err(overlong("varlong", lead));
        }
        let value = place(self.take(low)?, top_byte(lead, extra));
        Ok(i64::from_le_bytes(value))
    }

    /// Reads a longint of 4 or 12 bytes (before 30).
    ///
    /// # Errors
    /// [`Stop::More`] at the end.
    pub fn longint(&mut self) -> Result<i64, Stop> {
        match self.int()? {
            -1 => Ok(i64::from_le_bytes(self.array()?)),
            value => Ok(i64::from(value)),
        }
    }

    /// Reads a length and that many bytes, at most `max`.
    ///
    /// # Errors
    /// [`Stop::More`] at the end; [`Stop::Bad`] when the length exceeds `max`.
    pub fn vstring(&mut self, max: usize) -> Result<&'a [u8], Stop> {
        let mut length = usize::from(self.byte()?);
        if length > 0x7f {
            length = (length & 0x7f) << 8 | usize::from(self.byte()?);
        }
        if length > max {
            let detail = format!("{length} bytes announced, at most {max} allowed");
            return Err(Stop::Bad(WireError::malformed("vstring", detail)));
        }
        self.take(length)
    }

    /// Reads a varint since protocol 30, an int before.
    ///
    /// # Errors
    /// As [`Cursor::varint`].
    pub fn varint30(&mut self, version: Version) -> Result<i32, Stop> {
        if version.has_varints() { self.varint() } else { self.int() }
    }

    /// Reads a varlong since protocol 30, a longint before.
    ///
    /// # Errors
    /// As [`Cursor::varlong`].
    pub fn varlong30(&mut self, version: Version, min: usize) -> Result<i64, Stop> {
        if version.has_varints() { self.varlong(min) } else { self.longint() }
    }
}

/// How many bytes beyond the least follow the lead byte: its leading ones, capped at 6.
fn extra_bytes(lead: u8) -> usize {
    // At most 6, so the conversion is exact.
    lead.leading_ones().min(6) as usize
}

/// The bits of the value that the lead byte carries.
fn top_byte(lead: u8, extra: usize) -> u8 {
    if extra == 0 { lead } else { lead & (0xff >> extra) }
}

/// Puts the low bytes and the top byte above them together, little-endian; a ninth byte is
/// dropped.
fn place(low: &[u8], top: u8) -> [u8; 8] {
    let mut value = [0; 8];
    for (to, from) in value.iter_mut().zip(low.iter().chain([&top])) {
        *to = *from;
    }
    value
}

/// Writes the significant bytes of a little-endian integer, at least `min`, behind a lead byte.
fn put_prefixed(out: &mut BytesMut, bytes: &[u8], min: usize) {
    let significant = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    let length = significant.max(min);
    let (low, top) = match bytes.get(..length).and_then(<[u8]>::split_last) {
        Some((&top, low)) => (low, top),
        None => (bytes, 0),
    };
    // Each byte beyond the least costs one bit of the lead byte.
    let limit = 0x80_u16 >> (length - min);
    if u16::from(top) >= limit {
        out.put_byte(ones_above(limit));
        out.extend_from_slice(low);
        out.put_byte(top);
    } else {
        let prefix = if length > min { ones_above(limit * 2) } else { 0 };
        out.put_byte(top | prefix);
        out.extend_from_slice(low);
    }
}

/// The byte whose bits from `limit` (a power of two) upwards are all ones.
fn ones_above(limit: u16) -> u8 {
    let [low, _] = (!(limit - 1)).to_le_bytes();
    low
}

fn overlong(what: &'static str, lead: u8) -> Stop {
    let detail = format!("the lead byte {lead:#04x} announces too many bytes");
    Stop::Bad(WireError::malformed(what, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(put: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(&mut out);
        out.to_vec()
    }

    #[test]
    fn varints_match_the_recorded_bytes() {
        let cases: [(i32, &[u8]); 7] = [
            (0, &[0x00]),
            (1, &[0x01]),
            (0x98, &[0x80, 0x98]),
            (0x1298, &[0x92, 0x98]),
            (0xc01, &[0x8c, 0x01]),
            (511, &[0x81, 0xff]),
            (-1, &[0xf0, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (value, bytes) in cases {
            assert_eq!(written(|out| out.put_varint(value)), bytes, "{value}");
            assert_eq!(Cursor::new(bytes).varint(), Ok(value));
        }
    }

    #[test]
    fn varlongs_match_the_recorded_bytes() {
        let cases: [(i64, usize, &[u8]); 6] = [
            (12, 3, &[0x00, 0x0c, 0x00]),
            (4096, 3, &[0x00, 0x00, 0x10]),
            (70_000, 3, &[0x01, 0x70, 0x11]),
            (1_700_000_000, 4, &[0x65, 0x00, 0xf1, 0x53]),
            (5_000_000_000, 4, &[0x81, 0x00, 0xf2, 0x05, 0x2a]),
            (-86_400, 4, &[0xf8, 0x80, 0xae, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ];
        for (value, min, bytes) in cases {
            assert_eq!(written(|out| out.put_varlong(value, min)), bytes, "{value}");
            assert_eq!(Cursor::new(bytes).varlong(min), Ok(value));
        }
    }

    #[test]
    fn longints_and_vstrings_have_their_two_forms() {
        assert_eq!(written(|out| out.put_longint(5)), [5, 0, 0, 0]);
        assert_eq!(
            written(|out| out.put_longint(1 << 32)),
            [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0, 0, 0]
        );
        let long = vec![b'x'; 0x80];
        let bytes = written(|out| out.put_vstring(&long).expect("fits"));
        assert_eq!(bytes.get(..2), Some(&[0x80, 0x80][..]));
        assert_eq!(Cursor::new(&bytes).vstring(0x80), Ok(&long[..]));
        assert!(matches!(Cursor::new(&bytes).vstring(0x7f), Err(Stop::Bad(_))));
        assert!(BytesMut::new().put_vstring(&vec![0; 0x8000]).is_err());
    }

    #[test]
    fn impossible_lead_bytes_are_malformed() {
        assert!(matches!(Cursor::new(&[0xf8, 0, 0, 0, 0, 0]).varint(), Err(Stop::Bad(_))));
        assert!(matches!(Cursor::new(&[0xff; 12]).varlong(4), Err(Stop::Bad(_))));
    }

    #[test]
    fn the_version_chooses_the_form() -> Result<(), WireError> {
        let (old, new) = (Version::new(29)?, Version::new(30)?);
        for (version, int, long) in [(old, 4, 4), (new, 1, 3)] {
            let bytes = written(|out| out.put_varint30(version, 7));
            assert_eq!(bytes.len(), int);
            assert_eq!(Cursor::new(&bytes).varint30(version), Ok(7));
            let bytes = written(|out| out.put_varlong30(version, 7, 3));
            assert_eq!(bytes.len(), long);
            assert_eq!(Cursor::new(&bytes).varlong30(version, 3), Ok(7));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_integer_survives(int: i32, long: i64, min in 3_usize..=8) {
            let bytes = written(|out| {
                out.put_varint(int);
                out.put_varlong(long, min);
                out.put_longint(long);
                out.put_short(0xabcd);
            });
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.varint(), Ok(int));
            prop_assert_eq!(cursor.varlong(min), Ok(long));
            prop_assert_eq!(cursor.longint(), Ok(long));
            prop_assert_eq!(cursor.short(), Ok(0xabcd));
            prop_assert_eq!(cursor.remaining(), 0);
        }

        #[test]
        fn every_cut_asks_for_more(int: i32, long: i64, text: Vec<u8>) {
            let encodings = [
                written(|out| out.put_varint(int)),
                written(|out| out.put_varlong(long, 3)),
                written(|out| out.put_vstring(&text).expect("short")),
            ];
            for (which, bytes) in encodings.iter().enumerate() {
                for cut in 0..bytes.len() {
                    let mut cursor = Cursor::new(bytes.get(..cut).expect("within"));
                    let stop = match which {
                        0 => cursor.varint().err(),
                        1 => cursor.varlong(3).err(),
                        _ => cursor.vstring(MAX_VSTRING).err(),
                    };
                    prop_assert_eq!(stop, Some(Stop::More));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, min in 0_usize..=12) {
            drop(Cursor::new(&bytes).varint());
            drop(Cursor::new(&bytes).varlong(min));
            drop(Cursor::new(&bytes).longint());
            drop(Cursor::new(&bytes).vstring(100));
        }
    }
}
