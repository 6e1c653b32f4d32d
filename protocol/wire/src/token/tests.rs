//! Whatever an encoder writes, its decoder reads back, in any pieces.

use proptest::prelude::*;

use super::*;
use crate::names::ChecksumName;
use crate::setup::CompatFlags;
use crate::version::Version;

fn negotiated(compress: CompressName, number: u8) -> Negotiated {
    Negotiated {
        version: Version::new(number).expect("a known protocol"),
        compat: CompatFlags::default(),
        checksum: ChecksumName::Md5,
        list_checksum: ChecksumName::Md5,
        compress,
        seed: 0,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Literal(Vec<u8>),
    Match(u32, Vec<u8>),
}

/// Merges neighbouring literals: where they are cut is not part of the meaning.
fn joined(tokens: Vec<Token>) -> Vec<Token> {
    let mut merged: Vec<Token> = Vec::new();
    for token in tokens {
        if let (Some(Token::Literal(before)), Token::Literal(data)) = (merged.last_mut(), &token) {
            *before = [&before[..], data].concat().into();
        } else {
            merged.push(token);
        }
    }
    merged
}

fn round_trip(files: &[Vec<Step>], compress: CompressName, number: u8, step: usize) {
    let negotiated = negotiated(compress, number);
    let mut encoder = TokenEncoder::new(&negotiated, None).expect("an encoder");
    let mut out = BytesMut::new();
    let mut expected = Vec::new();
    let mut blocks = Vec::new();
    for file in files {
        for step in file {
            match step {
                Step::Literal(data) => {
                    encoder.literal(data, &mut out).expect("it compresses");
                    if !data.is_empty() {
                        expected.push(Token::Literal(data.clone().into()));
                    }
                }
                Step::Match(number, data) => {
                    encoder.matched(*number, data, &mut out).expect("it compresses");
                    expected.push(Token::Match(*number));
                    blocks.push(data.clone());
                }
            }
        }
        encoder.end(&mut out).expect("it compresses");
        expected.push(Token::End);
    }
    let mut decoder = TokenDecoder::new(&negotiated).expect("a decoder");
    let mut got = Vec::new();
    let mut buf = BytesMut::new();
    let mut blocks = blocks.into_iter();
    for chunk in out.chunks(step) {
        buf.extend_from_slice(chunk);
        while let Some(token) = decoder.decode(&mut buf).expect("it decompresses") {
            if let Token::Match(_) = token {
                let block = blocks.next().expect("as many matches as were sent");
                decoder.matched_data(&block).expect("it takes the block");
            }
            if let Token::Literal(data) = &token {
                assert!(data.len() <= 64 * 1024);
            }
            got.push(token);
        }
    }
    assert!(buf.is_empty());
    assert_eq!(joined(got), joined(expected));
}

const ALL: [CompressName; 5] = [
    CompressName::None,
    CompressName::Zlib,
    CompressName::Zlibx,
    CompressName::Zstd,
    CompressName::Lz4,
];

fn any_step() -> impl Strategy<Value = Step> {
    let data = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3000),
        (any::<u8>(), 0_usize..90_000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    prop_oneof![
        data.clone().prop_map(Step::Literal),
        (0_u32..200, data.clone()).prop_map(|(number, data)| Step::Match(number, data)),
        (0_u32..0x7fff_0000, data).prop_map(|(number, data)| Step::Match(number, data)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn decoders_read_what_encoders_write(
        files in proptest::collection::vec(proptest::collection::vec(any_step(), 0..8), 1..4),
        step in prop_oneof![Just(1_usize), Just(usize::MAX), 2_usize..5000],
        number in 30_u8..=32,
    ) {
        for compress in ALL {
            round_trip(&files, compress, number, step);
        }
    }
}

#[test]
fn consecutive_matches_travel_as_one_run() {
    let block = vec![7; 700];
    let file: Vec<Step> = (1..=6).map(|number| Step::Match(number, block.clone())).collect();
    let mut encoder =
        TokenEncoder::new(&negotiated(CompressName::Zlibx, 32), None).expect("an encoder");
    let mut out = BytesMut::new();
    for step in &file {
        let Step::Match(number, data) = step else {
            continue;
        };
        encoder.matched(*number, data, &mut out).expect("it compresses");
    }
    encoder.end(&mut out).expect("it compresses");
    assert_eq!(&out[..], [0xc1, 5, 0, 0]);
    round_trip(&[file], CompressName::Zlib, 32, 1);
}

#[test]
fn refuses_block_numbers_beyond_31_bits() {
    for bytes in [&[0x20, 0xff, 0xff, 0xff, 0xff][..], &[0x21, 0xff, 0xff, 0xff, 0x7f, 1, 0]] {
        let mut decoder =
            TokenDecoder::new(&negotiated(CompressName::Zlibx, 32)).expect("a decoder");
        let decoded = decoder.decode(&mut BytesMut::from(bytes));
        assert!(decoded.is_err(), "{bytes:?} gave {decoded:?}");
    }
}
