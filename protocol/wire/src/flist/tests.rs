//! Whatever the encoders write, the decoders read back, one byte at a time.

use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::Version;
use crate::decode::Decode as _;
use crate::decode::testing::decode_both_ways;
use crate::names::{ChecksumName, CompressName};
use crate::options::Options;
use crate::setup::{CompatFlags, Negotiated};

/// All forms of a list: flags in bytes and varints, with and without each optional field.
fn any_layout() -> impl Strategy<Value = (Negotiated, Options)> {
    let digest = prop_oneof![
        Just(ChecksumName::Md5),
        Just(ChecksumName::Xxh3),
        Just(ChecksumName::Sha1),
        Just(ChecksumName::Blake3)
    ];
    (30_u8..=32, 0_u32..0x200, digest, any::<[bool; 8]>()).prop_map(
        |(
            number,
            compat,
            list_checksum,
            [owner, group, links, devices, specials, h, c, numeric],
        )| {
            let negotiated = Negotiated {
                version: Version::new(number).expect("a known protocol"),
                compat: CompatFlags(compat),
                checksum: ChecksumName::Md5,
                list_checksum,
                compress: CompressName::None,
                seed: 0,
            };
            let options = Options {
                owner,
                group,
                links,
                devices,
                specials,
                hard_links: u8::from(h),
                checksum: c,
                numeric_ids: numeric,
                ..Options::default()
            };
            (negotiated, options)
        },
    )
}

/// What an entry is made from; `build` makes it fit the layout and its place in the list.
#[derive(Debug, Clone)]
struct Draft {
    name: Vec<u8>,
    kind: Kind,
    mode: u32,
    size: u64,
    mtime: i64,
    nanos: u32,
    ids: (u32, u32),
    flags: (bool, bool),
    device: Device,
    digest: u8,
    /// Which of the groups to join; a new one beyond the last.
    group: Option<usize>,
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => vec(prop_oneof![Just(b'a'), Just(b'-'), Just(0xff_u8), Just(b'\n')], 1..6),
        1 => vec(Just(b'n'), 200..300),
        1 => Just(b"..x".to_vec()),
    ];
    prop_oneof![
        8 => vec(part, 1..5).prop_map(|parts| parts.join(&b'/')),
        1 => Just(b".".to_vec()),
    ]
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let kind = prop_oneof![
        3 => Just(Kind::File),
        2 => Just(Kind::Directory),
        1 => Just(Kind::Symlink),
        1 => Just(Kind::BlockDevice),
        1 => Just(Kind::CharDevice),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
    ];
    let mode = prop_oneof![Just(0o644_u32), 0_u32..=0o7777];
    let size = prop_oneof![0_u64..1000, 0_u64..1 << 63];
    let mtime = prop_oneof![Just(0_i64), Just(1_700_000_000), any::<i64>()];
    let nanos = prop_oneof![Just(0_u32), 0_u32..=999_999_999];
    let id = || prop_oneof![Just(0_u32), 0_u32..4, any::<u32>()];
    let device = (prop_oneof![Just(0_u32), Just(8), any::<u32>()], any::<u32>())
        .prop_map(|(major, minor)| Device { major, minor });
    let group = proptest::option::weighted(0.4, 0_usize..5);
    let (ids, flags) = ((id(), id()), (any::<bool>(), any::<bool>()));
    (any_name(), (kind, mode), (size, mtime, nanos), ids, flags, device, any::<u8>(), group)
        .prop_map(
            |(name, (kind, mode), (size, mtime, nanos), ids, flags, device, digest, group)| {
                let kind = if name == b"." { Kind::Directory } else { kind };
                Draft { name, kind, mode, size, mtime, nanos, ids, flags, device, digest, group }
            },
        )
}

/// The names that all lists tell.
fn name_of(kind: char, id: u32) -> Box<[u8]> {
    format!("{kind}{id}").into_bytes().into()
}

/// Makes entries as a sender would, in segments that begin at the given indexes.
fn build(segments: &[Vec<Draft>], negotiated: &Negotiated, options: &Options) -> Vec<Vec<Entry>> {
    let mut firsts: Vec<(u32, Entry)> = Vec::new();
    let mut lists = Vec::new();
    let mut start = 1;
    for drafts in segments {
        let mut entries = Vec::new();
        for (index, draft) in (start..).zip(drafts) {
            let entry = one(draft, index, negotiated, options, &mut firsts);
            entries.push(entry);
        }
        start += u32::try_from(drafts.len()).expect("few") + 1;
        lists.push(entries);
    }
    lists
}

fn one(
    draft: &Draft,
    index: u32,
    negotiated: &Negotiated,
    options: &Options,
    firsts: &mut Vec<(u32, Entry)>,
) -> Entry {
    let slash = draft.name.iter().rposition(|byte| *byte == b'/');
    let (dir, base) = match slash {
        Some(slash) => (&draft.name[..slash], &draft.name[slash + 1..]),
        None => (&b""[..], &draft.name[..]),
    };
    let kind = draft.kind;
    let is_dir = kind == Kind::Directory;
    let links = options.hard_links > 0 && !is_dir;
    let group = draft.group.filter(|_| links);
    if let Some((group, first)) = group.and_then(|group| firsts.get(group)) {
        let mut entry = Entry { dir: dir.into(), base: base.into(), ..first.clone() };
        let link = HardLink { group: *group, first: false };
        entry.extra.get_or_insert_default().hard_link = Some(link);
        return entry;
    }
    let digest_len = negotiated.list_checksum.digest_len();
    let inline = negotiated.incremental();
    let extra = Extra {
        link: (kind == Kind::Symlink && options.links).then(|| draft.name.clone().into()),
        device: (kind.is_device() && options.devices).then_some(draft.device),
        hard_link: group.map(|_| HardLink { group: index, first: true }),
        checksum: (kind == Kind::File && options.checksum)
            .then(|| vec![draft.digest; digest_len].into()),
        user: (options.owner && inline).then(|| name_of('u', draft.ids.0)),
        group: (options.group && inline).then(|| name_of('g', draft.ids.1)),
    };
    let entry = Entry {
        dir: dir.into(),
        base: base.into(),
        mode: kind.bits() | draft.mode,
        size: draft.size,
        mtime: draft.mtime,
        nanos: if negotiated.version.has_nanoseconds() { draft.nanos } else { 0 },
        uid: if options.owner { draft.ids.0 } else { 0 },
        gid: if options.group { draft.ids.1 } else { 0 },
        top_dir: is_dir && draft.flags.0,
        content_dir: is_dir && draft.flags.1,
        extra: (extra != Extra::default()).then(|| Box::new(extra)),
    };
    if group.is_some() {
        firsts.push((index, entry.clone()));
    }
    entry
}

/// Takes over the names that an entry carries, the first of each id.
fn note(ids: &mut IdList, entry: &Entry) {
    let Some(extra) = entry.extra.as_deref() else {
        return;
    };
    if let Some(name) = extra.user.as_deref().filter(|_| !ids.knows_user(entry.uid)) {
        ids.add_user(entry.uid, name);
    }
    if let Some(name) = extra.group.as_deref().filter(|_| !ids.knows_group(entry.gid)) {
        ids.add_group(entry.gid, name);
    }
}

/// Without the names of owners, which travel once only.
fn nameless(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let Some(extra) = &mut entry.extra {
        extra.user = None;
        extra.group = None;
    }
    entry.extra = entry.extra.filter(|extra| **extra != Extra::default());
    entry
}

proptest! {
    #[test]
    fn lists_survive_byte_by_byte(
        (negotiated, options) in any_layout(),
        segments in vec(vec(any_draft(), 0..12), 1..4),
        io_error in 0_u32..8,
    ) {
        let lists = build(&segments, &negotiated, &options);
        let mut encoder = EntryEncoder::new(&negotiated, &options);
        let mut decoder = EntryDecoder::new(&negotiated, &options);
        let mut told = IdList::default();
        let mut meant = IdList::default();
        let mut start = 1;
        for entries in &lists {
            encoder.start_segment(start);
            decoder.start_segment(start);
            let mut out = BytesMut::new();
            for entry in entries {
                encoder.entry(entry, &mut out).expect("it can be sent");
                note(&mut meant, entry);
            }
            encoder.end(io_error, &mut out);
            let mut buf = BytesMut::new();
            let mut read = Vec::new();
            let mut end = None;
            for byte in &out {
                prop_assert_eq!(end, None, "the end came early");
                buf.extend_from_slice(&[*byte]);
                match decoder.decode(&mut buf).expect("our own list") {
                    Some(ListItem::Entry(entry)) => read.push(entry),
                    Some(ListItem::End { io_error }) => end = Some(io_error),
                    None => {}
                }
            }
            let carried = negotiated.varint_flags() || negotiated.safe_flist();
            prop_assert_eq!(end, Some(if carried { io_error } else { 0 }));
            prop_assert!(buf.is_empty());
            read.iter().for_each(|entry| note(&mut told, entry));
            let plain = |entries: &[Entry]| entries.iter().map(nameless).collect::<Vec<_>>();
            prop_assert_eq!(plain(&read), plain(entries));
            start += u32::try_from(entries.len()).expect("few") + 1;
        }
        prop_assert_eq!(told, meant);
    }

    #[test]
    fn entries_that_are_cut_or_spoiled_never_panic(
        (negotiated, options) in any_layout(),
        drafts in vec(any_draft(), 1..5),
        cut in any::<proptest::sample::Index>(),
        spoil in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut out = BytesMut::new();
        let mut encoder = EntryEncoder::new(&negotiated, &options);
        encoder.start_segment(1);
        for entry in build(&[drafts], &negotiated, &options).concat() {
            encoder.entry(&entry, &mut out).expect("it can be sent");
        }
        for (at, byte) in spoil {
            let at = at.index(out.len());
            out[at] = byte;
        }
        out.truncate(cut.index(out.len()) + 1);
        let mut decoder = EntryDecoder::new(&negotiated, &options);
        decoder.start_segment(1);
        while let Ok(Some(_)) = decoder.decode(&mut out) {}
    }

    #[test]
    fn id_lists_survive_byte_by_byte(
        (negotiated, options) in any_layout(),
        users in proptest::collection::btree_map(any::<u32>(), vec(any::<u8>(), 1..300), 0..9),
        groups in proptest::collection::btree_map(0_u32..5, vec(any::<u8>(), 1..9), 0..5),
    ) {
        let mut ids = IdList::default();
        users.iter().for_each(|(id, name)| ids.add_user(*id, name));
        groups.iter().for_each(|(id, name)| ids.add_group(*id, name));
        let mut out = BytesMut::new();
        ids.encode(&negotiated, &options, &mut out);
        let travels = !negotiated.incremental() && !options.numeric_ids;
        if !travels || !(options.owner || options.group) {
            prop_assert!(out.is_empty());
            return Ok(());
        }
        let kept = |names: &BTreeMap<u32, Vec<u8>>, on: bool| {
            let id0 = negotiated.compat.has(CompatFlags::ID0_NAMES);
            names.clone().into_iter()
                .filter(|(id, name)| on && name.len() <= 255 && (*id != 0 || id0))
                .collect::<BTreeMap<_, _>>()
        };
        let mut expected = IdList::default();
        kept(&users, options.owner).iter().for_each(|(id, name)| expected.add_user(*id, name));
        kept(&groups, options.group).iter().for_each(|(id, name)| expected.add_group(*id, name));
        let mut buf = BytesMut::new();
        let mut decoder = IdListDecoder::new(&negotiated, &options);
        let mut read = None;
        for byte in &out {
            prop_assert_eq!(&read, &None);
            buf.extend_from_slice(&[*byte]);
            read = decoder.decode(&mut buf).expect("our own list");
        }
        prop_assert_eq!(read, Some(expected));
        prop_assert!(buf.is_empty());
    }
}

#[test]
fn every_form_of_the_first_flags_is_read() {
    // A regular file with nothing in common, and a directory: never a zero, which ends the list.
    let options = Options { owner: true, group: true, ..Options::default() };
    for (compat, kind, flags) in [
        (0, Kind::File, &[0x01][..]),
        (0, Kind::Directory, &[0x04, 0x00]),
        (CompatFlags::VARINT_FLIST_FLAGS, Kind::File, &[0x04]),
        (CompatFlags::VARINT_FLIST_FLAGS, Kind::Directory, &[0x04]),
    ] {
        let negotiated = Negotiated {
            version: Version::NEWEST,
            compat: CompatFlags(compat),
            checksum: ChecksumName::Md5,
            list_checksum: ChecksumName::Md5,
            compress: CompressName::None,
            seed: 0,
        };
        let entry = Entry {
            dir: b""[..].into(),
            base: b"x"[..].into(),
            mode: kind.bits() | 0o755,
            size: 5,
            mtime: 7,
            nanos: 0,
            uid: 3,
            gid: 4,
            top_dir: false,
            content_dir: kind == Kind::Directory,
            extra: None,
        };
        let mut out = BytesMut::new();
        EntryEncoder::new(&negotiated, &options).entry(&entry, &mut out).expect("sendable");
        assert_eq!(out.get(..flags.len()), Some(flags), "{kind:?}");
        let read = decode_both_ways(|| EntryDecoder::new(&negotiated, &options), &out);
        assert_eq!(read, [ListItem::Entry(entry)]);
    }
}
