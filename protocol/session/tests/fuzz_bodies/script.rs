//! A peer that says what it was given, whatever it hears.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What a slow peer waits before each piece: long enough for the session to get its turn.
const PAUSE: Duration = Duration::from_millis(1);

/// The connection to that peer: what it says, then the end of the stream.
pub(super) struct Script {
    said: Vec<u8>,
    at: usize,
    /// Most bytes at a time.
    piece: usize,
    is_slow: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Script {
    /// Pace 0 gives all that fits at once, 1 to 127 that many bytes at a time; from 128 on there
    /// are pauses between pieces of 64 bytes and more.
    pub(super) fn new(said: &[u8], pace: u8) -> Self {
        let (piece, is_slow) = match pace {
            0 => (usize::MAX, false),
            1..=127 => (usize::from(pace), false),
            slow => (usize::from(slow - 127) * 64, true),
        };
        Self { said: said.to_vec(), at: 0, piece, is_slow, pause: None }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_slow {
            ready!(self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE))).as_mut().poll(context));
            self.pause = None;
        }
        let left = &self.said[self.at..];
        let count = left.len().min(buffer.remaining()).min(self.piece);
        buffer.put_slice(&left[..count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
