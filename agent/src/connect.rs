//! Reaches a daemon: plain or by TLS, and never in the clear where TLS was seen before.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bascule_session::client;
use bascule_session::error::SessionError;
use bascule_session::tcp::Line;
use bascule_session::tls::{Connector, Identity, Trust};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cli::Connection;
use crate::location::{Remote, Security};
use crate::notes::Notes;

/// A connection to a daemon.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that was made.
pub struct Connected {
    /// What is said over it.
    pub stream: Box<dyn Stream>,
    /// The line beneath; `None` when the system has no more handles.
    pub line: Option<Line>,
}

/// Connects to a daemon as its location says.
///
/// # Errors
/// When the command line makes no sense, or plain text is asked of a daemon that was reached by
/// TLS before. The inner error is the connection's.
pub async fn connect(
    remote: &Remote,
    connection: &Connection,
) -> anyhow::Result<Result<Connected, SessionError>> {
    let port = remote.port.unwrap_or(connection.port);
    let limit = Some(connection.contimeout).filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let seen = Seen::open(connection.notes.as_deref());
    let connector = match remote.security {
        Security::Plain => {
            if connection.ca_file.is_some() || connection.client_cert.is_some() {
                bail!("--ca-file and --client-cert need TLS: write rsyncs:// instead of rsync://");
            }
            if !connection.allow_plain && seen.contains(&remote.host, port)? {
                bail!(
                    "{} port {port} was reached by TLS before, so it is not reached in the clear: \
                     write rsyncs://, or add --allow-plain if this is really meant",
                    remote.host
                );
            }
            None
        }
        Security::Tls(pin) => {
            let trust = match (pin, &connection.ca_file) {
                (Some(_), Some(_)) => bail!("a pinned certificate needs no --ca-file"),
                (Some(pin), None) => Trust::Pinned(pin),
                (None, Some(file)) => Trust::Roots(read(file.as_ref())?),
                (None, None) => Trust::System,
            };
            Some(Connector::new(trust, identity(connection)?)?)
        }
    };
    let stream = match client::connect(&remote.host, port, limit).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    let line = Line::of(&stream).ok();
    let Some(connector) = connector else {
        return Ok(Ok(Connected { stream: Box::new(stream), line }));
    };
    Ok(match connector.connect(&remote.host, stream).await {
        Ok(stream) => {
            if let Err(error) = seen.add(&remote.host, port) {
                eprintln!(
                    "bascule: it could not be noted that {} speaks TLS: {error}",
                    remote.host
                );
            }
            Ok(Connected { stream: Box::new(stream), line })
        }
        Err(error) => Err(error),
    })
}

/// The client certificate, if one is to be shown.
fn identity(connection: &Connection) -> anyhow::Result<Option<Identity>> {
    match (&connection.client_cert, &connection.client_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let chain = read(certificate.as_ref())?;
            let key = bascule_platform::secret::read_as(key.as_ref(), "the private key file")?;
            Ok(Some(Identity::from_pem(&chain, &key)?))
        }
        _ => bail!("--client-cert and --client-key belong together"),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// The daemons that were reached by TLS: one line `HOST PORT` each.
struct Seen(Notes);

impl Seen {
    fn open(folder: Option<&Path>) -> Self {
        Self(Notes::open(folder, "tls-hosts"))
    }

    fn contains(&self, host: &str, port: u16) -> anyhow::Result<bool> {
        Ok(self.0.read()?.lines().any(|known| known == line(host, port)))
    }

    fn add(&self, host: &str, port: u16) -> anyhow::Result<()> {
        if self.contains(host, port)? {
            return Ok(());
        }
        self.0.append(&[line(host, port)])
    }
}

fn line(host: &str, port: u16) -> String {
    format!("{} {port}", host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_who_speaks_tls() {
        let dir = tempfile::tempdir().expect("a folder");
        let seen = Seen(Notes::at(Some(dir.path().join("below/tls-hosts"))));
        assert!(!seen.contains("Mail.example", 873).expect("readable"));
        seen.add("Mail.example", 873).expect("written");
        seen.add("mail.example", 873).expect("written");
        assert!(seen.contains("MAIL.EXAMPLE", 873).expect("readable"));
        assert!(!seen.contains("mail.example", 874).expect("readable"));
        let text = std::fs::read_to_string(dir.path().join("below/tls-hosts")).expect("there");
        assert_eq!(text, "mail.example 873\n");
        assert!(!Seen(Notes::at(None)).contains("x", 1).expect("nothing is known"));
    }
}
