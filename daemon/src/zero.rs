//! `basculed serve`: one writable module with a generated password, without a configuration.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::Serve;
use crate::config::{self, Config};

/// What is typed on the source, and what serves it.
pub struct Prepared {
    /// The configuration with the one module.
    pub config: Config,
    /// The lines for the administrator.
    pub instructions: String,
}

/// Makes the configuration of one module; the password is generated unless its file exists.
///
/// # Errors
/// When the folder is not there, a name cannot be used, or the password cannot be stored.
pub fn prepare(serve: &Serve) -> anyhow::Result<Prepared> {
    let Serve { dir, module, user, secrets_file, address, port } = serve;
    let dir = dir.canonicalize().with_context(|| format!("{}", dir.display()))?;
    if !dir.is_dir() {
        bail!("{}: not a folder", dir.display());
    }
    for (what, name) in [("module", module), ("user", user)] {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name == "global" || !name.bytes().all(fits) {
            bail!("{name:?}: a {what} name consists of letters, digits, '-', '_' and '.'");
        }
    }
    let secrets = secrets_file.clone().unwrap_or_else(|| default_secrets(&dir, module));
    let is_new = store_password(&secrets, user)?;
    let root = if cfg!(unix) { "uid = 0\ngid = 0\n" } else { "" };
    let text = format!(
        "[{module}]\npath = {}\nread only = no\n{root}auth users = {user}\nsecrets file = {}\n",
        literal(&dir)?,
        literal(&secrets)?
    );
    let config = config::parse(text.as_bytes(), "basculed serve", &[])?;
    let host = address.clone().unwrap_or_else(host_name);
    let port = if *port == 873 { String::new() } else { format!(":{port}") };
    let state = if is_new { "generated" } else { "kept from before" };
    let instructions = format!(
        "Serving {} as module {module}.\n\
         The password ({state}) is in {}: copy what follows \"{user}:\" into a file on the source, \
         readable only by its owner.\n\
         On the source, type:\n\n    \
         bascule mirror --password-file=FILE SRC/ rsync://{user}@{host}{port}/{module}/\n",
        dir.display(),
        secrets.display(),
    );
    Ok(Prepared { config, instructions })
}

fn default_secrets(dir: &Path, module: &str) -> PathBuf {
    let name = format!(".basculed-{module}.secret");
    dir.parent().unwrap_or(dir).join(name)
}

/// Writes `user:password` to a file that only its owner may read; tells whether it is new.
fn store_password(path: &Path, user: &str) -> anyhow::Result<bool> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let text = bascule_platform::secret::read(path)?;
            let known = text.split(|byte| *byte == b'\n').any(|line| {
                line.strip_prefix(user.as_bytes()).is_some_and(|rest| rest.starts_with(b":"))
            });
            if !known {
                bail!("{}: it exists and has no password for {user}", path.display());
            }
            return Ok(false);
        }
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    };
    writeln!(file, "{user}:{}", password()?).with_context(|| format!("{}", path.display()))?;
    Ok(true)
}

/// 32 characters of an alphabet of 32: 160 bits.
fn password() -> anyhow::Result<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// A path as a parameter's value: `%` starts a variable there.
fn literal(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))?;
    if text.contains(['\n', '\r', '%']) {
        bail!("{text:?}: such a path needs a configuration file");
    }
    Ok(text.to_owned())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "THIS-HOST".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_one_module_and_keeps_its_password() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let dir = scratch.path().join("mail");
        std::fs::create_dir(&dir).expect("a folder");
        let serve = Serve {
            dir,
            module: "mail".into(),
            user: "admin".into(),
            secrets_file: None,
            address: Some("127.0.0.1".into()),
            port: 8730,
        };
        let first = prepare(&serve).expect("it works");
        let secret = scratch.path().canonicalize().expect("a path").join(".basculed-mail.secret");
        let stored = std::fs::read_to_string(&secret).expect("the password was stored");
        assert!(stored.starts_with("admin:") && stored.trim().len() == 6 + 32);
        assert!(first.instructions.contains("rsync://admin@127.0.0.1:8730/mail/"));
        assert!(!first.instructions.contains(stored.trim().trim_start_matches("admin:")));
        assert!(first.config.module(b"mail").is_some_and(|module| !module.rules.read_only));
        prepare(&serve).expect("it works again");
        assert_eq!(std::fs::read_to_string(&secret).expect("still there"), stored);
    }

    #[test]
    fn refuses_names_that_would_change_the_configuration() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        for module in ["a]", "x\npath=/", "", "global"] {
            let serve = Serve {
                dir: scratch.path().into(),
                module: module.into(),
                user: "u".into(),
                secrets_file: Some(scratch.path().join("s")),
                address: None,
                port: 873,
            };
            assert!(prepare(&serve).is_err(), "{module:?}");
        }
    }
}
