//! The pid file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;

/// A file with this process's number, locked while the daemon runs and removed at the end.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    _locked: File,
}

impl PidFile {
    /// Writes it.
    ///
    /// # Errors
    /// Which file cannot be written, or that another daemon holds it.
    pub fn write(path: PathBuf) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let cannot = || format!("cannot write the pid file {shown}");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!("another daemon is running: it holds the pid file {shown}");
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        file.set_len(0).with_context(cannot)?;
        file.rewind().with_context(cannot)?;
        writeln!(file, "{}", std::process::id()).with_context(cannot)?;
        Ok(Self { path, _locked: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(event = "daemon.pid_file", path = %self.path.display(), %error, "cannot remove the pid file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_belongs_to_one_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pid");
        std::fs::write(&path, "left behind by another process\n").expect("written");
        let held = PidFile::write(path.clone()).expect("free");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text, format!("{}\n", std::process::id()));
        let error = PidFile::write(path.clone()).expect_err("held");
        assert!(error.to_string().starts_with("another daemon is running"), "{error}");
        drop(held);
        assert!(!path.exists());
    }
}
