//! Plain rsync and TLS on one port: the first byte tells which.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bascule_engine::stop::Stop;
use bascule_session::client::stopped;
use bascule_session::site::Peer;
use bascule_session::tls::Secured;
use tokio::net::TcpStream;

use crate::connection::Connections;
use crate::tls::Certificate;

/// The first byte of a TLS ClientHello: a handshake record.
const HANDSHAKE: u8 = 0x16;
/// How long a client may stay silent before it gets the plain greeting: a TLS client speaks first,
/// and so does rsync since 3.0.
const SILENCE: Duration = Duration::from_millis(500);
/// How long a TLS handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a listening socket lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Plain rsync, and TLS if there is a certificate.
    Both,
    /// TLS alone, as `rsync-ssl` expects on port 874.
    TlsOnly,
}

/// Lets clients in.
#[derive(Clone)]
pub struct Doorkeeper {
    connections: Connections,
    certificate: Option<Arc<Certificate>>,
}

impl Doorkeeper {
    /// Serves `connections`; without a certificate there is no TLS.
    pub fn new(connections: Connections, certificate: Option<Arc<Certificate>>) -> Self {
        Self { connections, certificate }
    }

    /// Serves one client to its end.
    pub async fn serve(&self, stream: TcpStream, peer: Peer, door: Door, stop: Stop) {
        let ticket = self.connections.arrive(&peer, &stop);
        let Some(certificate) = self.certificate.clone() else {
            return self.connections.serve(stream, peer, ticket, stop).await;
        };
        let entered = tokio::select! {
            entered = enter(stream, certificate, door) => entered,
            () = stopped(&stop) => return,
        };
        match entered {
            Ok(Entered::Plain(stream)) => self.connections.serve(stream, peer, ticket, stop).await,
            Ok(Entered::Secured(secured)) => {
                let Secured { stream, user } = *secured;
                let peer = Peer { is_secure: true, certificate_user: user, ..peer };
                self.connections.serve(stream, peer, ticket, stop).await;
            }
            Err(error) => {
                self.connections.tally().tls_failed();
                note(&peer, &error);
            }
        }
    }
}

/// A client behind the door.
enum Entered {
    Plain(TcpStream),
    Secured(Box<Secured<TcpStream>>),
}

async fn enter(
    stream: TcpStream,
    certificate: Arc<Certificate>,
    door: Door,
) -> io::Result<Entered> {
    Ok(if speaks_tls(&stream, door).await? {
        Entered::Secured(Box::new(handshake(stream, certificate).await?))
    } else {
        Entered::Plain(stream)
    })
}

async fn speaks_tls(stream: &TcpStream, door: Door) -> io::Result<bool> {
    if door == Door::TlsOnly {
        return Ok(true);
    }
    let mut first = [0];
    match tokio::time::timeout(SILENCE, stream.peek(&mut first)).await {
        Ok(Ok(seen)) => Ok(seen > 0 && first[0] == HANDSHAKE),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

async fn handshake(
    stream: TcpStream,
    certificate: Arc<Certificate>,
) -> io::Result<Secured<TcpStream>> {
    let acceptor = tokio::task::spawn_blocking(move || certificate.acceptor()).await?;
    match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(accepted) => accepted,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")),
    }
}

fn note(peer: &Peer, error: &io::Error) {
    let address = peer.address.map(|address| address.to_string()).unwrap_or_default();
    tracing::info!(event = "tls.failed", address, %error, "no TLS connection");
}
