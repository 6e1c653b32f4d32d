//! One module with one client: login, entering under the module's user, hooks.

mod identity;
mod place;
#[cfg(all(test, unix))]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bascule_engine::ledger::ListLimits;
use bascule_engine::outcome::ExitCode;
use bascule_engine::symlinks::SymlinkTargets;
use bascule_platform::confine::{self, Held, Rights, Walls};
use bascule_platform::paths;
use bascule_platform::privileges::Identity;
use bascule_platform::snapshot::ShadowCopies;
use bascule_session::site::{EnterThread, LoginAttempt, ModuleRules, OpenModule, Refusal};
use bascule_session::tcp::Line;
use bascule_wire::args::Direction;
use bascule_wire::filter::Rule;
use bascule_wire::shown;

use crate::accounts::System;
use crate::auth::{self, Access, Secrets, parse_rules};
use crate::claims::Claim;
use crate::client::Client;
use crate::config::{Module, Rules};
use crate::writers::{StillWriting, Writers, Writing};
use crate::{exec, filters};
use place::Chroot;

/// The directory whose absence makes munged symlinks lead nowhere.
const MUNGED: &str = "rsyncd-munged";
/// What a client is told that should get files from shadow copies where there are none.
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
    beside: Beside,
    /// It writes, until nothing of it is on its way to the disk any more.
    writing: Option<Writing>,
}

/// What a client has to do with those beside it.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// All that write.
    pub writers: Writers,
    /// The connection of this one.
    pub line: Option<Arc<Line>>,
}

impl DaemonModule {
    /// A module for a client that has passed the host check.
    pub fn new(module: Arc<Module>, client: Client, claim: Claim, beside: Beside) -> Self {
        Self {
            module,
            client,
            access: Access::Module,
            known_by_certificate: false,
            shadows: None,
            entered: false,
            _claim: claim,
            beside,
            writing: None,
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

    /// Begins to write, once nothing is being written any more that a client has sent which is gone.
    fn wait_for_those_gone(&self) -> Result<Option<Writing>, Refusal> {
        let Client { module, .. } = &self.client;
        let address = self.client.address_text();
        let waits = || {
            tracing::info!(
                event = "session.waits",
                module,
                address,
                "waits until what a client has sent that is gone is written"
            );
        };
        let Beside { writers, line } = &self.beside;
        let own = (self.client.address, line.as_ref());
        writers.enter(Path::new(&self.client.path), own, waits).map_err(|StillWriting| {
            let reason =
                "what a client that is gone has sent is still being written after a minute";
            self.refuse(
                "an earlier client's data are still being written -- try again later",
                reason,
            )
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
        let user = shown(attempt.user).to_string();
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
        let is_push = !args.iter().any(|word| word == b"--sender");
        if let Some(command) = &self.rules().pre_xfer_exec {
            exec::before_transfer(command, &self.client, args)
                .map_err(|text| self.refuse(&text, "pre-xfer exec"))?;
        }
        if is_push {
            self.writing = self.wait_for_those_gone()?;
        }
        let Client { module, user, .. } = &self.client;
        let address = self.client.address_text();
        let operation = if is_push { "push" } else { "pull" };
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
        // Nobody is to wait for a hook, on either side.
        (self.writing, self.beside.line) = (None, None);
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
