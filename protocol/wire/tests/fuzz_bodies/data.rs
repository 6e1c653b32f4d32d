//! What moves data: frames, records, sums, tokens, statistics.

use bascule_wire::decode::Stop;
use bascule_wire::message::Message;
use bascule_wire::mux::{Frame, MuxDecoder, MuxEncoder};
use bascule_wire::names::CompressName;
use bascule_wire::ndx::{Index, IndexCode};
use bascule_wire::record::{Record, RecordDecoder, RecordEncoder};
use bascule_wire::stats::{DeleteStats, TransferStats};
use bascule_wire::sums::{BlockSumsDecoder, SumHead};
use bascule_wire::token::{Token, TokenDecoder, TokenEncoder};
use bascule_wire::varint::PutWire as _;
use bascule_wire::{Cursor, Decode as _};
use bytes::{Bytes, BytesMut};

use super::{Input, again, both_cuts, decoded, negotiated, read_both_cuts};

/// Longest piece of a literal, in bytes.
const PIECE: usize = 64 * 1024;

/// Joins neighbouring pieces of data, whose borders mean nothing.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut whole: Vec<Frame> = Vec::new();
    for frame in frames {
        match (whole.last_mut(), frame) {
            (Some(Frame::Data(before)), Frame::Data(piece)) => {
                *before = [&before[..], &piece[..]].concat().into();
            }
            (_, frame) => whole.push(frame),
        }
    }
    whole
}

fn text(message: &Message) -> Option<&Bytes> {
    match message {
        Message::ErrorXfer(text)
        | Message::Info(text)
        | Message::Error(text)
        | Message::Warning(text) => Some(text),
        _ => None,
    }
}

pub(super) fn mux(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let [whole, cut] = input.cuts().map(|chunks| decoded(&mut MuxDecoder::new(), chunks));
    assert_eq!(whole.failed, cut.failed, "the cut changed the end");
    let frames = joined(whole.items);
    assert_eq!(frames, joined(cut.items), "the cut changed the frames");
    for frame in frames {
        let mut encoder = MuxEncoder::new();
        match &frame {
            Frame::Data(data) => encoder.data(|out| out.extend_from_slice(data)),
            Frame::Message(message) => encoder.message(message),
        }
        let read = joined(again(&mut MuxDecoder::new(), &encoder.take()));
        if let Frame::Message(message) = &frame
            && let Some(said) = text(message)
        {
            // A long text goes out in parts, an empty one not at all.
            let parts: Vec<&Bytes> = read
                .iter()
                .filter_map(|part| match part {
                    Frame::Message(part) if part.tag() == message.tag() => text(part),
                    _ => None,
                })
                .collect();
            assert_eq!(parts.len(), read.len());
            assert_eq!(
                parts.into_iter().flatten().collect::<Vec<_>>(),
                said.iter().collect::<Vec<_>>()
            );
        } else {
            assert_eq!(read, [frame]);
        }
    }
}

pub(super) fn ndx(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let version = input.version(27);
    let read_all = |bytes: &[u8]| {
        let mut code = IndexCode::new(version);
        let mut cursor = Cursor::new(bytes);
        let mut indexes: Vec<Index> = Vec::new();
        loop {
            match code.read(&mut cursor) {
                Ok(index) => indexes.push(index),
                Err(stop) => return (indexes, stop, cursor.remaining()),
            }
        }
    };
    let (indexes, ..) = read_all(input.bytes);
    // What was complete before the cut stays what it is.
    let (before, ..) = read_all(&input.bytes[..input.cut]);
    assert!(indexes.starts_with(&before));
    let mut code = IndexCode::new(version);
    let mut out = BytesMut::new();
    for index in &indexes {
        code.put(*index, &mut out);
    }
    assert_eq!(read_all(&out), (indexes, Stop::More, 0));
}

pub(super) fn record(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let version = input.version(27);
    let records: Vec<Record> = both_cuts(input, || RecordDecoder::new(version));
    let mut encoder = RecordEncoder::new(version);
    let mut out = BytesMut::new();
    for record in &records {
        encoder.put(record, &mut out);
    }
    assert_eq!(again(&mut RecordDecoder::new(version), &out), records);
}

pub(super) fn sums(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let version = input.version(27);
    let digest_len = if input.bit(3) { 32 } else { 16 };
    let read = |cursor: &mut Cursor<'_>| SumHead::read(cursor, version, digest_len);
    let Some((head, taken)) = read_both_cuts(input, read) else { return };
    let mut out = BytesMut::new();
    head.put(&mut out);
    assert_eq!(out, &input.bytes[..taken]);
    assert!(head.count == 0 || head.basis_len() > 0);
    for number in [0, head.count / 2, head.count.saturating_sub(1)] {
        assert!(head.block(number).1 <= head.block_len);
    }

    let bytes = &input.bytes[taken..];
    let cut = input.cut.min(bytes.len());
    let sums = [[bytes, &[]], bytes.split_at(cut).into()].map(|chunks: [&[u8]; 2]| {
        let mut decoder = BlockSumsDecoder::new(head);
        let mut buf = BytesMut::new();
        for chunk in chunks {
            buf.extend_from_slice(chunk);
            if let Some(sums) = decoder.decode(&mut buf).expect("nothing can be wrong") {
                return Some(sums);
            }
        }
        None
    });
    assert_eq!(sums[0], sums[1], "the cut changed the sums");
    if let Some(sums) = &sums[0] {
        let mut out = BytesMut::new();
        for (number, rolling) in (0..).zip(sums.rolling()) {
            out.put_int(rolling.cast_signed());
            out.extend_from_slice(sums.strong(number));
        }
        assert!(bytes.starts_with(&out));
    }
}

pub(super) fn stats(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let version = input.version(27);
    let transfer = |cursor: &mut Cursor<'_>| TransferStats::read(cursor, version);
    if let Some((stats, _)) = read_both_cuts(input, transfer) {
        let mut out = BytesMut::new();
        stats.put(version, &mut out);
        assert_eq!(transfer(&mut Cursor::new(&out)), Ok(stats));
    }
    if let Some((stats, _)) = read_both_cuts(input, DeleteStats::read) {
        let mut out = BytesMut::new();
        stats.put(&mut out);
        assert_eq!(DeleteStats::read(&mut Cursor::new(&out)), Ok(stats));
        assert!(stats.total() <= 5 << 28);
    }
}

pub(super) fn token_plain(data: &[u8]) {
    tokens(data, |_| CompressName::None);
}

pub(super) fn token_deflate(data: &[u8]) {
    tokens(data, |input| if input.bit(3) { CompressName::Zlib } else { CompressName::Zlibx });
}

pub(super) fn token_zstd(data: &[u8]) {
    tokens(data, |_| CompressName::Zstd);
}

pub(super) fn token_lz4(data: &[u8]) {
    tokens(data, |_| CompressName::Lz4);
}

/// What came out of a token stream; bombs are followed up to a limit only.
#[derive(Debug, PartialEq)]
struct Rebuilt {
    tokens: Vec<Token>,
    failed: bool,
    limited: bool,
}

fn rebuild(decoder: &mut TokenDecoder, chunks: [&[u8]; 2], block: &[u8]) -> Rebuilt {
    const MOST: usize = 4 << 20;
    let mut rebuilt = Rebuilt { tokens: Vec::new(), failed: false, limited: false };
    let mut total = 0;
    let mut buf = BytesMut::new();
    for chunk in chunks {
        buf.extend_from_slice(chunk);
        loop {
            let token = match decoder.decode(&mut buf) {
                Ok(Some(token)) => token,
                Ok(None) => break,
                Err(_) => return Rebuilt { failed: true, ..rebuilt },
            };
            match (&token, rebuilt.tokens.last_mut()) {
                (Token::Literal(data), before) => {
                    assert!((1..=PIECE).contains(&data.len()), "{} bytes at once", data.len());
                    total += data.len();
                    if let Some(Token::Literal(before)) = before {
                        let mut whole = Vec::from(std::mem::take(before));
                        whole.extend_from_slice(data);
                        *before = whole.into();
                    } else {
                        rebuilt.tokens.push(token);
                    }
                }
                (Token::Match(_), _) => {
                    total += 1024;
                    rebuilt.tokens.push(token);
                    if decoder.matched_data(block).is_err() {
                        return Rebuilt { failed: true, ..rebuilt };
                    }
                }
                (Token::End, _) => rebuilt.tokens.push(token),
            }
            if total > MOST {
                return Rebuilt { limited: true, ..rebuilt };
            }
        }
    }
    rebuilt
}

fn tokens(data: &[u8], compress: impl Fn(Input<'_>) -> CompressName) {
    let Some(input) = Input::new(data) else { return };
    let block = vec![7; if input.bit(4) { 70_000 } else { 700 }];
    let negotiated = negotiated(input.version(27), 0, compress(input));
    let decoder = || TokenDecoder::new(&negotiated).expect("a decoder");
    let [whole, cut] = input.cuts().map(|chunks| rebuild(&mut decoder(), chunks, &block));
    if whole.limited || cut.limited {
        assert_eq!(whole.limited, cut.limited);
        return;
    }
    assert!(whole == cut, "the cut changed the tokens");

    // Whole files only: what has no end cannot be told from a file that ends.
    let files = whole.tokens.iter().rposition(|token| *token == Token::End).map_or(0, |at| at + 1);
    let mut encoder = TokenEncoder::new(&negotiated, None).expect("an encoder");
    let mut out = BytesMut::new();
    for token in &whole.tokens[..files] {
        match token {
            Token::Literal(data) => encoder.literal(data, &mut out),
            Token::Match(number) => encoder.matched(*number, &block, &mut out),
            Token::End => encoder.end(&mut out),
        }
        .expect("it came over the wire");
    }
    let read = rebuild(&mut decoder(), [&out, &[]], &block);
    assert!(read.tokens == whole.tokens[..files] && !read.failed, "our own tokens differ");
}
