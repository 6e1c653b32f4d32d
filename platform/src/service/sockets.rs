//! Listening sockets that the manager opened (`LISTEN_FDS`): the service is started by its first
//! client, needs no right to low ports, and loses no client while it restarts.
#![cfg_attr(
    target_os = "linux",
    allow(unsafe_code, reason = "a descriptor that was handed over is known by number alone")
)]

use std::io;
use std::net::TcpListener;

/// Takes the listening TCP sockets that this process was started with; none the second time, and
/// none where nothing hands sockets over.
///
/// # Errors
/// When there is something else among them.
#[cfg(target_os = "linux")]
pub fn inherited() -> io::Result<Vec<TcpListener>> {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    use std::sync::atomic::{AtomicBool, Ordering};

    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    sd_notify::listen_fds()?
        .map(|number| {
            // SAFETY: the manager opened this descriptor for this very process (LISTEN_PID), it is
            // open (listen_fds has set a flag on it), and nobody takes it twice (TAKEN).
            let socket = unsafe { OwnedFd::from_raw_fd(number) };
            if !rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false) {
                return Err(wrong(number, "is no listening socket"));
            }
            let listener = TcpListener::from(socket);
            listener.local_addr().map_err(|_| wrong(number, "is no TCP socket"))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .collect()
}

/// As on Linux.
///
/// # Errors
/// None here.
#[cfg(not(target_os = "linux"))]
pub fn inherited() -> io::Result<Vec<TcpListener>> {
    Ok(Vec::new())
}

#[cfg(target_os = "linux")]
fn wrong(number: i32, why: &str) -> io::Error {
    let text = format!("descriptor {number}, handed over by LISTEN_FDS, {why}");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
