//! The connecting side of TLS: whom to trust, and how to say why not.

use std::sync::Arc;

use bascule_engine::outcome::ExitCode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Fingerprint, Identity, TlsError, provider, roots};
use crate::error::SessionError;

/// Which certificates are good.
pub enum Trust {
    /// Those that an authority of this system vouches for.
    System,
    /// Those that an authority of this PEM text vouches for.
    Roots(Vec<u8>),
    /// The one with this fingerprint, whatever it says of itself.
    Pinned(Fingerprint),
}

/// Makes TLS connections.
pub struct Connector(TlsConnector);

impl Connector {
    /// Trusts as told; shows `identity` to a daemon that asks for it.
    ///
    /// # Errors
    /// When the roots or the identity cannot be used.
    pub fn new(trust: Trust, identity: Option<Identity>) -> Result<Self, TlsError> {
        let failed = |error: &dyn std::fmt::Display| TlsError::new(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let builder = match trust {
            Trust::System => {
                let system = Verifier::new(provider()).map_err(|error| failed(&error))?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(system))
            }
            Trust::Roots(pem) => builder.with_root_certificates(roots(&pem)?),
            Trust::Pinned(pin) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned { pin, provider: provider() })),
        };
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| failed(&error))?
            }
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Does the handshake with the daemon `host` on a fresh connection.
    ///
    /// # Errors
    /// [`ExitCode::Socket`] with the reason: no TLS there or a certificate that is not trusted
    /// (lasting trouble), a connection that broke.
    pub async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            SessionError::new(ExitCode::Syntax, format!("{host} is no name that TLS can check"))
        })?;
        self.0.connect(name, stream).await.map_err(|error| explain(host, &error))
    }
}

fn explain(host: &str, error: &std::io::Error) -> SessionError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let text = match tls {
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("{host} does not speak TLS there; rsync:// connects without it")
        }
        Some(rustls::Error::InvalidCertificate(reason)) => format!(
            "the certificate of {host} is not trusted ({reason}); pin it with #sha256=… from the \
             daemon's pairing line, or name its authority with --ca-file"
        ),
        Some(rustls::Error::General(reason)) => format!("no TLS with {host}: {reason}"),
        _ => format!("no TLS with {host}: {error}"),
    };
    let trouble = SessionError::new(ExitCode::Socket, text);
    if tls.is_some() { trouble.lasting() } else { trouble }
}

/// Trusts one certificate. The handshake still proves that the daemon has the key to it.
#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Fingerprint::of(end_entity);
        if shown == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "its certificate ({shown}) is not the pinned one ({}): somebody may be in between; if \
             the daemon got a new certificate, take its new pairing line",
            self.pin
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
