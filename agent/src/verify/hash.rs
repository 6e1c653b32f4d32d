//! Compares the contents of pairs of files on several threads.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bascule_engine::digest::FileReader;
use bascule_engine::observe::Event;
use bascule_engine::outcome::{ExitCode, Fatal};
use bascule_engine::path::RelPath;
use bascule_engine::tree::Metadata;
use bascule_wire::flist::Entry;
use crossbeam_channel::{Receiver, Sender};

use super::context::Context;
use super::findings::{Aspect, Difference, End};
use super::state;

/// Pairs that wait for the threads: the further the names are ahead, the better is known how much is
/// left.
const WAITING: usize = 64 * 1024;

/// One file as one end has it.
#[derive(Debug, Clone)]
pub struct Version {
    /// As it was listed, by a remote end with its digest.
    pub entry: Entry,
    /// What it is on this machine's disk; `None` at a remote end.
    pub seen: Option<Metadata>,
}

/// A file that both ends have in the same size.
#[derive(Debug)]
pub struct Pair {
    /// Its path below both ends.
    pub path: RelPath,
    /// The source's.
    pub source: Version,
    /// The target's.
    pub target: Version,
    /// In what it differs already.
    pub aspects: Vec<Aspect>,
}

/// The threads that read.
pub struct Pool {
    pairs: Sender<Pair>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts as many threads.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn start(context: &Arc<Context>, threads: usize) -> io::Result<Self> {
        let (pairs, waiting) = crossbeam_channel::bounded(WAITING);
        let mut workers = Vec::with_capacity(threads);
        for number in 0..threads {
            let (context, waiting) = (Arc::clone(context), waiting.clone());
            let worker = thread::Builder::new().name(format!("digest {number}"));
            workers.push(worker.spawn(move || work(&context, &waiting))?);
        }
        Ok(Self { pairs, workers })
    }

    /// Hands a pair over, waiting until one of the threads has room.
    pub fn compare(&self, pair: Pair) {
        // The threads end after this end only.
        let _ = self.pairs.send(pair);
    }

    /// Waits until everything is compared.
    ///
    /// # Errors
    /// When a thread failed.
    pub fn finish(self) -> Result<(), Fatal> {
        drop(self.pairs);
        for worker in self.workers {
            worker.join().map_err(|_| {
                Fatal::new(
                    ExitCode::Protocol,
                    "a reading thread failed: this is a fault of Bascule",
                )
            })?;
        }
        Ok(())
    }
}

fn work(context: &Context, waiting: &Receiver<Pair>) {
    let mut reader = FileReader::default();
    for pair in waiting {
        if !context.stop.is_stopped() {
            judge(context, &mut reader, pair);
        }
    }
}

/// What is known of the content at one end.
enum Content {
    /// Its digest, and whether that is remembered from an earlier verification.
    Digest(Vec<u8>, bool),
    /// It could not be read.
    Unreadable(String),
    /// It changed meanwhile.
    InMotion,
    /// The verification was interrupted.
    Interrupted,
}

fn judge(context: &Context, reader: &mut FileReader, pair: Pair) {
    let size = pair.source.entry.size;
    let mut recall = true;
    let (mut aspects, why) = loop {
        let source = content(context, reader, &pair, End::Source, recall);
        let target = content(context, reader, &pair, End::Target, recall);
        match (source, target) {
            (Content::Interrupted, _) | (_, Content::Interrupted) => return,
            (Content::InMotion, _) | (_, Content::InMotion) => {
                break (vec![Aspect::InMotion], None);
            }
            (Content::Unreadable(why), _) => break unreadable(End::Source, &why),
            (_, Content::Unreadable(why)) => break unreadable(End::Target, &why),
            (Content::Digest(source, _), Content::Digest(target, _)) if source == target => {
                context.tally.compared(size);
                break (Vec::new(), None);
            }
            // What was noted may be wrong: a difference counts only when both were read now.
            (Content::Digest(_, true), _) | (_, Content::Digest(_, true)) => recall = false,
            (Content::Digest(..), Content::Digest(..)) => {
                context.tally.compared(size);
                break (vec![Aspect::Content], None);
            }
        }
    };
    context.progress.note(&Event::TransferDone { path: &[], size, literal: 0, matched: 0 });
    if aspects != [Aspect::InMotion] {
        aspects.extend(pair.aspects.iter().copied());
        aspects.sort_unstable();
    }
    let Pair { path, source, target, .. } = pair;
    let seen = [source.seen.as_ref(), target.seen.as_ref()];
    context.report(
        Difference {
            path: path.as_bytes().to_vec(),
            aspects,
            source: Some(source.entry),
            target: Some(target.entry),
            why,
        },
        seen,
    );
}

fn unreadable(end: End, why: &str) -> (Vec<Aspect>, Option<String>) {
    (vec![Aspect::Unreadable], Some(format!("at the {}: {why}", end.as_str())))
}

fn content(
    context: &Context,
    reader: &mut FileReader,
    pair: &Pair,
    end: End,
    recall: bool,
) -> Content {
    let version = match end {
        End::Source => &pair.source,
        End::Target => &pair.target,
    };
    match &version.seen {
        Some(seen) => read(context, reader, end, &pair.path, seen, recall),
        None => match version.entry.checksum() {
            Some(digest) if digest.iter().any(|byte| *byte != 0) => {
                Content::Digest(digest.to_vec(), false)
            }
            // How a sender tells that it has none.
            Some(_) => Content::Unreadable("the daemon could not read it".into()),
            // It was known, and is not any more.
            None => Content::InMotion,
        },
    }
}

/// Reads a file of this machine, unless it is known from an earlier verification.
fn read(
    context: &Context,
    reader: &mut FileReader,
    end: End,
    path: &RelPath,
    seen: &Metadata,
    recall: bool,
) -> Content {
    let (Some(place), Some(strong)) = (context.place(end), context.strong()) else {
        return Content::Unreadable("it is not on this machine".into());
    };
    let mark = state::mark(&place.name, context.digest_name(), path, seen);
    if let Some(digest) = context.state.as_ref().filter(|_| recall).and_then(|s| s.recall(&mark)) {
        context.tally.recalled();
        context.moved(end, seen.size);
        return Content::Digest(digest.to_vec(), true);
    }
    let mut read = 0;
    let mut reading = || -> io::Result<Option<Vec<u8>>> {
        let file = place.tree.open(path)?;
        if file.opened() != seen {
            return Ok(None);
        }
        let digest = reader.digest(&*file, strong.list(), |bytes| {
            read += bytes;
            context.moved(end, bytes);
            context.tick()
        })?;
        Ok((file.metadata()? == *seen).then(|| digest.as_ref().to_vec()))
    };
    let outcome = reading();
    context.tally.read(read);
    match outcome {
        Ok(Some(digest)) => {
            if let Some(state) = &context.state {
                state.note(&mark, seen.changed.0, &digest);
            }
            Content::Digest(digest, false)
        }
        Ok(None) => Content::InMotion,
        Err(_) if context.stop.is_stopped() => Content::Interrupted,
        Err(_) if context.has_moved(end, path, Some(seen)) => Content::InMotion,
        Err(error) => Content::Unreadable(error.to_string()),
    }
}
