//! One body per fuzz target, called by libFuzzer and by `cargo test` alike.
//!
//! An input is a byte that chooses protocol and options, a byte that chooses where the rest is
//! cut in two, and the rest. A decoder must not panic, must give the same for both cuts, and what
//! it gives must survive being encoded and decoded again.

mod data;
mod list;
mod opening;

use bascule_wire::decode::{Stop, decode_with};
use bascule_wire::names::{ChecksumName, CompressName};
use bascule_wire::setup::CompatFlags;
use bascule_wire::{Cursor, Decode, Negotiated, Version, WireError};
use bytes::BytesMut;

/// A target: its name, which is also that of its corpus, and its body.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets.
pub(crate) const TARGETS: [Target; 17] = [
    ("greeting", opening::greeting),
    ("auth", opening::auth),
    ("args", opening::args),
    ("setup", opening::setup),
    ("names", opening::names),
    ("mux", data::mux),
    ("filter", list::filter),
    ("flist", list::flist),
    ("ids", list::ids),
    ("ndx", data::ndx),
    ("record", data::record),
    ("sums", data::sums),
    ("stats", data::stats),
    ("token_plain", data::token_plain),
    ("token_deflate", data::token_deflate),
    ("token_zstd", data::token_zstd),
    ("token_lz4", data::token_lz4),
];

/// Runs the body of one target.
#[allow(dead_code, reason = "the tests run all of them")]
pub(crate) fn run(name: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    body(input);
}

/// An input taken apart.
#[derive(Clone, Copy)]
struct Input<'a> {
    mode: u8,
    cut: usize,
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn new(input: &'a [u8]) -> Option<Self> {
        let [mode, cut, bytes @ ..] = input else { return None };
        Some(Self { mode: *mode, cut: usize::from(*cut) * bytes.len() / 255, bytes })
    }

    fn bit(self, bit: u8) -> bool {
        self.mode >> bit & 1 != 0
    }

    /// One of the protocols that `oldest` and its successors are.
    fn version(self, oldest: u8) -> Version {
        let count = 33 - oldest;
        Version::new(oldest + (self.mode & 7) % count).expect("a known protocol")
    }

    /// The bytes in one piece, and in two.
    fn cuts(self) -> [[&'a [u8]; 2]; 2] {
        [[self.bytes, &[]], self.bytes.split_at(self.cut).into()]
    }
}

/// What a decoder made of all bytes: its items, whether it failed, and what it left.
#[derive(Debug, PartialEq)]
struct Decoded<T> {
    items: Vec<T>,
    failed: bool,
    left: Vec<u8>,
}

fn decoded<D: Decode>(decoder: &mut D, chunks: [&[u8]; 2]) -> Decoded<D::Item> {
    let mut buf = BytesMut::new();
    let mut items = Vec::new();
    for chunk in chunks {
        buf.extend_from_slice(chunk);
        loop {
            let before = buf.len();
            match decoder.decode(&mut buf) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) => return Decoded { items, failed: true, left: Vec::new() },
            }
            // Whoever gives items out of nothing gives them for ever.
            assert!(buf.len() < before, "an item without a byte");
        }
    }
    Decoded { items, failed: false, left: buf.to_vec() }
}

/// Decodes both cuts, which must agree; gives the items.
fn both_cuts<D>(input: Input<'_>, make: impl Fn() -> D) -> Vec<D::Item>
where
    D: Decode,
    D::Item: PartialEq + std::fmt::Debug,
{
    let [whole, cut] = input.cuts().map(|chunks| decoded(&mut make(), chunks));
    assert_eq!(whole.items, cut.items, "the cut changed the items");
    assert_eq!(whole.failed, cut.failed, "the cut changed the end");
    whole.items
}

/// Reads a value from both cuts, which must agree.
fn read_both_cuts<T: PartialEq + std::fmt::Debug>(
    input: Input<'_>,
    read: impl Fn(&mut Cursor<'_>) -> Result<T, Stop>,
) -> Option<(T, usize)> {
    let [whole, cut] = input.cuts().map(|chunks| -> Result<Option<(T, usize)>, WireError> {
        let mut buf = BytesMut::new();
        for chunk in chunks {
            buf.extend_from_slice(chunk);
            if let Some(value) = decode_with(&mut buf, &read)? {
                let unread = buf.len() + input.bytes.len() - chunks.concat().len();
                return Ok(Some((value, unread)));
            }
        }
        Ok(None)
    });
    let values = [&whole, &cut].map(|read| read.as_ref().map(|read| read.as_ref().map(|it| &it.0)));
    assert_eq!(values[0], values[1], "the cut changed the value");
    whole.ok().flatten().map(|(value, unread)| (value, input.bytes.len() - unread))
}

/// Decodes what our encoder wrote; nothing may be left.
fn again<D: Decode>(decoder: &mut D, out: &[u8]) -> Vec<D::Item> {
    let decoded = decoded(decoder, [out, &[]]);
    assert!(!decoded.failed && decoded.left.is_empty(), "our own bytes are not read");
    decoded.items
}

fn negotiated(version: Version, compat: u32, compress: CompressName) -> Negotiated {
    Negotiated {
        version,
        compat: CompatFlags(compat),
        checksum: ChecksumName::Md5,
        list_checksum: ChecksumName::Xxh3,
        compress,
        seed: 0,
    }
}
