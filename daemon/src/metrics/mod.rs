//! What the daemon tells Prometheus, and whether it is well.
//!
//! [`Tally`] counts while clients come and go, `figures` puts it together with what is looked up at
//! the moment, `health` says what is wrong with the modules and the configuration. The names are
//! documented in `docs/metrics.md`.

mod figures;
mod health;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bascule_platform::metrics::Sources;
use bascule_platform::metrics::endpoint::{self, Endpoint};
use bascule_platform::metrics::figures::Counters;
use bascule_platform::paths;
use bascule_session::server::Served;
use bascule_wire::args::Direction;

use crate::claims::unpoisoned;
use crate::config::{self, Module};
use crate::crowd::Crowd;
use crate::site::DaemonSite;
use crate::tls::Certificate;

/// What has happened since the start. Clones are the same tally.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connections: Counters,
    refused: Counters,
    login_failures: Counters,
    sessions: Counters,
    files: Counters,
    deleted: Counters,
    read: Counters,
    written: Counters,
    /// Transfers that are going on, by module.
    transfers: Mutex<BTreeMap<String, u64>>,
}

/// How connections end.
const OUTCOMES: [&str; 5] = ["transferred", "failed", "no_transfer", "ended_early", "tls_failed"];

/// At which step a client was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It asked for a module that there is not, or not for it.
    Module,
    /// It could not log in.
    Login,
    /// The module cannot be served: its path, its disk, its user.
    Enter,
    /// There are too many transfers.
    Limit,
    /// `pre-xfer exec` said no.
    Hook,
}

impl Step {
    const ALL: [Self; 5] = [Self::Module, Self::Login, Self::Enter, Self::Limit, Self::Hook];

    fn as_str(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Login => "login",
            Self::Enter => "enter",
            Self::Limit => "limit",
            Self::Hook => "hook",
        }
    }
}

/// A transfer that is going on, until it is dropped.
#[derive(Debug)]
pub struct Transferring {
    tally: Tally,
    module: String,
}

impl Drop for Transferring {
    fn drop(&mut self) {
        if let Some(count) = unpoisoned(&self.tally.0.transfers).get_mut(&self.module) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Tally {
    /// A client was refused at `step`.
    pub fn refused(&self, step: Step) {
        self.0.refused.of(&[("step", step.as_str())]).inc();
    }

    /// A login at `module` failed.
    pub fn login_failed(&self, module: &str) {
        self.refused(Step::Login);
        self.0.login_failures.of(&[("module", module)]).inc();
    }

    /// A transfer begins.
    pub fn transfer(&self, module: &str) -> Transferring {
        *unpoisoned(&self.0.transfers).entry(module.to_owned()).or_default() += 1;
        Transferring { tally: self.clone(), module: module.to_owned() }
    }

    /// No TLS connection came about.
    pub fn tls_failed(&self) {
        self.0.connections.of(&[("outcome", "tls_failed")]).inc();
    }

    /// A connection has ended.
    pub fn ended(&self, served: &Served) {
        let outcome = match (&served.module, &served.error) {
            (None, None) => "no_transfer",
            (None, Some(_)) => "ended_early",
            (Some(_), None) => "transferred",
            (Some(_), Some(_)) => "failed",
        };
        self.0.connections.of(&[("outcome", outcome)]).inc();
        let (Some(module), Some(direction)) = (&served.module, served.direction) else { return };
        let counters = &served.report.counters;
        let exit = served.error.as_ref().map_or_else(|| served.report.exit_code(), |e| e.exit);
        let direction = word(direction);
        let code = exit.code().to_string();
        let labels = [("module", module.as_str()), ("direction", direction), ("code", &code)];
        self.0.sessions.of(&labels).inc();
        self.0.files.of(&labels[..2]).inc_by(counters.transferred);
        let module = &labels[..1];
        self.0.deleted.of(module).inc_by(counters.deleted);
        self.0.read.of(module).inc_by(counters.wire_read);
        self.0.written.of(module).inc_by(counters.wire_written);
    }
}

/// A direction as the log has it.
fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Push => "push",
        Direction::Pull => "pull",
    }
}

/// What there is to tell about a daemon.
#[derive(Clone)]
pub struct Observed {
    /// What was counted.
    pub tally: Tally,
    /// The clients there are.
    pub crowd: Arc<Crowd>,
    /// The modules.
    pub site: Arc<DaemonSite>,
    /// The certificate, if there is one.
    pub certificate: Option<Arc<Certificate>>,
    /// When the daemon started.
    pub since: SystemTime,
}

/// Serves metrics and health on `address`. `None` where that cannot be; the log says why.
pub async fn serve(address: &str, observed: Observed) -> Option<Endpoint> {
    let also = observed.clone();
    let sources = Sources {
        figures: Arc::new(move || figures::of(&observed)),
        health: Arc::new(move || health::of(&also)),
    };
    endpoint::start(address, sources).await
}

/// Where a module is. `None` if that depends on the client.
fn path_of(module: &Module) -> Option<PathBuf> {
    place(module.rules.path.as_deref()?).map(|path| path.replacen("/./", "/", 1)).map(paths::native)
}

/// The folder at which a module's disk has to be mounted, if one is named that does not depend on the
/// client.
fn mount_of(module: &Module) -> Option<PathBuf> {
    place(module.rules.mounted_on.as_deref()?).map(paths::native)
}

fn place(text: &str) -> Option<String> {
    (!text.contains("%RSYNC_")).then(|| config::expand(text, &config::environment))
}
