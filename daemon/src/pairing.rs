//! What a source needs to reach this daemon: a user with a generated password, and the line to paste.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_platform::paths::{canonical, native};
use bascule_platform::{secret, state};
use bascule_session::tls::Fingerprint;

/// Letters and digits that nobody mistakes for each other; 32 of them, so that five random bits
/// choose one.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// The length of a generated password: 120 random bits.
pub(crate) const PASSWORD_LENGTH: usize = 24;

/// The line that is pasted at the source.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The user who logs in.
    pub user: &'a str,
    /// The address that the daemon was told to listen on.
    pub address: Option<&'a str>,
    /// The port that it listens on.
    pub port: u16,
    /// The file with the password, by its name at the source.
    pub password_file: &'a Path,
    /// The daemon's certificate.
    pub fingerprint: Fingerprint,
}

impl Line<'_> {
    /// The command that mirrors into `module`.
    pub fn of(&self, module: &str) -> String {
        let Self { password_file, fingerprint, .. } = self;
        let file = password_file.file_name().unwrap_or_default().to_string_lossy();
        let url = self.url("rsyncs", module);
        format!("bascule mirror --password-file={file} SRC/ {url}#{fingerprint}")
    }

    /// The module's URL.
    pub fn url(&self, scheme: &str, module: &str) -> String {
        let Self { user, address, port, .. } = self;
        format!("{scheme}://{user}@{}:{port}/{module}/", host(*address))
    }
}

/// Where passwords are kept between starts.
///
/// # Errors
/// When the environment names no place.
pub fn state_dir() -> anyhow::Result<PathBuf> {
    if let Some(dir) = std::env::var_os("STATE_DIRECTORY").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    state::folder("basculed")
        .context("there is no home directory for the password; name one with --state-dir")
}

/// The full path of a folder that is to be a module.
///
/// # Errors
/// Why it cannot be one.
pub fn served_dir(dir: &Path) -> anyhow::Result<PathBuf> {
    let shown = dir.display();
    let dir = canonical(&native(dir)).with_context(|| format!("cannot serve {shown}"))?;
    if !dir.is_dir() {
        bail!("cannot serve {shown}: it is not a directory");
    }
    if dir.to_str().is_none() {
        bail!("cannot serve {shown}: its path is not UTF-8");
    }
    Ok(dir)
}

/// Makes the folder for passwords and keys, and gives its full path. It may not be in a folder that
/// is `served`.
///
/// # Errors
/// What is wrong with it.
pub fn private_dir(dir: &Path, served: &[&Path]) -> anyhow::Result<PathBuf> {
    let refuse_served = |place: &Path| {
        if served.iter().any(|served| place.starts_with(served)) {
            bail!(
                "the passwords in {} would be served too; name another --state-dir",
                dir.display()
            );
        }
        Ok(())
    };
    let full = std::path::absolute(dir).with_context(|| dir.display().to_string())?;
    // Before anything is made in a folder that is served.
    if let Some(there) = full.ancestors().find_map(|above| canonical(above).ok()) {
        refuse_served(&there)?;
    }
    state::private_folder(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let made = canonical(dir).with_context(|| dir.display().to_string())?;
    refuse_served(&made)?;
    Ok(made)
}

/// Makes `user` known: the password alone in one file, unless it is there already, and the secrets
/// for the daemon in another.
///
/// # Errors
/// Which file cannot be used.
pub fn make_login(user: &str, password_file: &Path, secrets_file: &Path) -> anyhow::Result<()> {
    let password = password(password_file)?;
    secret::write(secrets_file, &format!("{user}:{password}\n"), true)
        .with_context(|| format!("cannot write {}", secrets_file.display()))
}

/// Whether a module or user can have this name: it stands in files, URLs and command lines.
///
/// # Errors
/// What such a name has to be.
pub fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(fits) {
        bail!(
            "the {what} name \"{}\" must be letters, digits, '.', '_' and '-'",
            name.escape_debug()
        );
    }
    Ok(())
}

fn host(address: Option<&str>) -> String {
    match address.map(|address| (address, address.parse::<IpAddr>())) {
        Some((_, Ok(ip))) if ip.is_unspecified() => {}
        Some((address, Ok(IpAddr::V6(_)))) => return format!("[{address}]"),
        Some((address, _)) => return address.to_owned(),
        None => {}
    }
    dns_lookup::get_hostname().unwrap_or_else(|_| "HOST".to_owned())
}

/// The password of an earlier start, or a new one.
fn password(file: &Path) -> anyhow::Result<String> {
    match secret::read(file) {
        Ok(bytes) => {
            let password = std::str::from_utf8(secret::first_line(&bytes)).unwrap_or_default();
            if password.is_empty() {
                bail!("{} holds no password; remove it to get a new one", file.display());
            }
            Ok(password.to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let password = generate()?;
            secret::write(file, &format!("{password}\n"), false)
                .with_context(|| format!("cannot write {}", file.display()))?;
            Ok(password)
        }
        Err(error) => Err(error.into()),
    }
}

fn generate() -> anyhow::Result<String> {
    let mut random = [0; PASSWORD_LENGTH];
    getrandom::fill(&mut random).context("no random numbers to be had")?;
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte % 32)]);
    Ok(random.into_iter().map(letter).collect())
}
