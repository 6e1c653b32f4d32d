//! Where a source or destination is: here, or in a module of a daemon.

use std::ffi::{OsStr, OsString};

use anyhow::{Context as _, bail};
use bascule_session::tls::Fingerprint;
use bascule_wire::shown;

/// A parsed source or destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A path of this machine.
    Local(OsString),
    /// A path in a daemon's module.
    Remote(Remote),
}

/// A daemon, a module and a path in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remote {
    /// The user, if one was named.
    pub user: Option<String>,
    /// Host name or address, without brackets.
    pub host: String,
    /// The port, if one was named.
    pub port: Option<u16>,
    /// The module; empty when only the daemon was named.
    pub module: String,
    /// The path in the module, as typed.
    pub path: Vec<u8>,
    /// How to reach it.
    pub security: Security,
}

/// How a daemon is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// In the clear: `rsync://`, `host::module`.
    #[default]
    Plain,
    /// By TLS: `rsyncs://`, with the certificate's fingerprint if it is pinned.
    Tls(Option<Fingerprint>),
}

impl std::fmt::Display for Remote {
    /// The URL, without user and fingerprint.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.security == Security::Plain { "rsync" } else { "rsyncs" };
        write!(f, "{scheme}://{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
        write!(f, "/{}/{}", self.module, shown(&self.path))
    }
}

impl Location {
    /// Parses what a user typed.
    ///
    /// # Errors
    /// For a URL that makes no sense, and for rsync's remote-shell form.
    pub fn parse(text: &OsStr) -> anyhow::Result<Self> {
        let bytes = text.as_encoded_bytes();
        let (bytes, security) = secured(bytes)?;
        let scheme = if security == Security::Plain { "rsync://" } else { "rsyncs://" };
        // The path behind the module can be any bytes; what is before it is text.
        let head = match bytes.strip_prefix(scheme.as_bytes()) {
            Some(rest) => scheme.len() + end_of_module(rest),
            None => bytes.iter().position(|byte| *byte == b'/').unwrap_or(bytes.len()),
        };
        let Ok(typed) = std::str::from_utf8(&bytes[..head]) else {
            return Ok(Self::Local(text.to_owned()));
        };
        let path = bytes[head..].strip_prefix(b"/").unwrap_or(&bytes[head..]).to_vec();
        if let Some(rest) = typed.strip_prefix(scheme) {
            // What is before the host is not shown: it may be a password.
            let shown = typed.rsplit_once('@').map_or(rest, |(_, shown)| shown);
            let remote = url(rest, path).with_context(|| format!("{scheme}{shown}"))?;
            return Ok(Self::Remote(Remote { security, ..remote }));
        }
        if let Some((host, module)) = split_host(typed) {
            let (user, host) = user_of(host)?;
            let (host, module) = (bare(host).to_owned(), module.to_owned());
            return Ok(Self::Remote(Remote { user, host, port: None, module, path, security }));
        }
        let before_slash = typed.split(['/', '\\']).next().unwrap_or_default();
        let is_drive = before_slash.len() == 2 && before_slash.ends_with(':');
        if before_slash.contains(':') && !is_drive {
            bail!(
                "{0}: remote shells are not supported; write host::module/path or \
                 rsync://host/module/path for a daemon, ./{0} for a local file",
                text.display()
            );
        }
        Ok(Self::Local(bascule_platform::paths::native(text).into()))
    }
}

/// An end as typed, and the fingerprint behind an `rsyncs://` URL with its mark, which may be missing.
pub(crate) fn split_pin(typed: &str) -> (&str, &str) {
    typed.split_at(pin(typed.as_bytes()).unwrap_or(typed.len()))
}

/// Where the fingerprint begins in what was typed. Paths may have a '#' of their own.
pub(crate) fn pin(typed: &[u8]) -> Option<usize> {
    const MARK: &[u8] = b"#sha256=";
    let at = typed.windows(MARK.len()).rposition(|part| part == MARK);
    at.filter(|_| typed.starts_with(b"rsyncs://"))
}

/// Takes the fingerprint off an `rsyncs://` URL.
fn secured(typed: &[u8]) -> anyhow::Result<(&[u8], Security)> {
    if !typed.starts_with(b"rsyncs://") {
        return Ok((typed, Security::Plain));
    }
    let Some(at) = pin(typed) else {
        return Ok((typed, Security::Tls(None)));
    };
    let text = String::from_utf8_lossy(&typed[at + 1..]);
    let pin = text.parse().with_context(|| format!("#{text} at the end of the URL"))?;
    Ok((&typed[..at], Security::Tls(Some(pin))))
}

/// Where the path begins in what follows the scheme: at the second slash.
fn end_of_module(rest: &[u8]) -> usize {
    let slashes = rest.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| at).nth(1).unwrap_or(rest.len())
}

fn url(rest: &str, path: Vec<u8>) -> anyhow::Result<Remote> {
    let (authority, module) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host_port) = user_of(authority)?;
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, Some(port.parse().with_context(|| format!("{port:?} is no port"))?))
        }
        _ => (host_port, None),
    };
    let host = bare(host);
    if host.is_empty() {
        bail!("the host is missing");
    }
    let (host, module, security) = (host.to_owned(), module.to_owned(), Security::Plain);
    Ok(Remote { user, host, port, module, path, security })
}

/// The two sides of `host::module/path`. An IPv6 address stands in brackets, so that its own
/// colons end nothing.
fn split_host(typed: &str) -> Option<(&str, &str)> {
    let before_slash = typed.split('/').next().unwrap_or_default();
    let from = before_slash.find("]::").map_or(0, |bracket| bracket + 1);
    let at = from + before_slash[from..].find("::")?;
    Some((&typed[..at], &typed[at + 2..]))
}

/// The user and what follows it.
///
/// # Errors
/// When there is a password, which lists of processes and logs would show.
fn user_of(authority: &str) -> anyhow::Result<(Option<String>, &str)> {
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => bail!(
            "a password has no place in a URL: write USER@HOST, and the password into a file \
             (`password.file` of a job, or --password-file)"
        ),
        Some((user, host)) => Ok((Some(user.to_owned()), host)),
        None => Ok((None, authority)),
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Remote {
        match Location::parse(OsStr::new(text)) {
            Ok(Location::Remote(remote)) => remote,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_both_remote_forms() {
        let url = remote("rsync://u@mail.example:8730/data/a b/");
        assert_eq!(url.user.as_deref(), Some("u"));
        assert_eq!((url.host.as_str(), url.port), ("mail.example", Some(8730)));
        assert_eq!((url.module.as_str(), &url.path[..]), ("data", &b"a b/"[..]));
        let short = remote("u@[::1]::data/x");
        assert_eq!((short.host.as_str(), short.module.as_str()), ("::1", "data"));
        assert_eq!(remote("rsync://[fe80::1]/m").host, "fe80::1");
        assert_eq!(remote("rsync://host").module, "");
    }

    #[test]
    fn reads_secured_urls() {
        let pin = Fingerprint::of(b"x");
        let url = remote(&format!("rsyncs://u@h:8730/m/a#b/#{pin}"));
        assert_eq!(url.security, Security::Tls(Some(pin)));
        assert_eq!((url.port, url.module.as_str(), &url.path[..]), (Some(8730), "m", &b"a#b/"[..]));
        assert_eq!(remote("rsyncs://h/m/x").security, Security::Tls(None));
        assert_eq!(remote("rsync://h/m/x").security, Security::Plain);
        assert_eq!(remote(&format!("rsyncs://h/#{pin}")).module, "");
        assert!(Location::parse(OsStr::new("rsyncs://h/m/#sha256=12")).is_err());
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        for typed in ["rsync://bob:hunter2@h/m/", "rsyncs://bob:hunter2@h:1/m/", "b:hunter2@h::m"] {
            let error = format!("{:#}", Location::parse(OsStr::new(typed)).expect_err("refused"));
            assert!(error.contains("no place in a URL") && !error.contains("hunter2"), "{error}");
        }
        let error =
            format!("{:#}", Location::parse(OsStr::new("rsync://u@h:x/m")).expect_err("no port"));
        assert!(error.contains("rsync://h:x/m"), "{error}");
    }

    #[test]
    fn tells_local_paths_apart() {
        for local in ["/a/b", "a", "./a:b", "C:\\mail", "C:/mail", "a/b::c"] {
            let parsed = Location::parse(OsStr::new(local)).expect("a local path");
            assert_eq!(parsed, Location::Local(local.into()), "{local}");
        }
        assert!(Location::parse(OsStr::new("host:path")).is_err());
        assert!(Location::parse(OsStr::new("rsync://host:x/m")).is_err());
    }
}
