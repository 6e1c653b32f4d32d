//! The signals that end a program or let it read its configuration again.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

#[cfg(unix)]
use crate::service::Order;

/// Waits for Ctrl-C, or on Unix for SIGTERM or SIGHUP.
///
/// # Errors
/// When the signals cannot be caught.
pub async fn interrupted() -> io::Result<()> {
    #[cfg(unix)]
    {
        Signals::catch(false)?.next().await.map(drop)
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await
    }
}

/// The signals of a service.
#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    at_hang_up: Order,
}

#[cfg(unix)]
impl Signals {
    /// From now on, signals end nothing by themselves.
    pub(crate) fn catch(reloads: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            at_hang_up: if reloads { Order::Reload } else { Order::Stop },
        })
    }

    pub(crate) async fn next(&mut self) -> io::Result<Order> {
        // A closed stream of signals cannot be: they live as long as the process.
        Ok(tokio::select! {
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.terminate.recv() => Order::Stop,
            _ = self.hang_up.recv() => self.at_hang_up,
        })
    }
}
