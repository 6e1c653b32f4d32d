//! What a parent process hands over: the connection that standard input is under inetd or systemd.

#[cfg(not(unix))]
pub use elsewhere::{StdinClient, stderr_is_socket, wait_on_stdio};
#[cfg(unix)]
pub use unix::{StdinClient, stderr_is_socket, wait_on_stdio};

#[cfg(unix)]
mod unix {
    use std::net::IpAddr;
    use std::os::fd::AsFd as _;

    use bascule_engine::stop::Stop;
    use bascule_session::site::Peer;
    use tokio::net::{TcpStream, UnixStream};

    use crate::connection::Connections;

    /// The connection that standard input is: it goes both ways.
    pub enum StdinClient {
        /// A client on the network.
        Network(TcpStream, IpAddr),
        /// A client on this machine.
        Local(UnixStream),
    }

    impl StdinClient {
        /// Takes standard input as a connection, if it is one. With `network_only`, a local socket
        /// does not count: a remote shell may have given us one for each direction.
        pub fn find(network_only: bool) -> Option<Self> {
            let stdin = std::io::stdin();
            rustix::net::sockopt::socket_type(stdin.as_fd()).ok()?;
            let socket = || stdin.as_fd().try_clone_to_owned().ok();
            // The peer's address is missing for a socket that only listens, and of another kind
            // for one that is no network connection.
            let stream = std::net::TcpStream::from(socket()?);
            if let Ok(address) = stream.peer_addr() {
                stream.set_nonblocking(true).ok()?;
                let address = address.ip().to_canonical();
                return Some(Self::Network(TcpStream::from_std(stream).ok()?, address));
            }
            if network_only {
                return None;
            }
            let stream = std::os::unix::net::UnixStream::from(socket()?);
            stream.peer_addr().ok()?;
            stream.set_nonblocking(true).ok()?;
            Some(Self::Local(UnixStream::from_std(stream).ok()?))
        }

        /// Serves this client to its end.
        pub async fn serve(self, connections: &Connections, stop: Stop) {
            let address = match &self {
                Self::Network(_, address) => Some(*address),
                Self::Local(_) => None,
            };
            let peer = Peer { address, ..Peer::default() };
            let ticket = connections.arrive(&peer, &stop);
            match self {
                Self::Network(stream, _) => connections.serve(stream, peer, ticket, stop).await,
                Self::Local(stream) => connections.serve(stream, peer, ticket, stop).await,
            }
        }
    }

    /// Makes reads and writes of standard input and output wait, whatever the parent made of them.
    pub fn wait_on_stdio() {
        let made = rustix::io::ioctl_fionbio(std::io::stdin(), false)
            .and_then(|()| rustix::io::ioctl_fionbio(std::io::stdout(), false));
        if let Err(error) = made {
            tracing::debug!(event = "daemon.stdio", %error, "standard input and output stay as they are");
        }
    }

    /// Whether standard error leads to a client.
    pub fn stderr_is_socket() -> bool {
        rustix::net::sockopt::socket_type(std::io::stderr()).is_ok()
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use bascule_engine::stop::Stop;

    use crate::connection::Connections;

    /// Nothing here hands a connection over as standard input.
    pub enum StdinClient {}

    impl StdinClient {
        /// Always `None`.
        pub fn find(_network_only: bool) -> Option<Self> {
            None
        }

        /// There is no such client.
        pub async fn serve(self, _connections: &Connections, _stop: Stop) {
            match self {}
        }
    }

    /// Pipes always wait here.
    pub fn wait_on_stdio() {}

    /// Standard error may lead to a client as far as anyone knows.
    pub fn stderr_is_socket() -> bool {
        true
    }
}
