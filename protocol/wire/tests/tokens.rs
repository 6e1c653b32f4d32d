//! Tokens beyond what the replayed recordings hold: protocol 29, hostile streams, long matches.

#[path = "replay/files.rs"]
#[allow(dead_code, reason = "the replay uses the rest")]
mod files;

use bascule_wire::limits::LITERAL_CHUNK;
use bascule_wire::names::{ChecksumName, CompressName};
use bascule_wire::setup::CompatFlags;
use bascule_wire::token::{Token, TokenDecoder, TokenEncoder};
use bascule_wire::{Decode as _, Negotiated, Version, WireError};
use bytes::BytesMut;

fn negotiated(number: u8, compress: CompressName) -> Negotiated {
    Negotiated {
        version: Version::new(number).expect("a known protocol"),
        compat: CompatFlags(0),
        checksum: ChecksumName::Md5,
        list_checksum: ChecksumName::Md5,
        compress,
        seed: 0,
    }
}

fn coders(number: u8, compress: CompressName) -> (TokenEncoder, TokenDecoder) {
    let negotiated = negotiated(number, compress);
    let encoder = TokenEncoder::new(&negotiated, None).expect("an encoder");
    (encoder, TokenDecoder::new(&negotiated).expect("a decoder"))
}

/// Rebuilds all files of a stream, handed over in chunks of `step` bytes.
fn rebuild(
    decoder: &mut TokenDecoder,
    stream: &[u8],
    step: usize,
    basis: &[u8],
    block_len: usize,
) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let mut file = Vec::new();
    let mut buf = BytesMut::new();
    for fed in stream.chunks(step) {
        buf.extend_from_slice(fed);
        while let Some(token) = decoder.decode(&mut buf).expect("a legal stream") {
            match token {
                Token::Literal(data) => file.extend_from_slice(&data),
                Token::Match(number) => {
                    let from = number as usize * block_len;
                    let block = &basis[from..basis.len().min(from + block_len)];
                    file.extend_from_slice(block);
                    decoder.matched_data(block).expect("a block for the history");
                }
                Token::End => files.push(std::mem::take(&mut file)),
            }
        }
    }
    assert!(buf.is_empty(), "the stream ends with a file");
    files
}

#[test]
fn the_stream_of_protocol_29_is_read() {
    let stream = include_bytes!("tokens/p29-push-z.bin");
    let text: String =
        (0..400).map(|line| format!("line {line:04} of a compressible text file\n")).collect();
    for step in [1, 7, stream.len()] {
        let (_, mut decoder) = coders(29, CompressName::Zlib);
        let rebuilt = rebuild(&mut decoder, stream, step, &files::old(b"delta.bin"), 700);
        assert_eq!(rebuilt.len(), 8);
        let new = files::new(b"delta.bin");
        for wanted in [&b"hello world\n"[..], b"", &new, text.as_bytes()] {
            assert!(rebuilt.iter().any(|file| file == wanted), "{} bytes", wanted.len());
        }
    }
}

/// Blocks beyond 65535 bytes enter the history of old zlib in the order of either version.
#[test]
fn long_blocks_enter_the_history_alike() {
    let block = files::noise(b"block", 131_072);
    for (number, shrunk) in [(30, 21_072..22_000), (31, 25_000..26_000)] {
        let (mut encoder, mut decoder) = coders(number, CompressName::Zlib);
        let mut stream = BytesMut::new();
        for part in [&block[40_000..65_000], &block[110_000..]] {
            encoder.matched(0, &block, &mut stream).expect("it compresses");
            encoder.literal(part, &mut stream).expect("it compresses");
        }
        encoder.end(&mut stream).expect("it compresses");
        let rebuilt = rebuild(&mut decoder, &stream, 1000, &block, 131_072);
        let wanted = [&block[..], &block[40_000..65_000], &block, &block[110_000..]].concat();
        assert_eq!(rebuilt, [wanted]);
        // Old protocols remember the beginning of a block, newer ones its end: the literal out
        // of it costs little, the other one all its bytes.
        assert!(shrunk.contains(&stream.len()), "{number}: {} bytes", stream.len());
    }
}

#[test]
fn runs_are_written_as_stock_does() {
    let written = |blocks: &mut dyn Iterator<Item = u32>| {
        let (mut encoder, _) = coders(32, CompressName::Lz4);
        let mut out = BytesMut::new();
        for block in blocks {
            encoder.matched(block, &[], &mut out).expect("it is written");
        }
        encoder.end(&mut out).expect("it is written");
        out.to_vec()
    };
    let wanted = [
        &[0xc1, 0x05, 0x00][..], // 1 to 6
        &[0x80],                 // 6 again
        &[0xbf],                 // 69
        &[0x21, 133, 0, 0, 0, 1, 0],
        &[0x20, 5, 0, 0, 0],
        &[0x00],
    ];
    assert_eq!(written(&mut (1..=6).chain([6, 69, 133, 134, 5])), wanted.concat());
    assert_eq!(written(&mut (0..65_537)), [0xc0, 0xff, 0xff, 0x81, 0x00]);
}

#[test]
fn long_literals_are_cut() {
    let data = files::noise(b"literal", LITERAL_CHUNK + 1);
    let (mut encoder, _) = coders(32, CompressName::None);
    let mut out = BytesMut::new();
    encoder.literal(&data, &mut out).expect("it is written");
    assert_eq!(out[..4], [0, 0x80, 0, 0]);
    assert_eq!(out[4 + LITERAL_CHUNK..], [1, 0, 0, 0, data[LITERAL_CHUNK]]);
}

#[test]
fn what_is_not_legal_is_refused() {
    use CompressName::{Lz4, None as Plain, Zlib, Zlibx, Zstd};
    let cases: [(CompressName, &[u8]); 12] = [
        (Lz4, &[0x01]),
        (Lz4, &[0x22]),
        (Lz4, &[0x3f]),
        // Below zero and beyond i32.
        (Lz4, &[0x20, 0xff, 0xff, 0xff, 0xff]),
        (Lz4, &[0x20, 0xff, 0xff, 0xff, 0x7f, 0x81]),
        (Lz4, &[0x21, 0xff, 0xff, 0xff, 0x7f, 1, 0]),
        (Lz4, &[0x40, 2, 0xff, 0xff]),
        (Zlibx, &[0x40, 2, 0xff, 0xff]),
        // A deflate stream that ends inside the file.
        (Zlib, &[0x40, 2, 0x03, 0x00, 0x00]),
        (Zlibx, &[0x40, 2, 0x03, 0x00, 0x40, 1, 0x03]),
        (Zstd, &[0x40, 5, 1, 2, 3, 4, 5]),
        (Plain, &[0xff, 0xff, 0xff, 0x7f]),
    ];
    for (compress, bytes) in cases {
        let (_, mut decoder) = coders(32, compress);
        let mut buf = BytesMut::from(bytes);
        let error = loop {
            match decoder.decode(&mut buf) {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let is_malformed = matches!(error, Some(WireError::Malformed { .. }));
        assert!(is_malformed, "{compress:?} {bytes:x?}: {error:?}");
    }
}

/// 64 MiB of zeros in a few chunks come out in pieces, not at once.
#[test]
fn bombs_come_out_in_pieces() {
    for compress in [CompressName::Zlibx, CompressName::Zlib, CompressName::Zstd, CompressName::Lz4]
    {
        let (mut encoder, mut decoder) = coders(32, compress);
        let mut stream = BytesMut::new();
        for _ in 0..64 {
            encoder.literal(&[0; 1 << 20], &mut stream).expect("it compresses");
        }
        encoder.end(&mut stream).expect("it compresses");
        let mut total = 0;
        while let Some(token) = decoder.decode(&mut stream).expect("a legal stream") {
            if let Token::Literal(piece) = token {
                assert!(piece.len() <= 65_536, "{compress:?}: {} at once", piece.len());
                total += piece.len();
            }
        }
        assert_eq!(total, 64 << 20, "{compress:?}");
    }
}
