//! Whether the other side of a connection has closed it, however much of what it sent before is still
//! to be read.

/// Whether the other side of `socket` has closed it, or the connection is broken. What it has sent
/// before may still wait to be read. `None` when the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn has_hung_up(socket: &impl std::os::fd::AsFd) -> Option<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut asked, Some(&at_once)).ok()?;
    Some(asked[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR))
}

/// As on Linux. Here no system call tells it: that of Windows does so only when all is read.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn has_hung_up<S>(_socket: &S) -> Option<bool> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_peer_that_closes_is_seen_behind_what_it_has_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut far = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (near, _) = listener.accept().expect("accepted");
        assert_eq!(has_hung_up(&near), Some(false), "it has only just come");
        far.write_all(&[7; 100_000]).expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(has_hung_up(&near), Some(false), "it has only sent something");
        drop(far);
        let until = Instant::now() + Duration::from_secs(30);
        while has_hung_up(&near) != Some(true) {
            assert!(Instant::now() < until, "nobody told that it has gone");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
