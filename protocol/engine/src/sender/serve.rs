//! Sends one requested file as tokens.

use std::io::{self, ErrorKind};

use bascule_wire::WireError;
use bascule_wire::decode::decode_with;
use bascule_wire::flist::{Entry, Kind};
use bascule_wire::message::Message;
use bascule_wire::record::{Record, RecordHead};
use bascule_wire::sums::{BlockSumsDecoder, SumHead};
use bascule_wire::token::TokenEncoder;
use bytes::BytesMut;

use super::Sender;
use super::search::{self, Tokens};
use super::window::Content;
use crate::generator::signature::read_full;
use crate::link::{WireReader, WireWriter};
use crate::observe::Event;
use crate::outcome::{ExitCode, Fatal, Severity};
use crate::path::RelPath;
use crate::run::{IO_ERROR_GENERAL, add};
use crate::tree::{Metadata, ReadAt, Source, open_around_lock};

/// A file up to this size is read at once, so that it can be read again when it changes meanwhile.
const SMALL: u64 = 256 * 1024;
/// How often a small file that keeps changing is read before it is given up for this time.
const TRIES: usize = 5;

impl Sender {
    /// Answers a request for data.
    pub(super) fn serve(
        &mut self,
        reader: &mut WireReader,
        head: RecordHead,
        entry: &Entry,
        arg: usize,
    ) -> Result<(), Fatal> {
        let version = self.run.negotiated.version;
        let digest_len = self.strong.digest_len();
        let sum_head = reader.next_with(|buf| {
            decode_with(buf, |cursor| SumHead::read(cursor, version, digest_len))
        })?;
        let sums = reader.next(&mut BlockSumsDecoder::new(sum_head))?;
        let index = head.index;
        if entry.kind() != Kind::File {
            return Err(Fatal::new(
                ExitCode::Protocol,
                format!("the peer asked for the data of index {index}, which is no regular file"),
            ));
        }
        let path = entry.path();
        let Begun { file, metadata, stable } = match self.begin(&path, arg) {
            Ok(begun) => begun,
            Err(error) => return self.cannot_send(index, &path, &error),
        };
        // With a time that came later, old content would be taken for new from then on.
        if file.is_snapshot() && (metadata.mtime, metadata.nanos) < (entry.mtime, entry.nanos) {
            self.run.problem(
                Severity::Vanished,
                &path,
                "it is in motion: another program keeps it to itself, and it changed after the \
                 snapshot was made, so the target keeps its old version; the next run takes it",
            )?;
            return self.send_none(index);
        }
        self.run.on(&Event::Requested { bytes: metadata.size });
        self.run.on(&Event::TransferStarted { path: &path, size: metadata.size });
        let small = metadata.size <= SMALL;
        let length = if small { self.small.len() as u64 } else { metadata.size };
        self.put(&Record::File(head.clone()))?;
        self.run.writer.data(|out| sum_head.put(out))?;
        let mut out = WireTokens {
            tokens: &mut self.tokens,
            writer: &self.run.writer,
            observer: &*self.run.observer,
        };
        let inplace = self.run.options.inplace;
        let sums = (sums.head().count > 0).then_some(&sums);
        let content = if small {
            Content::Held(&self.small)
        } else {
            Content::File { file: &*file, len: length }
        };
        let found = search::send(content, sums, &self.strong, inplace, &mut out)?;
        out.end()?;
        let changed = !stable || (!small && !unchanged_since(&*file, &metadata));
        let mut digest = found.digest.as_ref().to_vec();
        if changed || found.error.is_some() {
            spoil(&mut digest);
        }
        self.run.writer.data(|out| out.extend_from_slice(&digest))?;
        add(&self.run.tally().literal_bytes, found.literal);
        add(&self.run.tally().matched_bytes, found.matched);
        if let Some(error) = found.error {
            let error = match self.around_lock(&path, arg, &*file, error) {
                // The spoiled digest makes the receiver ask once more; a snapshot has no locks.
                Ok(_) if self.unsteady.insert(index) => return Ok(()),
                Ok(_) => io::Error::new(
                    ErrorKind::ResourceBusy,
                    "another program locked a part of it when it was read again",
                ),
                Err(error) => error,
            };
            self.run.add_io_error(IO_ERROR_GENERAL);
            return self.run.problem(
                Severity::Partial,
                &path,
                format!("it could not be read to its end: {error}"),
            );
        }
        if changed {
            // The spoiled digest makes the receiver ask once more: only then is it trouble.
            if self.unsteady.insert(index) {
                return Ok(());
            }
            return self.run.problem(
                Severity::Vanished,
                &path,
                "it is in motion: it changed each time that it was read, so the target keeps its old \
                 version; the next run takes it",
            );
        }
        if (metadata.size, metadata.mtime, metadata.nanos) != (entry.size, entry.mtime, entry.nanos)
        {
            self.run.problem(
                Severity::Vanished,
                &path,
                "it is in motion: it changed after it was listed; its new content was sent, and its \
                 new time follows with the next run",
            )?;
        }
        add(&self.run.tally().transferred, 1);
        add(&self.run.tally().transferred_bytes, length);
        self.itemize(&head, entry);
        self.run.on(&Event::TransferDone {
            path: &path,
            size: length,
            literal: found.literal,
            matched: found.matched,
        });
        Ok(())
    }

    /// Opens a file, and reads it if it is small.
    fn begin(&mut self, path: &[u8], arg: usize) -> io::Result<Begun> {
        let mut file = self.root(arg)?.open(&parsed(path)?)?;
        loop {
            let metadata = *file.opened();
            if metadata.size > SMALL {
                return Ok(Begun { file, metadata, stable: true });
            }
            match read_stable(&*file, metadata, &mut self.small) {
                Ok(stable) => return Ok(Begun { file, metadata, stable }),
                // At most once: what is a snapshot then is not opened again.
                Err(error) => file = self.around_lock(path, arg, &*file, error)?,
            }
        }
    }

    fn around_lock(
        &self,
        path: &[u8],
        arg: usize,
        file: &dyn ReadAt,
        error: io::Error,
    ) -> io::Result<Box<dyn ReadAt>> {
        open_around_lock(self.root(arg)?, &parsed(path)?, file, error)
    }

    fn root(&self, arg: usize) -> io::Result<&dyn Source> {
        Ok(&*self.roots.get(arg).ok_or(ErrorKind::NotFound)?.tree)
    }

    fn cannot_send(&mut self, index: u32, path: &[u8], error: &io::Error) -> Result<(), Fatal> {
        if error.kind() == ErrorKind::NotFound {
            self.run.problem(Severity::Vanished, path, "it vanished before it could be sent")?;
        } else {
            self.run.add_io_error(IO_ERROR_GENERAL);
            self.run.problem(
                Severity::Partial,
                path,
                format!("it could not be opened for reading: {error}"),
            )?;
        }
        self.send_none(index)
    }

    fn send_none(&self, index: u32) -> Result<(), Fatal> {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        self.run.writer.message(&Message::NoSend(index))
    }
}

/// A file that can be sent.
struct Begun {
    file: Box<dyn ReadAt>,
    /// Of the open file, before it was read.
    metadata: Metadata,
    /// Whether it held still, as far as it was read.
    stable: bool,
}

fn parsed(path: &[u8]) -> io::Result<RelPath> {
    RelPath::parse(path).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))
}

/// Reads a small file until two looks around the reading agree; `false` when it never held still.
fn read_stable(file: &dyn ReadAt, first: Metadata, content: &mut Vec<u8>) -> io::Result<bool> {
    let mut before = first;
    for _ in 0..TRIES {
        let length = usize::try_from(before.size).unwrap_or(usize::MAX).min(4 * SMALL as usize);
        content.resize(length, 0);
        let read = read_full(file, 0, content)?;
        content.truncate(read);
        let after = file.metadata()?;
        if (after.size, after.mtime, after.nanos) == (before.size, before.mtime, before.nanos)
            && read as u64 == after.size
        {
            return Ok(true);
        }
        before = after;
    }
    Ok(false)
}

fn unchanged_since(file: &dyn ReadAt, before: &Metadata) -> bool {
    file.metadata().is_ok_and(|after| {
        (after.size, after.mtime, after.nanos) == (before.size, before.mtime, before.nanos)
    })
}

/// Makes a digest wrong, so that the receiver throws the data away and asks again (§6).
fn spoil(digest: &mut [u8]) {
    let all_zero = digest.iter().all(|byte| *byte == 0);
    digest.fill(0);
    if all_zero && let Some(last) = digest.last_mut() {
        *last = 1;
    }
}

/// Writes what the search finds as tokens.
struct WireTokens<'a> {
    tokens: &'a mut TokenEncoder,
    writer: &'a WireWriter,
    observer: &'a dyn crate::observe::Observer,
}

impl WireTokens<'_> {
    fn end(&mut self) -> Result<(), Fatal> {
        self.put(|tokens, out| tokens.end(out))
    }

    fn put(
        &mut self,
        encode: impl FnOnce(&mut TokenEncoder, &mut BytesMut) -> Result<(), WireError>,
    ) -> Result<(), Fatal> {
        let mut encoded = Ok(());
        let tokens = &mut *self.tokens;
        self.writer.data(|out| encoded = encode(tokens, out))?;
        Ok(encoded?)
    }

    fn progress(&self, data: &[u8]) {
        self.observer.on(&Event::TransferProgress { bytes: data.len() as u64 });
    }
}

impl Tokens for WireTokens<'_> {
    fn literal(&mut self, data: &[u8]) -> Result<(), Fatal> {
        self.put(|tokens, out| tokens.literal(data, out))?;
        self.progress(data);
        Ok(())
    }

    fn matched(&mut self, block: u32, data: &[u8]) -> Result<(), Fatal> {
        self.put(|tokens, out| tokens.matched(block, data, out))?;
        self.progress(data);
        Ok(())
    }
}
