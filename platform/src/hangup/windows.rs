//! The same by a call of Windows' sockets.
#![allow(unsafe_code, reason = "WSAPoll is reached by a C function alone")]

use std::os::windows::io::{AsRawSocket as _, AsSocket};

use windows_sys::Win32::Networking::WinSock::{
    POLLERR, POLLHUP, POLLRDNORM, SOCKET, WSAPOLLFD, WSAPoll,
};

/// Whether the other side of `socket` has closed it, or the connection is broken. What it has sent
/// before may still wait to be read. False when the system does not say.
pub fn has_hung_up(socket: &impl AsSocket) -> bool {
    let Ok(fd) = SOCKET::try_from(socket.as_socket().as_raw_socket()) else { return false };
    let mut asked = WSAPOLLFD { fd, events: POLLRDNORM, revents: 0 };
    // SAFETY: `asked` is one entry that lives through the call, which does not wait; the socket is
    // borrowed, so it is open.
    let found = unsafe { WSAPoll(&raw mut asked, 1, 0) };
    found > 0 && asked.revents & (POLLERR | POLLHUP) != 0
}
