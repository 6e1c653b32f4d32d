//! A site as one client meets it: with its place in the crowd, and slowed down when it guesses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bascule_engine::outcome::ExitCode;
use bascule_session::site::{
    LoginAttempt, ModuleLine, ModuleRules, OpenModule, Peer, Refusal, Site,
};

use crate::attempts::Attempts;
use crate::crowd::{Reached, Ticket};
use crate::metrics::{Step, Tally, Transferring};

/// The site for one client.
pub struct Arrival {
    /// The daemon's own.
    pub site: Arc<dyn Site>,
    /// The client's place.
    pub ticket: Arc<Ticket>,
    /// All clients' failed logins.
    pub attempts: Arc<Attempts>,
    /// Counts what becomes of clients.
    pub tally: Tally,
}

impl Site for Arrival {
    fn motd(&self) -> Option<Vec<u8>> {
        self.site.motd()
    }

    fn modules(&self, peer: &Peer) -> Vec<ModuleLine> {
        self.site.modules(peer)
    }

    fn open(&self, name: &[u8], peer: &Peer) -> Result<Box<dyn OpenModule>, Refusal> {
        let module =
            self.site.open(name, peer).inspect_err(|_| self.tally.refused(Step::Module))?;
        Ok(Box::new(ArrivedAt {
            name: String::from_utf8_lossy(name).into_owned(),
            module,
            ticket: Arc::clone(&self.ticket),
            attempts: Arc::clone(&self.attempts),
            tally: self.tally.clone(),
            transferring: None,
            peer: peer.clone(),
        }))
    }
}

struct ArrivedAt {
    name: String,
    module: Box<dyn OpenModule>,
    ticket: Arc<Ticket>,
    attempts: Arc<Attempts>,
    tally: Tally,
    transferring: Option<Transferring>,
    peer: Peer,
}

impl OpenModule for ArrivedAt {
    fn needs_login(&self) -> bool {
        self.module.needs_login()
    }

    fn login_delay(&self, user: &[u8]) -> Duration {
        self.attempts.begin(self.peer.address, user, Instant::now())
    }

    fn login(&mut self, attempt: &LoginAttempt<'_>) -> Result<(), Refusal> {
        self.module.login(attempt).inspect_err(|_| self.tally.login_failed(&self.name))?;
        self.attempts.succeeded(self.peer.address, attempt.user);
        Ok(())
    }

    fn enter(&mut self) -> Result<ModuleRules, Refusal> {
        self.module.enter().inspect_err(|_| self.tally.refused(Step::Enter))
    }

    fn before_transfer(&mut self, args: &[Vec<u8>]) -> Result<(), Refusal> {
        self.ticket.transfer().map_err(|Reached(limit)| {
            let address = self.peer.address.map(|address| address.to_string());
            self.tally.refused(Step::Limit);
            tracing::warn!(event = "transfers.full", address, limit, "too many transfers");
            Refusal(format!("max connections ({limit}) reached -- try again later"))
        })?;
        self.module.before_transfer(args).inspect_err(|_| self.tally.refused(Step::Hook))?;
        self.transferring = Some(self.tally.transfer(&self.name));
        Ok(())
    }

    fn after_transfer(&mut self, exit: ExitCode) {
        self.peer.line = None;
        self.module.after_transfer(exit);
    }
}
