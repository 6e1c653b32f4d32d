//! Rebuilds one file from its basis and the sender's tokens.

use std::io;

use bascule_wire::decode::decode_with;
use bascule_wire::flist::Entry;
use bascule_wire::record::{BasisType, RecordHead};
use bascule_wire::strong::FileHasher;
use bascule_wire::sums::SumHead;
use bascule_wire::token::Token;
use bytes::Buf as _;

use super::batch::Complete;
use super::{Receiver, partial_path};
use crate::generator::FromReceiver;
use crate::generator::signature::read_full;
use crate::observe::Event;
use crate::outcome::{ExitCode, Fatal, Severity};
use crate::path::RelPath;
use crate::run::add;
use crate::tree::{ReadAt, Stage};

/// Zero runs of at least this many bytes become holes under `--sparse`.
const HOLE: usize = 4096;

/// How the data of one file went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrived {
    /// Whole, and the whole-file sum agrees.
    Whole,
    /// The whole-file sum differs.
    Mismatch,
    /// The sum agrees or not: the target could not be written, and that was reported.
    NotStored,
}

/// The file being rebuilt.
struct Rebuild<'a> {
    stage: Option<Box<dyn Stage>>,
    /// Where a write failed; the rest of the data is then only read past.
    failed: Option<io::Error>,
    hasher: FileHasher,
    basis: Option<Box<dyn ReadAt>>,
    basis_unreadable: bool,
    in_place: bool,
    sparse: bool,
    position: u64,
    literal: u64,
    matched: u64,
    path: &'a RelPath,
}

impl Receiver<'_> {
    /// Receives the data of one file and puts it in place, or tells the generator what else.
    pub(super) fn transfer(&mut self, head: &RecordHead, entry: &Entry) -> Result<(), Fatal> {
        let index = head.index;
        let path = match &self.single_name {
            Some(name) => name.clone(),
            None => RelPath::of_entry(entry).map_err(|error| {
                Fatal::new(ExitCode::Protocol, format!("the peer's list: {error}"))
            })?,
        };
        let version = self.run.negotiated.version;
        let digest_len = self.strong.digest_len();
        let sums = self.reader.next_with(|buf| {
            decode_with(buf, |cursor| SumHead::read(cursor, version, digest_len))
        })?;
        if self.batch.has_no_room_for(entry.size) {
            self.place_batch()?;
        }
        self.run.on(&Event::TransferStarted { path: path.as_bytes(), size: entry.size });
        let basis_path = self.basis_path(head, &path)?;
        let basis = if sums.count > 0 { self.tree.open(&basis_path).ok() } else { None };
        let before = self.before(&path);
        let in_place = self.run.options.inplace;
        let mut opened = self.open_stage(&path);
        if opened.is_err() && !self.batch.is_empty() {
            // What waits for its name holds handles, and perhaps the last of them.
            self.place_batch()?;
            opened = self.open_stage(&path);
        }
        self.changed.name_changed(&path);
        let (stage, failed) = match opened {
            Ok(stage) => (Some(stage), None),
            Err(error) => (None, Some(error)),
        };
        let mut rebuild = Rebuild {
            stage,
            failed,
            hasher: self.strong.file(),
            basis,
            basis_unreadable: false,
            in_place: in_place && basis_path == path,
            sparse: self.run.options.sparse,
            position: 0,
            literal: 0,
            matched: 0,
            path: &path,
        };
        let arrived = match self.tokens_of(&sums, &mut rebuild) {
            Ok(arrived) => arrived,
            Err(fatal) => {
                self.keep_partial(rebuild, &path);
                return Err(fatal);
            }
        };
        let Rebuild { stage, failed, position, literal, matched, basis, .. } = rebuild;
        // Not every file system of Windows replaces a file that is open.
        drop(basis);
        add(&self.run.tally().literal_bytes, literal);
        add(&self.run.tally().matched_bytes, matched);
        let whole = stage.filter(|_| arrived == Arrived::Whole);
        if let Some(mut stage) = whole {
            if !self.complete(&mut *stage, &path, entry, before, position)? {
                drop(stage);
                return self.tell(FromReceiver::Failed(index));
            }
            return self.finish(Complete {
                stage,
                path,
                basis_path,
                head: head.clone(),
                entry: entry.clone(),
                len: position,
                literal,
                matched,
            });
        }
        // The staged file is gone by now: the generator may finish the directory's time.
        if arrived == Arrived::Mismatch {
            if self.asked_again.insert(index) {
                return self.tell(FromReceiver::Redo(index));
            }
            let left = if in_place {
                "what was updated in place is not complete"
            } else {
                "the old version was kept"
            };
            self.run.problem(
                Severity::Partial,
                path.as_bytes(),
                format!(
                    "its content did not match its checksum twice, and {left}; \
                     it probably changed while it was being read: run again"
                ),
            )?;
        } else {
            let why = failed.map_or_else(|| "unknown".to_owned(), |error| error.to_string());
            self.run.problem(
                Severity::Partial,
                path.as_bytes(),
                format!("it could not be written on the target: {why}"),
            )?;
        }
        self.tell(FromReceiver::Failed(index))
    }

    fn open_stage(&self, path: &RelPath) -> io::Result<Box<dyn Stage>> {
        if self.run.options.inplace && !self.behind.expects(path) {
            self.keep_copy(path).and_then(|()| self.tree.open_in_place(path))
        } else {
            self.tree.stage(path)
        }
    }

    /// The basis that the sender was told of; only what the generator offers is taken.
    fn basis_path(&self, head: &RecordHead, path: &RelPath) -> Result<RelPath, Fatal> {
        let refused = || {
            Fatal::new(
                ExitCode::Protocol,
                format!("{path}: the peer named a basis that it was not offered"),
            )
        };
        match head.basis {
            None | Some(BasisType::FILE) => Ok(path.clone()),
            Some(BasisType::PARTIAL_DIR) => {
                let dir = self.run.options.partial_dir.as_deref().ok_or_else(refused)?;
                partial_path(path, dir, self.module.as_ref()).ok_or_else(refused)
            }
            Some(_) => Err(refused()),
        }
    }

    fn tokens_of(&mut self, sums: &SumHead, rebuild: &mut Rebuild<'_>) -> Result<Arrived, Fatal> {
        let mut block = Vec::new();
        let mut told = 0;
        loop {
            let tokens = &mut self.tokens;
            match self.reader.next(tokens)? {
                Token::Literal(data) => {
                    rebuild.literal += data.len() as u64;
                    rebuild.append(&data);
                }
                Token::Match(number) => {
                    if number >= sums.count {
                        return Err(Fatal::new(
                            ExitCode::Protocol,
                            format!(
                                "{}: the peer refers to block {number} of {}",
                                rebuild.path, sums.count
                            ),
                        ));
                    }
                    let (offset, len) = sums.block(number);
                    block.resize(len as usize, 0);
                    rebuild.read_basis(offset, &mut block);
                    self.tokens.matched_data(&block)?;
                    rebuild.copy(offset, &block);
                }
                Token::End => break,
            }
            if rebuild.position - told >= 1 << 20 {
                self.run.on(&Event::TransferProgress { bytes: rebuild.position - told });
                told = rebuild.position;
                self.run.check_stop()?;
            }
        }
        self.run.on(&Event::TransferProgress { bytes: rebuild.position - told });
        let digest_len = self.strong.digest_len();
        let claimed = self.reader.next_with(|buf| {
            Ok((buf.len() >= digest_len).then(|| {
                let digest = buf[..digest_len].to_vec();
                buf.advance(digest_len);
                digest
            }))
        })?;
        let hasher = std::mem::replace(&mut rebuild.hasher, self.strong.file());
        let same = hasher.finish().as_ref() == &claimed[..] && !rebuild.basis_unreadable;
        Ok(if rebuild.failed.is_some() || rebuild.stage.is_none() {
            Arrived::NotStored
        } else if same {
            Arrived::Whole
        } else {
            Arrived::Mismatch
        })
    }

    /// Keeps what has arrived of a file when the run breaks off, if the user wants that.
    fn keep_partial(&self, rebuild: Rebuild<'_>, path: &RelPath) {
        let Rebuild {
            stage: Some(stage), failed: None, position: 1.., in_place: false, basis, ..
        } = rebuild
        else {
            return;
        };
        drop(basis);
        // The run is failing already: a partial file that cannot be kept only costs time later.
        let _ = self.store_partial(stage, path);
    }
}

impl Rebuild<'_> {
    fn read_basis(&mut self, offset: u64, block: &mut [u8]) {
        let whole = match &self.basis {
            Some(basis) => read_full(&**basis, offset, block).is_ok_and(|read| read == block.len()),
            None => false,
        };
        if !whole {
            block.fill(0);
            self.basis_unreadable = true;
        }
    }

    /// Appends data that travelled.
    fn append(&mut self, data: &[u8]) {
        self.hasher.update(data);
        self.write(data);
    }

    /// Appends a block of the basis that begins there at `offset`.
    fn copy(&mut self, offset: u64, block: &[u8]) {
        self.hasher.update(block);
        self.matched += block.len() as u64;
        if self.in_place && offset == self.position {
            self.position += block.len() as u64;
        } else {
            self.write(block);
        }
    }

    fn write(&mut self, data: &[u8]) {
        let at = self.position;
        self.position += data.len() as u64;
        let (Some(stage), None) = (&mut self.stage, &self.failed) else {
            return;
        };
        let written = if self.sparse && !self.in_place {
            write_sparse(&mut **stage, at, data)
        } else {
            stage.write_at(at, data)
        };
        if let Err(error) = written {
            self.failed = Some(error);
            // The temporary file goes at once: a full disk needs the room.
            if !self.in_place {
                self.stage = None;
            }
        }
    }
}

/// Writes `data` at `at`, leaving out zero runs: the file is fresh, so holes read as zeros.
fn write_sparse(stage: &mut dyn Stage, at: u64, data: &[u8]) -> io::Result<()> {
    let mut offset = at;
    for chunk in data.chunks(HOLE) {
        if chunk.iter().any(|byte| *byte != 0) {
            stage.write_at(offset, chunk)?;
        }
        offset += chunk.len() as u64;
    }
    Ok(())
}
