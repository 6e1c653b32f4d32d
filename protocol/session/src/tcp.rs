//! How TCP connections are set up on both sides, and how one is given up.

use std::io;
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the system asks whether the other machine is still there.
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// How long it waits for each answer.
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// Questions without an answer that end the connection.
const PROBES: u32 = 4;
/// How long sent bytes may stay unacknowledged (Linux; Windows gives up sooner by itself).
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

/// Small frames must not wait for each other, and a machine that is gone must be noticed: after
/// some two minutes, whatever time-out the run has.
///
/// # Errors
/// What the system says; the connection works all the same.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let probes =
        TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(PROBES);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

/// A connection whose end is still open: how it is closed can be decided when its run is over.
#[derive(Debug)]
pub struct Line(Socket);

impl Line {
    /// Holds on to a connection.
    ///
    /// # Errors
    /// When the system has no more handles.
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(SockRef::from(stream).try_clone()?))
    }

    /// Drops the connection with all that was not sent yet. Otherwise the system would go on
    /// delivering it when a dead link comes back, and the old run would write over what a new one
    /// has done.
    pub fn abandon(self) {
        // If it does not work, the connection is merely closed.
        let _ = self.0.set_linger(Some(Duration::ZERO));
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Line {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
