//! Block sums: the head, the block-size rule, the list (§6).

use bytes::{Buf as _, BytesMut};

use crate::decode::{Cursor, Decode, Stop};
use crate::error::WireError;
use crate::limits::{MAX_BLOCK, MAX_BLOCK_OLD, MAX_BLOCKS, MAX_KEPT_BLOCKS};
use crate::varint::PutWire as _;
use crate::version::Version;

/// The smallest block that the rule gives, in bytes.
const SMALLEST_BLOCK: u32 = 700;
/// Longest strong sum of a block on the wire, in bytes.
const LONGEST_STRONG: u32 = 16;

/// How a basis is cut into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SumHead {
    /// Number of blocks.
    pub count: u32,
    /// Length of a block in bytes.
    pub block_len: u32,
    /// Bytes of each strong sum that travel.
    pub strong_len: u32,
    /// Length of the last block if it is shorter, else 0.
    pub remainder: u32,
}

impl SumHead {
    /// No basis: everything is asked for.
    pub const EMPTY: Self = Self { count: 0, block_len: 0, strong_len: 0, remainder: 0 };

    /// Cuts a basis of `len` bytes. `block_size` is the user's choice, `redo` asks for full strong
    /// sums, `digest_len` is the digest's length in bytes.
    pub fn for_basis(
        len: u64,
        block_size: Option<u32>,
        redo: bool,
        digest_len: usize,
        version: Version,
    ) -> Self {
        let longest = if version.has_varints() { MAX_BLOCK } else { MAX_BLOCK_OLD };
        let block_len = match block_size {
            Some(size) if size > 0 => size.min(longest),
            _ => block_len_for(len, longest),
        };
        let full = u32::try_from(digest_len).unwrap_or(LONGEST_STRONG).min(LONGEST_STRONG);
        let strong_len =
            if redo { full } else { strong_len_for(len, block_len).min(full).max(2.min(full)) };
        let remainder = u32::try_from(len % u64::from(block_len)).unwrap_or(0);
        let count = len.div_ceil(u64::from(block_len));
        match u32::try_from(count) {
            Ok(count) if count <= MAX_BLOCKS => Self { count, block_len, strong_len, remainder },
            _ => Self::EMPTY,
        }
    }

    /// Offset and length in bytes of a block.
    pub fn block(&self, number: u32) -> (u64, u32) {
        let offset = u64::from(number) * u64::from(self.block_len);
        let is_last = number + 1 == self.count;
        let len = if is_last && self.remainder != 0 { self.remainder } else { self.block_len };
        (offset, len)
    }

    /// Length in bytes of the basis that was cut.
    pub fn basis_len(&self) -> u64 {
        match self.count.checked_sub(1) {
            None => 0,
            Some(last) => {
                let (offset, len) = self.block(last);
                offset + u64::from(len)
            }
        }
    }

    /// Appends the head.
    pub fn put(&self, out: &mut BytesMut) {
        for value in [self.count, self.block_len, self.strong_len, self.remainder] {
            out.put_int(value.cast_signed());
        }
    }

    /// Reads a head and checks it (§6): `digest_len` is the digest's length in bytes.
    ///
    /// # Errors
    /// [`Stop::More`] at the end; [`Stop::Bad`] when a value is out of bounds.
    pub fn read(
        cursor: &mut Cursor<'_>,
        version: Version,
        digest_len: usize,
    ) -> Result<Self, Stop> {
        let mut next = |what: &'static str, max: u32| {
            let value = cursor.int()?;
            u32::try_from(value)
                .ok()
                .filter(|value| *value <= max)
                .ok_or_else(|| Stop::Bad(WireError::malformed(what, format!("{value}"))))
        };
        let longest = if version.has_varints() { MAX_BLOCK } else { MAX_BLOCK_OLD };
        let count = next("block count", MAX_BLOCKS)?;
        let block_len = next("block length", longest)?;
        let strong_len =
            next("strong sum length", u32::try_from(digest_len).unwrap_or(LONGEST_STRONG))?;
        let remainder = next("last block's length", block_len)?;
        if count > 0 && block_len == 0 {
            return Err(WireError::malformed("block length", "0 for a basis with blocks").into());
        }
        Ok(Self { count, block_len, strong_len, remainder })
    }
}

/// The block length for a basis of `len` bytes: about its square root, a multiple of 8.
fn block_len_for(len: u64, longest: u32) -> u32 {
    if len <= u64::from(SMALLEST_BLOCK) * u64::from(SMALLEST_BLOCK) {
        return SMALLEST_BLOCK;
    }
    let mut highest = 1_u64;
    let mut rest = len >> 2;
    while rest != 0 {
        highest <<= 1;
        rest >>= 2;
    }
    if highest >= u64::from(longest) {
        return longest;
    }
    let (mut root, mut bit) = (0_u64, highest);
    while bit >= 8 {
        root |= bit;
        if len < root * root {
            root &= !bit;
        }
        bit >>= 1;
    }
    u32::try_from(root).unwrap_or(longest).max(SMALLEST_BLOCK)
}

/// Bytes of a strong sum that make a wrong match unlikely enough, before clamping from above.
fn strong_len_for(len: u64, block_len: u32) -> u32 {
    const BIAS: i64 = 10;
    let bits = BIAS + 2 * i64::from(len.max(1).ilog2()) - i64::from(block_len.max(1).ilog2());
    let bytes = (bits.max(0) + 1 - 32 + 7) / 8;
    u32::try_from(bytes).unwrap_or(0).max(2)
}

/// The sums of all blocks of a basis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockSums {
    head: SumHead,
    rolling: Vec<u32>,
    strong: Vec<u8>,
}

impl BlockSums {
    /// How the basis was cut.
    pub fn head(&self) -> &SumHead {
        &self.head
    }

    /// The rolling sums, by block.
    pub fn rolling(&self) -> &[u32] {
        &self.rolling
    }

    /// The strong sum of a block, cut to the head's length.
    pub fn strong(&self, number: u32) -> &[u8] {
        let len = self.head.strong_len as usize;
        let from = number as usize * len;
        self.strong.get(from..from + len).unwrap_or_default()
    }
}

/// Collects the sums behind a head as they arrive; it consumes them piece by piece and holds no
/// more memory than has arrived. More than [`MAX_KEPT_BLOCKS`] are read past: what comes out then
/// has no blocks.
#[derive(Debug, Clone)]
pub struct BlockSumsDecoder {
    sums: BlockSums,
    /// Sums that have not arrived.
    missing: usize,
}

impl BlockSumsDecoder {
    /// Waits for the sums that `head` announced.
    pub fn new(head: SumHead) -> Self {
        let kept = if head.count > MAX_KEPT_BLOCKS { SumHead { count: 0, ..head } } else { head };
        Self {
            sums: BlockSums { head: kept, ..BlockSums::default() },
            missing: head.count as usize,
        }
    }
}

impl Decode for BlockSumsDecoder {
    type Item = BlockSums;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<BlockSums>, WireError> {
        let sums = &mut self.sums;
        let strong_len = sums.head.strong_len as usize;
        let each = 4 + strong_len;
        let here = (buf.len() / each).min(self.missing);
        let kept = if sums.head.count == 0 { 0 } else { here * each };
        let taken = buf.get(..kept).unwrap_or_default();
        for sum in taken.chunks_exact(each) {
            let (rolling, strong) = sum.split_at(4);
            let mut value = [0; 4];
            value.copy_from_slice(rolling);
            sums.rolling.push(u32::from_le_bytes(value));
            sums.strong.extend_from_slice(strong);
        }
        buf.advance(here * each);
        self.missing -= here;
        Ok((self.missing == 0).then(|| std::mem::take(sums)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(len: u64) -> SumHead {
        SumHead::for_basis(len, None, false, 16, Version::NEWEST)
    }

    #[test]
    fn cuts_like_the_reference() {
        assert_eq!(head(0).count, 0);
        assert_eq!(head(490_000).block_len, 700);
        assert_eq!(head(1 << 20).block_len, 1024);
        assert_eq!(head(1_000_000).block_len, 1000);
        assert_eq!(head(1 << 40).block_len, 131_072);
        let cut = head(20_000);
        assert_eq!((cut.count, cut.block_len, cut.remainder), (29, 700, 400));
        assert_eq!(cut.strong_len, 2);
        assert_eq!(cut.block(28), (19_600, 400));
        assert_eq!(cut.basis_len(), 20_000);
        let redo = SumHead::for_basis(20_000, None, true, 16, Version::NEWEST);
        assert_eq!(redo.strong_len, 16);
        assert_eq!(SumHead::for_basis(20_000, None, true, 8, Version::NEWEST).strong_len, 8);
    }

    #[test]
    fn rule_19_3_impossible_heads_are_refused() {
        for ints in [[-1, 700, 2, 0], [1, 0, 2, 0], [1, 700, 17, 0], [1, 700, 2, 701]] {
            let mut out = BytesMut::new();
            for value in ints {
                out.put_int(value);
            }
            let read = SumHead::read(&mut Cursor::new(&out), Version::NEWEST, 16);
            assert!(matches!(read, Err(Stop::Bad(_))), "{ints:?}");
        }
    }

    #[test]
    fn collects_sums_in_any_pieces() {
        let head = SumHead { count: 3, block_len: 700, strong_len: 2, remainder: 5 };
        let bytes: Vec<u8> = (0..18).collect();
        for step in 1..=bytes.len() {
            let mut decoder = BlockSumsDecoder::new(head);
            let mut buf = BytesMut::new();
            let mut done = None;
            for chunk in bytes.chunks(step) {
                buf.extend_from_slice(chunk);
                done = decoder.decode(&mut buf).expect("nothing can be wrong").or(done);
            }
            let sums = done.expect("all sums are there");
            assert_eq!(sums.rolling(), &[0x0302_0100, 0x0908_0706, 0x0f0e_0d0c]);
            assert_eq!(sums.strong(1), &[10, 11]);
            assert!(buf.is_empty());
        }
    }

    #[test]
    fn rule_19_3_a_promise_of_many_blocks_allocates_little() {
        let head = SumHead { count: MAX_KEPT_BLOCKS, block_len: 1, strong_len: 16, remainder: 0 };
        let mut decoder = BlockSumsDecoder::new(head);
        let mut buf = BytesMut::from(&[0; 39][..]);
        assert_eq!(decoder.decode(&mut buf), Ok(None));
        assert_eq!(buf.len(), 19);
        assert!(decoder.sums.strong.capacity() < 1024 && decoder.sums.rolling.capacity() < 1024);
    }

    #[test]
    fn rule_19_3_more_blocks_than_are_kept_are_read_past() {
        let count = MAX_KEPT_BLOCKS + 1;
        let head = SumHead { count, block_len: 1, strong_len: 0, remainder: 0 };
        let mut decoder = BlockSumsDecoder::new(head);
        let mut buf = BytesMut::new();
        let piece = vec![7; 4 << 16];
        let mut left = 4 * count as usize;
        while left > piece.len() {
            buf.extend_from_slice(&piece);
            left -= piece.len();
            assert_eq!(decoder.decode(&mut buf), Ok(None));
            assert!(buf.is_empty() && decoder.sums.rolling.is_empty());
        }
        buf.extend_from_slice(&piece[..left]);
        buf.extend_from_slice(b"next");
        let sums = decoder.decode(&mut buf).expect("nothing can be wrong").expect("the end");
        assert_eq!((sums.head().count, &buf[..]), (0, &b"next"[..]));
    }

    proptest! {
        #[test]
        fn heads_and_sums_survive_byte_by_byte(
            len in prop_oneof![0_u64..60_000, any::<u64>()],
            block_size in proptest::option::of(1_u32..200_000),
            redo: bool,
            digest_len in prop_oneof![Just(1_usize), Just(8), Just(16), Just(20), Just(32)],
            number in 27_u8..=32,
            byte: u8,
        ) {
            let version = Version::new(number).expect("a known protocol");
            let head = SumHead::for_basis(len, block_size, redo, digest_len, version);
            if head != SumHead::EMPTY {
                prop_assert_eq!(head.basis_len(), len);
            }
            let mut out = BytesMut::new();
            head.put(&mut out);
            for cut in 0..out.len() {
                let mut cursor = Cursor::new(&out[..cut]);
                prop_assert_eq!(SumHead::read(&mut cursor, version, digest_len), Err(Stop::More));
            }
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(SumHead::read(&mut cursor, version, digest_len), Ok(head));
            prop_assert_eq!(cursor.remaining(), 0);

            let head = SumHead { count: head.count.min(40), ..head };
            let each = 4 + head.strong_len as usize;
            let bytes = vec![byte; each * head.count as usize];
            let mut decoder = BlockSumsDecoder::new(head);
            let mut buf = BytesMut::new();
            let mut read = decoder.decode(&mut buf).expect("nothing can be wrong");
            for byte in bytes {
                prop_assert_eq!(&read, &None);
                buf.extend_from_slice(&[byte]);
                read = decoder.decode(&mut buf).expect("nothing can be wrong");
            }
            let read = read.expect("all sums are there");
            prop_assert_eq!(read.rolling().len(), head.count as usize);
            for block in 0..head.count {
                prop_assert_eq!(read.strong(block), vec![byte; head.strong_len as usize]);
            }
            prop_assert!(read.strong(head.count).is_empty());
        }
    }
}
