//! The lists of user and group names that follow a whole file list (§9.6).

use std::collections::BTreeMap;

use bytes::BytesMut;

use crate::decode::{Cursor, Decode, Stop, decode_with};
use crate::error::WireError;
use crate::limits::{ID_OVERHEAD, MAX_IDS_BYTES};
use crate::options::Options;
use crate::setup::{CompatFlags, Negotiated};
use crate::varint::PutWire as _;
use crate::version::Version;

/// Names of users and groups by id. Ids without a name are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdList {
    users: BTreeMap<u32, Box<[u8]>>,
    groups: BTreeMap<u32, Box<[u8]>>,
}

impl IdList {
    /// The name of a user. Id 0 is everywhere the same.
    pub fn user(&self, uid: u32) -> Option<&[u8]> {
        self.users.get(&uid).filter(|_| uid != 0).map(|name| &**name)
    }

    /// The name of a group. Id 0 is everywhere the same.
    pub fn group(&self, gid: u32) -> Option<&[u8]> {
        self.groups.get(&gid).filter(|_| gid != 0).map(|name| &**name)
    }

    /// Adds a user's name; an empty one does not travel.
    pub fn add_user(&mut self, uid: u32, name: &[u8]) {
        self.users.insert(uid, name.into());
    }

    /// Adds a group's name; an empty one does not travel.
    pub fn add_group(&mut self, gid: u32, name: &[u8]) {
        self.groups.insert(gid, name.into());
    }

    /// Whether [`Self::add_user`] was called for this id.
    pub fn knows_user(&self, uid: u32) -> bool {
        self.users.contains_key(&uid)
    }

    /// Whether [`Self::add_group`] was called for this id.
    pub fn knows_group(&self, gid: u32) -> bool {
        self.groups.contains_key(&gid)
    }

    /// Appends the lists that `options` ask for.
    pub fn encode(&self, negotiated: &Negotiated, options: &Options, out: &mut BytesMut) {
        let layout = IdLayout::new(negotiated, options);
        if layout.users {
            put(&self.users, &layout, out);
        }
        if layout.groups {
            put(&self.groups, &layout, out);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct IdLayout {
    version: Version,
    names_id0: bool,
    users: bool,
    groups: bool,
}

impl IdLayout {
    fn new(negotiated: &Negotiated, options: &Options) -> Self {
        let names = !negotiated.incremental() && !options.numeric_ids;
        Self {
            version: negotiated.version,
            names_id0: negotiated.compat.has(CompatFlags::ID0_NAMES),
            users: names && options.owner,
            groups: names && options.group,
        }
    }
}

fn put(names: &BTreeMap<u32, Box<[u8]>>, layout: &IdLayout, out: &mut BytesMut) {
    let short = |name: &[u8]| u8::try_from(name.len()).ok().filter(|length| *length > 0);
    for (id, name) in names.iter().filter(|(id, _)| **id != 0) {
        if let Some(length) = short(name) {
            out.put_varint30(layout.version, id.cast_signed());
            out.put_byte(length);
            out.extend_from_slice(name);
        }
    }
    out.put_varint30(layout.version, 0);
    if layout.names_id0 {
        let name = names.get(&0).map(|name| &**name).unwrap_or_default();
        let length = short(name).unwrap_or(0);
        out.put_byte(length);
        out.extend_from_slice(&name[..usize::from(length)]);
    }
}

/// Decodes both lists as one item; an empty one at once when none travels.
///
/// It keeps what has arrived: `Ok(None)` consumes names.
#[derive(Debug, Clone)]
pub struct IdListDecoder {
    layout: IdLayout,
    ids: IdList,
    part: Part,
    /// What the names so far weigh in bytes, repeated ids included: what bounds an endless list.
    weight: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Part {
    Users,
    Groups,
    Nothing,
}

impl IdListDecoder {
    /// Prepares a decoder for a connection.
    pub fn new(negotiated: &Negotiated, options: &Options) -> Self {
        let layout = IdLayout::new(negotiated, options);
        Self { layout, ids: IdList::default(), part: Part::Users, weight: 0 }
    }

    fn read_one(&self, cursor: &mut Cursor<'_>) -> Result<(u32, Box<[u8]>), Stop> {
        let id = cursor.varint30(self.layout.version)?.cast_unsigned();
        if id == 0 && !self.layout.names_id0 {
            return Ok((id, Box::default()));
        }
        let length = usize::from(cursor.byte()?);
        Ok((id, cursor.take(length)?.into()))
    }

    fn end_part(&mut self) {
        self.part = match self.part {
            Part::Users => Part::Groups,
            Part::Groups | Part::Nothing => Part::Nothing,
        };
    }
}

impl Decode for IdListDecoder {
    type Item = IdList;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<IdList>, WireError> {
        loop {
            let travels = match self.part {
                Part::Users => self.layout.users,
                Part::Groups => self.layout.groups,
                Part::Nothing => {
                    self.part = Part::Users;
                    self.weight = 0;
                    return Ok(Some(std::mem::take(&mut self.ids)));
                }
            };
            if !travels {
                self.end_part();
                continue;
            }
            let Some((id, name)) = decode_with(buf, |cursor| self.read_one(cursor))? else {
                return Ok(None);
            };
            self.weight += ID_OVERHEAD + name.len();
            if self.weight > MAX_IDS_BYTES {
                return Err(WireError::malformed(
                    "id list",
                    format!("names that take more than {MAX_IDS_BYTES} bytes"),
                ));
            }
            if !name.is_empty() {
                let names = match self.part {
                    Part::Users => &mut self.ids.users,
                    Part::Groups | Part::Nothing => &mut self.ids.groups,
                };
                names.insert(id, name);
            }
            if id == 0 {
                self.end_part();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ChecksumName, CompressName};

    #[test]
    fn rule_19_3_endless_names_of_owners_are_refused() {
        let negotiated = Negotiated {
            version: Version::NEWEST,
            compat: CompatFlags::default(),
            checksum: ChecksumName::Md5,
            list_checksum: ChecksumName::Md5,
            compress: CompressName::None,
            seed: 0,
        };
        let mut decoder = IdListDecoder::new(&negotiated, &Options::archive());
        let mut buf = BytesMut::new();
        let chunk = b"\x05\x01x".repeat(1 << 16);
        let outcome = (0..20).find_map(|_| {
            buf.extend_from_slice(&chunk);
            let read = decoder.decode(&mut buf);
            assert!(read.is_err() || buf.is_empty(), "names pile up");
            read.err()
        });
        assert!(matches!(outcome, Some(WireError::Malformed { .. })), "{outcome:?}");
    }
}
