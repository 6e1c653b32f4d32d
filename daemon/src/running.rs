//! The daemon at work: clients let in, orders of the service manager carried out, an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;

use bascule_engine::stop::Stop;
use bascule_platform::service::control::Word;
use bascule_platform::service::{Control, Order};
use bascule_session::site::Peer;
use tokio::net::{TcpListener, TcpStream};

use crate::config::{self, Global};
use crate::door::{Door, Doorkeeper};
use crate::listen;
use crate::site::DaemonSite;
use crate::tls::Certificate;

/// What is read again when the daemon is told to.
pub struct Reloadable {
    /// The modules.
    pub site: Arc<DaemonSite>,
    /// The certificate, if there is one.
    pub certificate: Option<Arc<Certificate>>,
    /// What was in force at the start: some parameters count only then.
    pub started_with: Global,
}

/// Serves clients until the order to end.
pub async fn serve(
    doorkeeper: Doorkeeper,
    listeners: Vec<(TcpListener, Door)>,
    mut control: Control,
    reloadable: Option<Reloadable>,
) {
    if let Err(error) = bascule_platform::limits::raise_open_files() {
        tracing::warn!(event = "limits.unraised", %error, "the limit on open files cannot be raised");
    }
    let mut addresses = Vec::new();
    for (listener, door) in &listeners {
        if let Ok(address) = listener.local_addr() {
            let tls_only = *door == Door::TlsOnly;
            let version = env!("CARGO_PKG_VERSION");
            tracing::info!(event = "daemon.listening", %address, tls_only, version, "listening");
            addresses.push(address);
        }
    }
    let modules = reloadable.as_ref().map(|reloadable| reloadable.site.module_count());
    control.say(Word::Ready(&status(modules, &addresses)));
    tracing::info!(event = "service.ready", "ready");
    let session = move |stream: TcpStream, peer: Peer, door: Door, stop: Stop| {
        let doorkeeper = doorkeeper.clone();
        async move { doorkeeper.serve(stream, peer, door, stop).await }
    };
    let end = async {
        loop {
            match control.order().await {
                Ok(Order::Stop) => break,
                Ok(Order::Reload) => {
                    control.say(Word::Reloading);
                    let modules = reloadable.as_ref().map(Reloadable::reload);
                    control.say(Word::Ready(&status(modules, &addresses)));
                }
                Err(error) => {
                    tracing::error!(event = "service.signals_lost", %error, "signals cannot be caught");
                    std::future::pending::<()>().await;
                }
            }
        }
        tracing::info!(event = "service.stopping", "stopping");
        control.say(Word::Stopping("waiting for transfers to end"));
    };
    listen::run(listeners, session, end).await;
    tracing::info!(event = "service.stopped", "stopped");
}

impl Reloadable {
    /// Reads everything again and says in the log what came of it; gives the number of modules.
    fn reload(&self) -> usize {
        bascule_platform::log::reopen();
        let is_certificate_good = self.certificate.as_ref().is_none_or(|found| found.reload());
        match self.site.reload() {
            Ok(config) => {
                for warning in &config.warnings {
                    tracing::warn!(event = "config.warning", "{warning}");
                }
                let late = config::changed(&self.started_with, &config.global);
                if !late.is_empty() {
                    let parameters = late.join(", ");
                    tracing::warn!(
                        event = "config.restart_needed",
                        parameters,
                        "changes that count after a restart"
                    );
                }
                let modules = config.modules.len();
                if is_certificate_good {
                    tracing::info!(event = "config.reloaded", modules, "configuration reloaded");
                }
            }
            Err(errors) => {
                for error in &errors.0 {
                    tracing::error!(
                        event = "config.bad",
                        %error,
                        "bad configuration, the last good one stays in force"
                    );
                }
            }
        }
        self.site.module_count()
    }
}

fn status(modules: Option<usize>, addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let modules = match modules {
        None | Some(1) => "1 module".to_owned(),
        Some(number) => format!("{number} modules"),
    };
    format!("serving {modules} on {}", addresses.join(", "))
}
