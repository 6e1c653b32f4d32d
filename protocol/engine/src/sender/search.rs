//! The block search: which parts of a file does the peer have already?

use std::io;

use bascule_wire::rolling::Rolling;
use bascule_wire::strong::{Digest, FileHasher, StrongSum};
use bascule_wire::sums::BlockSums;

use super::window::{Content, Window};
use crate::outcome::Fatal;

/// Literal data are passed on once this many bytes wait.
const LITERAL: u64 = 32 * 1024;
/// Blocks with equal rolling sums that are looked at for one position: a file made to have more
/// is sent as data instead (§19.8).
const MAX_EQUAL: usize = 1024;
/// The end of a chain.
const NONE: u32 = u32::MAX;

/// Takes what the search finds, in the order of the file.
pub trait Tokens {
    /// Data that the peer does not have.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    fn literal(&mut self, data: &[u8]) -> Result<(), Fatal>;

    /// A block that the peer has, and its content.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    fn matched(&mut self, block: u32, data: &[u8]) -> Result<(), Fatal>;
}

/// What a search has done.
#[derive(Debug)]
pub struct Found {
    /// The digest of what was passed on.
    pub digest: Digest,
    /// Bytes passed on as data.
    pub literal: u64,
    /// Bytes found in blocks.
    pub matched: u64,
    /// Why the file could not be read to its end.
    pub error: Option<io::Error>,
}

/// Passes `content` on as data and, where `sums` knows it, as blocks. With `in_place` only
/// blocks that the peer has not overwritten yet are used (§15).
///
/// # Errors
/// What `out` says. Trouble with the file is in [`Found`].
pub fn send(
    content: Content<'_>,
    sums: Option<&BlockSums>,
    strong: &StrongSum,
    in_place: bool,
    out: &mut dyn Tokens,
) -> Result<Found, Fatal> {
    let mut search = Search {
        window: Window::new(content),
        len: content.len(),
        hasher: strong.file(),
        literal: 0,
        matched: 0,
        out,
    };
    let read = match sums {
        None => search.whole()?,
        Some(sums) => search.blocks(&Table::new(sums), strong, in_place)?,
    };
    Ok(Found {
        digest: search.hasher.finish(),
        literal: search.literal,
        matched: search.matched,
        error: read.err(),
    })
}

struct Search<'a> {
    window: Window<'a>,
    len: u64,
    hasher: FileHasher,
    literal: u64,
    matched: u64,
    out: &'a mut dyn Tokens,
}

impl Search<'_> {
    fn whole(&mut self) -> Result<io::Result<()>, Fatal> {
        let mut from = 0;
        while from < self.len {
            let to = (from + LITERAL).min(self.len);
            if let Err(error) = self.window.hold(from, to) {
                return Ok(Err(error));
            }
            self.pass_literal(from, to)?;
            from = to;
        }
        Ok(Ok(()))
    }

    fn blocks(
        &mut self,
        table: &Table<'_>,
        strong: &StrongSum,
        in_place: bool,
    ) -> Result<io::Result<()>, Fatal> {
        let head = *table.sums.head();
        let block_len = u64::from(head.block_len);
        // Beyond this position not even the last block fits.
        let shortest = u64::from(head.block(head.count - 1).1);
        let mut position = 0;
        let mut unsent = 0;
        let mut expected = 0;
        let mut rolling: Option<Rolling> = None;
        while position + shortest <= self.len {
            let end = (position + block_len).min(self.len);
            if let Err(error) = self.window.hold(unsent, end + 1) {
                self.pass_literal(unsent, position)?;
                return Ok(Err(error));
            }
            let data = self.window.bytes(position, end);
            let sum = *rolling.get_or_insert_with(|| Rolling::new(data));
            let found = table.find(sum.value(), data, expected, strong, |block| {
                let offset = head.block(block).0;
                !in_place || offset >= position
            });
            if let Some(block) = found {
                self.pass_literal(unsent, position)?;
                let data = self.window.bytes(position, end);
                self.hasher.update(data);
                self.matched += data.len() as u64;
                self.out.matched(block, data)?;
                position = end;
                unsent = end;
                expected = block.saturating_add(1);
                rolling = None;
                continue;
            }
            let next = self.window.bytes(end, end + 1).first().copied();
            let old = data.first().copied().unwrap_or(0);
            if let Some(sum) = &mut rolling {
                match next {
                    Some(new) => sum.roll(old, new),
                    None => sum.shorten(old),
                }
            }
            position += 1;
            if position - unsent >= LITERAL {
                self.pass_literal(unsent, position)?;
                unsent = position;
            }
        }
        let mut from = unsent;
        while from < self.len {
            let to = (from + LITERAL).min(self.len);
            if let Err(error) = self.window.hold(from, to) {
                return Ok(Err(error));
            }
            self.pass_literal(from, to)?;
            from = to;
        }
        Ok(Ok(()))
    }

    fn pass_literal(&mut self, from: u64, to: u64) -> Result<(), Fatal> {
        let data = self.window.bytes(from, to);
        if data.is_empty() {
            return Ok(());
        }
        self.hasher.update(data);
        self.literal += data.len() as u64;
        self.out.literal(data)
    }
}

/// Blocks by their rolling sums.
struct Table<'a> {
    sums: &'a BlockSums,
    /// The first block of each chain, by [`Table::slot`].
    heads: Vec<u32>,
    /// The next block of the same chain, by block.
    next: Vec<u32>,
    mask: u32,
}

impl<'a> Table<'a> {
    fn new(sums: &'a BlockSums) -> Self {
        let count = sums.rolling().len();
        let size = (count * 2).next_power_of_two().clamp(1 << 8, 1 << 24);
        let mask = u32::try_from(size - 1).unwrap_or(u32::MAX);
        let mut table = Self { sums, heads: vec![NONE; size], next: vec![NONE; count], mask };
        // From the back, so that each chain begins with its first block.
        for (block, rolling) in sums.rolling().iter().enumerate().rev() {
            let slot = table.slot(*rolling);
            table.next[block] = table.heads[slot];
            table.heads[slot] = u32::try_from(block).unwrap_or(NONE);
        }
        table
    }

    fn slot(&self, rolling: u32) -> usize {
        let mixed = (rolling ^ rolling >> 16).wrapping_mul(0x9e37_79b1);
        (mixed >> 8 & self.mask) as usize
    }

    /// A block with the content `data`: the expected one if it is among them, else the first that
    /// `allowed` admits.
    fn find(
        &self,
        rolling: u32,
        data: &[u8],
        expected: u32,
        strong: &StrongSum,
        allowed: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut block = self.heads[self.slot(rolling)];
        if block == NONE {
            return None;
        }
        let mut digest: Option<Digest> = None;
        let mut is_same = |block: u32| {
            let head = self.sums.head();
            if self.sums.rolling().get(block as usize) != Some(&rolling)
                || head.block(block).1 as usize != data.len()
                || !allowed(block)
            {
                return false;
            }
            let digest = digest.get_or_insert_with(|| strong.block(data));
            let wanted = self.sums.strong(block);
            digest.as_ref().get(..wanted.len()) == Some(wanted)
        };
        if is_same(expected) {
            return Some(expected);
        }
        for _ in 0..MAX_EQUAL {
            if is_same(block) {
                return Some(block);
            }
            block = *self.next.get(block as usize)?;
            if block == NONE {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bascule_wire::names::{ChecksumName, CompressName};
    use bascule_wire::setup::CompatFlags;
    use bascule_wire::sums::{BlockSumsDecoder, SumHead};
    use bascule_wire::{Decode as _, Negotiated, Version, rolling};
    use bytes::{BufMut as _, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::tree::{Metadata, ReadAt};

    struct Bytes<'a>(&'a [u8]);

    impl ReadAt for Bytes<'_> {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let read = rest.len().min(buf.len()).min(1000);
            buf[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        }

        fn opened(&self) -> &Metadata {
            unreachable!("the search asks for content only")
        }

        fn metadata(&self) -> io::Result<Metadata> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    struct Rebuilt<'a> {
        basis: &'a [u8],
        head: SumHead,
        content: Vec<u8>,
        in_place: bool,
    }

    impl Tokens for Rebuilt<'_> {
        fn literal(&mut self, data: &[u8]) -> Result<(), Fatal> {
            assert!(data.len() as u64 <= LITERAL);
            self.content.extend_from_slice(data);
            Ok(())
        }

        fn matched(&mut self, block: u32, data: &[u8]) -> Result<(), Fatal> {
            let (offset, len) = self.head.block(block);
            assert_eq!(&self.basis[offset as usize..][..len as usize], data);
            if self.in_place {
                assert!(offset >= self.content.len() as u64);
            }
            self.content.extend_from_slice(data);
            Ok(())
        }
    }

    fn strong_sum() -> StrongSum {
        StrongSum::new(&Negotiated {
            version: Version::NEWEST,
            compat: CompatFlags::default(),
            checksum: ChecksumName::Xxh128,
            list_checksum: ChecksumName::Xxh128,
            compress: CompressName::None,
            seed: 7,
        })
    }

    fn sums_of(basis: &[u8], block_size: u32, strong: &StrongSum) -> BlockSums {
        let len = basis.len() as u64;
        let head = SumHead::for_basis(len, Some(block_size), false, 16, Version::NEWEST);
        let mut out = BytesMut::new();
        for block in 0..head.count {
            let (offset, len) = head.block(block);
            let data = &basis[offset as usize..][..len as usize];
            out.put_u32_le(rolling::checksum(data));
            out.put_slice(&strong.block(data).as_ref()[..head.strong_len as usize]);
        }
        let decoded = BlockSumsDecoder::new(head).decode(&mut out).expect("well formed");
        decoded.expect("complete")
    }

    fn rebuild(basis: &[u8], file: &[u8], block_size: u32, in_place: bool) -> Found {
        let strong = strong_sum();
        let sums = sums_of(basis, block_size, &strong);
        let known = (sums.head().count > 0).then_some(&sums);
        let mut out = Rebuilt { basis, head: *sums.head(), content: Vec::new(), in_place };
        let len = file.len() as u64;
        let read = Content::File { file: &Bytes(file), len };
        let found = send(read, known, &strong, in_place, &mut out).expect("nothing breaks");
        let mut again = Rebuilt { basis, head: *sums.head(), content: Vec::new(), in_place };
        let held = send(Content::Held(file), known, &strong, in_place, &mut again);
        assert_eq!(held.expect("nothing breaks").literal, found.literal);
        assert!(again.content == file, "held in memory it is the same");
        assert!(out.content == file, "the tokens rebuild the file");
        assert!(found.error.is_none());
        assert_eq!(found.literal + found.matched, len);
        let mut hasher = strong.file();
        hasher.update(file);
        assert_eq!(found.digest, hasher.finish());
        found
    }

    #[test]
    fn finds_everything_in_an_unchanged_file() {
        let file: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(n) >> 5) as u8).collect();
        assert_eq!(rebuild(&file, &file, 700, false).literal, 0);
        assert_eq!(rebuild(&file, &file, 700, true).literal, 0);
    }

    #[test]
    fn sends_little_for_an_insertion() {
        let basis: Vec<u8> =
            (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let file = [&basis[..30_000], b"inserted", &basis[30_000..]].concat();
        assert!(rebuild(&basis, &file, 700, false).literal <= 708);
    }

    #[test]
    fn reports_a_file_that_became_shorter() {
        let strong = strong_sum();
        let mut out =
            Rebuilt { basis: b"", head: SumHead::EMPTY, content: Vec::new(), in_place: false };
        let content = Content::File { file: &Bytes(b"short"), len: 100 };
        let found = send(content, None, &strong, false, &mut out).expect("nothing breaks");
        assert!(found.error.is_some());
    }

    #[test]
    fn rule_19_8_equal_weak_sums_cost_a_bounded_number_of_comparisons() {
        const BLOCK: usize = 100;
        // Adding 1, -2, 1 somewhere changes the content and not the rolling sum.
        let block = |number: usize| {
            let mut data = [8_u8; BLOCK];
            for at in [number % 50, 50 + number / 50 % 47] {
                data[at] += 1;
                data[at + 1] -= 2;
                data[at + 2] += 1;
            }
            data
        };
        let basis: Vec<u8> = (0..2000).flat_map(block).collect();
        let sums = sums_of(&basis, BLOCK as u32, &strong_sum());
        assert!(sums.rolling().iter().all(|sum| *sum == sums.rolling()[0]));
        // Only block 0 is expected first: the others have to be searched for.
        let literal = |number| rebuild(&basis, &block(number), BLOCK as u32, false).literal;
        assert_eq!(literal(MAX_EQUAL - 1), 0);
        assert_eq!(literal(MAX_EQUAL + 1), BLOCK as u64);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn tokens_rebuild_the_file(
            basis in proptest::collection::vec(0_u8..4, 0..5000),
            edits in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 0..4),
            block_size in 1_u32..900,
            in_place in any::<bool>(),
        ) {
            let mut file = basis.clone();
            for (at, take, byte) in edits {
                if file.is_empty() {
                    break;
                }
                let at = at % file.len();
                let take = at + take % (file.len() - at + 1);
                file.splice(at..take, std::iter::repeat_n(byte, usize::from(byte)));
            }
            rebuild(&basis, &file, block_size, in_place);
        }
    }
}
