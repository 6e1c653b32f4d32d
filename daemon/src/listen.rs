//! Listening: sockets, one task a client, an orderly end.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bascule_engine::stop::Stop;
use bascule_session::site::Peer;
use bascule_session::tcp::Line;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use crate::door::Door;
use crate::names;

/// How long sessions may take to end after they were asked to.
const GRACE: Duration = Duration::from_secs(10);
/// The pause after a failed accept, which mostly means that there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Which kinds of address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Opens the listening sockets: on an address or name, or on every address of this machine. With
/// port 0 the system chooses one port for all of them.
///
/// # Errors
/// Which address cannot be used and why. A machine without IPv6 is no error.
pub fn bind(
    address: Option<&str>,
    port: u16,
    family: Family,
    backlog: i32,
) -> io::Result<Vec<TcpListener>> {
    let fits = |address: &SocketAddr| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let wanted: Vec<SocketAddr> = match address {
        Some(name) => names::resolve(name, port).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot resolve the address {name}: {error}"))
        })?,
        None => vec![
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        ],
    };
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut failure = None;
    for mut wanted in wanted.into_iter().filter(fits) {
        if let Some(first) = listeners.first().filter(|_| port == 0) {
            wanted.set_port(first.local_addr()?.port());
        }
        match bind_one(wanted, backlog) {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                let text = format!("cannot listen on {wanted}: {error}");
                // A second family that is missing altogether is no loss; a port in use is.
                let missing = address.is_none()
                    && matches!(
                        error.kind(),
                        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
                    );
                let missing = missing || error.raw_os_error() == Some(unsupported_family());
                if !missing {
                    return Err(io::Error::new(error.kind(), text));
                }
                failure = Some(io::Error::new(error.kind(), text));
            }
        }
    }
    match failure {
        _ if !listeners.is_empty() => Ok(listeners),
        Some(failure) => Err(failure),
        None => Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "there is no address of the wanted kind to listen on",
        )),
    }
}

fn bind_one(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Windows this would let another program take the port over.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

#[cfg(unix)]
fn unsupported_family() -> i32 {
    rustix::io::Errno::AFNOSUPPORT.raw_os_error()
}

#[cfg(windows)]
fn unsupported_family() -> i32 {
    10047
}

/// Accepts clients and runs `session` for each until `end` is ready. Then sessions are asked to
/// stop, and those that have not ended in time are cut off. A session that fails or panics
/// touches no other.
pub async fn run<F, S>(
    listeners: Vec<(TcpListener, Door)>,
    session: F,
    end: impl Future<Output = ()>,
) where
    F: Fn(TcpStream, Peer, Door, Stop) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let (queue, mut accepted) = mpsc::channel(1);
    let mut acceptors = JoinSet::new();
    for (listener, door) in listeners {
        acceptors.spawn(accept(listener, door, queue.clone()));
    }
    drop(queue);
    let (stopping, _) = watch::channel(false);
    let mut sessions = JoinSet::new();
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(ended) = sessions.join_next() => note_panic(ended),
            client = accepted.recv() => {
                let Some((stream, address, door)) = client else { break };
                let address = Some(address.ip().to_canonical());
                let line = Line::of(&stream).ok().map(Arc::new);
                let peer = Peer { address, line, ..Peer::default() };
                prepare(&stream);
                let stop = Stop::new();
                let running = session(stream, peer, door, stop.clone());
                sessions.spawn(until_stopped(running, stop, stopping.subscribe()));
            }
        }
    }
    acceptors.shutdown().await;
    stopping.send_replace(true);
    let finished = tokio::time::timeout(GRACE, async {
        while let Some(ended) = sessions.join_next().await {
            note_panic(ended);
        }
    });
    if finished.await.is_err() {
        tracing::warn!(event = "session.cut_off", sessions = sessions.len(), "sessions cut off");
        sessions.shutdown().await;
    }
}

async fn accept(
    listener: TcpListener,
    door: Door,
    queue: mpsc::Sender<(TcpStream, SocketAddr, Door)>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                if queue.send((stream, address, door)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(event = "daemon.accept_failed", %error, "cannot accept a client");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Runs a session and hands the daemon's stop on to it.
async fn until_stopped(
    session: impl Future<Output = ()>,
    stop: Stop,
    mut stopping: watch::Receiver<bool>,
) {
    tokio::pin!(session);
    tokio::select! {
        () = &mut session => return,
        _ = stopping.wait_for(|stopping| *stopping) => stop.stop(),
    }
    session.await;
}

fn prepare(stream: &TcpStream) {
    if let Err(error) = bascule_session::tcp::prepare(stream) {
        tracing::debug!(event = "session.socket_options", %error, "cannot set socket options");
    }
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(event = "session.panicked", "a session failed: this is a fault of Bascule");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    fn local() -> (Vec<(TcpListener, Door)>, SocketAddr) {
        let listeners = bind(Some("127.0.0.1"), 0, Family::Any, 5).expect("a free port");
        let address = listeners[0].local_addr().expect("an address");
        (listeners.into_iter().map(|listener| (listener, Door::Both)).collect(), address)
    }

    #[tokio::test]
    async fn a_session_that_panics_touches_no_other() {
        let (listeners, address) = local();
        let (end, ended) = oneshot::channel::<()>();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let running = tokio::spawn(run(
            listeners,
            move |mut stream: TcpStream, peer: Peer, _door, _stop| {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                async move {
                    assert!(number != 0, "the first session fails");
                    assert!(peer.address.is_some_and(|address| address.is_loopback()));
                    let _ = stream.write_all(b"hello").await;
                }
            },
            async {
                let _ = ended.await;
            },
        ));
        for expected in [&b""[..], b"hello", b"hello"] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            let mut read = Vec::new();
            let _ = stream.read_to_end(&mut read).await;
            assert_eq!(read, expected);
        }
        end.send(()).expect("still running");
        running.await.expect("ended");
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn the_end_stops_sessions_and_closes_the_port() {
        let (listeners, address) = local();
        let (end, ended) = oneshot::channel::<()>();
        let (begun, begin) = oneshot::channel::<()>();
        let begun = std::sync::Mutex::new(Some(begun));
        let running = tokio::spawn(run(
            listeners,
            move |_stream, _peer, _door, stop: Stop| {
                let begun = begun.lock().ok().and_then(|mut begun| begun.take());
                async move {
                    let (asked, ask) = oneshot::channel();
                    stop.on_stop(move || {
                        let _ = asked.send(());
                    });
                    let _ = begun.map(|begun| begun.send(()));
                    let _ = ask.await;
                }
            },
            async {
                let _ = ended.await;
            },
        ));
        let _client = TcpStream::connect(address).await.expect("connected");
        begin.await.expect("a session");
        end.send(()).expect("still running");
        running.await.expect("ended");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn all_families_share_the_port_that_the_system_chose() {
        let listeners = bind(None, 0, Family::Any, 5).expect("a free port");
        let ports: Vec<u16> =
            listeners.iter().filter_map(|l| l.local_addr().ok()).map(|a| a.port()).collect();
        assert!(ports.iter().all(|port| *port != 0 && *port == ports[0]), "{ports:?}");
        let only = bind(None, 0, Family::V4, 5).expect("a free port");
        assert_eq!(only.len(), 1);
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let (_listeners, address) = local();
        let error = bind(Some("127.0.0.1"), address.port(), Family::Any, 5).expect_err("in use");
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}:")), "{error}");
        let error = bind(Some("::1"), 0, Family::V4, 5).expect_err("no such address");
        assert!(error.to_string().starts_with("there is no address"), "{error}");
    }
}
