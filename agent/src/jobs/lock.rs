//! Runs of one job never overlap: each holds a lock that the operating system takes back when the
//! program ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bascule_platform::owned;

/// Somebody who only looks whether the lock is taken holds it for no longer than this.
const LOOK: Duration = Duration::from_millis(200);
/// How long to wait before the lock is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// The right to run a job, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `job`, whose file is in the folder `state`.
    ///
    /// # Errors
    /// When the job is being run, or the file cannot be used.
    pub fn take(state: &Path, job: &str) -> anyhow::Result<Self> {
        let folder = state.join("locks");
        std::fs::create_dir_all(state)
            .and_then(|()| owned::create_dir(&folder))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{job}.lock"));
        let file = owned::create(&path).and_then(|()| OpenOptions::new().write(true).open(&path));
        let file = file.with_context(|| format!("cannot open the lock {}", path.display()))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOOK => {
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    bail!("the job {job} is being run already; `bascule status` shows it")
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
    }

    /// Whether a run of `job` is going on.
    pub fn is_taken(state: &Path, job: &str) -> bool {
        let path = state.join("locks").join(format!("{job}.lock"));
        let Ok(file) = File::open(path) else { return false };
        // Shared: two who look are no run to each other.
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_keeps_nobody_from_running() {
        let state = tempfile::tempdir().expect("a folder");
        drop(Lock::take(state.path(), "mail").expect("free"));
        let file = File::open(state.path().join("locks/mail.lock")).expect("it is there");
        file.try_lock_shared().expect("nobody runs");
        assert!(!Lock::is_taken(state.path(), "mail"), "another look is no run");
        let looking = std::thread::spawn(move || {
            std::thread::sleep(PAUSE);
            drop(file);
        });
        Lock::take(state.path(), "mail").expect("free once nobody looks");
        looking.join().expect("it ended");
    }

    #[test]
    fn one_at_a_time_by_job() {
        let state = tempfile::tempdir().expect("a folder");
        assert!(!Lock::is_taken(state.path(), "mail"));
        let held = Lock::take(state.path(), "mail").expect("free");
        let error = Lock::take(state.path(), "mail").expect_err("taken").to_string();
        assert!(error.contains("being run already"), "{error}");
        assert!(Lock::is_taken(state.path(), "mail"));
        Lock::take(state.path(), "archive").expect("another job's");
        drop(held);
        assert!(!Lock::is_taken(state.path(), "mail"));
        Lock::take(state.path(), "mail").expect("free again");
    }
}
