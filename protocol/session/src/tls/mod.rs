//! TLS 1.2 and 1.3 by rustls, with ring as the one provider, for both sides of a connection.
//!
//! rsync knows nothing of it: the whole conversation, greeting included, runs inside (§22).

mod client;
mod fingerprint;
mod server;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use client::{Connector, Trust};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use server::{Acceptor, Secured};

/// Why TLS cannot be used: what is wrong with a certificate, a key or a set of roots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl TlsError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A certificate chain, the end's own first, and the key to it. Both are read from PEM.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads a chain and a key.
    ///
    /// # Errors
    /// When the PEM texts hold no certificate or no key that can be read.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TlsError::new(format!("no private key can be read: {error}")))?;
        Ok(Self { chain, key })
    }

    /// The fingerprint of the end's own certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.chain.first().map_or(&[], |certificate| certificate))
    }

    /// Until when the end's own certificate is good, in seconds since 1970; `None` if it cannot be
    /// read.
    pub fn expires(&self) -> Option<i64> {
        let (_, certificate) = X509Certificate::from_der(self.chain.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }
}

/// The certificates of a PEM text: at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::new(format!("the certificates cannot be read: {error}")))?;
    if found.is_empty() {
        return Err(TlsError::new("there is no certificate in PEM form"));
    }
    Ok(found)
}

/// The roots of a PEM text.
fn roots(pem: &[u8]) -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::new(format!("a certificate is no root: {error}")))?;
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Made {
        certificate: String,
        key: String,
    }

    fn made(name: &str) -> Made {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        Made { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn acceptor(made: &Made, client_ca: Option<&str>) -> Acceptor {
        let identity = identity(made);
        Acceptor::new(identity, client_ca.map(str::as_bytes)).expect("an acceptor")
    }

    fn identity(made: &Made) -> Identity {
        Identity::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).expect("an identity")
    }

    /// Says "hello" from the server to the client; gives what the server learnt of the client.
    async fn talk(
        acceptor: &Acceptor,
        connector: &Connector,
        host: &str,
    ) -> Result<Option<String>, String> {
        let (ours, theirs) = tokio::io::duplex(4096);
        let serving = async {
            let Secured { mut stream, user } =
                acceptor.accept(theirs).await.map_err(|error| error.to_string())?;
            stream.write_all(b"hello").await.map_err(|error| error.to_string())?;
            stream.shutdown().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(user)
        };
        let asking = async {
            let mut stream =
                connector.connect(host, ours).await.map_err(|error| error.to_string())?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
            assert_eq!(text, "hello");
            Ok::<_, String>(())
        };
        let (served, asked) = tokio::join!(serving, asking);
        asked?;
        served
    }

    #[tokio::test]
    async fn a_pinned_certificate_needs_no_authority_and_no_name() {
        let server = made("some.where");
        let acceptor = acceptor(&server, None);
        let pin = identity(&server).fingerprint();
        let connector = Connector::new(Trust::Pinned(pin), None).expect("a connector");
        assert_eq!(talk(&acceptor, &connector, "192.0.2.1").await, Ok(None));
        let other = identity(&made("some.where")).fingerprint();
        let connector = Connector::new(Trust::Pinned(other), None).expect("a connector");
        let error = talk(&acceptor, &connector, "some.where").await.expect_err("another pin");
        assert!(error.contains("not the pinned one"), "{error}");
        assert!(error.contains(&pin.to_string()), "{error}");
    }

    #[tokio::test]
    async fn an_authority_vouches_for_a_name() {
        let server = made("mail.example");
        let acceptor = acceptor(&server, None);
        let trust = || Trust::Roots(server.certificate.clone().into_bytes());
        let connector = Connector::new(trust(), None).expect("a connector");
        assert_eq!(talk(&acceptor, &connector, "mail.example").await, Ok(None));
        assert!(talk(&acceptor, &connector, "other.example").await.is_err());
        let stranger = Trust::Roots(made("mail.example").certificate.into_bytes());
        let connector = Connector::new(stranger, None).expect("a connector");
        assert!(talk(&acceptor, &connector, "mail.example").await.is_err());
    }

    #[tokio::test]
    async fn a_client_certificate_names_its_user() {
        let (server, client) = (made("s"), user_certificate("alice"));
        let acceptor = acceptor(&server, Some(&client.certificate));
        let pin = || Trust::Pinned(identity(&server).fingerprint());
        let connector = Connector::new(pin(), Some(identity(&client))).expect("a connector");
        assert_eq!(talk(&acceptor, &connector, "s").await, Ok(Some("alice".to_owned())));
        // Without one the client may still log in by password.
        let connector = Connector::new(pin(), None).expect("a connector");
        assert_eq!(talk(&acceptor, &connector, "s").await, Ok(None));
        // One that the authority does not know is worse than none.
        let stranger = user_certificate("alice");
        let connector = Connector::new(pin(), Some(identity(&stranger))).expect("a connector");
        assert!(talk(&acceptor, &connector, "s").await.is_err());
    }

    fn user_certificate(user: &str) -> Made {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, user);
        let certificate = params.self_signed(&key).expect("a certificate");
        Made { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    #[tokio::test]
    async fn a_daemon_without_tls_is_recognised() {
        let pin = Trust::Pinned(identity(&made("s")).fingerprint());
        let connector = Arc::new(Connector::new(pin, None).expect("a connector"));
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(b"@RSYNCD: 32.0 sha512 sha256\n").await.expect("written");
        let error = connector.connect("s", ours).await.expect_err("no TLS").to_string();
        assert!(error.contains("does not speak TLS"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        let good = made("s");
        let pem = good.certificate.as_bytes();
        assert!(Identity::from_pem(b"", good.key.as_bytes()).is_err());
        assert!(Identity::from_pem(pem, b"").is_err());
        assert!(Connector::new(Trust::Roots(b"nothing".to_vec()), None).is_err());
        // A key that belongs to another certificate.
        let mixed = Identity::from_pem(pem, made("s").key.as_bytes()).expect("readable");
        assert!(Acceptor::new(mixed, None).is_err());
    }
}
