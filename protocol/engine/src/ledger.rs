//! What a list may take: a peer must not make this machine hold more than its owner allows (§19.3).

use std::collections::VecDeque;
use std::sync::Arc;

use bascule_wire::flist::Entry;

use crate::outcome::{ExitCode, Fatal};
use crate::run::Side;

/// Bytes that a directory, a hard link or a delayed file is counted as for what is remembered of
/// it to the end of the run, beside three times its path.
const REMEMBERED: u64 = 192;

/// How long a list may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListLimits {
    /// Most entries of one run.
    pub entries: u64,
    /// Most bytes that the entries may take at any one time.
    pub bytes: u64,
}

impl ListLimits {
    /// For lists of one's own.
    pub const NONE: Self = Self { entries: u64::MAX, bytes: u64::MAX };

    /// Ends a run that has come to `entries`.
    ///
    /// # Errors
    /// [`ExitCode::Memory`] when that is too many.
    pub(crate) fn check_entries(&self, entries: u64, side: Side) -> Result<(), Fatal> {
        if entries <= self.entries {
            return Ok(());
        }
        let remedy = match side {
            Side::Server => "\"max entries\" in the daemon's configuration",
            Side::Client => "--max-entries",
        };
        Err(too_much(format!("has more than {} entries, the limit of {remedy}", self.entries)))
    }
}

impl Default for ListLimits {
    /// Twenty million entries, which take some 4 GiB if all are held at once.
    fn default() -> Self {
        Self { entries: 20_000_000, bytes: 4 << 30 }
    }
}

/// Counts the list of one run as it arrives.
#[derive(Debug)]
pub(crate) struct Ledger {
    limits: ListLimits,
    side: Side,
    entries: u64,
    /// Bytes remembered to the end of the run.
    remembered: u64,
    /// Bytes of the live segments, oldest first; the last is the one that is being read.
    segments: VecDeque<u64>,
    /// Their sum.
    held: u64,
    /// The directory of the last entry: its neighbours share the name.
    dir: Option<Arc<[u8]>>,
    delays_updates: bool,
}

impl Ledger {
    pub(crate) fn new(limits: ListLimits, side: Side, delays_updates: bool) -> Self {
        Self {
            limits,
            side,
            entries: 0,
            remembered: 0,
            segments: VecDeque::new(),
            held: 0,
            dir: None,
            delays_updates,
        }
    }

    /// A segment begins.
    pub(crate) fn begin_segment(&mut self) {
        self.segments.push_back(0);
    }

    /// The oldest segment is forgotten.
    pub(crate) fn end_oldest(&mut self) {
        self.held -= self.segments.pop_front().unwrap_or(0);
    }

    /// An entry of the last segment.
    ///
    /// # Errors
    /// [`ExitCode::Memory`] when the list has become too long or too large.
    pub(crate) fn add(&mut self, entry: &Entry) -> Result<(), Fatal> {
        self.entries += 1;
        self.limits.check_entries(self.entries, self.side)?;
        let mut bytes = entry.weight() as u64;
        if !self.dir.as_ref().is_some_and(|dir| Arc::ptr_eq(dir, &entry.dir)) {
            bytes += entry.dir.len() as u64;
            self.dir = Some(Arc::clone(&entry.dir));
        }
        if entry.is_dir() || entry.hard_link().is_some() || self.delays_updates {
            let path = entry.dir.len() + 1 + entry.base.len();
            self.remembered += REMEMBERED + 3 * path as u64;
        }
        if let Some(last) = self.segments.back_mut() {
            *last += bytes;
        }
        self.held += bytes;
        if self.held + self.remembered <= self.limits.bytes {
            return Ok(());
        }
        let limit = self.limits.bytes;
        let remedy = match self.side {
            Side::Server => "\"max list memory\" in the daemon's configuration",
            Side::Client => "--max-list-memory",
        };
        Err(too_much(format!("takes more than {limit} bytes, the limit of {remedy}")))
    }
}

fn too_much(what: String) -> Fatal {
    Fatal::new(
        ExitCode::Memory,
        format!("the file list {what}: raise it if such a list is meant, or mirror in parts"),
    )
}

#[cfg(test)]
mod tests {
    use bascule_wire::flist::Kind;

    use super::*;

    fn entry(dir: &Arc<[u8]>, base: &[u8], kind: Kind) -> Entry {
        Entry {
            dir: Arc::clone(dir),
            base: base.into(),
            mode: kind.bits() | 0o644,
            size: 0,
            mtime: 0,
            nanos: 0,
            uid: 0,
            gid: 0,
            top_dir: false,
            content_dir: false,
            extra: None,
        }
    }

    #[test]
    fn rule_19_3_entries_are_counted_over_all_segments() {
        let limits = ListLimits { entries: 5, bytes: u64::MAX };
        let mut ledger = Ledger::new(limits, Side::Server, false);
        let dir: Arc<[u8]> = b"d".as_slice().into();
        for name in 0..5_u8 {
            ledger.begin_segment();
            ledger.add(&entry(&dir, &[b'a' + name], Kind::File)).expect("within the limit");
            ledger.end_oldest();
        }
        ledger.begin_segment();
        let refused = ledger.add(&entry(&dir, b"f", Kind::File)).expect_err("one too many");
        assert_eq!(refused.exit, ExitCode::Memory);
        assert!(refused.text.contains("more than 5 entries"), "{}", refused.text);
    }

    #[test]
    fn rule_19_3_bytes_are_counted_as_long_as_they_are_held() {
        let limits = ListLimits { entries: u64::MAX, bytes: 20_000 };
        let dir: Arc<[u8]> = b"d".as_slice().into();
        let fill = |kind: Kind, forget: bool| {
            let mut ledger = Ledger::new(limits, Side::Client, false);
            for _ in 0..1000 {
                ledger.begin_segment();
                ledger.add(&entry(&dir, &[b'x'; 100], kind))?;
                if forget {
                    ledger.end_oldest();
                }
            }
            Ok::<_, Fatal>(())
        };
        assert_eq!(fill(Kind::File, true), Ok(()));
        assert!(fill(Kind::File, false).is_err());
        // Of directories something is remembered to the end.
        assert!(fill(Kind::Directory, true).is_err());
    }
}
