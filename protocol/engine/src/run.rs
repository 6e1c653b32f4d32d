//! What all threads of one run share: the agreement with the peer, the options, the observer,
//! and the account of what went wrong.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bascule_wire::flist::Kind;
use bascule_wire::message::Message;
use bascule_wire::names::{ChecksumName, CompressName};
use bascule_wire::setup::CompatFlags;
use bascule_wire::stats::DeleteStats;
use bascule_wire::{Negotiated, Options, Version};
use bytes::Bytes;

use crate::ledger::ListLimits;
use crate::link::{Outlet, WireWriter};
use crate::observe::{Event, Observer};
use crate::outcome::{Counters, ExitCode, Fatal, Problem, Report, Severity};
use crate::stop::Stop;

/// Which end of the connection this is. The server tells its problems to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The end that connected: it has a user.
    Client,
    /// The end that was connected to.
    Server,
}

/// A general I/O error: nothing may be deleted (§15.1).
pub const IO_ERROR_GENERAL: u32 = 1;
/// A source file vanished.
pub const IO_ERROR_VANISHED: u32 = 2;
/// The limit on deletions was reached.
pub const IO_ERROR_DELETE_LIMIT: u32 = 4;

/// The shared state of a run.
pub struct Run {
    /// What both ends agreed on.
    pub negotiated: Negotiated,
    /// What was asked for.
    pub options: Options,
    /// Which end this is.
    pub side: Side,
    /// How long the list may become.
    pub list_limits: ListLimits,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// The user's request to end early.
    pub stop: Stop,
    /// Made when one thread of the run has failed: the others end, and what the peer still sends
    /// is read past, so that it can take our last words (§16).
    pub abandon: Stop,
    /// The stream to the peer.
    pub writer: WireWriter,
    io_error: AtomicU32,
    partial: AtomicBool,
    tally: Tally,
    on_io_timeout: OnceLock<IoTimeout>,
}

/// A peer that is not there.
struct Nobody;

impl Outlet for Nobody {
    fn send(&mut self, _chunk: Bytes) -> Result<(), Fatal> {
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }
}

type IoTimeout = Box<dyn Fn(u32) + Send + Sync>;

/// Counters that several threads add to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) listed: AtomicU64,
    pub(crate) listed_files: AtomicU64,
    pub(crate) listed_bytes: AtomicU64,
    pub(crate) created: AtomicU64,
    pub(crate) transferred: AtomicU64,
    pub(crate) transferred_bytes: AtomicU64,
    pub(crate) literal_bytes: AtomicU64,
    pub(crate) matched_bytes: AtomicU64,
    pub(crate) deleted: AtomicU64,
}

impl Run {
    /// Begins a run.
    pub fn new(
        negotiated: Negotiated,
        options: Options,
        side: Side,
        list_limits: ListLimits,
        observer: Arc<dyn Observer>,
        stop: Stop,
        writer: WireWriter,
    ) -> Self {
        Self {
            negotiated,
            options,
            side,
            list_limits,
            observer,
            stop,
            abandon: Stop::new(),
            writer,
            io_error: AtomicU32::new(0),
            partial: AtomicBool::new(false),
            tally: Tally::default(),
            on_io_timeout: OnceLock::new(),
        }
    }

    /// A run without a peer, for a walk of one tree. Digests are BLAKE3.
    pub fn alone(options: Options, observer: Arc<dyn Observer>, stop: Stop) -> Self {
        let negotiated = Negotiated {
            version: Version::NEWEST,
            compat: CompatFlags::default(),
            checksum: ChecksumName::Blake3,
            list_checksum: ChecksumName::Blake3,
            compress: CompressName::None,
            seed: 0,
        };
        let nobody = WireWriter::new(Box::new(Nobody));
        let limits = ListLimits::NONE;
        Self::new(negotiated, options, Side::Client, limits, observer, stop, nobody)
    }

    /// Sets what to do with the daemon's timeout (seconds), once.
    pub fn on_io_timeout(&self, adopt: impl Fn(u32) + Send + Sync + 'static) {
        // A second setting would be a second owner of the connection: there is none.
        let _ = self.on_io_timeout.set(Box::new(adopt));
    }

    /// Tells the observer.
    pub fn on(&self, event: &Event<'_>) {
        self.observer.on(event);
    }

    /// Records trouble with one path: tells the observer, and the peer's user if this is the
    /// server.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn problem(
        &self,
        severity: Severity,
        path: &[u8],
        text: impl Into<String>,
    ) -> Result<(), Fatal> {
        let problem = Problem { severity, path: path.to_vec(), text: text.into(), remote: false };
        self.record(&problem);
        if self.side == Side::Server {
            let text = Bytes::from(format!("bascule: {problem}\n"));
            self.writer.message(&match severity {
                Severity::Partial => Message::ErrorXfer(text),
                Severity::Warning | Severity::Vanished | Severity::DeleteLimit => {
                    Message::Warning(text)
                }
            })?;
        }
        Ok(())
    }

    /// Tells the user something that is no trouble.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn inform(&self, text: &str) -> Result<(), Fatal> {
        match self.side {
            Side::Client => self.on(&Event::PeerText(text.as_bytes())),
            Side::Server => {
                self.writer.message(&Message::Info(Bytes::from(format!("{text}\n"))))?;
            }
        }
        Ok(())
    }

    /// Records trouble that is already known to the peer, or came from it.
    pub fn record(&self, problem: &Problem) {
        match problem.severity {
            Severity::Partial => self.partial.store(true, Ordering::Relaxed),
            Severity::Vanished if !problem.remote => self.add_io_error(IO_ERROR_VANISHED),
            Severity::DeleteLimit if !problem.remote => self.add_io_error(IO_ERROR_DELETE_LIMIT),
            Severity::Vanished | Severity::DeleteLimit | Severity::Warning => {}
        }
        self.on(&Event::Problem(problem));
    }

    /// Adds I/O error bits.
    pub fn add_io_error(&self, bits: u32) {
        self.io_error.fetch_or(bits & 7, Ordering::Relaxed);
    }

    /// The I/O error bits so far.
    pub fn io_error(&self) -> u32 {
        self.io_error.load(Ordering::Relaxed)
    }

    /// Ends the run with an error if it was asked to stop, or has failed elsewhere.
    ///
    /// # Errors
    /// [`ExitCode::Interrupted`] when it was.
    pub fn check_stop(&self) -> Result<(), Fatal> {
        if self.stop.is_stopped() || self.abandon.is_stopped() {
            return Err(interrupted());
        }
        Ok(())
    }

    /// Makes the other threads end after `failure`, unless the connection's end does so anyway.
    pub(crate) fn abandon_after(&self, failure: &Fatal) {
        if !failure.is_connection_lost() {
            self.abandon.stop();
        }
    }

    /// The peer has deleted a name.
    pub(crate) fn remote_deletion(&self, path: &[u8], directory: bool) {
        let kind = if directory { Kind::Directory } else { Kind::File };
        self.on(&Event::Deleted { path, kind });
    }

    /// The peer has told how much it deleted.
    pub(crate) fn deleted_there(&self, stats: &DeleteStats) {
        self.tally.deleted.store(stats.total(), Ordering::Relaxed);
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The account of the run so far. The bytes of the connection are the session's to add.
    pub fn report(&self) -> Report {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Tally {
            listed,
            listed_files,
            listed_bytes,
            created,
            transferred,
            transferred_bytes,
            literal_bytes,
            matched_bytes,
            deleted,
        } = &self.tally;
        Report {
            counters: Counters {
                listed: get(listed),
                listed_files: get(listed_files),
                listed_bytes: get(listed_bytes),
                created: get(created),
                transferred: get(transferred),
                transferred_bytes: get(transferred_bytes),
                literal_bytes: get(literal_bytes),
                matched_bytes: get(matched_bytes),
                deleted: get(deleted),
                wire_read: 0,
                wire_written: 0,
            },
            io_error: self.io_error(),
            partial: self.partial.load(Ordering::Relaxed),
        }
    }

    /// Handles an in-band message that every role treats alike; gives back those that only one
    /// role understands.
    ///
    /// # Errors
    /// When the peer ended the run with `MSG_ERROR_EXIT`.
    pub fn common_message(&self, message: Message) -> Result<Option<Message>, Fatal> {
        match message {
            Message::Info(text) => self.on(&Event::PeerText(&text)),
            Message::ErrorXfer(text) => self.remote_problem(Severity::Partial, &text),
            Message::Error(text) | Message::Warning(text) => {
                self.remote_problem(Severity::Warning, &text);
            }
            Message::IoError(bits) => self.add_io_error(bits),
            Message::IoTimeout(seconds) => {
                if let Some(adopt) = self.on_io_timeout.get() {
                    adopt(seconds);
                }
            }
            Message::Noop => {}
            Message::ErrorExit(code) => {
                let exit = code.map_or(ExitCode::Stream, ExitCode::from_peer);
                return Err(Fatal::from_peer(
                    exit,
                    format!("the peer ended the run with code {}", exit.code()),
                ));
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    fn remote_problem(&self, severity: Severity, text: &[u8]) {
        let text = String::from_utf8_lossy(text).trim_end_matches('\n').to_owned();
        self.record(&Problem { severity, path: Vec::new(), text, remote: true });
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// The end of a run that was asked to stop.
pub fn interrupted() -> Fatal {
    Fatal::new(ExitCode::Interrupted, "the run was interrupted")
}
