//! What describes files: filter rules, entries, ids.

use bascule_wire::filter::{FilterListDecoder, Rule};
use bascule_wire::flist::{
    Entry, EntryDecoder, EntryEncoder, Extra, IdListDecoder, ListItem, Segment,
};
use bascule_wire::limits::{MAX_LINK, MAX_NAME, MAX_RULE};
use bascule_wire::names::CompressName;
use bascule_wire::setup::CompatFlags;
use bascule_wire::{Decode as _, Negotiated, Options, Version};
use bytes::BytesMut;

use super::{Input, again, both_cuts, negotiated};

pub(super) fn filter(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    for rules in both_cuts(input, FilterListDecoder::new) {
        for rule in rules {
            assert!(rule.pattern.len() <= MAX_RULE);
            for number in [27, 29, 30] {
                drop(rule.to_wire(Version::new(number).expect("a known protocol")));
            }
            // Our form may be longer than theirs by a letter.
            if let Ok(text) = rule.to_wire(Version::NEWEST)
                && text.len() <= MAX_RULE
            {
                assert_eq!(Rule::parse(&text), Ok(rule));
            }
        }
    }
}

fn layout(input: Input<'_>) -> (Negotiated, Options) {
    let flags = [
        (2, CompatFlags::VARINT_FLIST_FLAGS | CompatFlags::ID0_NAMES),
        (3, CompatFlags::INC_RECURSE),
    ];
    let compat = flags.iter().filter(|(bit, _)| input.bit(*bit)).map(|(_, flag)| flag).sum();
    let version = Version::new(30 + (input.mode & 3).min(2)).expect("a known protocol");
    let options = Options {
        hard_links: u8::from(input.bit(4)),
        checksum: input.bit(5),
        owner: input.bit(6),
        group: input.bit(6),
        devices: input.bit(7),
        specials: input.bit(7),
        links: true,
        ..Options::default()
    };
    (negotiated(version, compat, CompressName::None), options)
}

/// Without what a peer may send and we do not.
fn canonical(mut entry: Entry, version: Version) -> Entry {
    if !version.has_nanoseconds() {
        entry.nanos = 0;
    }
    if let Some(extra) = &mut entry.extra {
        extra.user = None;
        extra.group = None;
    }
    entry.extra = entry.extra.filter(|extra| **extra != Extra::default());
    entry
}

pub(super) fn flist(data: &[u8]) {
    const START: u32 = 1;
    let Some(input) = Input::new(data) else { return };
    let (negotiated, options) = layout(input);
    let make = || {
        let mut decoder = EntryDecoder::new(&negotiated, &options);
        decoder.start_segment(START);
        decoder
    };
    let items = both_cuts(input, make);
    let list: Vec<Entry> = items
        .into_iter()
        .map_while(|item| match item {
            ListItem::Entry(entry) => Some(entry),
            ListItem::End { .. } => None,
        })
        .collect();
    for entry in &list {
        let path = entry.path();
        assert!(!path.is_empty() && path.len() <= MAX_NAME && !path.starts_with(b"/"));
        assert!(path.split(|byte| *byte == b'/').all(|part| part != b".."));
        assert!(!entry.is_root() || entry.is_dir(), "a root that is no directory");
        assert!(entry.link().is_none_or(|link| link.len() <= MAX_LINK));
        assert!(entry.nanos <= 999_999_999);
        assert!(entry.hard_link().is_none() || !entry.is_dir(), "a linked directory");
    }

    let list: Vec<Entry> =
        list.into_iter().map(|entry| canonical(entry, negotiated.version)).collect();
    let mut encoder = EntryEncoder::new(&negotiated, &options);
    encoder.start_segment(START);
    let mut out = BytesMut::new();
    for entry in &list {
        encoder.entry(entry, &mut out).expect("it came over the wire");
    }
    let read: Vec<ListItem> = again(&mut make(), &out);
    assert_eq!(read, list.iter().cloned().map(ListItem::Entry).collect::<Vec<_>>());

    let segment = Segment::new(START, None, list, negotiated.version);
    for (index, entry) in segment.iter() {
        assert_eq!(segment.find(&entry.dir, &entry.base, entry.is_dir()), Some(index));
    }
}

pub(super) fn ids(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let (negotiated, mut options) = layout(input);
    options.owner = true;
    if negotiated.incremental() {
        // They come with the entries instead.
        let read = IdListDecoder::new(&negotiated, &options).decode(&mut BytesMut::new());
        assert!(read.is_ok_and(|read| read.is_some()));
        return;
    }
    for list in both_cuts(input, || IdListDecoder::new(&negotiated, &options)) {
        let mut out = BytesMut::new();
        list.encode(&negotiated, &options, &mut out);
        assert_eq!(again(&mut IdListDecoder::new(&negotiated, &options), &out), [list]);
    }
}
