//! Finds the names that share a file (§9.7).

use std::collections::HashMap;

use bascule_wire::flist::{HardLink, Kind};

use super::Found;

/// The files with several names that have been sent, by file system and inode.
#[derive(Debug)]
pub struct HardLinks {
    /// Whether a file can be listed under more names than it has: through symlinks, or because
    /// several sources overlap.
    unbounded: bool,
    groups: HashMap<(u64, u64), Group>,
}

#[derive(Debug)]
struct Group {
    /// The index, in send order, of the first name.
    first: u32,
    /// Names that may still come.
    left: u64,
}

impl HardLinks {
    /// No groups yet. With `unbounded`, a file can be listed under more names than it has.
    pub fn new(unbounded: bool) -> Self {
        Self { unbounded, groups: HashMap::new() }
    }

    /// Marks an entry that is about to be sent with the index `index` (in send order).
    pub fn assign(&mut self, found: &mut Found, index: u32) {
        let metadata = &found.metadata;
        if metadata.links < 2 || metadata.kind == Kind::Directory {
            return;
        }
        let key = (metadata.file_system, metadata.inode);
        let link = match self.groups.get_mut(&key) {
            Some(group) => {
                let link = HardLink { group: group.first, first: false };
                group.left = group.left.saturating_sub(1);
                // All names have been seen: a group is as large as its file's link count.
                if group.left == 0 && !self.unbounded {
                    self.groups.remove(&key);
                }
                link
            }
            None => {
                self.groups.insert(key, Group { first: index, left: metadata.links - 1 });
                HardLink { group: index, first: true }
            }
        };
        found.entry.extra.get_or_insert_default().hard_link = Some(link);
    }
}
