//! The sender: sends the list, then answers each request with the file's data.
//!
//! ```text
//! source disk ──► walker (own thread) ──► segments ──► wire
//! requests ──► search ──► tokens ──► wire
//! ```

mod listing;
pub mod search;
mod serve;
pub mod window;

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use bascule_wire::flist::{Entry, Kind, Lists};
use bascule_wire::message::Message;
use bascule_wire::record::{ItemFlags, Record, RecordDecoder, RecordEncoder, RecordHead};
use bascule_wire::stats::TransferStats;
use bascule_wire::strong::StrongSum;
use bascule_wire::token::TokenEncoder;

use crate::chmod::Chmod;
use crate::filter::{FilterSet, ModuleFilter};
use crate::link::WireReader;
use crate::observe::{Event, Item};
use crate::outcome::{ExitCode, Fatal};
use crate::run::{Run, Side, add};
use crate::symlinks::SymlinkTargets;
use crate::tree::Reach;
use crate::walk::SourceArg;

use listing::Listing;

/// The sender's part of a run.
pub struct Job {
    /// What to send, in order.
    pub args: Vec<SourceArg>,
    /// Sender-side filter rules.
    pub filters: Arc<FilterSet>,
    /// A daemon's own; paths of `args` are then relative to the module.
    pub module: Option<ModuleFilter>,
    /// Changes the modes that are told (`outgoing chmod`).
    pub chmod: Option<Chmod>,
    /// How symlink targets are stored (§19.7).
    pub symlink_targets: SymlinkTargets,
    /// The module takes owners by number whatever the peer does: names still have their place on
    /// the wire, but none are sent.
    pub numeric_ids: bool,
}

/// Sends a tree: lists it and answers every request.
///
/// # Errors
/// When the connection broke, the peer is wrong or the run was stopped. Trouble with single files
/// is in the run's report.
pub fn run(run: &Arc<Run>, reader: &mut WireReader, mut job: Job) -> Result<(), Fatal> {
    if run.options.copy_links {
        follow_links(run.side, &mut job.args)?;
    }
    let handler = Arc::clone(run);
    reader.set_sink(Box::new(move |message| match handler.common_message(message)? {
        Some(Message::Deleted { name, directory }) => {
            handler.remote_deletion(&name, directory);
            Ok(())
        }
        _ => Ok(()),
    }));
    reader.flush_before_waiting(run.writer.clone());
    let roots: Vec<SourceArg> = job.args.clone();
    let (listing, walker) = Listing::start(run, job)?;
    let mut sender = Sender {
        records: RecordEncoder::new(run.negotiated.version),
        requests: RecordDecoder::new(run.negotiated.version),
        strong: StrongSum::new(&run.negotiated),
        tokens: TokenEncoder::new(&run.negotiated, run.options.compress_level)?,
        lists: Lists::default(),
        listing,
        roots,
        small: Vec::new(),
        told_io_error: 0,
        checked: 0,
        unsteady: HashSet::new(),
        run: Arc::clone(run),
    };
    let outcome = sender.run(reader);
    drop(sender);
    join(walker, outcome)
}

/// Makes symlinks count as what they point to: anywhere for the user of this machine, within the
/// module for a peer.
fn follow_links(side: Side, args: &mut [SourceArg]) -> Result<(), Fatal> {
    let reach = match side {
        Side::Client => Reach::Anywhere,
        Side::Server => Reach::Beneath,
    };
    for arg in args {
        arg.tree = arg.tree.following(reach).map_err(|error| {
            Fatal::new(ExitCode::Unsupported, format!("--copy-links cannot be had here: {error}"))
        })?;
    }
    Ok(())
}

/// The walker's error is the cause when both have one: the sender only saw its queue end.
fn join(
    walker: thread::JoinHandle<Result<(), Fatal>>,
    outcome: Result<(), Fatal>,
) -> Result<(), Fatal> {
    let walked = walker.join().unwrap_or_else(|_| {
        Err(Fatal::new(ExitCode::Protocol, "the walker failed: this is a fault of Bascule"))
    });
    match (outcome, walked) {
        (Err(sent), Ok(())) => Err(sent),
        (Err(sent), Err(_)) if sent.from_peer => Err(sent),
        (_, walked) => walked,
    }
}

struct Sender {
    run: Arc<Run>,
    records: RecordEncoder,
    requests: RecordDecoder,
    strong: StrongSum,
    tokens: TokenEncoder,
    lists: Lists,
    listing: Listing,
    roots: Vec<SourceArg>,
    /// Holds one small file at a time.
    small: Vec<u8>,
    /// The I/O error bits that the peer knows.
    told_io_error: u32,
    /// The first index that the generator has not reached.
    checked: u32,
    /// Files that changed while they were read for the first time.
    unsteady: HashSet<u32>,
}

impl Sender {
    fn run(&mut self, reader: &mut WireReader) -> Result<(), Fatal> {
        self.send_first_list()?;
        if self.lists.is_empty() {
            // Nothing to send: a server just ends, a client goes through the motions (§9.3).
            if self.run.side == Side::Server {
                return self.run.writer.flush();
            }
        }
        self.answer_requests(reader)?;
        self.say_goodbye(reader)
    }

    /// Answers requests until the generator has ended its three phases (§11).
    fn answer_requests(&mut self, reader: &mut WireReader) -> Result<(), Fatal> {
        const PHASES: u32 = 3;
        let mut ended = 0;
        while ended < PHASES {
            self.run.check_stop()?;
            self.send_more_segments()?;
            match reader.next(&mut self.requests)? {
                Record::Done => {
                    let oldest = self.lists.iter().next().map(|oldest| oldest.end());
                    if let Some(end) = oldest {
                        self.note_checked(end);
                    }
                    if self.run.negotiated.incremental() && !self.lists.is_empty() {
                        self.lists.free_oldest();
                        if !self.lists.is_empty() {
                            self.put(&Record::Done)?;
                            continue;
                        }
                    }
                    ended += 1;
                    if ended < PHASES {
                        self.put(&Record::Done)?;
                    }
                }
                Record::File(head) if ended < PHASES - 1 || !head.flags.is_transfer() => {
                    self.answer(reader, head)?;
                }
                Record::File(head) => {
                    return Err(Fatal::new(
                        ExitCode::Protocol,
                        format!("the peer asked for index {} after the last phase", head.index),
                    ));
                }
                Record::DelStats(_) => {}
                Record::ListEof | Record::Segment(_) => {
                    return Err(Fatal::new(
                        ExitCode::Protocol,
                        "the receiving peer sent a list of its own",
                    ));
                }
            }
        }
        let io_error = self.run.io_error();
        if io_error != self.told_io_error {
            self.run.writer.message(&Message::IoError(io_error))?;
        }
        self.put(&Record::Done)
    }

    /// Statistics and the last markers (§11, §14).
    fn say_goodbye(&mut self, reader: &mut WireReader) -> Result<(), Fatal> {
        let version = self.run.negotiated.version;
        if self.run.side == Side::Server {
            let counters = self.run.report().counters;
            let stats =
                TransferStats { total_size: counters.listed_bytes, ..TransferStats::default() };
            self.run.writer.data(|out| stats.put(version, out))?;
        }
        self.run.writer.flush()?;
        if version.has_long_goodbye() {
            let mut deleted = None;
            loop {
                match reader.next(&mut self.requests)? {
                    Record::Done => break,
                    Record::DelStats(stats) => deleted = Some(stats),
                    other => return Err(unexpected(&other)),
                }
            }
            if let Some(stats) = deleted {
                self.run.deleted_there(&stats);
                if self.run.side == Side::Server {
                    self.put(&Record::DelStats(stats))?;
                }
            }
            self.put(&Record::Done)?;
            self.run.writer.flush()?;
        }
        match reader.next(&mut self.requests)? {
            Record::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn answer(&mut self, reader: &mut WireReader, head: RecordHead) -> Result<(), Fatal> {
        self.note_checked(head.index.saturating_add(1));
        let Some((entry, arg)) = self.entry(head.index) else {
            return Err(Fatal::new(
                ExitCode::Protocol,
                format!("the peer asked for index {}, which is not in the list", head.index),
            ));
        };
        if head.flags.is_transfer() && !self.run.options.dry_run {
            return self.serve(reader, head, &entry, arg);
        }
        if head.flags.is_transfer() {
            add(&self.run.tally().transferred, 1);
            add(&self.run.tally().transferred_bytes, entry.size);
        }
        self.itemize(&head, &entry);
        self.put(&Record::File(head))
    }

    /// The generator has come to the index `end`: everything before it has been compared.
    fn note_checked(&mut self, end: u32) {
        let (mut entries, mut bytes) = (0, 0);
        for segment in self.lists.iter() {
            let from = self.checked.max(segment.start);
            let to = end.min(segment.end());
            if from >= to {
                continue;
            }
            let range = (from - segment.start) as usize..(to - segment.start) as usize;
            let passed = &segment.entries[range];
            entries += passed.len() as u64;
            let files = passed.iter().filter(|entry| entry.kind() == Kind::File);
            bytes += files.map(|entry| entry.size).sum::<u64>();
        }
        self.checked = self.checked.max(end);
        if entries > 0 {
            self.run.on(&Event::Checked { entries, bytes });
        }
    }

    fn itemize(&self, head: &RecordHead, entry: &Entry) {
        if head.flags.contains(ItemFlags::IS_NEW) {
            add(&self.run.tally().created, 1);
        }
        self.run.on(&Event::Itemized {
            item: Item {
                flags: head.flags,
                kind: entry.kind(),
                path: &entry.path(),
                link: entry.link(),
                linked_to: head.xname.as_deref(),
                sent: true,
            },
        });
    }

    fn put(&mut self, record: &Record) -> Result<(), Fatal> {
        let records = &mut self.records;
        self.run.writer.data(|out| records.put(record, out))
    }
}

fn unexpected(record: &Record) -> Fatal {
    Fatal::new(
        ExitCode::Protocol,
        format!("the peer sent {record:?} where the run should have ended"),
    )
}
