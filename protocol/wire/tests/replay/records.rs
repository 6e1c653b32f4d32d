//! The records of both directions, with the sums and tokens behind them (§11, §12, §13).

use std::collections::HashMap;

use bascule_wire::Decode as _;
use bascule_wire::names::CompressName;
use bascule_wire::record::{Record, RecordDecoder, RecordEncoder, RecordHead};
use bascule_wire::rolling;
use bascule_wire::strong::StrongSum;
use bascule_wire::sums::{BlockSumsDecoder, SumHead};
use bascule_wire::token::{Token, TokenDecoder, TokenEncoder};
use bascule_wire::varint::PutWire as _;
use bytes::BytesMut;

use super::Seen;
use super::files;
use super::list::ListReader;
use super::opening::Opening;
use super::stream::Stream;

/// What files became on the receiving side, for those that were appended to: the basis of a redo.
pub(crate) type Appended = HashMap<u32, Vec<u8>>;

/// One direction's records.
struct Records {
    decoder: RecordDecoder,
    encoder: RecordEncoder,
}

impl Records {
    fn new(opening: &Opening) -> Self {
        let version = opening.negotiated.version;
        Self { decoder: RecordDecoder::new(version), encoder: RecordEncoder::new(version) }
    }

    fn next(&mut self, side: &mut Stream<'_>) -> Record {
        let record = side.next(&mut self.decoder);
        self.encoder.put(&record, &mut side.again);
        record
    }
}

fn read_head(opening: &Opening, side: &mut Stream<'_>) -> SumHead {
    let version = opening.negotiated.version;
    let digest_len = opening.negotiated.checksum.digest_len();
    let head = side.read(|cursor| SumHead::read(cursor, version, digest_len));
    head.put(&mut side.again);
    head
}

fn carries_data(opening: &Opening, head: &RecordHead) -> bool {
    head.flags.is_transfer() && !opening.options.dry_run
}

/// What the receiving side has of a file before the request for it.
fn basis(appended: &Appended, index: u32, base: &[u8]) -> Vec<u8> {
    appended.get(&index).cloned().unwrap_or_else(|| files::old(base))
}

/// The sender's records: its answers.
pub(crate) struct Answers<'o> {
    opening: &'o Opening,
    records: Records,
    strong: StrongSum,
    tokens: TokenDecoder,
    /// Compressed tokens are not canonical: ours are only read again.
    again: (TokenEncoder, TokenDecoder),
    pub(crate) appended: Appended,
}

impl<'o> Answers<'o> {
    pub(crate) fn new(opening: &'o Opening) -> Self {
        let negotiated = &opening.negotiated;
        let tokens = || TokenDecoder::new(negotiated).expect("a known compression");
        let encoder = TokenEncoder::new(negotiated, None).expect("a known compression");
        Self {
            opening,
            records: Records::new(opening),
            strong: StrongSum::new(negotiated),
            tokens: tokens(),
            again: (encoder, tokens()),
            appended: Appended::new(),
        }
    }

    pub(crate) fn next(&mut self, sender: &mut Stream<'_>) -> Record {
        self.records.next(sender)
    }

    /// Reads what follows a record about one file, and rebuilds the file.
    pub(crate) fn file(
        &mut self,
        head: &RecordHead,
        lists: &ListReader<'_>,
        sender: &mut Stream<'_>,
        seen: &mut Seen,
    ) {
        let entry = lists.entry(head.index);
        if !carries_data(self.opening, head) {
            return;
        }
        let entry = entry.expect("a directory has no data");
        let sums = read_head(self.opening, sender);
        let basis =
            if sums.count > 0 { basis(&self.appended, head.index, &entry.base) } else { vec![] };
        assert_eq!(sums.basis_len(), basis.len() as u64, "{:?}", entry.base.escape_ascii());

        let appends = self.opening.append && !self.appended.contains_key(&head.index);
        let mut rebuilt = if appends { basis.clone() } else { Vec::new() };
        self.read_tokens(sender, &sums, &basis, &mut rebuilt);
        assert_eq!(rebuilt.len() as u64, entry.size);

        let digest_len = self.strong.digest_len();
        let sum = sender.read(|cursor| cursor.take(digest_len).map(<[u8]>::to_vec));
        sender.again.extend_from_slice(&sum);
        let mut hasher = self.strong.file();
        if appends && sums.count > 0 {
            // The part that was there already is not the sender's, which the sum shows.
            let mut wrong = self.strong.file();
            wrong.update(&rebuilt);
            assert_ne!(wrong.finish().as_ref(), sum);
            hasher.update(&files::new(&entry.base));
            self.appended.insert(head.index, rebuilt);
        } else {
            rebuilt.chunks(777).for_each(|piece| hasher.update(piece));
            if sums.count > 0 {
                assert!(rebuilt == files::new(&entry.base));
            }
        }
        assert_eq!(hasher.finish().as_ref(), sum, "{:?}", entry.base.escape_ascii());
        seen.files += 1;
        seen.differences += usize::from(sums.count > 0);
    }

    fn read_tokens(
        &mut self,
        sender: &mut Stream<'_>,
        sums: &SumHead,
        basis: &[u8],
        rebuilt: &mut Vec<u8>,
    ) {
        let block = |number: u32| {
            assert!(number < sums.count, "block {number} of {}", sums.count);
            let (from, len) = sums.block(number);
            let from = usize::try_from(from).expect("small");
            &basis[from..from + len as usize]
        };
        let from = sender.taken();
        let mut tokens: Vec<Token> = Vec::new();
        loop {
            let token = sender.next(&mut self.tokens);
            match &token {
                Token::Literal(data) => rebuilt.extend_from_slice(data),
                Token::Match(number) => {
                    rebuilt.extend_from_slice(block(*number));
                    self.tokens.matched_data(block(*number)).expect("a block for the history");
                }
                Token::End => break,
            }
            push_joined(&mut tokens, token);
        }

        let (encoder, decoder) = &mut self.again;
        let mut out = BytesMut::new();
        for token in &tokens {
            let put = match token {
                Token::Literal(data) => encoder.literal(data, &mut out),
                Token::Match(number) => encoder.matched(*number, block(*number), &mut out),
                Token::End => Ok(()),
            };
            put.expect("it was a token");
        }
        encoder.end(&mut out).expect("the end of a file");
        if self.opening.negotiated.compress == CompressName::None {
            sender.again.extend_from_slice(&out);
            return;
        }
        sender.keep_since(from);
        let mut again = Vec::new();
        loop {
            match decoder.decode(&mut out).expect("our own").expect("complete") {
                Token::End => break,
                Token::Match(number) => {
                    decoder.matched_data(block(number)).expect("a block for the history");
                    again.push(Token::Match(number));
                }
                literal @ Token::Literal(_) => push_joined(&mut again, literal),
            }
        }
        assert!(out.is_empty());
        assert!(again == tokens, "our compressed tokens say something else");
    }
}

/// Where literals are cut means nothing.
fn push_joined(tokens: &mut Vec<Token>, token: Token) {
    match (tokens.last_mut(), token) {
        (Some(Token::Literal(before)), Token::Literal(data)) => {
            *before = [&before[..], &data].concat().into();
        }
        (_, token) => tokens.push(token),
    }
}

/// The generator's records: its requests.
pub(crate) struct Requests<'o> {
    opening: &'o Opening,
    records: Records,
    strong: StrongSum,
    appended: Appended,
    /// How often each file was asked for.
    asked: HashMap<u32, usize>,
}

impl<'o> Requests<'o> {
    /// The answers' `appended` tell the basis of a redo.
    pub(crate) fn new(opening: &'o Opening, appended: Appended) -> Self {
        Self {
            opening,
            records: Records::new(opening),
            strong: StrongSum::new(&opening.negotiated),
            appended,
            asked: HashMap::new(),
        }
    }

    pub(crate) fn next(&mut self, generator: &mut Stream<'_>) -> Record {
        self.records.next(generator)
    }

    /// Reads what follows a record about one file, and computes the sums anew.
    pub(crate) fn file(
        &mut self,
        head: &RecordHead,
        lists: &ListReader<'_>,
        generator: &mut Stream<'_>,
        seen: &mut Seen,
    ) {
        let entry = lists.entry(head.index);
        if !carries_data(self.opening, head) {
            return;
        }
        let entry = entry.expect("a directory has no data");
        let sums = read_head(self.opening, generator);
        let asked = self.asked.entry(head.index).or_default();
        *asked += 1;
        let redo = *asked > 1;
        if sums.count == 0 {
            assert_eq!(sums, SumHead::EMPTY);
            return;
        }
        let none = Appended::new();
        let basis = basis(if redo { &self.appended } else { &none }, head.index, &entry.base);
        let len = basis.len() as u64;
        let digest_len = self.strong.digest_len();
        let version = self.opening.negotiated.version;
        assert_eq!(sums, SumHead::for_basis(len, None, redo, digest_len, version));
        if self.opening.append && !redo {
            return;
        }
        let read = generator.next(&mut BlockSumsDecoder::new(sums));
        assert_eq!(*read.head(), sums);
        for (number, block) in (0..).zip(basis.chunks(sums.block_len as usize)) {
            let digest = self.strong.block(block);
            let strong = &digest.as_ref()[..sums.strong_len as usize];
            assert_eq!(read.rolling()[number as usize], rolling::checksum(block));
            assert_eq!(read.strong(number), strong);
            generator.again.put_int(rolling::checksum(block).cast_signed());
            generator.again.extend_from_slice(strong);
            seen.block_sums += 1;
        }
        assert_eq!(read.rolling().len(), sums.count as usize);
    }
}
