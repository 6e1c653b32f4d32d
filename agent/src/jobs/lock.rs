//! Runs of one job never overlap: each holds a lock that the operating system takes back when the
//! program ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// A lock that is taken is tried so often again, after so long each time.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(20);

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
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{job}.lock"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open the lock {}", path.display()))?;
        let mut taken = file.try_lock();
        // Whoever only looks has it for a moment.
        for _ in 0..LOOKS {
            if !matches!(taken, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(LOOK);
            taken = file.try_lock();
        }
        match taken {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                bail!("the job {job} is being run already; `bascule status` shows it")
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Whether a run of `job` is going on.
    pub fn is_taken(state: &Path, job: &str) -> bool {
        let path = state.join("locks").join(format!("{job}.lock"));
        let Ok(file) = OpenOptions::new().write(true).open(path) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn looking_keeps_nobody_from_running() {
        let state = tempfile::tempdir().expect("a folder");
        drop(Lock::take(state.path(), "mail").expect("free"));
        std::thread::scope(|scope| {
            let (done, is_done) = std::sync::mpsc::channel::<()>();
            scope.spawn(|| {
                let is_done = is_done;
                while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    Lock::is_taken(state.path(), "mail");
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
            for _ in 0..200 {
                Lock::take(state.path(), "mail").expect("nobody runs it");
            }
            drop(done);
        });
    }
}
