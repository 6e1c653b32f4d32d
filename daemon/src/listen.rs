//! Accepts connections and serves each in a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bascule_engine::observe::{Event, Observer};
use bascule_engine::stop::Stop;
use bascule_session::server::{self, Served, ServerOptions};
use bascule_session::site::{Peer, Site};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long running sessions may take to end when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(10);

/// Binds the daemon's address; without one, every address of this machine.
///
/// # Errors
/// When the address makes no sense or cannot be had.
pub async fn bind(address: Option<&str>, port: u16) -> anyhow::Result<TcpListener> {
    let bound = match address {
        Some(address) => TcpListener::bind((address, port)).await,
        None => match TcpListener::bind(("::", port)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
        },
    };
    bound.with_context(|| {
        format!(
            "cannot listen on {} port {port}; is another daemon running, or is root needed?",
            address.unwrap_or("any address")
        )
    })
}

/// Accepts until `stop`; then running sessions are ended.
pub async fn accept(
    listener: TcpListener,
    site: Arc<dyn Site>,
    options: ServerOptions,
    stop: Stop,
) {
    let mut sessions = JoinSet::new();
    let (asked, mut ask) = tokio::sync::mpsc::channel::<()>(1);
    stop.on_stop(move || {
        // One request is enough.
        let _ = asked.try_send(());
    });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = sessions.join_next() => continue,
            _ = ask.recv() => break,
        };
        match accepted {
            Ok((stream, from)) => {
                // A socket that refuses still works, only slower.
                let _ = stream.set_nodelay(true);
                let (site, stop) = (Arc::clone(&site), stop.clone());
                sessions.spawn(async move {
                    let peer = Peer { address: Some(from.ip().to_canonical()) };
                    let log = Arc::new(SessionLog);
                    log_end(from, &server::serve(stream, site, peer, options, log, stop).await);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: serving the others frees some.
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    let all = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, all).await.is_err() {
        tracing::warn!(event = "sessions_cut", "some sessions did not end in time");
    }
}

/// Serves one connection on standard input and output.
pub async fn stdio(site: Arc<dyn Site>, options: ServerOptions, stop: Stop) {
    let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
    let peer = Peer { address: None };
    let served = server::serve(stream, site, peer, options, Arc::new(SessionLog), stop).await;
    log_end(SocketAddr::from(([0, 0, 0, 0], 0)), &served);
}

fn log_end(from: SocketAddr, served: &Served) {
    let counters = &served.report.counters;
    let module = served.module.as_deref().unwrap_or("-");
    match &served.error {
        None => tracing::info!(
            event = "session_ended",
            %from,
            module,
            transferred = counters.transferred,
            deleted = counters.deleted,
            read = counters.wire_read,
            written = counters.wire_written,
            code = served.report.exit_code().code(),
        ),
        Some(error) => tracing::warn!(
            event = "session_failed",
            %from,
            module,
            code = error.exit.code(),
            error = %error.text.escape_debug(),
        ),
    }
}

/// Writes the trouble of a session to the log.
struct SessionLog;

impl Observer for SessionLog {
    fn on(&self, event: &Event<'_>) {
        if let Event::Problem(problem) = event {
            tracing::warn!(event = "problem", text = %problem.to_string().escape_debug());
        }
    }
}
