//! The generator: compares the list with the target, asks for what differs, deletes the rest.
//!
//! It runs on a thread of its own beside the receiver (§23): it writes requests, the receiver
//! reads the answers and tells what became of each.
//!
//! ```text
//! segments ──► entry by entry ──► requests ──► sender
//!     ▲                                           │
//!     └───────── done, redo, failed ◄── receiver ◄┘
//! ```

mod behind;
pub mod decide;
pub mod delete;
pub mod dir_times;
mod dirs;
mod entries;
mod files;
pub mod guard;
mod linked;
mod links;
mod phases;
mod room;
pub mod signature;
mod special;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bascule_wire::flist::{Entry, Segment};
use bascule_wire::record::RecordEncoder;
use bascule_wire::strong::StrongSum;
use crossbeam_channel::{Receiver, TryRecvError};

use crate::backup::Backups;
use crate::behind::Behind;
use crate::filter::{FilterSet, ModuleView};
use crate::observe::Event;
use crate::outcome::Fatal;
use crate::path::RelPath;
use crate::requested::Requested;
use crate::run::{Run, interrupted};
use crate::tree::Target;

use bascule_wire::shown;
use decide::Policy;
use delete::{Deleter, Protection};
use dir_times::{ChangedDirs, DirTimes};
use links::HardLinks;
use room::Room;

/// What the receiver tells the generator.
#[derive(Debug)]
pub enum FromReceiver {
    /// The next segment of the list, with the entry of the directory that it lists (`None` for a
    /// first segment without `.`).
    Segment(Arc<Segment>, Option<Entry>),
    /// There will be no more segments.
    ListComplete,
    /// The requested file is in place.
    Done(u32),
    /// The file failed its whole-file sum: ask again with full sums.
    Redo(u32),
    /// The file could not be had; the problem was reported.
    Failed(u32),
    /// The sender has ended a phase.
    PhaseEnded,
}

/// The generator of one run.
pub struct Generator {
    run: Arc<Run>,
    tree: Arc<dyn Target>,
    inbox: Receiver<FromReceiver>,
    requested: Arc<Requested>,
    behind: Arc<Behind>,
    policy: Policy,
    strong: StrongSum,
    records: RecordEncoder,
    deleter: Deleter,
    room: Room,
    backups: Option<Arc<Backups>>,
    module: Option<ModuleView>,
    /// Directories that the module refuses to receive, or that cannot be made: nothing below them
    /// is received either.
    refused: HashSet<RelPath>,
    changed: Arc<ChangedDirs>,
    dir_times: DirTimes,
    links: HardLinks,
    /// With `--delay-updates`: further names (index and entry) of a file that gets its own last.
    late_links: Vec<(u32, Entry, RelPath)>,
    /// The name of the one file that goes to a destination that is no directory.
    single_name: Option<RelPath>,
    /// Whether the destination directory was made by this run.
    root_created: bool,
    live: VecDeque<Live>,
    list_complete: bool,
    phases_ended: u32,
    redo: Vec<u32>,
    created_early: HashSet<RelPath>,
    /// The one list, kept for the deletions after the transfer.
    whole_list: Option<Arc<Segment>>,
}

/// A segment that is not finished.
struct Live {
    segment: Arc<Segment>,
    /// The directory that the segment lists.
    own: Option<Entry>,
    /// Whether all its requests have been written.
    emitted: bool,
    /// Requests without an outcome, and hard links that wait for their first member.
    open: u32,
}

/// What a generator needs besides the run.
pub struct Setup {
    /// The destination.
    pub tree: Arc<dyn Target>,
    /// Receiver-side filter rules.
    pub filters: Arc<FilterSet>,
    /// A daemon's own rules.
    pub module: Option<ModuleView>,
    /// What the receiver tells.
    pub inbox: Receiver<FromReceiver>,
    /// Shared with the receiver.
    pub(crate) requested: Arc<Requested>,
    /// Shared with the receiver.
    pub(crate) behind: Arc<Behind>,
    /// Shared with the receiver.
    pub changed: Arc<ChangedDirs>,
    /// What is kept of what goes; shared with the receiver.
    pub backups: Option<Arc<Backups>>,
    /// How entries are compared.
    pub policy: Policy,
    /// The name of the one file that goes to a destination that is no directory.
    pub single_name: Option<RelPath>,
    /// Whether the destination directory was made by this run.
    pub root_created: bool,
}

impl Generator {
    /// Prepares a generator.
    pub fn new(run: Arc<Run>, setup: Setup) -> Self {
        let Setup {
            tree,
            filters,
            module,
            inbox,
            requested,
            behind,
            changed,
            backups,
            policy,
            single_name,
            root_created,
        } = setup;
        let protection = Protection { filters, module: module.clone(), backups: backups.clone() };
        let deleter =
            Deleter::new(Arc::clone(&run), Arc::clone(&tree), protection, Arc::clone(&changed));
        Self {
            strong: StrongSum::new(&run.negotiated),
            records: RecordEncoder::new(run.negotiated.version),
            deleter,
            room: Room::default(),
            backups,
            module,
            refused: HashSet::new(),
            changed,
            dir_times: DirTimes::default(),
            links: HardLinks::default(),
            late_links: Vec::new(),
            single_name,
            root_created,
            live: VecDeque::new(),
            list_complete: false,
            phases_ended: 0,
            redo: Vec::new(),
            created_early: HashSet::new(),
            whole_list: None,
            policy,
            run,
            tree,
            inbox,
            requested,
            behind,
        }
    }

    /// Works through all phases (§11), up to but without the last `NDX_DONE` of the goodbye.
    ///
    /// # Errors
    /// When the connection broke, the peer is wrong or the run was stopped.
    pub fn run(mut self) -> Result<RecordEncoder, Fatal> {
        self.list_phase()?;
        self.closing_phases()?;
        Ok(self.records)
    }

    /// The target path of an entry.
    fn path_of(&self, entry: &Entry) -> Result<RelPath, Fatal> {
        match &self.single_name {
            Some(name) => Ok(name.clone()),
            None => RelPath::of_entry(entry).map_err(|error| {
                Fatal::new(
                    crate::outcome::ExitCode::Protocol,
                    format!("the peer listed \"{}\": {error}", shown(&entry.path())),
                )
            }),
        }
    }

    /// Waits until the receiver has something to tell, and deals with it.
    fn wait(&mut self) -> Result<(), Fatal> {
        match self.inbox.try_recv() {
            Ok(told) => return self.hear(told),
            Err(TryRecvError::Disconnected) => return Err(interrupted()),
            Err(TryRecvError::Empty) => {}
        }
        self.run.writer.flush()?;
        match self.inbox.recv() {
            Ok(told) => self.hear(told),
            Err(_) => Err(interrupted()),
        }
    }

    /// Deals with everything that the receiver has told already.
    fn catch_up(&mut self) -> Result<(), Fatal> {
        loop {
            match self.inbox.try_recv() {
                Ok(told) => self.hear(told)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(interrupted()),
            }
        }
    }

    fn hear(&mut self, told: FromReceiver) -> Result<(), Fatal> {
        match told {
            FromReceiver::Segment(segment, own) => {
                self.live.push_back(Live { segment, own, emitted: false, open: 0 });
            }
            FromReceiver::ListComplete => {
                self.list_complete = true;
                self.run.on(&Event::ListComplete);
            }
            FromReceiver::Done(index) => self.file_done(index)?,
            FromReceiver::Failed(index) => self.file_failed(index)?,
            FromReceiver::Redo(index) => {
                self.has_arrived(index);
                self.redo.push(index);
            }
            FromReceiver::PhaseEnded => self.phases_ended += 1,
        }
        Ok(())
    }

    /// The unfinished segment that holds `index`, as a position in `live`.
    fn live_position(&self, index: u32) -> Option<usize> {
        let after = self.live.partition_point(|live| live.segment.start <= index);
        let position = after.checked_sub(1)?;
        self.live[position].segment.get(index).map(|_| position)
    }

    /// One thing less to wait for in the segment of `index`.
    fn close(&mut self, index: u32) {
        if let Some(position) = self.live_position(index) {
            let live = &mut self.live[position];
            live.open = live.open.saturating_sub(1);
        }
    }

    /// One thing more to wait for in the segment of `index`.
    fn open(&mut self, index: u32) {
        if let Some(position) = self.live_position(index) {
            self.live[position].open += 1;
        }
    }

    fn incremental(&self) -> bool {
        self.run.negotiated.incremental()
    }
}
