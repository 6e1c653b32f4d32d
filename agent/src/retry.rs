//! New attempts after faults on the way: which failures they can heal, and how long to wait.

use std::time::Duration;

use bascule_engine::outcome::{Counters, ExitCode, Report};
use bascule_engine::stop::Stop;
use bascule_session::client;
use bascule_session::error::SessionError;

/// What a daemon says that has too many clients.
pub(crate) const BUSY: &str = "try again later";

/// No wait is longer than this.
const LONGEST: Duration = Duration::from_secs(60);

/// How often to try again, and how long to wait before.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// Attempts after the first.
    pub limit: u32,
    /// The wait before the first of them; it doubles with each.
    pub wait: Duration,
}

impl Retries {
    /// How long to wait before the next attempt, of which `failed` have been made; `None` when
    /// there are to be no more.
    pub fn pause(&self, failed: u32) -> Option<Duration> {
        let doublings = failed.checked_sub(1)?;
        if failed > self.limit {
            return None;
        }
        let longest = LONGEST.max(self.wait);
        let full = self.wait.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
        // Agents that lost the same daemon must not all come back in the same moment.
        Some(full.mul_f64(0.5 + 0.5 * chance()))
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut byte = [0];
    // Without chance the wait is merely a round one.
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}

/// Whether a new attempt may end better: the connection was not to be had, broke or fell silent,
/// or the daemon has too many clients or was told to stop.
pub fn can_heal(error: &SessionError) -> bool {
    if error.lasting {
        return false;
    }
    match error.exit {
        ExitCode::Socket | ExitCode::Stream | ExitCode::Timeout | ExitCode::ConnectTimeout => true,
        ExitCode::ClientStart => error.from_peer && error.text.contains(BUSY),
        ExitCode::Interrupted => error.from_peer,
        _ => false,
    }
}

/// Waits; tells whether the wait was not cut short by `stop`.
pub async fn wait(pause: Duration, stop: &Stop) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = client::stopped(stop) => false,
    }
}

/// An attempt that failed on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its exit code.
    pub exit: ExitCode,
    /// What happened.
    pub text: String,
}

/// What several attempts did: the work of all, and the list and the trouble of the last, which
/// looked at everything again.
pub fn add(earlier: &Counters, last: &mut Report) {
    let Counters {
        listed: _,
        listed_files: _,
        listed_bytes: _,
        created,
        transferred,
        transferred_bytes,
        literal_bytes,
        matched_bytes,
        deleted,
        wire_read,
        wire_written,
    } = *earlier;
    let sum = &mut last.counters;
    sum.created += created;
    sum.transferred += transferred;
    sum.transferred_bytes += transferred_bytes;
    sum.literal_bytes += literal_bytes;
    sum.matched_bytes += matched_bytes;
    sum.deleted += deleted;
    sum.wire_read += wire_read;
    sum.wire_written += wire_written;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let retries = Retries { limit: 10, wait: Duration::from_secs(2) };
        for (failed, most) in [(1, 2), (2, 4), (3, 8), (5, 32), (6, 60), (10, 60)] {
            let pause = retries.pause(failed).expect("one more");
            let most = Duration::from_secs(most);
            assert!(pause <= most && pause >= most / 2, "{failed}: {pause:?}");
        }
        assert_eq!(retries.pause(11), None);
        assert_eq!(Retries { limit: 0, ..retries }.pause(1), None);
        let slow = Retries { limit: 100, wait: Duration::from_secs(3600) };
        assert!(slow.pause(100).is_some_and(|pause| pause >= slow.wait / 2));
    }

    #[test]
    fn only_faults_on_the_way_are_worth_another_attempt() {
        let ours = |exit| SessionError::new(exit, "trouble");
        let theirs = |exit, text: &str| SessionError::from_peer(exit, text);
        let busy = "the daemon refused: max connections (2) reached -- try again later";
        for (error, heals) in [
            (ours(ExitCode::Socket), true),
            (ours(ExitCode::Stream), true),
            (ours(ExitCode::Timeout), true),
            (ours(ExitCode::ConnectTimeout), true),
            (theirs(ExitCode::Timeout, "the peer ended the run with code 30"), true),
            (theirs(ExitCode::ClientStart, busy), true),
            (theirs(ExitCode::Interrupted, "the peer ended the run with code 20"), true),
            (ours(ExitCode::Interrupted), false),
            (ours(ExitCode::Socket).lasting(), false),
            (theirs(ExitCode::ClientStart, "the daemon refused: auth failed on module m"), false),
            (theirs(ExitCode::ClientStart, "the daemon refused: Unknown module 'm'"), false),
            (ours(ExitCode::Syntax), false),
            (ours(ExitCode::FileIo), false),
            (ours(ExitCode::Protocol), false),
            (ours(ExitCode::Partial), false),
        ] {
            assert_eq!(can_heal(&error), heals, "{error:?}");
        }
    }
}
