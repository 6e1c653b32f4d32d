//! Where a source or destination is: here, or in a module of a daemon.

use std::ffi::{OsStr, OsString};

use anyhow::{Context as _, bail};

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
}

impl Location {
    /// Parses what a user typed.
    ///
    /// # Errors
    /// For a URL that makes no sense, and for rsync's remote-shell form.
    pub fn parse(text: &OsStr) -> anyhow::Result<Self> {
        let Some(typed) = text.to_str() else {
            // A daemon's address is always text: anything else names a local file.
            return Ok(Self::Local(text.to_owned()));
        };
        if let Some(rest) = typed.strip_prefix("rsync://") {
            return Ok(Self::Remote(url(rest).with_context(|| typed.to_owned())?));
        }
        if let Some((host, rest)) = split_host(typed) {
            let (user, host) = user_of(host);
            let (module, path) = rest.split_once('/').unwrap_or((rest, ""));
            return Ok(Self::Remote(Remote {
                user,
                host: bare(host).to_owned(),
                port: None,
                module: module.to_owned(),
                path: path.as_bytes().to_vec(),
            }));
        }
        let before_slash = typed.split(['/', '\\']).next().unwrap_or_default();
        let is_drive = before_slash.len() == 2 && before_slash.ends_with(':');
        if before_slash.contains(':') && !is_drive {
            bail!(
                "{typed}: remote shells are not supported; write host::module/path or \
                 rsync://host/module/path for a daemon, ./{typed} for a local file"
            );
        }
        Ok(Self::Local(text.to_owned()))
    }
}

fn url(rest: &str) -> anyhow::Result<Remote> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host_port) = user_of(authority);
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
    let (module, path) = path.split_once('/').unwrap_or((path, ""));
    Ok(Remote {
        user,
        host: host.to_owned(),
        port,
        module: module.to_owned(),
        path: path.as_bytes().to_vec(),
    })
}

/// The two sides of `host::module/path`. An IPv6 address stands in brackets, so that its own
/// colons end nothing.
fn split_host(typed: &str) -> Option<(&str, &str)> {
    let before_slash = typed.split('/').next().unwrap_or_default();
    let from = before_slash.find("]::").map_or(0, |bracket| bracket + 1);
    let at = from + before_slash[from..].find("::")?;
    Some((&typed[..at], &typed[at + 2..]))
}

fn user_of(authority: &str) -> (Option<String>, &str) {
    match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, authority),
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
    fn tells_local_paths_apart() {
        for local in ["/a/b", "a", "./a:b", "C:\\mail", "C:/mail", "a/b::c"] {
            let parsed = Location::parse(OsStr::new(local)).expect("a local path");
            assert_eq!(parsed, Location::Local(local.into()), "{local}");
        }
        assert!(Location::parse(OsStr::new("host:path")).is_err());
        assert!(Location::parse(OsStr::new("rsync://host:x/m")).is_err());
    }
}
