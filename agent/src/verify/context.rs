//! What all threads of a verification share.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bascule_engine::observe::Event;
use bascule_engine::path::RelPath;
use bascule_engine::stop::Stop;
use bascule_engine::tree::{Metadata, Source};
use bascule_wire::Negotiated;
use bascule_wire::flist::{Entry, Kind};
use bascule_wire::strong::StrongSum;
use serde::{Deserialize, Serialize};

use super::findings::{Aspect, Difference, End, Findings};
use super::state::State;
use crate::progress::Progress;

/// An end on this machine.
pub struct Place {
    /// The tree to which all paths are relative.
    pub tree: Arc<dyn Source>,
    /// What it is called in the state.
    pub name: String,
}

/// Shared by the comparison, the readers and the listener.
pub struct Context {
    /// The ends that are on this machine: source, target.
    pub places: [Option<Place>; 2],
    /// What an earlier verification has read.
    pub state: Option<State>,
    /// What was found.
    pub findings: Findings,
    /// How much was compared.
    pub tally: Tally,
    /// The line on the terminal.
    pub progress: Progress,
    /// The user's request to end.
    pub stop: Stop,
    /// When it began: what changes later is in motion.
    began: (i64, u32),
    agreed: OnceLock<Negotiated>,
    keeps_ticks: AtomicBool,
}

impl Context {
    /// Begins a verification.
    pub fn new(
        places: [Option<Place>; 2],
        state: Option<State>,
        progress: Progress,
        stop: Stop,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            places,
            state,
            findings: Findings::default(),
            tally: Tally::default(),
            progress,
            stop,
            began: (now.as_secs().try_into().unwrap_or(i64::MAX), now.subsec_nanos()),
            agreed: OnceLock::new(),
            keeps_ticks: AtomicBool::new(false),
        }
    }

    /// Notes that the daemon keeps times to 100 ns only.
    pub fn note_ticks(&self) {
        self.keeps_ticks.store(true, Ordering::Relaxed);
    }

    /// Whether the daemon keeps times to 100 ns only.
    pub fn keeps_ticks(&self) -> bool {
        self.keeps_ticks.load(Ordering::Relaxed)
    }

    /// Sets how contents are compared, once for all.
    pub fn agree(&self, negotiated: &Negotiated) {
        // A second look at a daemon has no say in it.
        let _ = self.agreed.set(negotiated.clone());
    }

    /// The digests that were agreed on; `None` before.
    pub fn strong(&self) -> Option<StrongSum> {
        self.agreed.get().map(StrongSum::new)
    }

    /// The name of that digest.
    pub fn digest_name(&self) -> &'static str {
        self.agreed.get().map_or("none", |agreed| agreed.list_checksum.as_str())
    }

    /// An end, if it is on this machine.
    pub fn place(&self, end: End) -> Option<&Place> {
        match end {
            End::Source => self.places[0].as_ref(),
            End::Target => self.places[1].as_ref(),
        }
    }

    /// Notes that bytes of an end are done with. Both ends move at the same pace: one counts.
    pub fn moved(&self, end: End, bytes: u64) {
        if end == End::Target || self.place(End::Target).is_none() {
            self.progress.note(&Event::TransferProgress { bytes });
        }
    }

    /// Between two pieces of a file: goes on unless the user has had enough.
    ///
    /// # Errors
    /// When he has.
    pub fn tick(&self) -> io::Result<()> {
        if let Some(state) = &self.state {
            state.tick();
        }
        if self.stop.is_stopped() { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// Whether a path of this machine is not any more what was `seen` of it, or has changed since
    /// the verification began.
    pub fn has_moved(&self, end: End, path: &RelPath, seen: Option<&Metadata>) -> bool {
        let Some(place) = self.place(end) else { return false };
        match (place.tree.metadata(path, false), seen) {
            (Ok(now), Some(seen)) => now != *seen || now.changed >= self.began,
            (Ok(now), None) => now.changed >= self.began,
            (Err(error), seen) => {
                let is_gone =
                    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
                is_gone && seen.is_some()
            }
        }
    }

    /// Adds a difference to the findings, unless one of the ends has moved. `seen` is what the ends
    /// on this machine were, source and target.
    pub fn report(&self, mut difference: Difference, seen: [Option<&Metadata>; 2]) {
        if difference.aspects.is_empty() {
            return;
        }
        if let Ok(path) = RelPath::parse(&difference.path) {
            let moved = |(end, seen)| self.has_moved(end, &path, seen);
            if [End::Source, End::Target].into_iter().zip(seen).any(moved) {
                difference.set_in_motion();
            }
        }
        self.findings.add(difference);
    }

    /// Counts a name of an end.
    pub fn count(&self, end: End, entry: &Entry) {
        let names = match end {
            End::Source => &self.tally.source,
            End::Target => &self.tally.target,
        };
        names.count(entry);
    }

    /// Notes that nothing is known of a path at an end.
    pub fn unreadable(&self, end: End, path: &[u8], why: &str) {
        self.findings.add(Difference {
            path: path.to_vec(),
            aspects: vec![Aspect::Unreadable],
            source: None,
            target: None,
            why: Some(format!("at the {}: {why}", end.as_str())),
        });
    }
}

/// How much was compared.
#[derive(Debug, Default)]
pub struct Tally {
    source: NameCounters,
    target: NameCounters,
    files: AtomicU64,
    bytes: AtomicU64,
    read: AtomicU64,
    recalled: AtomicU64,
}

impl Tally {
    /// A file of that size was compared.
    pub fn compared(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes were read on this machine.
    pub fn read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file did not have to be read.
    pub fn recalled(&self) {
        self.recalled.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn compared_so_far(&self) -> Compared {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Compared {
            files: get(&self.files),
            bytes: get(&self.bytes),
            bytes_read_here: get(&self.read),
            files_not_read_again: get(&self.recalled),
        }
    }

    /// What an end has, as far as it was listed.
    pub fn names(&self, end: End) -> Names {
        match end {
            End::Source => self.source.so_far(),
            End::Target => self.target.so_far(),
        }
    }
}

/// Contents that were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// Files whose contents were compared by digest.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes read on this machine, of both ends if both are here.
    pub bytes_read_here: u64,
    /// Files of an end whose digest was known from an interrupted verification.
    pub files_not_read_again: u64,
}

/// How many names of each kind an end has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Devices, pipes, sockets.
    pub others: u64,
}

#[derive(Debug, Default)]
struct NameCounters {
    files: AtomicU64,
    bytes: AtomicU64,
    directories: AtomicU64,
    symlinks: AtomicU64,
    others: AtomicU64,
}

impl NameCounters {
    fn count(&self, entry: &Entry) {
        let counter = match entry.kind() {
            Kind::File => {
                self.bytes.fetch_add(entry.size, Ordering::Relaxed);
                &self.files
            }
            Kind::Directory => &self.directories,
            Kind::Symlink => &self.symlinks,
            _ => &self.others,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn so_far(&self) -> Names {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Names {
            files: get(&self.files),
            bytes: get(&self.bytes),
            directories: get(&self.directories),
            symlinks: get(&self.symlinks),
            others: get(&self.others),
        }
    }
}
