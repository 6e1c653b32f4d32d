//! `basculed serve DIR`: one writable module with a generated password and no configuration file.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use bascule_session::tls::Fingerprint;

use crate::config::{Config, Module, Place, Rules};

/// Letters and digits that nobody mistakes for each other; 32 of them, so that five random bits
/// choose one.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// The length of a generated password: 120 random bits.
const PASSWORD_LENGTH: usize = 24;

/// What is served and to whom.
#[derive(Debug)]
pub struct ZeroConfig {
    /// The directory, absolute.
    pub directory: PathBuf,
    /// The module's name.
    pub module: String,
    /// The user who may log in.
    pub user: String,
    /// The file that holds the password alone.
    pub password_file: PathBuf,
    /// The file that the daemon checks logins with.
    pub secrets_file: PathBuf,
}

impl ZeroConfig {
    /// Checks the names, and makes the password unless an earlier start has made it already.
    ///
    /// # Errors
    /// What is wrong with the directory or a name, or which file cannot be written.
    pub fn prepare(
        directory: &Path,
        module: &str,
        user: &str,
        state: &Path,
    ) -> anyhow::Result<Self> {
        for (what, name) in [("module", module), ("user", user)] {
            check_name(what, name)?;
        }
        let shown = directory.display();
        let directory =
            directory.canonicalize().with_context(|| format!("cannot serve {shown}"))?;
        if !directory.is_dir() {
            bail!("cannot serve {shown}: it is not a directory");
        }
        if directory.to_str().is_none() {
            bail!("cannot serve {shown}: its path is not UTF-8");
        }
        make_private_dir(state).with_context(|| format!("cannot make {}", state.display()))?;
        let state = state.canonicalize().with_context(|| state.display().to_string())?;
        if state.starts_with(&directory) {
            bail!(
                "the passwords in {} would be served too; name another --state-dir",
                state.display()
            );
        }
        let password_file = state.join(format!("{module}.password"));
        let secrets_file = state.join(format!("{module}.secrets"));
        let password = password(&password_file)?;
        write_private(&secrets_file, &format!("{user}:{password}\n"), true)
            .with_context(|| format!("cannot write {}", secrets_file.display()))?;
        let (module, user) = (module.to_owned(), user.to_owned());
        Ok(Self { directory, module, user, password_file, secrets_file })
    }

    /// The configuration of the one module: a true copy, so symlinks are kept as they are; the
    /// files are written by whoever started the daemon.
    pub fn config(&self) -> Config {
        let text = |path: &Path| path.to_str().map(|path| path.replace('%', "%%"));
        let own = bascule_platform::privileges::own_ids();
        let module = Module {
            name: self.module.clone(),
            place: Place { file: Arc::from("basculed serve"), line: 0 },
            rules: Rules {
                path: text(&self.directory),
                read_only: false,
                uid: own.map(|(uid, _)| uid.to_string()),
                gid: own.map(|(_, gid)| gid.to_string()),
                use_chroot: Some(true),
                numeric_ids: Some(false),
                munge_symlinks: Some(false),
                auth_users: Some(self.user.clone()),
                secrets_file: text(&self.secrets_file),
                strict_modes: cfg!(unix),
                ..Rules::default()
            },
        };
        Config { modules: vec![Arc::new(module)], ..Config::default() }
    }

    /// Where passwords, the certificate and its key are kept.
    pub fn state_dir(&self) -> &Path {
        self.password_file.parent().unwrap_or(Path::new("."))
    }

    /// What to do on the source, for the terminal.
    pub fn instructions(
        &self,
        address: Option<&str>,
        port: u16,
        fingerprint: Fingerprint,
    ) -> String {
        let host = host(address);
        let Self { directory, module, user, password_file, .. } = self;
        format!(
            "Serving {} as module {module} on port {port}, for user {user}.\n\
             The password is in {}; copy that file to the source, keep it at mode 600,\n\
             and type there:\n\n  \
             bascule mirror --password-file={module}.password SRC/ \
             rsyncs://{user}@{host}:{port}/{module}/#{fingerprint}\n\n\
             The connection is encrypted (TLS), and the fingerprint at the end makes sure that it is\n\
             this daemon. A stock rsync can connect too, in the clear: rsync://{user}@{host}:{port}/{module}/\n\n\
             Ctrl-C ends the daemon.\n",
            directory.display(),
            password_file.display(),
        )
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
    bascule_platform::state::folder("basculed")
        .context("there is no home directory for the password; name one with --state-dir")
}

fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
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
    match bascule_platform::secret::read(file) {
        Ok(bytes) => {
            let text = std::str::from_utf8(&bytes).unwrap_or_default();
            let password = text.lines().next().unwrap_or_default().to_owned();
            if password.is_empty() {
                bail!("{} holds no password; remove it to get a new one", file.display());
            }
            Ok(password)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let password = generate()?;
            write_private(file, &format!("{password}\n"), false)
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

fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str, replace: bool) -> io::Result<()> {
    let staged = path.with_extension(format!("new.{}", std::process::id()));
    let target = if replace { &staged } else { path };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(target) {
        // Left behind by a process that is gone and had our number.
        Err(error) if replace && error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(target)?;
            options.open(target)?
        }
        other => other?,
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let placed =
        written.and_then(|()| if replace { std::fs::rename(target, path) } else { Ok(()) });
    if placed.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(target);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(root: &Path, module: &str, user: &str) -> anyhow::Result<ZeroConfig> {
        std::fs::create_dir_all(root.join("100%")).expect("a directory");
        ZeroConfig::prepare(&root.join("100%"), module, user, &root.join("state/here"))
    }

    #[test]
    fn a_second_start_keeps_the_password() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = prepare(dir.path(), "mail", "joe").expect("prepared");
        let read = |path: &Path| std::fs::read_to_string(path).expect("readable");
        let password = read(&first.password_file);
        assert_eq!(password.trim_end().len(), PASSWORD_LENGTH);
        let second = prepare(dir.path(), "mail", "sam").expect("prepared");
        assert_eq!(read(&second.password_file), password);
        assert_eq!(read(&second.secrets_file), format!("sam:{password}"));
        let other = prepare(dir.path(), "other", "joe").expect("prepared");
        assert_ne!(read(&other.password_file), password);
        #[cfg(unix)]
        for file in [&second.password_file, &second.secrets_file] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(file).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    }

    #[test]
    fn the_module_is_writable_for_one_user_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let zero = prepare(dir.path(), "mail", "joe").expect("prepared");
        let config = zero.config();
        let rules = &config.module(b"mail").expect("the module").rules;
        assert!(!rules.read_only);
        assert_eq!(rules.auth_users.as_deref(), Some("joe"));
        assert!(rules.path.as_deref().expect("a path").ends_with("/100%%"));
        let fingerprint = Fingerprint::of(b"a certificate");
        let text = zero.instructions(Some("2001:db8::1"), 8730, fingerprint);
        assert!(
            text.contains(&format!(
                "bascule mirror --password-file=mail.password SRC/ \
                 rsyncs://joe@[2001:db8::1]:8730/mail/#{fingerprint}\n"
            )),
            "{text}"
        );
        let password = std::fs::read_to_string(&zero.password_file).expect("readable");
        assert!(!text.contains(password.trim_end()));
    }

    #[test]
    fn odd_names_and_places_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        for (module, user) in [("", "joe"), ("a/b", "joe"), ("..", "joe"), ("m", "*"), ("m", "a:b")]
        {
            assert!(prepare(dir.path(), module, user).is_err(), "{module} {user}");
        }
        let gone = ZeroConfig::prepare(&dir.path().join("gone"), "m", "u", dir.path());
        assert!(gone.is_err());
        let inside = ZeroConfig::prepare(dir.path(), "m", "u", &dir.path().join("state"));
        let text = inside.expect_err("inside").to_string();
        assert!(text.contains("would be served too"), "{text}");
    }

    #[test]
    fn a_password_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let zero = prepare(dir.path(), "m", "u").expect("prepared");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let open = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(&zero.password_file, open).expect("chmod");
            assert!(prepare(dir.path(), "m", "u").is_err());
        }
        std::fs::remove_file(&zero.password_file).expect("removed");
        assert!(prepare(dir.path(), "m", "u").is_ok());
    }
}
