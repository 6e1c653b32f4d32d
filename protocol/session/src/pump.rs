//! Moves bytes between a socket and the engine's threads: bounded queues, keep-alives, the
//! timeout, the bandwidth limit, and an end that loses nobody's last words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bascule_engine::link::{Inlet, Outlet, connection_error};
use bascule_engine::outcome::{ExitCode, Fatal};
use bascule_engine::stop::Stop;
use bascule_wire::mux::KEEP_ALIVE;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::pace::Pace;

/// Largest read from the socket, in bytes.
const READ: usize = 64 * 1024;
/// Chunks that may wait between the socket and the engine, in each direction. One is at most a
/// read, or what the engine hands over at once: some 64 KiB.
const WAITING: usize = 8;
/// How often the timeout is checked.
const TICK: Duration = Duration::from_millis(500);
/// How long an end goes on reading after it has failed or closed, so that a reset does not destroy
/// what is on its way to the peer.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Shared by both directions of one connection.
#[derive(Debug)]
pub(crate) struct Traffic {
    started: Instant,
    read: AtomicU64,
    written: AtomicU64,
    /// Milliseconds after `started` of the last byte in either direction. Keep-alives of ours do
    /// not count: a dead link takes them for a long time.
    last: AtomicU64,
    /// Seconds without a byte before the run ends; 0 means none.
    timeout: AtomicU32,
    timed_out: AtomicBool,
    /// Set when both directions end at once: a stop, a timeout.
    down: watch::Sender<bool>,
    /// Set when the engine wants no more of what the peer sends.
    discarding: watch::Sender<bool>,
}

impl Traffic {
    fn new(timeout: u32) -> Self {
        Self {
            started: Instant::now(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            last: AtomicU64::new(0),
            timeout: AtomicU32::new(timeout),
            timed_out: AtomicBool::new(false),
            down: watch::Sender::new(false),
            discarding: watch::Sender::new(false),
        }
    }

    /// Bytes read from the connection.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes written to the connection.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Adds what the opening read and wrote.
    pub(crate) fn add(&self, read: u64, written: u64) {
        self.read.fetch_add(read, Ordering::Relaxed);
        self.written.fetch_add(written, Ordering::Relaxed);
    }

    /// Takes over the daemon's timeout if there is none here or a longer one (§4, tag 33).
    pub(crate) fn adopt_timeout(&self, seconds: u32) {
        let current = self.timeout.load(Ordering::Relaxed);
        if (1..=86_400).contains(&seconds) && (current == 0 || current > seconds) {
            self.timeout.store(seconds, Ordering::Relaxed);
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    fn idle(&self) -> Duration {
        self.started
            .elapsed()
            .saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    fn limit(&self) -> Option<Duration> {
        match self.timeout.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        }
    }

    fn closed(&self, stop: &Stop) -> Option<Fatal> {
        if self.timed_out.load(Ordering::Relaxed) {
            let seconds = self.timeout.load(Ordering::Relaxed);
            return Some(Fatal::new(
                ExitCode::Timeout,
                format!("nothing moved on the connection for {seconds} seconds"),
            ));
        }
        stop.is_stopped().then(|| Fatal::new(ExitCode::Interrupted, "the run was interrupted"))
    }
}

/// A connection whose bytes are moved by two tasks.
pub(crate) struct Pump {
    /// Counters and the timeout.
    pub(crate) traffic: Arc<Traffic>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Pump {
    /// Starts moving bytes. `timeout` is in seconds, 0 for none.
    pub(crate) fn start<S>(
        stream: S,
        timeout: u32,
        pace: Pace,
        stop: &Stop,
    ) -> (Self, Box<dyn Inlet>, Box<dyn Outlet>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let traffic = Arc::new(Traffic::new(timeout));
        let down = Arc::clone(&traffic);
        stop.on_stop(move || {
            down.down.send_replace(true);
        });
        let (read_half, write_half) = tokio::io::split(stream);
        let (to_engine, from_socket) = mpsc::channel(WAITING);
        let (to_socket, from_engine) = mpsc::channel(WAITING);
        let reader =
            tokio::spawn(pump_in(read_half, to_engine, Arc::clone(&traffic), pace.clone()));
        let writer_traffic = Arc::clone(&traffic);
        let writer = tokio::spawn(async move {
            let mut down = writer_traffic.down.subscribe();
            tokio::select! {
                () = pump_out(write_half, from_engine, &writer_traffic, &pace) => {}
                _ = down.wait_for(|down| *down) => {}
            }
        });
        let inlet =
            ChannelInlet { chunks: from_socket, traffic: Arc::clone(&traffic), stop: stop.clone() };
        let outlet =
            ChannelOutlet { chunks: to_socket, traffic: Arc::clone(&traffic), stop: stop.clone() };
        (Self { traffic, reader, writer }, Box::new(inlet), Box::new(outlet))
    }

    /// From `abandon` on, what the peer sends is read past for a while.
    pub(crate) fn discard_after(&self, abandon: &Stop) {
        let traffic = Arc::clone(&self.traffic);
        abandon.on_stop(move || {
            traffic.discarding.send_replace(true);
        });
    }

    /// Sends everything that the engine wrote (it has let go of its end), and closes the
    /// connection when the peer has closed its side, or after a while.
    pub(crate) async fn finish(self) {
        let Self { traffic, mut reader, writer } = self;
        let ended = timeout(LAST_WORDS, async {
            // Both tasks end by themselves or are ended here; a panic in one has no more to say.
            let _ = writer.await;
            let _ = (&mut reader).await;
        });
        if ended.await.is_err() {
            traffic.down.send_replace(true);
            reader.abort();
            let _ = reader.await;
        }
    }
}

/// Reads until the peer closes, for the engine as long as it listens.
async fn pump_in<R: AsyncRead + Unpin>(
    mut socket: R,
    engine: mpsc::Sender<Result<Bytes, Fatal>>,
    traffic: Arc<Traffic>,
    pace: Pace,
) {
    let mut down = traffic.down.subscribe();
    let mut discarding = traffic.discarding.subscribe();
    let mut engine = Some(engine);
    let mut discarding_since = None;
    let mut buffer = BytesMut::with_capacity(READ);
    loop {
        if buffer.capacity() < READ / 2 {
            buffer.reserve(READ);
        }
        let closed = async {
            match &engine {
                Some(engine) => tokio::select! {
                    () = engine.closed() => {}
                    _ = discarding.wait_for(|discarding| *discarding) => {}
                },
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            read = timeout(TICK, socket.read_buf(&mut buffer)) => read,
            _ = down.wait_for(|down| *down) => return,
            () = closed => {
                engine = None;
                discarding_since = Some(Instant::now());
                continue;
            }
        };
        if discarding_since.is_some_and(|since| since.elapsed() >= LAST_WORDS) {
            traffic.down.send_replace(true);
            return;
        }
        match read {
            Err(_) => {
                if traffic.limit().is_some_and(|limit| traffic.idle() >= limit) {
                    traffic.timed_out.store(true, Ordering::Relaxed);
                    traffic.down.send_replace(true);
                    return;
                }
            }
            Ok(Ok(0)) => return,
            Ok(Ok(read)) => {
                traffic.read.fetch_add(read as u64, Ordering::Relaxed);
                traffic.touch();
                let chunk = buffer.split().freeze();
                let Some(engine) = &engine else {
                    continue;
                };
                tokio::select! {
                    // When the engine has let go, the next turn notices.
                    _ = engine.send(Ok(chunk)) => {}
                    _ = down.wait_for(|down| *down) => return,
                    _ = discarding.wait_for(|discarding| *discarding) => {}
                }
                tokio::select! {
                    () = pace.wait_after_reading(read) => {}
                    _ = down.wait_for(|down| *down) => return,
                    _ = discarding.wait_for(|discarding| *discarding) => {}
                }
            }
            Ok(Err(error)) => {
                if let Some(engine) = &engine {
                    let _ = engine.send(Err(connection_error(&error))).await;
                }
                return;
            }
        }
    }
}

async fn pump_out<W: AsyncWrite + Unpin>(
    mut socket: W,
    mut engine: mpsc::Receiver<Bytes>,
    traffic: &Traffic,
    pace: &Pace,
) {
    let mut written_last = Instant::now();
    loop {
        let (chunk, is_progress) = match timeout(TICK, engine.recv()).await {
            Ok(Some(chunk)) => (chunk, true),
            Ok(None) => break,
            Err(_) => {
                let due = traffic.limit().is_some_and(|limit| written_last.elapsed() >= limit / 2);
                if !due {
                    continue;
                }
                (Bytes::from_static(&KEEP_ALIVE), false)
            }
        };
        if write_paced(&mut socket, &chunk, traffic, pace, is_progress).await.is_err() {
            return;
        }
        written_last = Instant::now();
    }
    let _ = socket.flush().await;
    let _ = socket.shutdown().await;
}

/// Writes a chunk, slowly enough for the limit.
async fn write_paced<W: AsyncWrite + Unpin>(
    socket: &mut W,
    mut chunk: &[u8],
    traffic: &Traffic,
    pace: &Pace,
    is_progress: bool,
) -> std::io::Result<()> {
    while !chunk.is_empty() {
        let (part, rest) = chunk.split_at(pace.slice().min(chunk.len()));
        chunk = rest;
        let began = Instant::now();
        socket.write_all(part).await?;
        socket.flush().await?;
        traffic.written.fetch_add(part.len() as u64, Ordering::Relaxed);
        if is_progress {
            traffic.touch();
        }
        pace.wait_after_writing(part.len(), began.elapsed()).await;
    }
    Ok(())
}

struct ChannelInlet {
    chunks: mpsc::Receiver<Result<Bytes, Fatal>>,
    traffic: Arc<Traffic>,
    stop: Stop,
}

impl Inlet for ChannelInlet {
    fn recv(&mut self) -> Result<Option<Bytes>, Fatal> {
        match self.chunks.blocking_recv() {
            Some(chunk) => chunk.map(Some),
            None => match self.traffic.closed(&self.stop) {
                Some(fatal) => Err(fatal),
                None => Ok(None),
            },
        }
    }

    fn try_recv(&mut self) -> Result<Option<Bytes>, Fatal> {
        // That nothing comes any more is told by the next wait.
        self.chunks.try_recv().ok().transpose()
    }
}

struct ChannelOutlet {
    chunks: mpsc::Sender<Bytes>,
    traffic: Arc<Traffic>,
    stop: Stop,
}

impl ChannelOutlet {
    fn closed(&self) -> Fatal {
        self.traffic.closed(&self.stop).unwrap_or_else(|| {
            Fatal::new(ExitCode::Socket, "the peer closed the connection while we were writing")
        })
    }
}

impl Outlet for ChannelOutlet {
    fn send(&mut self, chunk: Bytes) -> Result<(), Fatal> {
        self.chunks.blocking_send(chunk).map_err(|_| self.closed())
    }

    fn has_room(&self) -> bool {
        self.chunks.capacity() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_19_6_a_peers_timeout_only_shortens_ones_own() {
        for (own, told, counts) in [
            (600, 60, 60),
            (600, 601, 600),
            (600, 0, 600),
            (600, u32::MAX, 600),
            (0, 60, 60),
            (0, 0, 0),
            (0, u32::MAX, 0),
        ] {
            let traffic = Traffic::new(own);
            traffic.adopt_timeout(told);
            let limit = (counts > 0).then(|| Duration::from_secs(counts));
            assert_eq!(traffic.limit(), limit, "{own} {told}");
        }
    }
}
