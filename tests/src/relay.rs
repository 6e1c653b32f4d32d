//! A relay between a client and a daemon, with the faults of a bad network.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What happens when the allowed number of bytes has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The relay hangs up on both ends, and on whoever comes next.
    Cut,
    /// Nothing passes any more, and nobody is told.
    Silence,
}

/// How bytes pass.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Most bytes that are written at a time.
    pub piece: usize,
    /// How long each byte is on its way, in each direction.
    pub delay: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self { piece: 4096, delay: Duration::ZERO }
    }
}

/// Passes bytes on in both directions, as many as were allowed.
pub struct Relay {
    /// The port on 127.0.0.1.
    pub port: u16,
    gate: Arc<Gate>,
}

struct Gate {
    left: Mutex<(u64, Then)>,
    changed: Condvar,
    upstream: AtomicU64,
}

impl Relay {
    /// Stands before a daemon's port; nothing passes until it is allowed to.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn before(daemon: u16) -> Self {
        Self::on(0, daemon, Manner::default())
    }

    /// Listens on a port of its own (0: a free one).
    ///
    /// # Panics
    /// When the port is taken.
    pub fn on(port: u16, daemon: u16, manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let gate = Arc::new(Gate {
            left: Mutex::new((0, Then::Cut)),
            changed: Condvar::new(),
            upstream: AtomicU64::new(0),
        });
        let shared = Arc::clone(&gate);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", daemon)).expect("the daemon listens");
                for (from, to, is_upstream) in [(&client, &server, true), (&server, &client, false)]
                {
                    let (from, to) = (handle(from), handle(to));
                    let gate = Arc::clone(&shared);
                    thread::spawn(move || pass(from, to, &gate, manner, is_upstream));
                }
            }
        });
        Self { port, gate }
    }

    /// Lets `bytes` more pass, in both directions together; then both ends are hung up on.
    pub fn allow(&self, bytes: u64) {
        self.set(bytes, Then::Cut);
    }

    /// Lets `bytes` more pass; then nothing does.
    pub fn allow_until_silence(&self, bytes: u64) {
        self.set(bytes, Then::Silence);
    }

    fn set(&self, bytes: u64, then: Then) {
        *self.gate.lock() = (bytes, then);
        self.gate.changed.notify_all();
    }

    /// How many bytes may still pass.
    pub fn left(&self) -> u64 {
        self.gate.lock().0
    }

    /// How many bytes have passed from clients to the daemon.
    pub fn upstream(&self) -> u64 {
        self.gate.upstream.load(Ordering::SeqCst)
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, (u64, Then)> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `wanted` bytes may pass, waiting in silence for the first; 0 means a cut.
    fn take(&self, wanted: usize) -> usize {
        let mut left = self.lock();
        while *left == (0, Then::Silence) {
            left = self.changed.wait(left).unwrap_or_else(PoisonError::into_inner);
        }
        let taken = left.0.min(wanted as u64);
        left.0 -= taken;
        usize::try_from(taken).unwrap_or(wanted)
    }
}

fn handle(stream: &TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("a socket option");
    stream.try_clone().expect("a handle")
}

fn pass(mut from: TcpStream, to: TcpStream, gate: &Gate, manner: Manner, is_upstream: bool) {
    let (late, arriving) = channel::<(Instant, Vec<u8>)>();
    let ends = [handle(&from), handle(&to)];
    let writer = thread::spawn(move || write(to, &arriving, manner));
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(gate.take(rest.len()));
            if is_upstream {
                gate.upstream.fetch_add(now.len() as u64, Ordering::SeqCst);
            }
            if now.is_empty() || late.send((Instant::now(), now.to_vec())).is_err() {
                drop(late);
                // What was allowed arrives before the cut.
                let _ = writer.join();
                for end in ends {
                    // Nobody is left to tell.
                    let _ = end.shutdown(Shutdown::Both);
                }
                return;
            }
            rest = later;
        }
    }
}

/// Writes what has been on its way long enough; then passes the end on. The other direction may
/// still have something to say.
fn write(mut to: TcpStream, arriving: &Receiver<(Instant, Vec<u8>)>, manner: Manner) {
    for (began, bytes) in arriving {
        thread::sleep(manner.delay.saturating_sub(began.elapsed()));
        if bytes.chunks(manner.piece).any(|piece| to.write_all(piece).is_err()) {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
