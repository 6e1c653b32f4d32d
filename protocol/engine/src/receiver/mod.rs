//! The receiving side: the receiver on this thread, the generator on one of its own.
//!
//! ```text
//! wire ──► lists ──────────► generator ──► requests
//!      └─► tokens + basis ──► stage ──► target disk
//! ```

mod apply;
mod asked;
mod batch;
mod destination;
mod finish;
mod list;

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;

use bascule_wire::Options;
use bascule_wire::flist::{DirTable, Entry, EntryDecoder, Lists};
use bascule_wire::message::Message;
use bascule_wire::record::{Record, RecordDecoder, RecordHead};
use bascule_wire::stats::TransferStats;
use bascule_wire::strong::StrongSum;
use bascule_wire::token::TokenDecoder;
use crossbeam_channel::Sender;

use crate::backup::Backups;
use crate::behind::Behind;
use crate::chmod::Chmod;
use crate::filter::{FilterSet, ModuleFilter, ModuleView};
use crate::generator::decide::Policy;
use crate::generator::dir_times::ChangedDirs;
use crate::generator::{FromReceiver, Generator, Setup};
use crate::ledger::Ledger;
use crate::link::WireReader;
use crate::observe::{Event, Item};
use crate::outcome::{ExitCode, Fatal};
use crate::path::RelPath;
use crate::requested::Requested;
use crate::run::{Run, Side, add, interrupted};
use crate::symlinks::SymlinkTargets;
use crate::tree::Target;

use batch::Batch;

pub use asked::Asked;
pub use destination::Destination;

/// The receiving side's part of a run.
pub struct Job {
    /// Where the files go.
    pub destination: Destination,
    /// What was asked for, by a client; a daemon takes what it is given.
    pub asked: Option<Asked>,
    /// Receiver-side filter rules: what deletions leave alone.
    pub filters: Arc<FilterSet>,
    /// A daemon's own: what is neither received nor deleted. The destination's path is then
    /// relative to the module.
    pub module: Option<ModuleFilter>,
    /// Changes the modes that arrive (`incoming chmod`).
    pub chmod: Option<Chmod>,
    /// How symlink targets are stored (§19.7).
    pub symlink_targets: SymlinkTargets,
    /// The module takes owners by number whatever the peer does: names still have their place on
    /// the wire, but none are looked up.
    pub numeric_ids: bool,
    /// The file mode creation mask of this process.
    pub umask: u32,
}

/// Receives a tree: reads the list, runs the generator, rebuilds the files.
///
/// # Errors
/// When the connection broke, the peer is wrong, the destination cannot be used or the run was
/// stopped. Trouble with single files is in the run's report.
pub fn run(run: &Arc<Run>, reader: &mut WireReader, mut job: Job) -> Result<(), Fatal> {
    if run.options.partial_dir.as_deref().is_some_and(|dir| dir.first() == Some(&b'/')) {
        return Err(Fatal::new(
            ExitCode::Unsupported,
            "an absolute --partial-dir is not supported yet: name one relative to each file",
        ));
    }
    let (to_generator, inbox) = crossbeam_channel::unbounded();
    let mut receiver = Receiver::new(Arc::clone(run), reader, to_generator, &mut job)?;
    // The sender waits for what was written before: the filter rules.
    run.writer.flush()?;
    let first = receiver.first_list()?;
    if run.side == Side::Client && first.iter().next().is_none() {
        // A server that has nothing to send just ends (§9.3).
        return Ok(());
    }
    let place = destination::resolve(run, &job.destination, job.module.as_ref(), &first)?;
    let module = job.module.take().map(|filter| ModuleView { filter, base: place.base.clone() });
    destination::refuse_hidden(&run.options, module.as_ref())?;
    receiver.module.clone_from(&module);
    let tree = destination::staging(run, &job.destination, &place)?;
    receiver.tree = Arc::clone(&tree);
    receiver.single_name.clone_from(&place.single_name);
    let policy = receiver.policy_for(&*tree, job.umask);
    receiver.policy = Some(policy.clone());
    let changed = Arc::clone(&receiver.changed);
    let backups = Backups::new(&run.options, &tree, &changed, module.clone())?.map(Arc::new);
    receiver.backups.clone_from(&backups);
    let generator = Generator::new(
        Arc::clone(run),
        Setup {
            tree,
            filters: job.filters,
            module,
            inbox,
            requested: Arc::clone(&receiver.requested),
            behind: Arc::clone(&receiver.behind),
            changed,
            backups,
            policy,
            single_name: place.single_name,
            root_created: place.created,
        },
    );
    let generator_run = Arc::clone(run);
    let generator = thread::Builder::new()
        .name("generator".into())
        .spawn(move || {
            let ended = generator.run();
            if let Err(failure) = &ended {
                // The receiver may be waiting for answers to requests that never went out.
                generator_run.abandon_after(failure);
            }
            ended
        })
        .map_err(|error| {
            Fatal::new(ExitCode::Memory, format!("no thread for the generator: {error}"))
        })?;
    let mut received = receiver.announce(first).and_then(|()| receiver.serve());
    // What is complete is kept, also when the run ends early.
    let placed = receiver.place_batch();
    received = received.and(placed);
    if let Err(failure) = &received {
        run.abandon_after(failure);
    }
    // The generator learns of the end by that of its inbox, which the sink feeds as well.
    drop(receiver);
    let heard = Arc::clone(run);
    reader.set_sink(Box::new(move |message| heard.common_message(message).map(drop)));
    let generated = generator.join().unwrap_or_else(|_| {
        Err(Fatal::new(ExitCode::Protocol, "the generator failed: this is a fault of Bascule"))
    });
    let ended = match (received, generated) {
        (Ok(()), generated) => generated,
        (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(other)) => Err(the_cause(error, other)),
    };
    let mut records = ended.map_err(|error| {
        let is_interruption = error.exit == ExitCode::Interrupted && !error.from_peer;
        if is_interruption && !run.stop.is_stopped() { out_of_turn() } else { error }
    })?;
    run.writer.data(|out| records.put(&Record::Done, out))?;
    run.writer.flush()
}

fn not_asked_for(index: i64) -> Fatal {
    Fatal::new(
        ExitCode::Protocol,
        format!("the peer answered about index {index}, which it was not asked for"),
    )
}

/// Of two errors, the one that is not the other's consequence.
fn the_cause(received: Fatal, generated: Fatal) -> Fatal {
    if received.exit == ExitCode::Interrupted && !received.from_peer { generated } else { received }
}

/// Each half waited for the other, and only one of them has ended.
fn out_of_turn() -> Fatal {
    Fatal::new(
        ExitCode::Protocol,
        "the peer answered what it had not been asked, or ended before it had answered everything",
    )
}

/// The partial file that an interrupted run keeps for `path` (`--partial-dir`): beside it, in
/// `dir`. `None` when `dir` is unusable, or when the `module` hides it: what is hidden is no basis, and
/// not overwritten (C: `partial_dir_fname`).
pub fn partial_path(path: &RelPath, dir: &[u8], module: Option<&ModuleView>) -> Option<RelPath> {
    let (parent, base) = path.split();
    let partial = parent.join(dir).ok()?.join(base).ok()?;
    let is_hidden = module.is_some_and(|module| module.hides_on_the_way(&partial, false));
    (!is_hidden).then_some(partial)
}

/// Makes the directory of [`partial_path`], by default rsync's `.~tmp~`, and gives the path in it.
///
/// # Errors
/// What the file system says; `InvalidInput` when there is no such path.
pub(crate) fn make_partial_dir(
    tree: &dyn Target,
    options: &Options,
    path: &RelPath,
    module: Option<&ModuleView>,
) -> io::Result<RelPath> {
    let unusable = || {
        io::Error::new(
            ErrorKind::InvalidInput,
            "the partial-dir is unusable, or the module's filter excludes it",
        )
    };
    let dir = options.partial_dir.as_deref().unwrap_or(b".~tmp~");
    let partial = partial_path(path, dir, module).ok_or_else(unusable)?;
    let parent = partial.parent().ok_or_else(unusable)?;
    match tree.create_dir(&parent, 0o700) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(partial),
    }
}

struct Receiver<'a> {
    run: Arc<Run>,
    reader: &'a mut WireReader,
    records: RecordDecoder,
    entries: EntryDecoder,
    lists: Lists,
    ledger: Ledger,
    dirs: DirTable,
    /// Directories whose own segment has not come yet, by their index in `dirs`.
    unlisted: HashMap<u32, Entry>,
    /// The entry of the directory that a live segment lists, by the segment's start.
    own: HashMap<u32, Entry>,
    generator: Sender<FromReceiver>,
    requested: Arc<Requested>,
    behind: Arc<Behind>,
    asked: Option<Asked>,
    tree: Arc<dyn Target>,
    /// What a daemon's module hides, once the destination is known.
    module: Option<ModuleView>,
    policy: Option<Policy>,
    single_name: Option<RelPath>,
    strong: StrongSum,
    tokens: TokenDecoder,
    changed: Arc<ChangedDirs>,
    backups: Option<Arc<Backups>>,
    batch: Batch,
    chmod: Option<Chmod>,
    symlink_targets: SymlinkTargets,
    numeric_ids: bool,
    asked_again: HashSet<u32>,
    /// Files of `--delay-updates` that wait in their partial dirs.
    delayed: Vec<(RelPath, RelPath)>,
    list_complete: bool,
}

impl<'a> Receiver<'a> {
    fn new(
        run: Arc<Run>,
        reader: &'a mut WireReader,
        generator: Sender<FromReceiver>,
        job: &mut Job,
    ) -> Result<Self, Fatal> {
        let sink_run = Arc::clone(&run);
        let sink_generator = generator.clone();
        let requested = Arc::new(Requested::default());
        let sink_requested = Arc::clone(&requested);
        reader.set_sink(Box::new(move |message| match sink_run.common_message(message)? {
            Some(Message::NoSend(index)) => {
                let index = u32::try_from(index)
                    .ok()
                    .filter(|index| sink_requested.answer(*index))
                    .ok_or_else(|| not_asked_for(i64::from(index)))?;
                sink_generator.send(FromReceiver::Failed(index)).map_err(|_| interrupted())
            }
            _ => Ok(()),
        }));
        Ok(Self {
            records: RecordDecoder::new(run.negotiated.version),
            entries: EntryDecoder::new(&run.negotiated, &run.options),
            lists: Lists::default(),
            ledger: Ledger::new(run.list_limits, run.side, run.options.delay_updates),
            dirs: DirTable::default(),
            unlisted: HashMap::new(),
            own: HashMap::new(),
            generator,
            requested,
            behind: Arc::default(),
            asked: job.asked.take(),
            tree: Arc::clone(&job.destination.tree),
            module: None,
            policy: None,
            single_name: None,
            strong: StrongSum::new(&run.negotiated),
            tokens: TokenDecoder::new(&run.negotiated)?,
            changed: Arc::new(ChangedDirs::new(run.options.durable && !run.options.dry_run)),
            backups: None,
            batch: Batch::default(),
            chmod: job.chmod.clone(),
            symlink_targets: job.symlink_targets,
            numeric_ids: job.numeric_ids,
            asked_again: HashSet::new(),
            delayed: Vec::new(),
            list_complete: false,
            reader,
            run,
        })
    }

    fn policy_for(&self, tree: &dyn Target, umask: u32) -> Policy {
        use bascule_wire::setup::CompatFlags;
        let peer_sets_link_times = self.run.side == Side::Server
            || self.run.negotiated.compat.has(CompatFlags::SYMLINK_TIMES)
            || self.run.negotiated.version.has_varints();
        let abilities = tree.abilities();
        let groups = tree.usable_groups();
        let chmod = self.chmod.clone();
        Policy::new(&self.run.options, abilities, groups, peer_sets_link_times, umask, chmod)
    }

    /// Reads the sender's answers to the end of the run (§11).
    fn serve(&mut self) -> Result<(), Fatal> {
        let mut phases_ended = 0;
        while phases_ended < 3 {
            self.run.check_stop()?;
            // The sender may wait for the generator, which waits for these files.
            if !self.batch.is_empty() && !self.reader.has_data()? {
                self.place_batch()?;
            }
            match self.reader.next(&mut self.records)? {
                Record::Segment(dir) => self.segment(dir)?,
                Record::ListEof => self.list_complete()?,
                Record::File(head) => self.answer(head)?,
                Record::Done => {
                    self.place_batch()?;
                    if self.run.negotiated.incremental() {
                        if let Some(oldest) = self.lists.free_oldest() {
                            self.own.remove(&oldest.start);
                            self.ledger.end_oldest();
                        }
                        if !self.lists.is_empty() {
                            continue;
                        }
                    }
                    phases_ended += 1;
                    if phases_ended == 2 {
                        self.put_delayed_in_place()?;
                    }
                    self.tell(FromReceiver::PhaseEnded)?;
                }
                Record::DelStats(_) => {
                    return Err(Fatal::new(
                        ExitCode::Protocol,
                        "the peer sent deletion statistics in the middle of the transfer",
                    ));
                }
            }
        }
        let version = self.run.negotiated.version;
        if self.run.side == Side::Client {
            let _statistics = self.reader.next_with(|buf| {
                bascule_wire::decode::decode_with(buf, |cursor| {
                    TransferStats::read(cursor, version)
                })
            })?;
        }
        if version.has_long_goodbye() {
            loop {
                match self.reader.next(&mut self.records)? {
                    Record::Done => break,
                    Record::DelStats(_) => {}
                    _ => {
                        return Err(Fatal::new(
                            ExitCode::Protocol,
                            "the peer sent more files after the end of the transfer",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The sender's answer about one index.
    fn answer(&mut self, head: RecordHead) -> Result<(), Fatal> {
        let index = head.index;
        let Some(entry) = self.entry(index) else {
            return Err(Fatal::new(
                ExitCode::Protocol,
                format!("the peer answered about index {index}, which is not in the list"),
            ));
        };
        if head.flags.is_transfer() && !self.requested.answer(index) {
            return Err(not_asked_for(index.into()));
        }
        if !head.flags.is_transfer() || self.run.options.dry_run {
            if head.flags.is_transfer() {
                add(&self.run.tally().transferred, 1);
                add(&self.run.tally().transferred_bytes, entry.size);
            }
            self.itemize(&head, &entry);
            return Ok(());
        }
        self.transfer(&head, &entry)
    }

    /// The active entry of an index; the index before a segment is its directory's (§10).
    fn entry(&self, index: u32) -> Option<Entry> {
        if let Some(entry) = self.lists.get(index) {
            return Some(entry.clone());
        }
        if self.run.negotiated.incremental() {
            return self.own.get(&index.checked_add(1)?).cloned();
        }
        None
    }

    fn itemize(&self, head: &RecordHead, entry: &Entry) {
        self.run.on(&Event::Itemized {
            item: Item {
                flags: head.flags,
                kind: entry.kind(),
                path: &entry.path(),
                link: entry.link(),
                linked_to: head.xname.as_deref(),
                sent: false,
            },
        });
    }

    fn tell(&self, told: FromReceiver) -> Result<(), Fatal> {
        self.generator.send(told).map_err(|_| interrupted())
    }
}
