//! In what two entries of one name differ, as far as a list tells.

use bascule_wire::Negotiated;
use bascule_wire::flist::{Entry, Kind};

use super::findings::Aspect;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Judge {
    /// Permissions count.
    pub perms: bool,
    /// Owners and groups count.
    pub owner: bool,
    /// Times of directories count.
    pub dir_times: bool,
    /// Times of symlinks count.
    pub link_times: bool,
    /// How exact times are.
    pub window: Window,
}

/// How far times may differ and still be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Not at all: nanoseconds count.
    Exact,
    /// By what Windows, at one of the ends, cuts off: it keeps 100 ns at a time.
    Ticks,
    /// By that many seconds; with 0 the second has to be the same.
    Seconds(u32),
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact => f.write_str("to the nanosecond"),
            Self::Ticks => f.write_str("to 100 ns, as Windows keeps them"),
            Self::Seconds(0) => f.write_str("to the second"),
            Self::Seconds(seconds) => write!(f, "within {seconds} s"),
        }
    }
}

impl Window {
    /// Rsync's `--modify-window`, as far as this system keeps times.
    pub fn of(modify_window: i32) -> Self {
        let finest = if cfg!(windows) { Self::Ticks } else { Self::Exact };
        u32::try_from(modify_window).map_or(finest, Self::Seconds)
    }

    fn is_same(self, source: &Entry, target: &Entry) -> bool {
        match self {
            Self::Exact => (source.mtime, source.nanos) == (target.mtime, target.nanos),
            Self::Ticks => source.mtime == target.mtime && is_same_tick(source.nanos, target.nanos),
            Self::Seconds(seconds) => source.mtime.abs_diff(target.mtime) <= seconds.into(),
        }
    }
}

/// Whether nanoseconds are the same, or one is what Windows keeps of the other.
fn is_same_tick(one: u32, other: u32) -> bool {
    let kept = |nanos: u32| nanos - nanos % 100;
    one == other || kept(one) == other || one == kept(other)
}

impl Judge {
    /// Gives up what the other end cannot tell: before protocol 31, nanoseconds; what is finer than
    /// 100 ns where it says so.
    pub fn adapt(&mut self, negotiated: &Negotiated, keeps_ticks: bool) {
        match self.window {
            Window::Seconds(_) => {}
            _ if !negotiated.version.has_nanoseconds() => self.window = Window::Seconds(0),
            Window::Exact if keeps_ticks => self.window = Window::Ticks,
            Window::Exact | Window::Ticks => {}
        }
    }

    /// The aspects in which two entries differ. Contents of files of one size are not looked at.
    pub fn aspects(&self, source: &Entry, target: &Entry) -> Vec<Aspect> {
        let kind = source.kind();
        if kind != target.kind() {
            return vec![Aspect::Kind];
        }
        let is_other_content = match kind {
            Kind::File => source.size != target.size,
            Kind::Symlink => source.link() != target.link(),
            Kind::BlockDevice | Kind::CharDevice => source.device() != target.device(),
            Kind::Directory | Kind::Fifo | Kind::Socket => false,
        };
        let times_count = match kind {
            Kind::Directory => self.dir_times,
            Kind::Symlink => self.link_times,
            _ => true,
        };
        // The modes of symlinks mean nothing.
        let other_mode =
            kind != Kind::Symlink && source.permissions() != target.permissions() && self.perms;
        let other_owner = (source.uid, source.gid) != (target.uid, target.gid) && self.owner;
        [
            (is_other_content, Aspect::Content),
            (times_count && !self.window.is_same(source, target), Aspect::Time),
            (other_mode, Aspect::Permissions),
            (other_owner, Aspect::Owner),
        ]
        .into_iter()
        .filter_map(|(differs, aspect)| differs.then_some(aspect))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use bascule_wire::flist::Extra;

    use super::*;

    fn entry(mode: u32) -> Entry {
        Entry {
            dir: (*b"").into(),
            base: (*b"x").into(),
            mode,
            size: 5,
            mtime: 100,
            nanos: 7,
            uid: 1,
            gid: 2,
            top_dir: false,
            content_dir: false,
            extra: None,
        }
    }

    fn link(target: &[u8]) -> Entry {
        let extra = Extra { link: Some(target.into()), ..Extra::default() };
        Entry { extra: Some(Box::new(extra)), ..entry(0o120_777) }
    }

    const ALL: Judge = Judge {
        perms: true,
        owner: true,
        dir_times: true,
        link_times: true,
        window: Window::Exact,
    };

    #[test]
    fn each_aspect_counts_when_it_is_asked_for() {
        let file = entry(0o100_644);
        let none = Judge { perms: false, owner: false, ..ALL };
        let later = Entry { nanos: 8, ..file.clone() };
        let on_windows = Entry { nanos: 0, ..file.clone() };
        let next_tick = Entry { nanos: 100, ..file.clone() };
        let next = Entry { mtime: 101, ..file.clone() };
        let longer = Entry { size: 6, ..later.clone() };
        let foreign = Entry { mode: 0o100_600, gid: 3, ..file.clone() };
        for (judge, other, expected) in [
            (ALL, &file, &[][..]),
            (ALL, &later, &[Aspect::Time]),
            (ALL, &on_windows, &[Aspect::Time]),
            (Judge { window: Window::Ticks, ..ALL }, &on_windows, &[]),
            (Judge { window: Window::Ticks, ..ALL }, &later, &[Aspect::Time]),
            (Judge { window: Window::Ticks, ..ALL }, &next_tick, &[Aspect::Time]),
            (ALL, &longer, &[Aspect::Content, Aspect::Time]),
            (ALL, &foreign, &[Aspect::Permissions, Aspect::Owner]),
            (none, &foreign, &[]),
            (Judge { window: Window::Seconds(0), ..ALL }, &later, &[]),
            (Judge { window: Window::Seconds(0), ..ALL }, &next, &[Aspect::Time]),
            (Judge { window: Window::Seconds(1), ..ALL }, &next, &[]),
            (ALL, &entry(0o040_755), &[Aspect::Kind]),
            (ALL, &link(b"a"), &[Aspect::Kind]),
        ] {
            assert_eq!(judge.aspects(&file, other), expected, "{judge:?} {other:?}");
        }
        assert_eq!(ALL.aspects(&link(b"a"), &link(b"b")), [Aspect::Content]);
        let late_dir = Entry { mtime: 9, ..entry(0o040_755) };
        let judge = Judge { dir_times: false, ..ALL };
        assert_eq!(judge.aspects(&late_dir, &entry(0o040_755)), []);
        assert_eq!(ALL.aspects(&late_dir, &entry(0o040_755)), [Aspect::Time]);
    }
}
