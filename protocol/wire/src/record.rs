//! Index records with their item flags (§12).

use std::ops::{BitOr, BitOrAssign};

use bytes::BytesMut;

use crate::decode::{Cursor, Decode, Stop, decode_with};
use crate::error::WireError;
use crate::limits::MAX_NAME;
use crate::ndx::{Index, IndexCode};
use crate::stats::DeleteStats;
use crate::varint::PutWire as _;
use crate::version::Version;

/// The item flags of a record (since 29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ItemFlags(pub u16);

impl ItemFlags {
    /// The access time differs.
    pub const REPORT_ATIME: Self = Self(0x0001);
    /// The content, or the value of a link, differs.
    pub const REPORT_CHANGE: Self = Self(0x0002);
    /// The size differs; for a symlink: its time could not be set.
    pub const REPORT_SIZE: Self = Self(0x0004);
    /// The modification time differs.
    pub const REPORT_TIME: Self = Self(0x0008);
    /// The permissions differ.
    pub const REPORT_PERMS: Self = Self(0x0010);
    /// The owner differs.
    pub const REPORT_OWNER: Self = Self(0x0020);
    /// The group differs.
    pub const REPORT_GROUP: Self = Self(0x0040);
    /// The ACL differs.
    pub const REPORT_ACL: Self = Self(0x0080);
    /// The extended attributes differ.
    pub const REPORT_XATTR: Self = Self(0x0100);
    /// The creation time differs.
    pub const REPORT_CRTIME: Self = Self(0x0400);
    /// A basis type follows.
    pub const BASIS_TYPE_FOLLOWS: Self = Self(0x0800);
    /// A name follows.
    pub const XNAME_FOLLOWS: Self = Self(0x1000);
    /// The entry is missing on the target.
    pub const IS_NEW: Self = Self(0x2000);
    /// The change is made without data.
    pub const LOCAL_CHANGE: Self = Self(0x4000);
    /// Data travel.
    pub const TRANSFER: Self = Self(0x8000);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether data travel.
    pub fn is_transfer(self) -> bool {
        self.contains(Self::TRANSFER)
    }

    /// Whether the flags tell the user anything: more than how a change was made.
    pub fn is_significant(self) -> bool {
        let silent = Self::BASIS_TYPE_FOLLOWS | Self::XNAME_FOLLOWS | Self::LOCAL_CHANGE;
        self.0 & !silent.0 != 0
    }
}

impl BitOr for ItemFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ItemFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Which file the generator offers as basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BasisType(pub u8);

impl BasisType {
    /// The file itself; the default.
    pub const FILE: Self = Self(0x80);
    /// Its partial file.
    pub const PARTIAL_DIR: Self = Self(0x81);
    /// Its backup.
    pub const BACKUP: Self = Self(0x82);
    /// A similar file in the same directory; its name follows.
    pub const FUZZY: Self = Self(0x83);
}

/// The head of a record about one file. Sums or tokens follow it when data travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHead {
    /// The file's index.
    pub index: u32,
    /// What differs and how it is changed.
    pub flags: ItemFlags,
    /// The basis, with [`ItemFlags::BASIS_TYPE_FOLLOWS`].
    pub basis: Option<BasisType>,
    /// A name, with [`ItemFlags::XNAME_FOLLOWS`]: of a hard link's first member, or a fuzzy basis.
    pub xname: Option<Vec<u8>>,
}

/// What the two ends exchange after the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The end of a segment or phase.
    Done,
    /// There are no more segments.
    ListEof,
    /// Deletion statistics.
    DelStats(DeleteStats),
    /// The segment of the directory with this number follows.
    Segment(u32),
    /// About one file.
    File(RecordHead),
}

/// Encodes one direction's records.
#[derive(Debug, Clone)]
pub struct RecordEncoder {
    version: Version,
    code: IndexCode,
}

impl RecordEncoder {
    /// A fresh direction.
    pub fn new(version: Version) -> Self {
        Self { version, code: IndexCode::new(version) }
    }

    /// Appends a record.
    pub fn put(&mut self, record: &Record, out: &mut BytesMut) {
        match record {
            Record::Done => self.code.put(Index::Done, out),
            Record::ListEof => self.code.put(Index::ListEof, out),
            Record::Segment(dir) => self.code.put(Index::Segment(*dir), out),
            Record::DelStats(stats) => {
                self.code.put(Index::DelStats, out);
                stats.put(out);
            }
            Record::File(head) => self.put_head(head, out),
        }
    }

    fn put_head(&mut self, head: &RecordHead, out: &mut BytesMut) {
        let RecordHead { index, flags, basis, xname } = head;
        self.code.put(Index::File(*index), out);
        if !self.version.has_iflags() {
            return;
        }
        out.put_short(flags.0);
        if flags.contains(ItemFlags::BASIS_TYPE_FOLLOWS) {
            out.put_byte(basis.unwrap_or(BasisType::FILE).0);
        }
        if flags.contains(ItemFlags::XNAME_FOLLOWS) {
            let name = xname.as_deref().unwrap_or_default();
            let fits = &name[..name.len().min(MAX_NAME)];
            // Names are far shorter than what a vstring can hold.
            let written = out.put_vstring(fits);
            debug_assert!(written.is_ok(), "a name fits a vstring");
        }
    }
}

/// Decodes one direction's records.
#[derive(Debug, Clone)]
pub struct RecordDecoder {
    version: Version,
    code: IndexCode,
}

impl RecordDecoder {
    /// A fresh direction.
    pub fn new(version: Version) -> Self {
        Self { version, code: IndexCode::new(version) }
    }

    fn read(&self, cursor: &mut Cursor<'_>) -> Result<(Record, IndexCode), Stop> {
        let mut code = self.code;
        let record = match code.read(cursor)? {
            Index::Done => Record::Done,
            Index::ListEof => Record::ListEof,
            Index::Segment(dir) => Record::Segment(dir),
            Index::DelStats => Record::DelStats(DeleteStats::read(cursor)?),
            Index::File(index) => Record::File(self.read_head(index, cursor)?),
        };
        Ok((record, code))
    }

    fn read_head(&self, index: u32, cursor: &mut Cursor<'_>) -> Result<RecordHead, Stop> {
        let mut head = RecordHead { index, flags: ItemFlags::TRANSFER, basis: None, xname: None };
        if !self.version.has_iflags() {
            return Ok(head);
        }
        head.flags = ItemFlags(cursor.short()?);
        if head.flags.contains(ItemFlags::BASIS_TYPE_FOLLOWS) {
            head.basis = Some(BasisType(cursor.byte()?));
        }
        if head.flags.contains(ItemFlags::XNAME_FOLLOWS) {
            let name = cursor.vstring(MAX_NAME)?;
            if name.contains(&0) {
                return Err(WireError::malformed("name of a record", "it contains a NUL").into());
            }
            head.xname = Some(name.to_vec());
        }
        Ok(head)
    }
}

impl Decode for RecordDecoder {
    type Item = Record;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Record>, WireError> {
        let Some((record, code)) = decode_with(buf, |cursor| self.read(cursor))? else {
            return Ok(None);
        };
        self.code = code;
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::testing::decode_both_ways;

    fn any_record() -> impl Strategy<Value = Record> {
        let head = (any::<u32>(), any::<u16>(), any::<u8>(), "[a-z/]{0,300}").prop_map(
            |(index, flags, basis, name)| {
                let flags = ItemFlags(flags);
                Record::File(RecordHead {
                    index: index >> 1,
                    flags,
                    basis: flags
                        .contains(ItemFlags::BASIS_TYPE_FOLLOWS)
                        .then_some(BasisType(basis)),
                    xname: flags.contains(ItemFlags::XNAME_FOLLOWS).then(|| name.into_bytes()),
                })
            },
        );
        let stats = (0..=MAX, 0..=MAX).prop_map(|(files, dirs)| {
            Record::DelStats(DeleteStats { files, dirs, ..DeleteStats::default() })
        });
        prop_oneof![
            Just(Record::Done),
            Just(Record::ListEof),
            (0_u32..1 << 20).prop_map(Record::Segment),
            stats,
            head,
        ]
    }

    const MAX: u32 = crate::limits::MAX_DELETE_STAT;

    proptest! {
        #[test]
        fn reads_what_it_wrote(
            records in proptest::collection::vec(any_record(), 0..20),
            number in 29_u8..=32,
        ) {
            let version = Version::new(number).expect("a known protocol");
            let mut encoder = RecordEncoder::new(version);
            let mut out = BytesMut::new();
            for record in &records {
                encoder.put(record, &mut out);
            }
            let read = decode_both_ways(|| RecordDecoder::new(version), &out);
            prop_assert_eq!(read, records);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, number in 27_u8..=32) {
            let version = Version::new(number).expect("a known protocol");
            let mut buf = BytesMut::from(&bytes[..]);
            let mut decoder = RecordDecoder::new(version);
            while let Ok(Some(_)) = decoder.decode(&mut buf) {}
        }
    }
}
