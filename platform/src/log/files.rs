//! Log files: one that others rotate, or a folder of daily ones.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;

/// The log file of this process, for [`reopen`].
static CURRENT: OnceLock<Appending> = OnceLock::new();

/// A file that is appended to.
#[derive(Debug, Clone)]
pub(super) struct Appending {
    path: PathBuf,
    file: Arc<RwLock<Arc<File>>>,
}

/// Opens a log file for appending; a new one is readable by its owner and group.
pub(super) fn appending(path: &Path) -> io::Result<Appending> {
    let file = Arc::new(RwLock::new(Arc::new(open(path)?)));
    let log = Appending { path: path.to_owned(), file };
    // The first log of a process is the one that stays.
    let _ = CURRENT.set(log.clone());
    Ok(log)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// Opens the log file by its name again, for whoever has renamed it. Nothing happens when the log
/// goes elsewhere.
///
/// # Errors
/// What the file system says; the old file then goes on being written.
pub fn reopen() -> io::Result<()> {
    CURRENT.get().map_or(Ok(()), Appending::reopen)
}

impl Appending {
    fn reopen(&self) -> io::Result<()> {
        let new = open(&self.path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        })?;
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }
}

impl MakeWriter<'_> for Appending {
    type Writer = Handle;

    fn make_writer(&self) -> Handle {
        Handle(Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The file as it is for one line.
pub(super) struct Handle(Arc<File>);

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

/// A folder of files `PROGRAM.YYYY-MM-DD.log`, of which the last `keep` stay.
pub(super) fn daily(folder: &Path, program: &str, keep: usize) -> io::Result<RollingFileAppender> {
    make_folder(folder)?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(program)
        .filename_suffix("log")
        .max_log_files(keep)
        .build(folder)
        .map_err(io::Error::other)
}

/// Makes the folder and those above it; the last is closed to others.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above)?;
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
    builder.recursive(true);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_rotated_is_begun_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let log = appending(&path).expect("a log");
        log.make_writer().write_all(b"one\n").expect("written");
        std::fs::rename(&path, &old).expect("renamed");
        log.make_writer().write_all(b"two\n").expect("written");
        log.reopen().expect("reopened");
        log.make_writer().write_all(b"three\n").expect("written");
        assert_eq!(std::fs::read_to_string(&old).expect("the old one"), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).expect("the new one"), "three\n");
        // What cannot be opened again is still written.
        let newer = dir.path().join("log.2");
        std::fs::rename(&path, &newer).expect("renamed");
        std::fs::create_dir(&path).expect("a folder in its place");
        assert!(log.reopen().is_err_and(|error| error.to_string().contains("log")));
        log.make_writer().write_all(b"four\n").expect("written");
        assert_eq!(std::fs::read_to_string(&newer).expect("the open one"), "three\nfour\n");
    }

    #[test]
    fn a_folder_keeps_the_newest_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("a/logs");
        std::fs::create_dir_all(&folder).expect("a folder");
        for day in ["01", "02", "03"] {
            std::fs::write(folder.join(format!("prog.2020-01-{day}.log")), "old").expect("a file");
        }
        std::fs::write(folder.join("other.2020-01-01.log"), "mine").expect("a file");
        let mut log = daily(&folder, "prog", 2).expect("a log");
        log.write_all(b"new\n").expect("written");
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .expect("readable")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert!(names.contains(&"other.2020-01-01.log".to_owned()), "{names:?}");
        let own: Vec<&String> = names.iter().filter(|name| name.starts_with("prog.")).collect();
        assert_eq!(own.len(), 2, "{names:?}");
    }
}
