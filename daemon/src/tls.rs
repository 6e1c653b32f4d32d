//! The daemon's certificate: read from files, read again when they change, or made by itself.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use bascule_platform::paths;
use bascule_session::tls::{Acceptor, Fingerprint, Identity};

use crate::claims::unpoisoned;
use crate::config::{self, Config};

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain in PEM form, the daemon's own certificate first.
    pub certificate: PathBuf,
    /// Its key in PEM form.
    pub key: PathBuf,
    /// The authority for client certificates, in PEM form.
    pub client_ca: Option<PathBuf>,
}

/// What tells whether a file is still the same.
type Stamp = Option<(SystemTime, u64)>;

/// The certificate in force.
pub struct Certificate {
    files: Files,
    last: Mutex<Last>,
}

struct Last {
    stamps: [Stamp; 3],
    acceptor: Acceptor,
    /// Until when the certificate in force is good, in seconds since 1970.
    expires: Option<i64>,
    /// What is wrong with the files as they are now.
    problem: Option<String>,
}

impl Files {
    /// The files that a configuration names; `None` when it wants no TLS.
    ///
    /// # Errors
    /// When one is missing that belongs to another, or a module requires TLS and there is none.
    pub fn of_config(config: &Config) -> anyhow::Result<Option<Self>> {
        let global = &config.global;
        let path = |text: &Option<String>| {
            let text = config::expand(text.as_deref()?, &config::environment);
            Some(paths::native(text))
        };
        let (certificate, key) = (path(&global.tls_certificate), path(&global.tls_key));
        let client_ca = path(&global.tls_client_ca);
        let (Some(certificate), Some(key)) = (certificate, key) else {
            if global.tls_certificate.is_some() || global.tls_key.is_some() {
                bail!(
                    "\"tls certificate\" and \"tls key\" belong together: one of them is missing"
                );
            }
            if client_ca.is_some() || global.tls_port != 0 {
                bail!(
                    "\"tls client ca\" and \"tls port\" need a \"tls certificate\" and a \"tls key\""
                );
            }
            if let Some(module) = config.modules.iter().find(|module| module.rules.require_tls) {
                bail!("module {} requires TLS, but there is no \"tls certificate\"", module.name);
            }
            return Ok(None);
        };
        Ok(Some(Self { certificate, key, client_ca }))
    }

    /// A certificate of this daemon's own in `state`, made once. It vouches for nothing but itself:
    /// clients pin it.
    ///
    /// # Errors
    /// Which file cannot be written.
    pub fn self_made(state: &Path) -> anyhow::Result<Self> {
        let files = Self {
            certificate: state.join("tls.crt"),
            key: state.join("tls.key"),
            client_ca: None,
        };
        if files.certificate.exists() && files.key.exists() {
            return Ok(files);
        }
        let host = dns_lookup::get_hostname().unwrap_or_else(|_| "localhost".to_owned());
        let made = rcgen::generate_simple_self_signed([host.clone(), "localhost".to_owned()])
            .or_else(|_| rcgen::generate_simple_self_signed(["localhost".to_owned()]))
            .context("cannot make a certificate")?;
        for (path, text) in
            [(&files.key, made.signing_key.serialize_pem()), (&files.certificate, made.cert.pem())]
        {
            bascule_platform::secret::write(path, &text, true)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(files)
    }

    fn paths(&self) -> [Option<&Path>; 3] {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_deref()]
    }

    fn identity(&self) -> anyhow::Result<Identity> {
        let shown = self.certificate.display();
        let chain = std::fs::read(&self.certificate)
            .with_context(|| format!("cannot read the certificate {shown}"))?;
        let key = bascule_platform::secret::read_as(&self.key, "the private key file")?;
        Identity::from_pem(&chain, &key)
            .with_context(|| format!("the certificate {shown} or its key cannot be used"))
    }

    /// What accepts connections, and until when its certificate is good.
    fn acceptor(&self) -> anyhow::Result<(Acceptor, Option<i64>)> {
        let client_ca = match &self.client_ca {
            None => None,
            Some(path) => Some(
                std::fs::read(path)
                    .with_context(|| format!("cannot read the authority {}", path.display()))?,
            ),
        };
        let identity = self.identity()?;
        let expires = identity.expires();
        let acceptor = Acceptor::new(identity, client_ca.as_deref()).with_context(|| {
            format!("the certificate {} cannot be used", self.certificate.display())
        })?;
        Ok((acceptor, expires))
    }

    fn stamps(&self) -> [Stamp; 3] {
        self.paths().map(|path| {
            let metadata = std::fs::metadata(path?).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// Which of them cannot be used and why.
    pub fn open(files: Files) -> anyhow::Result<Self> {
        let stamps = files.stamps();
        let (acceptor, expires) = files.acceptor()?;
        let last = Last { stamps, acceptor, expires, problem: None };
        Ok(Self { files, last: Mutex::new(last) })
    }

    /// The fingerprint that clients can pin.
    ///
    /// # Errors
    /// When the files cannot be read any more.
    pub fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        Ok(self.files.identity()?.fingerprint())
    }

    /// What accepts the next connection. Files that have changed are read again; while they cannot
    /// be used, the last certificate that could stays in force and the log says why. May block.
    pub fn acceptor(&self) -> Acceptor {
        self.up_to_date().acceptor.clone()
    }

    /// Until when the certificate in force is good, in seconds since 1970, and what is wrong with
    /// the files as they are now. May block.
    pub fn standing(&self) -> (Option<i64>, Option<String>) {
        let last = self.up_to_date();
        (last.expires, last.problem.clone())
    }

    fn up_to_date(&self) -> MutexGuard<'_, Last> {
        let stamps = self.files.stamps();
        let mut last = unpoisoned(&self.last);
        if stamps != last.stamps {
            last.stamps = stamps;
            self.read_again(&mut last);
        }
        last
    }

    /// Reads the files now, changed or not; whether they could be used. May block.
    pub fn reload(&self) -> bool {
        let stamps = self.files.stamps();
        let mut last = unpoisoned(&self.last);
        last.stamps = stamps;
        self.read_again(&mut last)
    }

    fn read_again(&self, last: &mut Last) -> bool {
        match self.files.acceptor() {
            Ok((acceptor, expires)) => {
                let certificate = self.files.certificate.display();
                tracing::info!(event = "certificate.reloaded", %certificate, "certificate reloaded");
                last.acceptor = acceptor;
                last.expires = expires;
                last.problem = None;
                true
            }
            Err(error) => {
                let error = format!("{error:#}");
                last.problem = Some(error.clone());
                tracing::error!(
                    event = "certificate.bad",
                    error,
                    "bad certificate, the last good one stays in force"
                );
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_read_again_when_it_changes() {
        let (dir, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir());
        let other = other.expect("a folder");
        let files = Files::self_made(dir.path()).expect("made");
        let certificate = Certificate::open(files.clone()).expect("usable");
        let (expires, problem) = certificate.standing();
        assert!(expires > Some(1_700_000_000) && problem.is_none(), "{expires:?} {problem:?}");
        let first = certificate.fingerprint().expect("readable");
        assert_eq!(Files::self_made(dir.path()).expect("kept"), files);
        assert_eq!(certificate.fingerprint().expect("readable"), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&files.key).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let new = Files::self_made(other.path()).expect("made");
        for (from, to) in [(&new.certificate, &files.certificate), (&new.key, &files.key)] {
            std::fs::copy(from, to).expect("copied");
        }
        std::fs::File::open(&files.certificate)
            .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
            .expect("a time");
        let before = unpoisoned(&certificate.last).stamps;
        certificate.acceptor();
        assert_ne!(unpoisoned(&certificate.last).stamps, before);
        assert_ne!(certificate.fingerprint().expect("readable"), first);
        // Nonsense does not take the place of what works.
        std::fs::write(&files.certificate, "nonsense").expect("written");
        let (still, problem) = certificate.standing();
        assert!(still == expires && problem.is_some(), "{still:?} {problem:?}");
        assert!(certificate.fingerprint().is_err());
    }

    #[test]
    fn what_belongs_together_is_asked_for() {
        let mut config = Config::default();
        assert_eq!(Files::of_config(&config).expect("no TLS"), None);
        config.global.tls_port = 874;
        assert!(Files::of_config(&config).is_err());
        config.global.tls_certificate = Some("/c".to_owned());
        assert!(Files::of_config(&config).is_err());
        config.global.tls_key = Some("/k".to_owned());
        assert!(Files::of_config(&config).expect("complete").is_some());
    }
}
