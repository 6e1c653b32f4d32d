//! What will happen to an entry: pure decisions, no I/O.

use std::sync::Arc;

use bascule_wire::Options;
use bascule_wire::flist::{Entry, Kind};
use bascule_wire::record::ItemFlags;

use crate::chmod::Chmod;
use crate::tree::{Attributes, Metadata, Modes, TargetAbilities};

/// How entries are compared and which attributes are kept; made once per run.
#[derive(Debug, Clone)]
pub struct Policy {
    keep_owner: bool,
    keep_group: bool,
    /// The groups that can be given; `None` means any.
    usable_groups: Option<Arc<[u32]>>,
    keep_perms: bool,
    keep_executability: bool,
    keep_times: bool,
    keep_dir_times: bool,
    keep_link_times: bool,
    modify_window: i32,
    time_granularity: u32,
    symlink_modes: bool,
    modes: Modes,
    quick_check: QuickCheck,
    umask: u32,
    /// Applied to what permissions become when they are not kept (`incoming chmod`).
    chmod: Option<Chmod>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QuickCheck {
    Time,
    Size,
    Checksum,
    Never,
}

/// Whether a regular file of the target has the content that the entry describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It has.
    Same,
    /// It has not, or nobody can tell.
    Differs,
    /// Sizes are equal; the digests decide (`-c`).
    CompareDigests,
}

impl Policy {
    /// Combines what was asked for with what the target can do. `umask` is the process's mask,
    /// used when permissions are not kept.
    pub fn new(
        options: &Options,
        abilities: TargetAbilities,
        usable_groups: Option<Vec<u32>>,
        peer_sets_link_times: bool,
        umask: u32,
        chmod: Option<Chmod>,
    ) -> Self {
        Self {
            keep_owner: options.owner && abilities.change_owner,
            keep_group: options.group,
            usable_groups: usable_groups.map(Into::into),
            keep_perms: options.perms,
            keep_executability: options.executability,
            keep_times: options.times,
            keep_dir_times: options.times && !options.omit_dir_times,
            keep_link_times: options.times
                && !options.omit_link_times
                && abilities.symlink_times
                && peer_sets_link_times,
            modify_window: options.modify_window,
            time_granularity: abilities.time_granularity.max(1),
            symlink_modes: abilities.symlink_modes,
            modes: abilities.modes,
            quick_check: if options.checksum {
                QuickCheck::Checksum
            } else if options.size_only {
                QuickCheck::Size
            } else if options.ignore_times {
                QuickCheck::Never
            } else {
                QuickCheck::Time
            },
            umask,
            chmod,
        }
    }

    /// The quick check (§15) for a regular file.
    pub fn content(&self, entry: &Entry, local: &Metadata) -> Content {
        if entry.size != local.size {
            return Content::Differs;
        }
        match self.quick_check {
            QuickCheck::Checksum => Content::CompareDigests,
            QuickCheck::Size => Content::Same,
            QuickCheck::Never => Content::Differs,
            QuickCheck::Time if self.same_time(entry, local) => Content::Same,
            QuickCheck::Time => Content::Differs,
        }
    }

    /// Whether both times count as equal: to the second with a window of 0, within the window
    /// when it is positive, to the nanosecond (as far as the target stores them) when it is -1.
    pub fn same_time(&self, entry: &Entry, local: &Metadata) -> bool {
        match self.modify_window {
            window @ 1.. => entry.mtime.abs_diff(local.mtime) <= u64::from(window.unsigned_abs()),
            0 => entry.mtime == local.mtime,
            _ => {
                let stored = entry.nanos - entry.nanos % self.time_granularity;
                entry.mtime == local.mtime && (local.nanos == entry.nanos || local.nanos == stored)
            }
        }
    }

    /// Whether `-u` leaves the target's file alone: it is newer than the entry. With a window, one
    /// that is older by less than the window counts as newer (as with rsync).
    pub fn is_newer_there(&self, entry: &Entry, local: &Metadata) -> bool {
        match self.modify_window {
            window @ 0.. => entry.mtime.saturating_sub(local.mtime) < i64::from(window),
            _ => (local.mtime, local.nanos) > (entry.mtime, entry.nanos),
        }
    }

    /// Compares attributes and adds the report bits of §12 to `base`. With no `local` the entry
    /// is new. `fresh_link` tells of a hard link that is being made now.
    pub fn report(
        &self,
        entry: &Entry,
        local: Option<&Metadata>,
        base: ItemFlags,
        fresh_link: bool,
    ) -> ItemFlags {
        let Some(local) = local else {
            return base | ItemFlags::IS_NEW;
        };
        let kind = entry.kind();
        let mut flags = base;
        if kind == Kind::File && entry.size != local.size {
            flags |= ItemFlags::REPORT_SIZE;
        }
        let time_differs = if self.keeps_time_of(kind) {
            !self.same_time(entry, local)
        } else {
            base.intersects(ItemFlags::TRANSFER | ItemFlags::LOCAL_CHANGE)
                && (!base.contains(ItemFlags::XNAME_FOLLOWS) || fresh_link)
        };
        if time_differs {
            flags |= ItemFlags::REPORT_TIME;
        }
        if (self.keep_perms || self.keep_executability)
            && self.wanted_mode(entry, Some(local)).is_some_and(|mode| mode != local.mode & 0o7777)
        {
            flags |= ItemFlags::REPORT_PERMS;
        }
        if self.keep_owner && entry.uid != local.uid {
            flags |= ItemFlags::REPORT_OWNER;
        }
        if self.keeps_group(entry.gid) && entry.gid != local.gid {
            flags |= ItemFlags::REPORT_GROUP;
        }
        flags
    }

    /// What to set on a file that was just made (`local` is `None`) or exists: only what differs.
    pub fn attributes(&self, entry: &Entry, local: Option<&Metadata>) -> Attributes {
        let mode = self.wanted_mode(entry, local);
        let Some(local) = local else {
            return Attributes {
                owner: self.keep_owner.then_some(entry.uid),
                group: self.keeps_group(entry.gid).then_some(entry.gid),
                mode,
                mtime: self.keeps_time_of(entry.kind()).then_some((entry.mtime, entry.nanos)),
            };
        };
        let owner = (self.keep_owner && entry.uid != local.uid).then_some(entry.uid);
        let group = (self.keeps_group(entry.gid) && entry.gid != local.gid).then_some(entry.gid);
        let chown_clears_mode = (owner.is_some() || group.is_some()) && entry.mode & 0o6000 != 0;
        Attributes {
            owner,
            group,
            mode: mode.filter(|mode| chown_clears_mode || *mode != local.mode & 0o7777),
            mtime: (self.keeps_time_of(entry.kind()) && !self.exact_time(entry, local))
                .then_some((entry.mtime, entry.nanos)),
        }
    }

    /// The permission bits that the entry gets on the target, as the target keeps them; `None` to
    /// leave them alone.
    pub fn wanted_mode(&self, entry: &Entry, local: Option<&Metadata>) -> Option<u32> {
        let mode = self.mode_on_unix(entry, local)?;
        match self.modes {
            Modes::All => Some(mode),
            Modes::OwnerWrite if entry.kind() != Kind::File => None,
            Modes::OwnerWrite if mode & 0o200 == 0 => Some(0o444),
            Modes::OwnerWrite => Some(0o644),
        }
    }

    fn mode_on_unix(&self, entry: &Entry, local: Option<&Metadata>) -> Option<u32> {
        if entry.kind() == Kind::Symlink && !self.symlink_modes {
            return None;
        }
        if self.keep_perms {
            return Some(entry.permissions());
        }
        let mode = match local {
            None => entry.permissions() & 0o777 & !self.umask,
            Some(local) if self.keep_executability && entry.kind() == Kind::File => {
                let current = local.mode & 0o7777;
                if entry.mode & 0o111 == 0 {
                    current & !0o111
                } else if current & 0o111 == 0 {
                    current | (current & 0o444) >> 2
                } else {
                    current
                }
            }
            Some(local) if self.chmod.is_some() => local.mode & 0o7777,
            Some(_) => return None,
        };
        match &self.chmod {
            Some(chmod) => Some(chmod.apply(entry.mode & !0o7777 | mode) & 0o7777),
            None => Some(mode),
        }
    }

    /// Whether a file gets this group: who is not root can give only the groups that he is in, and
    /// the others are left as they come, without a word (as rsync does).
    fn keeps_group(&self, gid: u32) -> bool {
        self.keep_group && self.usable_groups.as_ref().is_none_or(|groups| groups.contains(&gid))
    }

    /// Whether the time of such a file is kept.
    pub fn keeps_time_of(&self, kind: Kind) -> bool {
        match kind {
            Kind::Directory => self.keep_dir_times,
            Kind::Symlink => self.keep_link_times,
            _ => self.keep_times,
        }
    }

    /// Times are written when they differ at all, unless the differing part lies within what the
    /// user declared equal; where the contents decide (`-c`), nothing was declared about times.
    fn exact_time(&self, entry: &Entry, local: &Metadata) -> bool {
        if self.quick_check == QuickCheck::Checksum {
            (entry.mtime, entry.nanos) == (local.mtime, local.nanos)
        } else {
            self.same_time(entry, local)
        }
    }
}
