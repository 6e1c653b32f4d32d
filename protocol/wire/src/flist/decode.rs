//! Decodes the entries of a file list (§9.2), each against the one before.

use std::sync::Arc;

use bytes::BytesMut;

use super::encode::Layout;
use super::entry::{Device, Entry, Extra, HardLink, Kind};
use super::flags;
use crate::decode::{Cursor, Decode, Stop, decode_with};
use crate::error::WireError;
use crate::limits::{MAX_ENTRIES, MAX_LINK, MAX_NAME};
use crate::options::Options;
use crate::setup::Negotiated;
use crate::shown;
use crate::version::Version;

/// What a list consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListItem {
    /// The next entry, in send order.
    Entry(Entry),
    /// The end of the list or segment.
    End {
        /// I/O error bits of the sender so far.
        io_error: u32,
    },
}

/// Decodes entries. Its state runs over all segments of a connection.
///
/// Names are checked (§19.2): relative, no `..`, no `.` inside, no empty component, no NUL. A
/// hard-link follower that travels abbreviated comes out complete.
#[derive(Debug, Clone)]
pub struct EntryDecoder {
    layout: Layout,
    state: State,
    segment_start: u32,
    position: u32,
    /// The first members of hard-link groups in this segment, for abbreviated followers.
    firsts: std::collections::HashMap<u32, Entry>,
}

#[derive(Debug, Clone, Default)]
struct State {
    name: Vec<u8>,
    dir: Option<Arc<[u8]>>,
    mode: u32,
    mtime: i64,
    uid: u32,
    gid: u32,
    major: u32,
}

impl EntryDecoder {
    /// Prepares a decoder for a connection.
    pub fn new(negotiated: &Negotiated, options: &Options) -> Self {
        Self {
            layout: Layout::new(negotiated, options),
            state: State::default(),
            segment_start: 0,
            position: 0,
            firsts: std::collections::HashMap::new(),
        }
    }

    /// The next entries belong to the segment whose first index is `start`.
    pub fn start_segment(&mut self, start: u32) {
        self.segment_start = start;
        self.position = 0;
        self.firsts.clear();
    }

    fn read(&self, cursor: &mut Cursor<'_>) -> Result<(ListItem, State), Stop> {
        let layout = self.layout;
        if layout.version < Version::OLDEST_SUPPORTED {
            return Err(WireError::Incompatible(format!(
                "file lists of protocol {} are not supported",
                layout.version
            ))
            .into());
        }
        let bits = match self.read_flags(cursor)? {
            Flags::Entry(bits) => bits,
            Flags::End(io_error) => {
                let io_error = io_error.cast_unsigned() & 7;
                return Ok((ListItem::End { io_error }, self.state.clone()));
            }
        };
        let mut state = self.state.clone();
        self.read_name(cursor, bits, &mut state)?;
        let index = self.segment_start + self.position;
        let hard_link = if bits & flags::HLINKED == 0 {
            None
        } else if !layout.hard_links {
            return Err(
                WireError::misbehaved("a hard link was listed without being asked for").into()
            );
        } else if bits & flags::HLINK_FIRST != 0 {
            Some(HardLink { group: index, first: true })
        } else {
            let group = cursor.varint()?.cast_unsigned();
            if group >= index {
                return Err(WireError::misbehaved(format!(
                    "entry {index} is a hard link to entry {group}, which comes later"
                ))
                .into());
            }
            Some(HardLink { group, first: false })
        };
        let (dir, base) = split(&state.name, state.dir.as_ref());
        state.dir = Some(Arc::clone(&dir));
        if let Some(link) = hard_link.filter(|link| !link.first && link.group >= self.segment_start)
        {
            let first = self.firsts.get(&link.group).ok_or_else(|| {
                WireError::misbehaved(format!(
                    "entry {index} is a hard link to entry {}, which begins no group",
                    link.group
                ))
            })?;
            let mut entry = Entry { dir, base, ..first.clone() };
            // A first member is never a directory.
            if entry.is_root() {
                return Err(root_is_no_directory());
            }
            entry.extra.get_or_insert_default().hard_link = Some(link);
            state.mode = entry.mode;
            state.mtime = entry.mtime;
            state.uid = entry.uid;
            state.gid = entry.gid;
            return Ok((ListItem::Entry(entry), state));
        }
        let entry = self.read_body(cursor, bits, dir, base, hard_link, &mut state)?;
        Ok((ListItem::Entry(entry), state))
    }

    fn read_flags(&self, cursor: &mut Cursor<'_>) -> Result<Flags, Stop> {
        if self.layout.varint_flags {
            return Ok(match cursor.varint()?.cast_unsigned() {
                0 => Flags::End(cursor.varint()?),
                bits => Flags::Entry(bits),
            });
        }
        let low = u32::from(cursor.byte()?);
        if low == 0 {
            return Ok(Flags::End(0));
        }
        if low & flags::EXTENDED == 0 {
            return Ok(Flags::Entry(low));
        }
        let bits = low | u32::from(cursor.byte()?) << 8;
        if self.layout.safe_flist && bits == flags::EXTENDED | flags::IO_ERROR_ENDLIST {
            return Ok(Flags::End(cursor.varint()?));
        }
        Ok(Flags::Entry(bits))
    }

    fn read_name(&self, cursor: &mut Cursor<'_>, bits: u32, state: &mut State) -> Result<(), Stop> {
        let shared = if bits & flags::SAME_NAME != 0 { usize::from(cursor.byte()?) } else { 0 };
        let rest = if bits & flags::LONG_NAME != 0 {
            length(cursor.varint30(self.layout.version)?, MAX_NAME, "name")?
        } else {
            usize::from(cursor.byte()?)
        };
        if shared > state.name.len() || shared + rest > MAX_NAME {
            return Err(WireError::malformed(
                "name",
                format!("{shared} bytes of the previous name and {rest} new ones"),
            )
            .into());
        }
        state.name.truncate(shared);
        state.name.extend_from_slice(cursor.take(rest)?);
        check_name(&state.name)?;
        Ok(())
    }

    fn read_body(
        &self,
        cursor: &mut Cursor<'_>,
        bits: u32,
        dir: Arc<[u8]>,
        base: Box<[u8]>,
        hard_link: Option<HardLink>,
        state: &mut State,
    ) -> Result<Entry, Stop> {
        let layout = self.layout;
        let size = u64::try_from(cursor.varlong30(layout.version, 3)?)
            .map_err(|_| WireError::malformed("file size", "negative"))?;
        if bits & flags::SAME_TIME == 0 {
            state.mtime = cursor.varlong(4)?;
        }
        let nanos = if bits & flags::MOD_NSEC != 0 {
            let nanos = cursor.varint()?;
            u32::try_from(nanos).ok().filter(|nanos| *nanos <= 999_999_999).ok_or_else(|| {
                WireError::malformed("modification time", format!("{nanos} nanoseconds"))
            })?
        } else {
            0
        };
        if bits & flags::SAME_MODE == 0 {
            state.mode = cursor.int()?.cast_unsigned();
        }
        let mode = state.mode;
        let Some(kind) = Kind::from_mode(mode) else {
            return Err(WireError::malformed("mode", format!("{mode:o} names no kind")).into());
        };
        if base.as_ref() == b"." && dir.is_empty() && kind != Kind::Directory {
            return Err(root_is_no_directory());
        }
        let mut extra = Extra { hard_link, ..Extra::default() };
        if layout.owner && bits & flags::SAME_UID == 0 {
            state.uid = cursor.varint30(layout.version)?.cast_unsigned();
            if bits & flags::USER_NAME_FOLLOWS != 0 {
                let len = usize::from(cursor.byte()?);
                extra.user = Some(cursor.take(len)?.into());
            }
        }
        if layout.group && bits & flags::SAME_GID == 0 {
            state.gid = cursor.varint30(layout.version)?.cast_unsigned();
            if bits & flags::GROUP_NAME_FOLLOWS != 0 {
                let len = usize::from(cursor.byte()?);
                extra.group = Some(cursor.take(len)?.into());
            }
        }
        if layout.has_device(kind) {
            if bits & flags::SAME_RDEV_MAJOR == 0 {
                state.major = cursor.varint30(layout.version)?.cast_unsigned();
            }
            let minor = cursor.varint()?.cast_unsigned();
            if kind.is_device() {
                extra.device = Some(Device { major: state.major, minor });
            }
        }
        if kind == Kind::Symlink && layout.links {
            let len = length(cursor.varint30(layout.version)?, MAX_LINK, "symlink target")?;
            let link = cursor.take(len)?;
            if link.is_empty() || link.contains(&0) {
                return Err(WireError::malformed("symlink target", "empty or with a NUL").into());
            }
            extra.link = Some(link.into());
        }
        if kind == Kind::File && layout.checksum_len > 0 {
            extra.checksum = Some(cursor.take(layout.checksum_len)?.into());
        }
        let is_dir = kind == Kind::Directory;
        if is_dir && hard_link.is_some() {
            return Err(WireError::misbehaved("it listed a directory as a hard link").into());
        }
        Ok(Entry {
            dir,
            base,
            mode,
            size,
            mtime: state.mtime,
            nanos,
            uid: state.uid,
            gid: state.gid,
            top_dir: is_dir && bits & flags::TOP_DIR != 0,
            content_dir: is_dir && bits & flags::NO_CONTENT_DIR == 0,
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
        })
    }
}

impl Decode for EntryDecoder {
    type Item = ListItem;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<ListItem>, WireError> {
        let Some((item, state)) = decode_with(buf, |cursor| self.read(cursor))? else {
            return Ok(None);
        };
        self.state = state;
        if let ListItem::Entry(entry) = &item {
            if self.position as usize >= MAX_ENTRIES {
                return Err(WireError::malformed("file list", "too many entries"));
            }
            if let Some(link) = entry.hard_link().filter(|link| link.first) {
                self.firsts.insert(link.group, entry.clone());
            }
            self.position += 1;
        }
        Ok(Some(item))
    }
}

fn root_is_no_directory() -> Stop {
    WireError::misbehaved("the root of the list is no directory").into()
}

enum Flags {
    Entry(u32),
    End(i32),
}

/// Checks a length of the peer.
fn length(claimed: i32, max: usize, what: &'static str) -> Result<usize, WireError> {
    usize::try_from(claimed)
        .ok()
        .filter(|length| *length <= max)
        .ok_or_else(|| WireError::malformed(what, format!("{claimed} bytes long")))
}

/// Splits a name at its last slash; the parent is shared with the previous entry's if equal.
fn split(name: &[u8], previous: Option<&Arc<[u8]>>) -> (Arc<[u8]>, Box<[u8]>) {
    let (dir, base) = match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (&name[..0], name),
    };
    let dir = match previous {
        Some(previous) if **previous == *dir => Arc::clone(previous),
        _ => dir.into(),
    };
    (dir, base.into())
}

fn check_name(name: &[u8]) -> Result<(), WireError> {
    let refuse = |why: &str| {
        Err(WireError::misbehaved(format!("it listed the name \"{}\": {why}", shown(name))))
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name == b"." {
        return Ok(());
    }
    if name.contains(&0) {
        return refuse("it contains a NUL");
    }
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" => return refuse("it is absolute or has an empty component"),
            b"." | b".." => return refuse("it contains '.' or '..'"),
            _ => {}
        }
    }
    Ok(())
}
