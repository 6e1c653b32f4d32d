//! Sends the list: whole, or one directory at a time and only as far ahead as needed (§9, §10).

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use bascule_wire::flist::{Entry, EntryEncoder, IdList, Kind, Segment, order};
use bascule_wire::record::Record;

use super::{Job, Sender};
use crate::folders::Folder;
use crate::link::WireWriter;
use crate::observe::Event;
use crate::outcome::{ExitCode, Fatal};
use crate::queue::{Drain, Feed, weighted};
use crate::run::{Run, add};
use crate::tree::Source;
use crate::walk::{Found, HardLinks, Rules, Walker};

/// Entries that a sender keeps listed ahead of the requests.
const AHEAD: usize = 1000;
/// Bytes of entries that may wait between the walker and the sender.
const WAITING: usize = 1 << 20;
/// Bytes of entries that the walker lists before anything is sent: some thousand.
const HEAD_START: usize = WAITING / 4;
/// What one waiting entry is counted as, in bytes, beside its name.
const ENTRY_WEIGHT: usize = 160;
/// Entries encoded between two looks at whether the data are due.
const ENCODE_AT_ONCE: usize = 128;

/// One segment's worth of the list, in the order of §9.5.
struct Batch {
    /// The directory: its entry and its number in the directory table; `None` for the first.
    dir: Option<(Entry, u32)>,
    found: Vec<Found>,
}

/// The list as far as it has been sent.
pub(super) struct Listing {
    batches: Drain<Batch>,
    encoder: EntryEncoder,
    links: HardLinks,
    ids: IdList,
    /// Whether owners' names travel, and whether within the entries.
    names: bool,
    incremental: bool,
    /// Which source argument each entry came from, by the start of its segment.
    args: HashMap<u32, Vec<usize>>,
    /// The directory that a live segment lists, by the segment's start.
    own: HashMap<u32, Entry>,
    complete: bool,
}

impl Listing {
    /// Starts the walker on a thread of its own.
    pub(super) fn start(
        run: &Arc<Run>,
        job: Job,
    ) -> Result<(Self, thread::JoinHandle<Result<(), Fatal>>), Fatal> {
        let (feed, batches) = weighted(WAITING);
        let links = HardLinks::new(run.options.copy_links || job.args.len() > 1);
        let names = !run.options.numeric_ids && !job.numeric_ids;
        let walker_run = Arc::clone(run);
        let walker = thread::Builder::new()
            .name("walker".into())
            .spawn(move || walk(&walker_run, job, &feed))
            .map_err(|error| {
                Fatal::new(ExitCode::Memory, format!("no thread for the walker: {error}"))
            })?;
        let listing = Self {
            batches,
            encoder: EntryEncoder::new(&run.negotiated, &run.options),
            links,
            ids: IdList::default(),
            names,
            incremental: run.negotiated.incremental(),
            args: HashMap::new(),
            own: HashMap::new(),
            complete: false,
        };
        Ok((listing, walker))
    }
}

impl Listing {
    /// Tells the names of an entry's owner and group where they have not been told yet: in the
    /// entry itself, or for the lists behind the entries (§9.2, §9.6).
    fn name_owner(&mut self, entry: &mut Entry, tree: &dyn Source) {
        let Self { encoder, ids, incremental, .. } = self;
        if *incremental {
            let user = encoder.lacks_user(entry.uid).then(|| tree.user_name(entry.uid)).flatten();
            let group =
                encoder.lacks_group(entry.gid).then(|| tree.group_name(entry.gid)).flatten();
            if user.is_some() || group.is_some() {
                let extra = entry.extra.get_or_insert_default();
                extra.user = user.map(Into::into);
                extra.group = group.map(Into::into);
            }
            return;
        }
        if !ids.knows_user(entry.uid) {
            ids.add_user(entry.uid, &tree.user_name(entry.uid).unwrap_or_default());
        }
        if !ids.knows_group(entry.gid) {
            ids.add_group(entry.gid, &tree.group_name(entry.gid).unwrap_or_default());
        }
    }
}

impl Sender {
    /// Sends the first list with what follows it.
    pub(super) fn send_first_list(&mut self) -> Result<(), Fatal> {
        let incremental = self.run.negotiated.incremental();
        // What the walker cannot read keeps the peer from deleting: the more of it is known at the
        // start, the better.
        self.listing.batches.wait_for(HEAD_START);
        let Some(batch) = self.listing.batches.pop() else {
            return Err(crate::run::interrupted());
        };
        self.send_segment(batch, u32::from(incremental))?;
        if incremental {
            return self.send_more_segments();
        }
        self.listing.complete = true;
        let Listing { ids, .. } = &self.listing;
        let run = &self.run;
        run.writer.data(|out| ids.encode(&run.negotiated, &run.options, out))?;
        self.run.on(&Event::ListComplete);
        Ok(())
    }

    /// Sends segments until enough entries are ahead of the requests.
    pub(super) fn send_more_segments(&mut self) -> Result<(), Fatal> {
        while self.run.negotiated.incremental()
            && !self.listing.complete
            && self.lists.entries_after_oldest() < AHEAD
        {
            match self.listing.batches.pop() {
                Some(batch) => {
                    if let Some((_, number)) = &batch.dir {
                        self.put(&Record::Segment(*number))?;
                    }
                    let start = self.lists.next_start();
                    self.send_segment(batch, start)?;
                }
                None => {
                    self.run.check_stop()?;
                    self.listing.complete = true;
                    self.put(&Record::ListEof)?;
                    self.run.on(&Event::ListComplete);
                }
            }
        }
        Ok(())
    }

    /// The entry of an index with the number of its source argument; the index before a segment
    /// is its directory's (§10).
    pub(super) fn entry(&self, index: u32) -> Option<(Entry, usize)> {
        if let Some((segment, position)) = self.lists.locate(index) {
            let arg = self
                .listing
                .args
                .get(&segment.start)
                .map_or(Some(0), |args| args.get(position).copied())?;
            return Some((segment.entries.get(position)?.clone(), arg));
        }
        if self.run.negotiated.incremental() {
            let own = self.listing.own.get(&index.checked_add(1)?)?;
            return Some((own.clone(), 0));
        }
        None
    }

    fn send_segment(&mut self, batch: Batch, start: u32) -> Result<(), Fatal> {
        let Batch { dir, mut found } = batch;
        self.listing.encoder.start_segment(start);
        let hard_links = self.run.options.hard_links > 0;
        let (mut bytes, mut files) = (0, 0);
        let mut index = start;
        let mut folder = Folder::new();
        for some in found.chunks_mut(ENCODE_AT_ONCE) {
            for found in some.iter_mut() {
                if hard_links {
                    self.listing.links.assign(found, index);
                }
                if found.entry.kind() == Kind::File {
                    bytes += found.entry.size;
                    files += 1;
                }
                folder.count(&found.entry, &self.run);
                if let Some(arg) = self.roots.get(found.arg).filter(|_| self.listing.names) {
                    self.listing.name_owner(&mut found.entry, &*arg.tree);
                }
                index += 1;
            }
            encode(&self.run.writer, &mut self.listing.encoder, some)?;
        }
        add(&self.run.tally().listed_files, files);
        let io_error = self.run.io_error();
        self.told_io_error = io_error;
        let encoder = &mut self.listing.encoder;
        self.run.writer.data(|out| encoder.end(io_error, out))?;
        add(&self.run.tally().listed, found.len() as u64);
        add(&self.run.tally().listed_bytes, bytes);
        self.run.on(&Event::Listed { entries: found.len() as u64, bytes });
        folder.tell(&self.run);
        let own = match dir.as_ref() {
            Some((entry, _)) => Some(entry.clone()),
            None => found.iter().map(|found| &found.entry).find(|entry| entry.is_root()).cloned(),
        };
        if let Some(own) = own {
            self.listing.own.insert(start, own);
        }
        if found.iter().any(|found| found.arg != 0) {
            self.listing.args.insert(start, found.iter().map(|found| found.arg).collect());
        }
        let entries = found.into_iter().map(|found| found.entry).collect();
        let parent = dir.map(|(_, number)| number);
        let version = self.run.negotiated.version;
        self.lists.push(Arc::new(Segment::of_sender(start, parent, entries, version)));
        Ok(())
    }
}

fn encode(writer: &WireWriter, encoder: &mut EntryEncoder, found: &[Found]) -> Result<(), Fatal> {
    let mut failed = None;
    writer.data(|out| {
        for Found { entry, .. } in found {
            if let Err(error) = encoder.entry(entry, out) {
                failed.get_or_insert(error);
            }
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The walker's thread: lists directories depth first, as far ahead as the queue has room.
fn walk(run: &Arc<Run>, job: Job, feed: &Feed<Batch>) -> Result<(), Fatal> {
    let version = run.negotiated.version;
    let incremental = run.negotiated.incremental();
    let Job { args, filters, module, chmod, symlink_targets, .. } = job;
    let rules = Rules { filters, module, chmod, symlink_targets };
    let mut walker = Walker::new(Arc::clone(run), args, rules);
    let mut stack: Vec<Below> = Vec::new();
    let mut dirs = 0;
    let mut dir = None;
    let mut found = if incremental { walker.first()? } else { walker.all()? };
    loop {
        found.sort_by(|a, b| order::compare(&a.entry, &b.entry, version));
        let below = if incremental { below(&found, &mut dirs) } else { Vec::new() };
        let weight = found.iter().map(|found| ENTRY_WEIGHT + found.entry.base.len()).sum::<usize>();
        if !feed.push(weight, Batch { dir: dir.take(), found }) {
            return Ok(());
        }
        stack.extend(below.into_iter().rev());
        let Some(Below { number, entry, sources }) = stack.pop() else {
            return Ok(());
        };
        found = Vec::new();
        for source in &sources {
            found.extend(walker.contents(source)?);
        }
        dir = Some((entry, number));
    }
}

/// A directory whose contents are to be listed.
struct Below {
    /// Its number in the directory table.
    number: u32,
    entry: Entry,
    /// Where it is: several sources can have a directory of that name.
    sources: Vec<Found>,
}

/// The directories of a sorted segment. Of equal ones the receiving side keeps the first (§9.5),
/// and the contents of all become its own; each has its number.
fn below(found: &[Found], dirs: &mut u32) -> Vec<Below> {
    let mut below: Vec<Below> = Vec::new();
    for dir in found.iter().filter(|found| found.entry.is_dir()) {
        let number = *dirs;
        *dirs += 1;
        if dir.entry.is_root() {
            continue;
        }
        let known = below.last_mut().filter(|known| {
            (&known.entry.dir, &known.entry.base) == (&dir.entry.dir, &dir.entry.base)
        });
        let known = match known {
            Some(known) => known,
            None => {
                below.push(Below { number, entry: dir.entry.clone(), sources: Vec::new() });
                let Some(new) = below.last_mut() else { continue };
                new
            }
        };
        if dir.entry.content_dir {
            known.entry.content_dir = true;
            known.sources.push(dir.clone());
        }
    }
    below.retain(|dir| !dir.sources.is_empty());
    below
}
