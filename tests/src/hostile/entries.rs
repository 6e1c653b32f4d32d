//! Entries of a list that an honest sender would never make, and some that it would.

use bascule_wire::flist::{Entry, Extra, HardLink, Kind};

use crate::scratch::T0;

/// The root of a list.
pub fn root() -> Entry {
    directory(".")
}

/// A directory whose contents are part of the transfer.
pub fn directory(name: &str) -> Entry {
    Entry { content_dir: true, mode: Kind::Directory.bits() | 0o755, ..file(name, 0) }
}

/// A file. The name goes on the wire as it is.
pub fn file(name: &str, size: u64) -> Entry {
    let (dir, base) = name.rsplit_once('/').unwrap_or(("", name));
    // Where there is nothing before the slash, it belongs to the name.
    let (dir, base) = if dir.is_empty() { ("", name) } else { (dir, base) };
    Entry {
        dir: dir.as_bytes().into(),
        base: base.as_bytes().into(),
        mode: Kind::File.bits() | 0o644,
        size,
        mtime: T0,
        nanos: 0,
        uid: 0,
        gid: 0,
        top_dir: false,
        content_dir: false,
        extra: None,
    }
}

/// A symlink.
pub fn symlink(name: &str, target: &str) -> Entry {
    let extra = Extra { link: Some(target.as_bytes().into()), ..Extra::default() };
    Entry {
        mode: Kind::Symlink.bits() | 0o777,
        extra: Some(Box::new(extra)),
        ..file(name, target.len() as u64)
    }
}

/// A further name of the entry with the index `group`.
pub fn hard_link(name: &str, group: u32, first: bool) -> Entry {
    let hard_link = Some(HardLink { group, first });
    Entry { extra: Some(Box::new(Extra { hard_link, ..Extra::default() })), ..file(name, 1) }
}
