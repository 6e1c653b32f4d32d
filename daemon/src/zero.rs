//! `basculed serve DIR`: one writable module with a generated password and no configuration file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bascule_session::tls::Fingerprint;

use crate::config::{Config, Module, Place, Rules};
use crate::pairing::{self, Line};

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
            pairing::check_name(what, name)?;
        }
        let directory = pairing::served_dir(directory)?;
        let state = pairing::private_dir(state, &[&directory])?;
        let password_file = state.join(format!("{module}.password"));
        let secrets_file = state.join(format!("{module}.secrets"));
        pairing::make_login(user, &password_file, &secrets_file)?;
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
        let Self { directory, module, user, password_file, .. } = self;
        let line = Line { user, address, port, password_file, fingerprint };
        format!(
            "Serving {} as module {module} on port {port}, for user {user}.\n\
             The password is in {}; copy that file to the source, keep it at mode 600,\n\
             and type there:\n\n  {}\n\n\
             The connection is encrypted (TLS), and the fingerprint at the end makes sure that it is\n\
             this daemon. A stock rsync can connect too, in the clear: {}\n\n\
             Ctrl-C ends the daemon.\n",
            directory.display(),
            password_file.display(),
            line.of(module),
            line.url("rsync", module),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairing::PASSWORD_LENGTH;

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
        assert!(rules.path.as_deref().expect("a path").ends_with("100%%"));
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
