//! The signals that end a program.

use std::io;

/// Waits for Ctrl-C, or on Unix for SIGTERM or SIGHUP.
///
/// # Errors
/// When the signals cannot be caught.
pub async fn interrupted() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            caught = tokio::signal::ctrl_c() => caught,
            _ = terminate.recv() => Ok(()),
            _ = hang_up.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await
    }
}
