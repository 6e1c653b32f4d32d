//! The file list of a recording (§9, §10).

use std::collections::HashMap;
use std::sync::Arc;

use bascule_wire::flist::flags::{EXTENDED, SAME_GID, SAME_UID, TOP_DIR};
use bascule_wire::flist::{
    DirTable, Entry, EntryDecoder, EntryEncoder, IdListDecoder, Kind, ListItem, Lists, Segment,
};

use super::Seen;
use super::opening::Opening;
use super::stream::Stream;

/// Reads lists, and makes them again.
pub(crate) struct ListReader<'o> {
    opening: &'o Opening,
    decoder: EntryDecoder,
    encoder: EntryEncoder,
    /// All segments: nothing is freed, so that both directions can be read one after the other.
    lists: Lists,
    pub(crate) segments: usize,
    table: DirTable,
    /// The directories whose contents have not been listed, by their numbers.
    unlisted: HashMap<u32, Vec<u8>>,
    total_size: u64,
}

impl<'o> ListReader<'o> {
    pub(crate) fn new(opening: &'o Opening) -> Self {
        let Opening { negotiated, options, .. } = opening;
        Self {
            opening,
            decoder: EntryDecoder::new(negotiated, options),
            encoder: EntryEncoder::new(negotiated, options),
            lists: Lists::default(),
            segments: 0,
            table: DirTable::default(),
            unlisted: HashMap::new(),
            total_size: 0,
        }
    }

    /// Reads the first list, or the segment of a directory.
    pub(crate) fn read_segment(
        &mut self,
        sender: &mut Stream<'_>,
        directory: Option<u32>,
        seen: &mut Seen,
    ) {
        let negotiated = &self.opening.negotiated;
        let start = if negotiated.incremental() { self.lists.next_start() } else { 0 };
        self.decoder.start_segment(start);
        self.encoder.start_segment(start);
        let mut entries = Vec::new();
        loop {
            let (from, again) = (sender.taken(), sender.again.len());
            match sender.next(&mut self.decoder) {
                ListItem::Entry(entry) => {
                    self.encoder.entry(&entry, &mut sender.again).expect("it came over the wire");
                    self.mend_flags(&entry, sender, from, again);
                    entries.push(entry);
                }
                ListItem::End { io_error } => {
                    self.encoder.end(io_error, &mut sender.again);
                    break;
                }
            }
        }
        let ids = sender.next(&mut IdListDecoder::new(negotiated, &self.opening.options));
        ids.encode(negotiated, &self.opening.options, &mut sender.again);

        seen.entries += entries.len();
        seen.segments += 1;
        self.segments += 1;
        self.total_size += entries
            .iter()
            .filter(|entry| matches!(entry.kind(), Kind::File | Kind::Symlink))
            .map(|entry| entry.size)
            .sum::<u64>();
        if let Some(number) = directory {
            let parent = self.unlisted.remove(&number).expect("a directory, and only once");
            let inside = entries.iter().all(|entry| *entry.dir == *parent || parent == b".");
            assert!(inside, "an entry is not in {}", parent.escape_ascii());
        }
        let segment = Segment::new(start, directory, entries, negotiated.version);
        for (number, entry) in self.table.append(&segment) {
            self.unlisted.insert(number, entry.path());
        }
        self.lists.push(Arc::new(segment));
    }

    /// Writes the flags as 3.0.0 does where the recorded ones look like that: without the marks
    /// of equal owners, when owners do not travel. Later peers set these, and so do we.
    fn mend_flags(&self, entry: &Entry, sender: &mut Stream<'_>, from: usize, again: usize) {
        let Opening { negotiated, options, .. } = self.opening;
        let same_ids = SAME_UID | SAME_GID;
        let unmarked = u32::from(sender.since(from)[0]) & same_ids == 0;
        if negotiated.varint_flags() || options.owner || options.group || !unmarked {
            return;
        }
        let made = sender.again.split_off(again);
        let low = u32::from(made[0]);
        let (high, rest) =
            if low & EXTENDED != 0 { (u32::from(made[1]), &made[2..]) } else { (0, &made[1..]) };
        let mut bits = low & !(same_ids | EXTENDED) | high << 8;
        if bits & 0xff == 0 && !entry.is_dir() {
            bits |= TOP_DIR;
        }
        let [low, high, ..] = bits.to_le_bytes();
        if high != 0 || low == 0 {
            sender.again.extend_from_slice(&[low | 0x04, high]);
        } else {
            sender.again.extend_from_slice(&[low]);
        }
        sender.again.extend_from_slice(rest);
    }

    /// At the end of an incremental list every directory with contents has been listed.
    pub(crate) fn check_complete(&self) {
        let left = |path: &Vec<u8>| !self.is_content_free(path);
        let left: Vec<_> = self.unlisted.values().filter(|path| left(path)).collect();
        assert!(left.is_empty(), "{left:?} were not listed");
    }

    /// Whether the contents of a directory come with the first list, or not at all.
    fn is_content_free(&self, path: &[u8]) -> bool {
        let mut entries = (0..self.lists.next_start()).filter_map(|index| self.lists.get(index));
        path == b"." || entries.any(|entry| entry.path() == path && !entry.content_dir)
    }

    /// The entry that a record is about; `None` for a directory under its segment's number.
    pub(crate) fn entry(&self, index: u32) -> Option<&Entry> {
        let entry = self.lists.get(index);
        let names_segment = || self.lists.get(index + 1).is_some() || index + 1 == self.end();
        assert!(
            entry.is_some() || self.opening.negotiated.incremental() && names_segment(),
            "a record is about the index {index}, which does not exist"
        );
        entry
    }

    /// One past the last index, where the segment of an empty directory begins.
    fn end(&self) -> u32 {
        self.lists.next_start() - 1
    }

    /// Bytes of all files and links.
    pub(crate) fn total_size(&self) -> u64 {
        self.total_size
    }
}
