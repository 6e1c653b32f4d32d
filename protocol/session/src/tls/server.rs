//! The accepting side of TLS.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Identity, TlsError, provider, roots};

/// Accepts TLS connections with one identity.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

/// A connection after its handshake.
pub struct Secured<S> {
    /// The bytes inside.
    pub stream: TlsStream<S>,
    /// The common name of the client's certificate, if it showed one that the authority signed.
    pub user: Option<String>,
}

impl Acceptor {
    /// Serves with `identity`. With `client_ca` (PEM), clients may show a certificate signed by it;
    /// one that shows another is refused.
    ///
    /// # Errors
    /// When the key does not belong to the certificate, or the authority cannot be read.
    pub fn new(identity: Identity, client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        let failed = |error: &dyn std::fmt::Display| TlsError::new(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(roots(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| failed(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder
            .with_single_cert(identity.chain, identity.key)
            .map_err(|error| failed(&error))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// What the connection or the peer did wrong.
    pub async fn accept<S>(&self, stream: S) -> io::Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.0.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let user = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|certificate| common_name(certificate));
        Ok(Secured { stream, user })
    }
}

fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}
