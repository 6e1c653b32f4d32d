//! The bodies of the session fuzz targets over their corpora, and over conversations that are
//! recorded here.
#![cfg(unix)]

mod fuzz_bodies;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bascule_session::error::SessionError;
use fuzz_bodies::world::World;
use fuzz_bodies::{TARGETS, ended, ends};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

#[test]
fn every_seed_passes() {
    for (target, body) in TARGETS {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let found =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let mut seeds = 0;
        for seed in found {
            let path = seed.expect("a seed").path();
            let bytes = std::fs::read(&path).expect("a seed");
            if std::panic::catch_unwind(|| body(&bytes)).is_err() {
                panic!("{target} fails with {path:?}, see above");
            }
            seeds += 1;
        }
        assert!(seeds > 0, "{folder:?} has no seeds");
    }
}

/// What goes deep into a session: whole conversations of each kind, played again to either end,
/// all at once and piece by piece. An end that is told everything at once may complain of it.
/// With BASCULE_SEEDS they are kept in that folder, from which a corpus can be begun.
#[test]
fn recorded_conversations_pass() {
    let mut whole = 0;
    for mode in 0..ends::MODES {
        let (asked, answered) = record(mode);
        for ((target, body), said) in TARGETS.into_iter().zip([asked, answered]) {
            for pace in [0, 131] {
                let input = [&[mode, pace], &said[..]].concat();
                if let Some(folder) = std::env::var_os("BASCULE_SEEDS") {
                    let folder = PathBuf::from(folder).join(target);
                    std::fs::create_dir_all(&folder).expect("a folder");
                    let name = format!("recorded-{mode}-{pace}");
                    std::fs::write(folder.join(name), &input).expect("a seed");
                }
                match body(&input) {
                    Ok(()) => whole += 1,
                    Err(error) => println!("{target}, mode {mode}, pace {pace}: {error}"),
                }
            }
        }
    }
    println!("{whole} of {} went to their end", 4 * u32::from(ends::MODES));
    assert!(whole > 0, "none went to its end");
}

/// What the client and what the server said in a run of the kind `mode`.
fn record(mode: u8) -> (Vec<u8>, Vec<u8>) {
    let world = World::new();
    let (near, far) = tokio::io::duplex(1 << 16);
    let [(near, asked), (far, answered)] = [near, far].map(Tape::on);
    let (client, server): (Result<(), SessionError>, _) =
        ended(async { tokio::join!(ends::transfer(&world, mode, near), ends::serve(&world, far)) });
    assert!(client.is_ok() && server.is_ok(), "mode {mode}: {client:?} {server:?}");
    let take = |tape: &Arc<Mutex<Vec<u8>>>| tape.lock().expect("nobody failed").clone();
    (take(&asked), take(&answered))
}

/// A stream that remembers what was written to it.
struct Tape {
    stream: DuplexStream,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Tape {
    fn on(stream: DuplexStream) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::default();
        (Self { stream, written: Arc::clone(&written) }, written)
    }
}

impl AsyncRead for Tape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tape {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.written.lock().expect("nobody failed").extend_from_slice(&bytes[..count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
