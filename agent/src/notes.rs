//! What the agent remembers between runs: files of lines in the user's state folder.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bascule_platform::owned;

/// One file of lines. Without a home directory nothing is remembered.
pub struct Notes(Option<PathBuf>);

impl Notes {
    /// The notes of that name in `folder`, by default the user's state folder.
    pub fn open(folder: Option<&Path>, name: &str) -> Self {
        let folder = folder.map(Path::to_owned);
        let folder = folder.or_else(|| bascule_platform::state::folder("bascule"));
        Self(folder.map(|folder| folder.join(name)))
    }

    /// All of them, a line each.
    ///
    /// # Errors
    /// When they are there and cannot be read: not knowing is no reason to be careless.
    pub fn read(&self) -> anyhow::Result<String> {
        let Some(path) = &self.0 else { return Ok(String::new()) };
        match std::fs::read_to_string(path) {
            // Nothing is there, or the home directory is somebody else's (`sudo -u`).
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(String::new())
            }
            read => read.with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Adds lines at the end, all in one write.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&self, lines: &[String]) -> anyhow::Result<()> {
        let Some(path) = self.0.as_ref().filter(|_| !lines.is_empty()) else { return Ok(()) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut text = String::new();
        for line in lines {
            writeln!(text, "{line}")?;
        }
        owned::create(path)?;
        let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
        Ok(file.write_all(text.as_bytes())?)
    }

    #[cfg(test)]
    pub(crate) fn at(path: Option<PathBuf>) -> Self {
        Self(path)
    }
}
