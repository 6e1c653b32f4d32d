//! Encodes the entries of a file list (§9.2), each against the one before.

use std::collections::HashSet;

use bytes::BytesMut;

use super::entry::{Device, Entry, Kind};
use super::flags;
use crate::error::WireError;
use crate::limits::{MAX_LINK, MAX_NAME};
use crate::options::Options;
use crate::setup::Negotiated;
use crate::varint::PutWire as _;
use crate::version::Version;

/// Encodes entries. Its state runs over all segments of a connection.
#[derive(Debug, Clone)]
pub struct EntryEncoder {
    layout: Layout,
    previous: Option<Previous>,
    segment_start: u32,
    /// Ids whose names the peer has been told.
    named_users: HashSet<u32>,
    named_groups: HashSet<u32>,
    major: u32,
}

/// Which fields travel; the same for encoder and decoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) version: Version,
    pub(super) varint_flags: bool,
    pub(super) safe_flist: bool,
    pub(super) incremental: bool,
    pub(super) owner: bool,
    pub(super) group: bool,
    pub(super) devices: bool,
    pub(super) specials: bool,
    pub(super) links: bool,
    pub(super) hard_links: bool,
    pub(super) checksum_len: usize,
}

impl Layout {
    pub(super) fn new(negotiated: &Negotiated, options: &Options) -> Self {
        Self {
            version: negotiated.version,
            varint_flags: negotiated.varint_flags(),
            safe_flist: negotiated.safe_flist(),
            incremental: negotiated.incremental(),
            owner: options.owner,
            group: options.group,
            devices: options.devices,
            specials: options.specials,
            links: options.links,
            hard_links: options.hard_links > 0,
            checksum_len: if options.checksum { negotiated.list_checksum.digest_len() } else { 0 },
        }
    }

    /// Whether a device number travels with such a file: with devices, and before protocol 31
    /// with specials, where it means nothing.
    pub(super) fn has_device(self, kind: Kind) -> bool {
        (self.devices && kind.is_device())
            || (self.specials && kind.is_special() && !self.version.specials_have_no_rdev())
    }
}

#[derive(Debug, Clone)]
struct Previous {
    name: Vec<u8>,
    mode: u32,
    mtime: i64,
    uid: u32,
    gid: u32,
}

impl EntryEncoder {
    /// Prepares an encoder for a connection.
    pub fn new(negotiated: &Negotiated, options: &Options) -> Self {
        Self {
            layout: Layout::new(negotiated, options),
            previous: None,
            segment_start: 0,
            named_users: HashSet::new(),
            named_groups: HashSet::new(),
            major: 0,
        }
    }

    /// The next entries belong to the segment whose first index is `start`.
    pub fn start_segment(&mut self, start: u32) {
        self.segment_start = start;
    }

    /// Whether the next entry of this owner should carry the owner's name (§9.2.11): ids have
    /// their names told once.
    pub fn lacks_user(&self, uid: u32) -> bool {
        self.layout.incremental && self.layout.owner && !self.named_users.contains(&uid)
    }

    /// As [`Self::lacks_user`], for the group (§9.2.12).
    pub fn lacks_group(&self, gid: u32) -> bool {
        self.layout.incremental && self.layout.group && !self.named_groups.contains(&gid)
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when a name, a link or a time cannot be expressed; nothing is
    /// written then.
    pub fn entry(&mut self, entry: &Entry, out: &mut BytesMut) -> Result<(), WireError> {
        let layout = self.layout;
        let name = entry.path();
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(WireError::malformed("name", format!("{} bytes long", name.len())));
        }
        if entry.link().is_some_and(|link| link.len() > MAX_LINK) {
            return Err(WireError::malformed("symlink", "its target is too long"));
        }
        let kind = entry.kind();
        let previous = self.previous.as_ref();
        let mut bits = 0;
        if kind == Kind::Directory {
            if entry.top_dir {
                bits |= flags::TOP_DIR;
            }
            if !entry.content_dir {
                bits |= flags::NO_CONTENT_DIR;
            }
        }
        if previous.map_or(0, |previous| previous.mode) == entry.mode {
            bits |= flags::SAME_MODE;
        }
        let device = layout.has_device(kind).then(|| {
            // The number of a special means nothing; its major part repeats the one before.
            entry
                .device()
                .filter(|_| kind.is_device())
                .unwrap_or(Device { major: self.major, minor: 0 })
        });
        if let Some(device) = device
            && device.major == self.major
        {
            bits |= flags::SAME_RDEV_MAJOR;
        }
        if !layout.owner || previous.is_some_and(|previous| previous.uid == entry.uid) {
            bits |= flags::SAME_UID;
        } else if layout.incremental
            && !self.named_users.contains(&entry.uid)
            && name_of(entry, |extra| extra.user.as_deref()).is_some()
        {
            bits |= flags::USER_NAME_FOLLOWS;
        }
        if !layout.group || previous.is_some_and(|previous| previous.gid == entry.gid) {
            bits |= flags::SAME_GID;
        } else if layout.incremental
            && !self.named_groups.contains(&entry.gid)
            && name_of(entry, |extra| extra.group.as_deref()).is_some()
        {
            bits |= flags::GROUP_NAME_FOLLOWS;
        }
        if previous.map_or(0, |previous| previous.mtime) == entry.mtime {
            bits |= flags::SAME_TIME;
        }
        if layout.version.has_nanoseconds() && entry.nanos != 0 {
            bits |= flags::MOD_NSEC;
        }
        let hard_link = entry.hard_link().filter(|_| layout.hard_links);
        if let Some(link) = hard_link {
            bits |= flags::HLINKED;
            if link.first {
                bits |= flags::HLINK_FIRST;
            }
        }
        let shared = previous.map_or(0, |previous| {
            let both = previous.name.iter().zip(&name);
            both.take_while(|(a, b)| a == b).count().min(255)
        });
        let rest = name.get(shared..).unwrap_or_default();
        if shared > 0 {
            bits |= flags::SAME_NAME;
        }
        if rest.len() > 255 {
            bits |= flags::LONG_NAME;
        }
        self.put_flags(bits, kind, out);
        if shared > 0 {
            out.put_byte(u8::try_from(shared).unwrap_or(u8::MAX));
        }
        match u8::try_from(rest.len()) {
            Ok(short) => out.put_byte(short),
            Err(_) => out.put_varint30(layout.version, int(rest.len())),
        }
        out.extend_from_slice(rest);
        let follower = hard_link.filter(|link| !link.first);
        if let Some(link) = follower {
            out.put_varint(link.group.cast_signed());
        }
        let abbreviated = follower.is_some_and(|link| link.group >= self.segment_start);
        if !abbreviated {
            self.put_body(entry, kind, bits, device, out);
        }
        self.previous = Some(Previous {
            name,
            mode: entry.mode,
            mtime: entry.mtime,
            uid: if layout.owner { entry.uid } else { 0 },
            gid: if layout.group { entry.gid } else { 0 },
        });
        Ok(())
    }

    /// Appends the end of a list or segment with the I/O error bits (§9.3).
    pub fn end(&mut self, io_error: u32, out: &mut BytesMut) {
        let io_error = (io_error & 7).cast_signed();
        if self.layout.varint_flags {
            out.put_varint(0);
            out.put_varint(io_error);
        } else if self.layout.safe_flist && io_error != 0 {
            let [low, high, ..] = (flags::EXTENDED | flags::IO_ERROR_ENDLIST).to_le_bytes();
            out.extend_from_slice(&[low, high]);
            out.put_varint(io_error);
        } else {
            out.put_byte(0);
        }
    }

    fn put_flags(&self, bits: u32, kind: Kind, out: &mut BytesMut) {
        if self.layout.varint_flags {
            let bits = if bits == 0 { flags::EXTENDED } else { bits };
            out.put_varint(bits.cast_signed());
            return;
        }
        let mut bits = bits;
        if bits & 0xff == 0 && kind != Kind::Directory {
            bits |= flags::TOP_DIR;
        }
        let [low, high, ..] = bits.to_le_bytes();
        if high != 0 || low == 0 {
            out.put_byte(low | 0x04);
            out.put_byte(high);
        } else {
            out.put_byte(low);
        }
    }

    fn put_body(
        &mut self,
        entry: &Entry,
        kind: Kind,
        bits: u32,
        device: Option<Device>,
        out: &mut BytesMut,
    ) {
        let layout = self.layout;
        out.put_varlong30(layout.version, entry.size.cast_signed(), 3);
        if bits & flags::SAME_TIME == 0 {
            out.put_varlong(entry.mtime, 4);
        }
        if bits & flags::MOD_NSEC != 0 {
            out.put_varint(entry.nanos.cast_signed());
        }
        if bits & flags::SAME_MODE == 0 {
            out.put_int(entry.mode.cast_signed());
        }
        if bits & flags::SAME_UID == 0 {
            out.put_varint30(layout.version, entry.uid.cast_signed());
            if bits & flags::USER_NAME_FOLLOWS != 0 {
                put_name(name_of(entry, |extra| extra.user.as_deref()), out);
            }
            self.named_users.insert(entry.uid);
        }
        if bits & flags::SAME_GID == 0 {
            out.put_varint30(layout.version, entry.gid.cast_signed());
            if bits & flags::GROUP_NAME_FOLLOWS != 0 {
                put_name(name_of(entry, |extra| extra.group.as_deref()), out);
            }
            self.named_groups.insert(entry.gid);
        }
        if let Some(device) = device {
            if bits & flags::SAME_RDEV_MAJOR == 0 {
                out.put_varint30(layout.version, device.major.cast_signed());
            }
            out.put_varint(device.minor.cast_signed());
            self.major = device.major;
        }
        if kind == Kind::Symlink && layout.links {
            let link = entry.link().unwrap_or_default();
            out.put_varint30(layout.version, int(link.len()));
            out.extend_from_slice(link);
        }
        if kind == Kind::File && layout.checksum_len > 0 {
            let checksum = entry.checksum().unwrap_or_default();
            let kept = &checksum[..checksum.len().min(layout.checksum_len)];
            out.extend_from_slice(kept);
            out.resize(out.len() + layout.checksum_len - kept.len(), 0);
        }
    }
}

fn name_of(entry: &Entry, pick: impl Fn(&super::entry::Extra) -> Option<&[u8]>) -> Option<&[u8]> {
    entry.extra.as_deref().and_then(pick).filter(|name| !name.is_empty() && name.len() <= 255)
}

fn put_name(name: Option<&[u8]>, out: &mut BytesMut) {
    let name = name.unwrap_or_default();
    out.put_byte(u8::try_from(name.len()).unwrap_or(0));
    out.extend_from_slice(name);
}

/// Lengths here are bounded by the limits, far below 2^31.
fn int(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}
