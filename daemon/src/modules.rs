//! One module with one client: login, entering under the module's user, hooks.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bascule_engine::disk::Disk;
use bascule_engine::ledger::ListLimits;
use bascule_engine::outcome::ExitCode;
use bascule_engine::path::RelPath;
use bascule_engine::symlinks::SymlinkTargets;
use bascule_engine::tree::Target;
use bascule_platform::confine::{self, Held, Rights, Walls};
use bascule_platform::privileges::{Identity, own_ids, runs_as_root};
use bascule_platform::snapshot::ShadowCopies;
use bascule_platform::{mounts, paths};
use bascule_session::site::{EnterThread, LoginAttempt, ModuleRules, OpenModule, Refusal};
use bascule_wire::args::Direction;
use bascule_wire::filter::Rule;

use crate::accounts::System;
use crate::auth::{self, Access, Secrets, parse_rules, split_list};
use crate::claims::Claim;
use crate::client::Client;
use crate::config::{Module, Rules};

use crate::{exec, filters};

/// The user of a root daemon's module that names none.
const NOBODY: &str = "nobody";
/// The groups tried for a root daemon's module that names none.
const NOBODY_GROUPS: [&str; 2] = ["nobody", "nogroup"];
/// The directory whose absence makes munged symlinks lead nowhere.
const MUNGED: &str = "rsyncd-munged";
/// What a client is told that should get files from shadow copies where there are none.
const NOT_MOUNTED: &str = "the module's disk is not mounted";
const NO_SHADOWS: &str = "the module's shadow copies cannot be used";

/// A module that one client has reached.
pub struct DaemonModule {
    module: Arc<Module>,
    client: Client,
    access: Access,
    /// Whether a client certificate was as good as a login.
    known_by_certificate: bool,
    /// Those that this client's transfer needed.
    shadows: Option<Arc<ShadowCopies>>,
    /// Whether `post-xfer exec` is due.
    entered: bool,
    /// Counts this client as long as it lives.
    _claim: Claim,
}

impl DaemonModule {
    /// A module for a client that has passed the host check.
    pub fn new(module: Arc<Module>, client: Client, claim: Claim) -> Self {
        Self {
            module,
            client,
            access: Access::Module,
            known_by_certificate: false,
            shadows: None,
            entered: false,
            _claim: claim,
        }
    }

    /// Takes a client certificate for a login, if `auth users` names its user; else the client can
    /// still log in by password.
    pub fn login_by_certificate(&mut self, user: &str) {
        let Some(text) = self.rules().auth_users.as_deref() else { return };
        let Client { module, .. } = &self.client;
        let address = self.client.address_text();
        let checked = parse_rules(&self.client.expand(text))
            .map_err(auth::LoginFailure::Unusable)
            .and_then(|rules| auth::check_user(&rules, user, &System));
        match checked {
            Ok(access) => {
                tracing::info!(
                    event = "login.accepted",
                    module,
                    user,
                    address,
                    "login by certificate"
                );
                self.access = access;
                self.known_by_certificate = true;
                self.client.user = user.to_owned();
            }
            Err(reason) => {
                tracing::info!(event = "login.certificate_refused", module, user, address, %reason, "certificate without access");
            }
        }
    }

    fn rules(&self) -> &Rules {
        &self.module.rules
    }

    /// Logs why and says as little as rsyncd does.
    fn refuse(&self, text: &str, reason: &str) -> Refusal {
        let Client { module, user, .. } = &self.client;
        let address = self.client.address_text();
        tracing::error!(
            event = "module.refused",
            module,
            user,
            address,
            reason,
            "module refused: {text}"
        );
        Refusal(text.to_owned())
    }

    /// An empty folder below a disk that is not there would take a whole copy.
    fn expect_disk(&self) -> Result<(), Refusal> {
        let Some(dir) = self.rules().mounted_on.as_deref() else { return Ok(()) };
        let reason = match mounts::is_mount_point(&paths::native(self.client.expand(dir))) {
            Ok(true) => return Ok(()),
            Ok(false) => format!("no disk is mounted at {dir}"),
            Err(error) => format!("no disk is mounted at {dir}: {error}"),
        };
        Err(self.refuse(NOT_MOUNTED, &reason))
    }

    /// Where the module is, and whether rsyncd would change its root into it.
    fn path(&self) -> Result<(String, Chroot), Refusal> {
        let raw = self.rules().path.as_deref().unwrap_or_default();
        let path =
            self.client.expand_path(raw).map_err(|reason| self.refuse("chdir failed", &reason))?;
        let path = paths::native_text(&path);
        if !Path::new(&*path).is_absolute() {
            return Err(self.refuse("chdir failed", "the module's path is not absolute"));
        }
        self.expect_disk()?;
        let split = path.contains("/./");
        let chroot = match self.rules().use_chroot.unwrap_or(split || runs_as_root()) {
            false => Chroot::No,
            true if split => Chroot::Outer,
            true => Chroot::Whole,
        };
        Ok((path.replacen("/./", "/", 1), chroot))
    }

    /// Whom the session's threads become; `None` when they stay who they are.
    fn identity(&self) -> Result<Option<Identity>, Refusal> {
        let expanded = |text: &Option<String>| text.as_deref().map(|t| self.client.expand(t));
        let (uid, gid) = (expanded(&self.rules().uid), expanded(&self.rules().gid));
        let root = runs_as_root();
        if !root && uid.is_none() && gid.is_none() {
            return Ok(None);
        }
        let no_user = |name: &str| self.refuse(&format!("invalid uid {name}"), "no such user");
        let no_group = |name: &str| self.refuse(&format!("invalid gid {name}"), "no such group");
        let own = own_ids();
        let name = uid.as_deref().or(root.then_some(NOBODY));
        let (uid, user) = match name {
            Some(name) => System.user(name).ok_or_else(|| no_user(name))?,
            None => match own {
                Some((uid, _)) => (uid, None),
                None => return Err(self.refuse("setgid failed", "this system has no groups")),
            },
        };
        let mut groups: Vec<u32> = Vec::new();
        for name in gid.as_deref().into_iter().flat_map(split_list) {
            if name == "*" && groups.is_empty() {
                let user = user.as_ref().ok_or_else(|| no_group(name))?;
                groups = System.groups_of_user(user);
            } else {
                groups.push(System.group(name).ok_or_else(|| no_group(name))?);
            }
        }
        if groups.is_empty() && root {
            let nobody = NOBODY_GROUPS.iter().find_map(|name| System.group(name));
            groups.push(nobody.ok_or_else(|| no_group(NOBODY))?);
        }
        let gid = groups.first().copied().or(own.map(|(_, gid)| gid)).unwrap_or(u32::MAX);
        if !root {
            if own == Some((uid, gid)) {
                return Ok(None);
            }
            let reason = "only a daemon that runs as root can change its user; remove uid and gid";
            return Err(self.refuse("setuid failed", reason));
        }
        Ok(Some(Identity { uid, gid, groups }))
    }

    /// The module's tree, staging in `temp dir` if there is one; with the reason if that cannot be
    /// used, which concerns only those who push.
    fn tree(
        &self,
        path: &str,
        chroot: Chroot,
    ) -> Result<(Arc<dyn Target>, Option<String>), Refusal> {
        let disk = Disk::open(Path::new(path)).map_err(|error| {
            let text = if chroot == Chroot::No { "chdir failed" } else { "chroot failed" };
            self.refuse(text, &format!("cannot open the module's path {path}: {error}"))
        })?;
        let disk = match &self.shadows {
            None => disk,
            Some(shadows) => {
                let shadows = Arc::clone(shadows);
                let root_of = move |volume: &str| shadows.of(volume).map_err(io::Error::other);
                disk.with_snapshots(Arc::new(root_of))
                    .map_err(|error| self.refuse(NO_SHADOWS, &error.to_string()))?
            }
        };
        let root: Arc<dyn Target> = Arc::new(disk);
        let Some(temp_dir) = self.rules().temp_dir.as_deref() else { return Ok((root, None)) };
        let staged = self
            .client
            .expand_path(temp_dir)
            .and_then(|temp_dir| within(&paths::native_text(&temp_dir), path, chroot))
            .and_then(|temp_dir| {
                root.with_temp_dir(&temp_dir)
                    .map_err(|error| format!("cannot use the temp dir {temp_dir}: {error}"))
            });
        Ok(match staged {
            Ok(tree) => (tree, None),
            Err(reason) => {
                let text = "the module's temp dir cannot be used";
                (root, Some(self.refuse(text, &reason).0))
            }
        })
    }

    /// Confines a session's threads: to the module's path, to its user, to what the direction needs.
    fn enter_thread(&self, identity: Option<Identity>, path: &str) -> EnterThread {
        let root = self.rules().landlock.then(|| PathBuf::from(path));
        let (module, address) = (self.module.name.clone(), self.client.address_text());
        Arc::new(move |direction| {
            let rights = match direction {
                Direction::Push => Rights::Write,
                Direction::Pull => Rights::Read,
            };
            // The path may be closed to the module's user on the way.
            let held = match &root {
                Some(root) => Walls { root: root.clone(), rights }.enter_thread()?,
                None => Held::Not,
            };
            if let Some(identity) = &identity {
                identity.enter_thread()?;
            }
            confine::drop_capabilities(rights)?;
            tracing::debug!(
                event = "session.confined",
                module,
                address,
                ?held,
                ?rights,
                "confined"
            );
            Ok(())
        })
    }

    fn filters(&self) -> Result<Vec<Rule>, Refusal> {
        filters::collect(self.rules(), &|text| self.client.expand(text))
            .and_then(|texts| {
                let parse = |text: &Vec<u8>| {
                    let rule = Rule::parse(text).map_err(|error| error.to_string())?;
                    bascule_engine::filter::check(&rule).map(|()| rule)
                };
                texts.iter().map(parse).collect()
            })
            .map_err(|reason| self.refuse("the module's filter cannot be used", &reason))
    }
}

impl OpenModule for DaemonModule {
    fn needs_login(&self) -> bool {
        self.rules().auth_users.is_some() && !self.known_by_certificate
    }

    fn login(&mut self, attempt: &LoginAttempt<'_>) -> Result<(), Refusal> {
        let Client { module, .. } = &self.client;
        let address = self.client.address_text();
        let user = attempt.user.escape_ascii().to_string();
        let secrets_file = self.rules().secrets_file.as_deref();
        let secrets_file = secrets_file.map(|text| paths::native(self.client.expand(text)));
        let rules = self.rules().auth_users.as_deref().map(|text| self.client.expand(text));
        let checked = parse_rules(&rules.unwrap_or_default())
            .map_err(auth::LoginFailure::Unusable)
            .and_then(|rules| {
                let secrets =
                    Secrets { file: secrets_file.as_deref(), strict: self.rules().strict_modes };
                auth::check_login(&rules, secrets, attempt, &System)
            });
        match checked {
            Ok(access) => {
                tracing::info!(event = "login.accepted", module, user, address, "login");
                self.access = access;
                self.client.user = String::from_utf8_lossy(attempt.user).into_owned();
                Ok(())
            }
            Err(reason) => {
                tracing::warn!(event = "login.failed", module, user, address, %reason, "login failed");
                Err(Refusal(format!("auth failed on module {module}")))
            }
        }
    }

    fn enter(&mut self) -> Result<ModuleRules, Refusal> {
        let identity = self.identity()?;
        let (path, chroot) = self.path()?;
        self.client.path.clone_from(&path);
        let read_only = match self.access {
            Access::ReadOnly | Access::Denied => true,
            Access::ReadWrite => false,
            Access::Module => self.rules().read_only,
        };
        if self.rules().shadow_copy && read_only {
            let shadows = ShadowCopies::new();
            let shadows = shadows.map_err(|error| self.refuse(NO_SHADOWS, &error.to_string()))?;
            self.shadows = Some(Arc::new(shadows));
        }
        let (root, unreceivable) = self.tree(&path, chroot)?;
        let rules = self.rules();
        let munge_symlinks = rules.munge_symlinks.unwrap_or(chroot != Chroot::Whole);
        if munge_symlinks && Path::new(&path).join(MUNGED).is_dir() {
            let reason = "the directory /rsyncd-munged exists in the module";
            return Err(self.refuse("daemon security issue -- contact admin", reason));
        }
        let text = |text: &Option<String>| text.as_deref().map(|text| self.client.expand(text));
        let enter_thread = self.enter_thread(identity, &path);
        let found = ModuleRules {
            name: self.module.name.clone(),
            root,
            read_only,
            unreceivable,
            write_only: rules.write_only,
            filters: self.filters()?,
            incoming_chmod: text(&rules.incoming_chmod),
            outgoing_chmod: text(&rules.outgoing_chmod),
            numeric_ids: rules.numeric_ids.unwrap_or(chroot != Chroot::No),
            refuse_options: text(&rules.refuse_options)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            timeout: u32::try_from(rules.timeout).unwrap_or(0),
            durable: rules.durable,
            list_limits: ListLimits {
                entries: rules.max_entries.unsigned_abs(),
                bytes: rules.max_list_memory.unsigned_abs() << 20,
            },
            symlink_targets: match (munge_symlinks, chroot) {
                (true, _) => SymlinkTargets::Munged,
                (false, Chroot::Whole) => SymlinkTargets::Verbatim,
                (false, _) => SymlinkTargets::Sanitized,
            },
            enter_thread: Some(enter_thread),
        };
        self.entered = true;
        Ok(found)
    }

    fn before_transfer(&mut self, args: &[Vec<u8>]) -> Result<(), Refusal> {
        if let Some(command) = &self.rules().pre_xfer_exec {
            exec::before_transfer(command, &self.client, args)
                .map_err(|text| self.refuse(&text, "pre-xfer exec"))?;
        }
        let Client { module, user, .. } = &self.client;
        let address = self.client.address_text();
        let operation = if args.iter().any(|word| word == b"--sender") { "pull" } else { "push" };
        tracing::info!(
            event = "session.started",
            module,
            user,
            address,
            operation,
            "transfer begins"
        );
        Ok(())
    }

    fn after_transfer(&mut self, exit: ExitCode) {
        if let Some(shadows) = self.shadows.take()
            && let Err(error) = shadows.remove()
        {
            let Client { module, .. } = &self.client;
            tracing::warn!(event = "snapshot.kept", module, %error, "a shadow copy stays");
        }
        if !std::mem::take(&mut self.entered) {
            return;
        }
        if let Some(command) = &self.rules().post_xfer_exec {
            exec::after_transfer(command, &self.client, exit);
        }
    }
}

impl Drop for DaemonModule {
    /// A client that went away between entering and the transfer still gets its
    /// `post-xfer exec`, on a thread of its own because hooks block.
    fn drop(&mut self) {
        if !std::mem::take(&mut self.entered) {
            return;
        }
        if let Some(command) = self.rules().post_xfer_exec.clone() {
            let client = self.client.clone();
            std::thread::spawn(move || {
                exec::after_transfer(&command, &client, ExitCode::Stream);
            });
        }
    }
}

/// What rsyncd would do with its root directory. Here a module is always confined by the
/// descriptor of its path; this only decides what follows from `use chroot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chroot {
    No,
    /// Into the path.
    Whole,
    /// Into the part before `/./`.
    Outer,
}

/// The temp dir relative to the module. An absolute one starts at the module when that is the
/// root directory, and must else lie within the module's path.
fn within(temp_dir: &str, path: &str, chroot: Chroot) -> Result<RelPath, String> {
    let outside = || format!("the temp dir {temp_dir} outside the module is not supported yet");
    let dir = Path::new(temp_dir);
    let relative = match (dir.strip_prefix(path), dir.has_root(), chroot) {
        (Ok(inside), _, _) => inside,
        (Err(_), true, Chroot::Whole) => dir.strip_prefix("/").map_err(|_| outside())?,
        (Err(_), false, _) => dir,
        (Err(_), true, _) => return Err(outside()),
    };
    let mut found = RelPath::root();
    for component in relative.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => {
                let name = name.to_str().ok_or_else(outside)?;
                found = found.join(name.as_bytes()).map_err(|error| error.to_string())?;
            }
            _ => return Err(outside()),
        }
    }
    Ok(found)
}

#[cfg(all(test, unix))]
mod tests {
    use bascule_session::site::{Peer, Site as _};
    use bascule_wire::auth::{AuthDigest, response};

    use super::*;
    use crate::config;
    use crate::site::DaemonSite;

    /// A site with the module `m` in a fresh directory.
    fn module(parameters: &str) -> (tempfile::TempDir, Box<dyn OpenModule>) {
        let dir = tempfile::tempdir().expect("a directory");
        let own = own_ids().expect("a Unix system");
        let text = format!(
            "[m]\npath = {}\nuid = {}\ngid = {}\n{parameters}",
            dir.path().display(),
            own.0,
            own.1
        );
        let config = config::parse(text.as_bytes(), "f", &[]).expect("a good configuration");
        let site = DaemonSite::fixed(Arc::new(config));
        let opened = site.open(b"m", &Peer::default());
        (dir, opened.map_err(|Refusal(text)| text).expect("open to all"))
    }

    fn entered(parameters: &str) -> Result<ModuleRules, String> {
        let (_dir, mut module) = module(parameters);
        module.enter().map_err(|Refusal(text)| text)
    }

    #[test]
    fn the_defaults_are_rsyncds() {
        let plain = entered("").expect("entered");
        assert!(plain.read_only && !plain.write_only);
        assert_eq!(plain.list_limits, ListLimits::default());
        let free = entered("use chroot = no\nread only = no\n").expect("entered");
        assert!(
            free.symlink_targets == SymlinkTargets::Munged && !free.numeric_ids && !free.read_only
        );
        let confined = entered("use chroot = yes\n").expect("entered");
        assert!(confined.symlink_targets == SymlinkTargets::Verbatim && confined.numeric_ids);
        let chosen = entered("use chroot = no\nmunge symlinks = no\nnumeric ids = yes\n");
        let chosen = chosen.expect("entered");
        assert!(chosen.symlink_targets == SymlinkTargets::Sanitized && chosen.numeric_ids);
    }

    #[test]
    fn rules_are_carried_over() {
        let rules = entered(
            "exclude = *.o\nfilter = + keep.o\nrefuse options = delete  c\ntimeout = 60\n\
             incoming chmod = Dg+s\noutgoing chmod = a+r\nmax entries = 9\nmax list memory = 2\n",
        )
        .expect("entered");
        assert_eq!(rules.filters.len(), 2);
        assert_eq!(rules.filters[0].pattern, b"keep.o");
        assert_eq!(rules.refuse_options, ["delete", "c"]);
        assert_eq!(rules.timeout, 60);
        assert_eq!(rules.list_limits, ListLimits { entries: 9, bytes: 2 << 20 });
        assert_eq!(rules.incoming_chmod.as_deref(), Some("Dg+s"));
        assert_eq!(rules.outgoing_chmod.as_deref(), Some("a+r"));
    }

    #[test]
    fn a_module_that_cannot_be_used_says_little() {
        for (parameters, text) in [
            ("path = /no/such/dir\nuse chroot = no\n", "chdir failed"),
            ("path = /no/such/dir\nuse chroot = yes\n", "chroot failed"),
            ("path = /tmp/%RSYNC_USER_NAME%\n", "chdir failed"),
            ("uid = no-such-user-here\n", "invalid uid no-such-user-here"),
            ("gid = no-such-group-here\n", "invalid gid no-such-group-here"),
            ("filter = x\n", "the module's filter cannot be used"),
            ("exclude from = /no/such\n", "the module's filter cannot be used"),
            ("mounted on = /no/such\n", NOT_MOUNTED),
        ] {
            assert_eq!(entered(parameters).err().as_deref(), Some(text), "{parameters}");
        }
    }

    #[test]
    fn a_temp_dir_that_is_missing_stops_only_what_is_received() {
        let rules = entered("temp dir = /elsewhere\nuse chroot = no\n").expect("entered");
        assert_eq!(rules.unreceivable.as_deref(), Some("the module's temp dir cannot be used"));
        assert_eq!(entered("use chroot = no\n").expect("entered").unreceivable, None);
    }

    #[test]
    fn a_directory_that_would_catch_munged_links_is_a_danger() {
        let (dir, mut module) = module("munge symlinks = yes\n");
        std::fs::create_dir(dir.path().join(MUNGED)).expect("a directory");
        assert_eq!(
            module.enter().err(),
            Some(Refusal("daemon security issue -- contact admin".to_owned()))
        );
    }

    #[test]
    fn logins_fail_with_one_text_and_rules_override_read_only() {
        let secrets = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(secrets.path(), "joe:x\nsam:y\n").expect("write");
        let parameters =
            format!("auth users = joe:rw *\nsecrets file = {}\n", secrets.path().display());
        let login = |module: &mut Box<dyn OpenModule>, user: &[u8], password: &[u8]| {
            let response = response(AuthDigest::Sha256, password, "c");
            module.login(&LoginAttempt {
                user,
                digest: AuthDigest::Sha256,
                challenge: "c",
                response: response.as_bytes(),
            })
        };
        let (_dir, mut module) = module(&parameters);
        assert!(module.needs_login());
        for (user, password) in [(&b"joe"[..], &b"y"[..]), (b"zoe", b"x"), (b"\xff", b"x")] {
            assert_eq!(
                login(&mut module, user, password),
                Err(Refusal("auth failed on module m".to_owned()))
            );
        }
        assert_eq!(login(&mut module, b"sam", b"y"), Ok(()));
        assert!(module.enter().expect("entered").read_only);
        assert_eq!(login(&mut module, b"joe", b"x"), Ok(()));
        assert!(!module.enter().expect("entered").read_only);
    }

    #[test]
    fn hooks_run_around_the_transfer_and_after_it_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        let (_module_dir, mut module) = module(&format!(
            "pre-xfer exec = echo pre $RSYNC_ARG1 >> {0}; test $RSYNC_ARG1 = ok\n\
             post-xfer exec = echo post $RSYNC_EXIT_STATUS >> {0}\n",
            log.display()
        ));
        module.after_transfer(ExitCode::Success);
        module.enter().map_err(|Refusal(text)| text).expect("entered");
        assert_eq!(module.before_transfer(&[b"ok".to_vec()]), Ok(()));
        assert_eq!(
            module.before_transfer(&[b"bad".to_vec()]),
            Err(Refusal("pre-xfer exec returned failure (256)".to_owned()))
        );
        module.after_transfer(ExitCode::Partial);
        module.after_transfer(ExitCode::Success);
        drop(module);
        let written = std::fs::read_to_string(&log).expect("written");
        assert_eq!(written, "pre ok\npre bad\npost 23\n");
    }

    #[test]
    fn temp_dirs_are_found_within_the_module() {
        let found = |dir: &str, chroot| within(dir, "/srv/m", chroot).map(|path| path.to_string());
        assert_eq!(found("/srv/m/tmp", Chroot::No), Ok("tmp".to_owned()));
        assert_eq!(found("tmp/./x", Chroot::No), Ok("tmp/x".to_owned()));
        assert_eq!(found("/tmp", Chroot::Whole), Ok("tmp".to_owned()));
        assert!(found("/tmp", Chroot::No).is_err());
        assert!(found("../x", Chroot::Whole).is_err());
        assert!(found("/srv/m/../x", Chroot::No).is_err());
    }
}
