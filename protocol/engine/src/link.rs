//! The blocking ends of a connection, as the engine's threads see them.
//!
//! The session moves bytes between a socket and an [`Inlet`] and an [`Outlet`]; both are bounded,
//! so a slow disk slows the socket and the other way round. [`WireReader`] and [`WireWriter`] put
//! the frames of §4 on top.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bascule_wire::Decode;
use bascule_wire::message::Message;
use bascule_wire::mux::{Frame, MuxDecoder, MuxEncoder};
use bytes::{Bytes, BytesMut};

use crate::outcome::{ExitCode, Fatal};

/// Most bytes of messages without any data between them: a peer that only talks is given up. Names
/// of deleted files do not count, since there may be millions.
const MOST_TALK: usize = 64 << 20;

/// Where the peer's bytes come from.
pub trait Inlet: Send {
    /// Waits for the next bytes; `None` when the peer has closed.
    ///
    /// # Errors
    /// When the connection broke, a timeout passed or the run was stopped.
    fn recv(&mut self) -> Result<Option<Bytes>, Fatal>;

    /// Bytes that are here already; `None` when [`Self::recv`] would have to wait, or has an end to
    /// tell.
    ///
    /// # Errors
    /// As [`Self::recv`].
    fn try_recv(&mut self) -> Result<Option<Bytes>, Fatal>;
}

/// Where bytes for the peer go. A chunk always holds whole frames, so that the session may put a
/// keep-alive frame between two chunks.
pub trait Outlet: Send {
    /// Waits until there is room, then hands the chunk over.
    ///
    /// # Errors
    /// When the connection broke, a timeout passed or the run was stopped.
    fn send(&mut self, chunk: Bytes) -> Result<(), Fatal>;

    /// Whether [`Outlet::send`] would not have to wait.
    fn has_room(&self) -> bool;
}

/// Takes the in-band messages that come between the data.
pub type MessageSink = Box<dyn FnMut(Message) -> Result<(), Fatal> + Send>;

/// Decodes items from the multiplexed stream.
pub struct WireReader {
    inlet: Box<dyn Inlet>,
    raw: BytesMut,
    data: BytesMut,
    demux: MuxDecoder,
    sink: MessageSink,
    flush_first: Option<WireWriter>,
    /// Bytes of messages since the last data.
    talk: usize,
}

impl WireReader {
    /// Reads frames from `inlet`, beginning with `leftover`: bytes that the handshake read too far.
    pub fn new(inlet: Box<dyn Inlet>, leftover: BytesMut, sink: MessageSink) -> Self {
        Self {
            inlet,
            raw: leftover,
            data: BytesMut::new(),
            demux: MuxDecoder::default(),
            sink,
            flush_first: None,
            talk: 0,
        }
    }

    /// Flushes `writer` each time before this reader waits: the peer cannot answer what it has
    /// not been sent.
    pub fn flush_before_waiting(&mut self, writer: WireWriter) {
        self.flush_first = Some(writer);
    }

    /// No longer flushes before waiting: the other direction is over.
    pub fn drop_flush(&mut self) {
        self.flush_first = None;
    }

    /// Replaces the taker of in-band messages.
    pub fn set_sink(&mut self, sink: MessageSink) {
        self.sink = sink;
    }

    /// Waits for the next item.
    ///
    /// # Errors
    /// When the peer is wrong, sent `MSG_ERROR_EXIT`, or the connection ended.
    pub fn next<D: Decode>(&mut self, decoder: &mut D) -> Result<D::Item, Fatal> {
        loop {
            if let Some(item) = decoder.decode(&mut self.data)? {
                return Ok(item);
            }
            if !self.fill()? {
                return Err(Fatal::new(
                    ExitCode::Stream,
                    "the peer closed the connection in the middle of the run",
                ));
            }
        }
    }

    /// As [`Self::next`], for items that are decoded by a closure over the buffered data.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_with<T>(
        &mut self,
        mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, bascule_wire::WireError>,
    ) -> Result<T, Fatal> {
        loop {
            if let Some(item) = decode(&mut self.data)? {
                return Ok(item);
            }
            if !self.fill()? {
                return Err(Fatal::new(
                    ExitCode::Stream,
                    "the peer closed the connection in the middle of the run",
                ));
            }
        }
    }

    /// Whether more data, which are the beginning of an item, are here without waiting. Messages
    /// before them are taken.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn has_data(&mut self) -> Result<bool, Fatal> {
        while self.data.is_empty() {
            match self.demux.decode(&mut self.raw)? {
                Some(Frame::Data(data)) => self.data.extend_from_slice(&data),
                Some(Frame::Message(message)) => (self.sink)(message)?,
                None => match self.inlet.try_recv()? {
                    Some(chunk) => self.raw.extend_from_slice(&chunk),
                    None => return Ok(false),
                },
            }
        }
        Ok(true)
    }

    /// Reads until the peer closes, taking messages and dropping data.
    ///
    /// # Errors
    /// When a message ends the run or the connection breaks.
    pub fn drain(&mut self) -> Result<(), Fatal> {
        while self.fill()? {
            self.data.clear();
        }
        Ok(())
    }

    /// Makes progress: either more data are buffered or `false` tells the end of the stream.
    fn fill(&mut self) -> Result<bool, Fatal> {
        loop {
            let before = self.raw.len();
            match self.demux.decode(&mut self.raw)? {
                Some(Frame::Data(data)) => {
                    self.talk = 0;
                    self.data.extend_from_slice(&data);
                    return Ok(true);
                }
                Some(Frame::Message(message)) => {
                    if !matches!(message, Message::Deleted { .. }) {
                        self.talk += before - self.raw.len();
                    }
                    if self.talk > MOST_TALK {
                        return Err(Fatal::new(
                            ExitCode::Message,
                            "the peer sends messages without end and nothing else",
                        ));
                    }
                    (self.sink)(message)?;
                    continue;
                }
                None => {}
            }
            if let Some(writer) = &self.flush_first {
                writer.flush()?;
            }
            match self.inlet.recv()? {
                Some(chunk) => self.raw.extend_from_slice(&chunk),
                None => return Ok(false),
            }
        }
    }
}

/// What waits is handed over once it is this many bytes.
const CHUNK: usize = 64 * 1024;
/// Data never wait longer than this while their thread goes on writing.
const FLUSH_AFTER: Duration = Duration::from_millis(50);
/// Most bytes of messages that may wait for a peer that does not read.
const MOST_WAITING: usize = 4 << 20;

/// Encodes items into the multiplexed stream. Clones write to the same stream, from any thread.
#[derive(Clone)]
pub struct WireWriter(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    outlet: Mutex<Box<dyn Outlet>>,
}

#[derive(Default)]
struct Waiting {
    mux: MuxEncoder,
    oldest: Option<Instant>,
}

impl Waiting {
    fn take(&mut self) -> Bytes {
        self.oldest = None;
        self.mux.take()
    }
}

impl WireWriter {
    /// Writes frames to `outlet`.
    pub fn new(outlet: Box<dyn Outlet>) -> Self {
        Self(Arc::new(Shared {
            waiting: Mutex::new(Waiting::default()),
            outlet: Mutex::new(outlet),
        }))
    }

    /// Appends data. They are sent when enough wait, when they have waited too long, or by
    /// [`Self::flush`].
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub fn data(&self, append: impl FnOnce(&mut BytesMut)) -> Result<(), Fatal> {
        let due = {
            let mut waiting = lock(&self.0.waiting);
            waiting.mux.data(append);
            let oldest = *waiting.oldest.get_or_insert_with(Instant::now);
            waiting.mux.len() >= CHUNK || oldest.elapsed() >= FLUSH_AFTER
        };
        if due { self.flush() } else { Ok(()) }
    }

    /// Appends a message behind the data written so far, and sends it if that does not have to
    /// wait. It never blocks: the thread that reads the peer's answers must not wait for the peer
    /// to read ours (§23).
    ///
    /// # Errors
    /// When the connection broke, the run was stopped, or the peer has not read for long.
    pub fn message(&self, message: &Message) -> Result<(), Fatal> {
        let many = {
            let mut waiting = lock(&self.0.waiting);
            waiting.mux.message(message);
            waiting.mux.len() >= MOST_WAITING
        };
        let mut outlet = match self.0.outlet.try_lock() {
            Ok(outlet) => outlet,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if many => return Err(deaf()),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        if outlet.has_room() {
            let frames = lock(&self.0.waiting).take();
            return outlet.send(frames);
        }
        if many { Err(deaf()) } else { Ok(()) }
    }

    /// Sends everything that waits.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub fn flush(&self) -> Result<(), Fatal> {
        let mut outlet = lock(&self.0.outlet);
        loop {
            let frames = lock(&self.0.waiting).take();
            if frames.is_empty() {
                return Ok(());
            }
            outlet.send(frames)?;
        }
    }
}

fn deaf() -> Fatal {
    Fatal::new(ExitCode::Protocol, "the peer does not read the messages that it is sent")
}

/// A panic elsewhere must not hide the error that is being reported.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Maps an I/O error of a connection to the end of the run.
pub fn connection_error(error: &io::Error) -> Fatal {
    let exit = match error.kind() {
        io::ErrorKind::TimedOut => ExitCode::Timeout,
        io::ErrorKind::UnexpectedEof => ExitCode::Stream,
        _ => ExitCode::Socket,
    };
    Fatal::new(exit, format!("the connection broke: {error}"))
}
