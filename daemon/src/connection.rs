//! One client from its first byte to its last, and what the log says of it.

use std::sync::Arc;
use std::time::Duration;

use bascule_engine::observe::{Event, Observer};
use bascule_engine::stop::Stop;
use bascule_session::server::{Served, ServerOptions, serve};
use bascule_session::site::{Peer, Site};
use bascule_wire::Version;
use bascule_wire::args::Direction;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::arrival::Arrival;
use crate::attempts::Attempts;
use crate::client::Client;
use crate::config::Global;
use crate::crowd::{Crowd, Limits, Ticket};
use crate::metrics::Tally;

/// How every client is served.
#[derive(Clone)]
pub struct Connections {
    site: Arc<dyn Site>,
    options: ServerOptions,
    crowd: Arc<Crowd>,
    attempts: Arc<Attempts>,
    tally: Tally,
}

impl Connections {
    /// Serves a site within the limits of `global`; `highest` is the highest protocol number to
    /// offer.
    pub fn new(site: Arc<dyn Site>, highest: Version, global: &Global) -> Self {
        let umask = bascule_platform::umask();
        let patience = Duration::from_secs(global.handshake_timeout.unsigned_abs());
        let limits = |total: i64, per_address: i64| Limits {
            total: usize::try_from(total).unwrap_or(usize::MAX),
            per_address: usize::try_from(per_address).unwrap_or(usize::MAX),
        };
        let openings = limits(global.max_openings, global.max_openings_per_address);
        let transfers = limits(global.max_transfers, global.max_transfers_per_address);
        Self {
            site,
            options: ServerOptions { highest, umask, patience },
            crowd: Arc::new(Crowd::new(openings, transfers)),
            attempts: Arc::default(),
            tally: Tally::default(),
        }
    }

    /// The clients there are.
    pub fn crowd(&self) -> &Arc<Crowd> {
        &self.crowd
    }

    /// What has become of clients.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Gives a client its place among the others. `stop` is made when it has to go.
    pub fn arrive(&self, peer: &Peer, stop: &Stop) -> Ticket {
        self.crowd.arrive(peer.address, stop.clone())
    }

    /// Serves one client to its end. `stop` cuts it short.
    pub async fn serve<S>(&self, stream: S, peer: Peer, ticket: Ticket, stop: Stop)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let address = Client { address: peer.address, ..Client::default() }.address_text();
        tracing::debug!(event = "client.connected", address, "connected");
        let ticket = Arc::new(ticket);
        let (site, attempts) = (Arc::clone(&self.site), Arc::clone(&self.attempts));
        let tally = self.tally.clone();
        let site = Arc::new(Arrival { site, ticket: Arc::clone(&ticket), attempts, tally });
        let problems = Arc::new(Problems { address: address.clone() });
        let served = serve(stream, site, peer, self.options, problems, stop).await;
        drop(ticket);
        self.tally.ended(&served);
        report(&address, &served);
    }
}

/// Writes trouble with single files to the log.
struct Problems {
    address: String,
}

impl Observer for Problems {
    fn on(&self, event: &Event<'_>) {
        if let Event::Problem(problem) = event
            && !problem.remote
        {
            tracing::warn!(event = "file.failed", address = self.address, %problem, "file trouble");
        }
    }
}

fn report(address: &str, served: &Served) {
    let Some(module) = &served.module else {
        if let Some(error) = &served.error {
            tracing::info!(event = "client.ended_early", address, %error, "connection ended early");
        }
        return;
    };
    let operation = match served.direction {
        Some(Direction::Push) => "push",
        Some(Direction::Pull) => "pull",
        None => "none",
    };
    let counters = &served.report.counters;
    let (read, written, deleted) = (counters.wire_read, counters.wire_written, counters.deleted);
    match &served.error {
        None => {
            let code = served.report.exit_code().code();
            let files = counters.transferred;
            tracing::info!(
                event = "session.ended",
                module,
                address,
                operation,
                code,
                files,
                deleted,
                read,
                written,
                "transfer done"
            );
        }
        Some(error) => {
            let code = error.exit.code();
            tracing::warn!(event = "session.failed",
                module, address, operation, code, %error, deleted, read, written, "transfer failed"
            );
        }
    }
}
