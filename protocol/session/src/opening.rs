//! The part of a connection before multiplexing, for both sides: lines, arguments, raw fields.

use std::time::Duration;

use bascule_engine::outcome::ExitCode;
use bascule_wire::greeting::LineDecoder;
use bascule_wire::{Decode, WireError};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::error::SessionError;

/// How long a closing end goes on reading.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How many reads of what the peer still sends are worth it.
const LAST_READS: u32 = 1000;

/// A connection that is still being set up.
pub(crate) struct Opening<S> {
    stream: S,
    buffer: BytesMut,
    /// Bytes read and written so far.
    pub(crate) read: u64,
    pub(crate) written: u64,
    patience: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Opening<S> {
    /// Begins on a fresh connection; the peer may take `patience` for each answer.
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, buffer: BytesMut::new(), read: 0, written: 0, patience }
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(self.patience, sending).await {
            Ok(Ok(())) => {
                self.written += bytes.len() as u64;
                Ok(())
            }
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(silent()),
        }
    }

    /// Waits for an item.
    pub(crate) async fn receive<D: Decode>(
        &mut self,
        decoder: &mut D,
    ) -> Result<D::Item, SessionError> {
        self.receive_with(|buffer| decoder.decode(buffer)).await
    }

    /// Waits for a line, without its end.
    pub(crate) async fn line(&mut self) -> Result<Vec<u8>, SessionError> {
        self.receive(&mut LineDecoder::new(bascule_wire::limits::MAX_LINE)).await
    }

    /// Waits for an item that is decoded by a closure.
    pub(crate) async fn receive_with<T>(
        &mut self,
        mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, WireError>,
    ) -> Result<T, SessionError> {
        // For the whole item: a peer that sends a byte now and then is no better than a silent one.
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(item) = decode(&mut self.buffer)? {
                return Ok(item);
            }
            let reading = self.stream.read_buf(&mut self.buffer);
            match tokio::time::timeout_at(deadline, reading).await {
                Ok(Ok(0)) => {
                    return Err(SessionError::new(
                        ExitCode::Stream,
                        "the peer closed the connection before the transfer began",
                    ));
                }
                Ok(Ok(read)) => self.read += read as u64,
                Ok(Err(error)) => return Err(broken(&error)),
                Err(_) => return Err(silent()),
            }
        }
    }

    /// The connection, and what was read of it too far.
    pub(crate) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Says goodbye on the raw connection. What the peer still sends is read past for a moment: a
    /// reset would destroy the last line on its way.
    pub(crate) async fn close(mut self) {
        let saying = async {
            // The peer may have closed already.
            let _ = self.stream.shutdown().await;
            for _ in 0..LAST_READS {
                self.buffer.clear();
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, saying).await;
    }
}

fn broken(error: &std::io::Error) -> SessionError {
    SessionError::new(ExitCode::Socket, format!("the connection broke: {error}"))
}

fn silent() -> SessionError {
    SessionError::new(ExitCode::ConnectTimeout, "the peer did not answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rule_19_6_a_trickling_peer_is_given_up_like_a_silent_one() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let trickling = tokio::spawn(async move {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(50)).await;
            }
        });
        let began = Instant::now();
        let mut opening = Opening::new(ours, Duration::from_secs(60));
        let error = opening.line().await.expect_err("no line comes");
        assert_eq!(error.exit, ExitCode::ConnectTimeout);
        assert_eq!(began.elapsed(), Duration::from_secs(60));
        drop(opening);
        trickling.await.expect("it ends");
    }
}
