//! Hard-link groups on the target (§9.7): the first member that can be had is the file, the
//! others become further names of it.

use std::collections::HashMap;

use crate::path::RelPath;

/// What to do with a member of a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Treat it like any file; report with [`HardLinks::finished`] or [`HardLinks::failed`].
    First,
    /// Link it to this path.
    LinkTo(RelPath),
    /// It is remembered until the first member is there.
    Later,
}

/// The groups of one run, by group number.
#[derive(Debug, Default)]
pub(super) struct HardLinks {
    groups: HashMap<u32, Group>,
}

#[derive(Debug)]
enum Group {
    /// The first member is on its way; these wait for it.
    Pending(Vec<u32>),
    /// The first member is there.
    Ready(RelPath),
}

impl HardLinks {
    /// Takes note of a member with the list index `index`.
    pub(super) fn arrive(&mut self, group: u32, index: u32) -> Turn {
        match self.groups.get_mut(&group) {
            None => {
                self.groups.insert(group, Group::Pending(Vec::new()));
                Turn::First
            }
            Some(Group::Pending(waiting)) => {
                waiting.push(index);
                Turn::Later
            }
            Some(Group::Ready(path)) => Turn::LinkTo(path.clone()),
        }
    }

    /// The first member is at `path`; gives the indexes that waited for it.
    pub(super) fn finished(&mut self, group: u32, path: RelPath) -> Vec<u32> {
        match self.groups.insert(group, Group::Ready(path)) {
            Some(Group::Pending(waiting)) => waiting,
            _ => Vec::new(),
        }
    }

    /// The first member could not be had; gives the indexes that waited. The next to arrive is
    /// first again.
    pub(super) fn failed(&mut self, group: u32) -> Vec<u32> {
        match self.groups.remove(&group) {
            Some(Group::Pending(waiting)) => waiting,
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_wait_for_the_first() {
        let path = RelPath::parse(b"a").expect("a legal path");
        let mut links = HardLinks::default();
        assert_eq!(links.arrive(7, 1), Turn::First);
        assert_eq!(links.arrive(7, 2), Turn::Later);
        assert_eq!(links.arrive(9, 3), Turn::First);
        assert_eq!(links.finished(7, path.clone()), vec![2]);
        assert_eq!(links.arrive(7, 4), Turn::LinkTo(path));
    }

    #[test]
    fn another_member_takes_the_place_of_a_failed_first() {
        let mut links = HardLinks::default();
        assert_eq!(links.arrive(7, 1), Turn::First);
        assert_eq!(links.arrive(7, 2), Turn::Later);
        assert_eq!(links.failed(7), vec![2]);
        assert_eq!(links.arrive(7, 2), Turn::First);
    }
}
