//! Log files: one that others rotate, or a folder with one for each day, of which the newest stay.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// The log of this process, for [`reopen`].
static CURRENT: OnceLock<LogFile> = OnceLock::new();

/// A file that is appended to: always the same, or that of the day.
#[derive(Debug, Clone)]
pub(super) struct LogFile {
    place: Place,
    open: Arc<RwLock<Open>>,
}

/// Where the lines go.
#[derive(Debug, Clone)]
enum Place {
    /// To this file.
    File(PathBuf),
    /// To `PROGRAM.YYYY-MM-DD.log` in a folder, of which the last `keep` stay.
    Daily { folder: PathBuf, program: &'static str, keep: usize },
}

/// The file that is open.
#[derive(Debug)]
struct Open {
    /// Its day, if it is for one alone.
    day: Option<Day>,
    file: Arc<File>,
}

/// A day of UTC, as it is written: `2026-11-26`.
type Day = String;

/// Opens a log file for appending; a new one is readable by its owner and group.
pub(super) fn appending(path: &Path) -> io::Result<LogFile> {
    LogFile::begin(Place::File(path.to_owned()))
}

/// Opens today's log in a folder, which is made if it is missing.
pub(super) fn daily(folder: &Path, program: &'static str, keep: usize) -> io::Result<LogFile> {
    LogFile::begin(Place::Daily { folder: folder.to_owned(), program, keep })
}

/// Opens the log file by its name again, for whoever has renamed or removed it. Nothing happens when
/// the log goes elsewhere.
///
/// # Errors
/// What the file system says; the old file then goes on being written.
pub(super) fn reopen() -> io::Result<()> {
    CURRENT.get().map_or(Ok(()), LogFile::reopen)
}

impl LogFile {
    fn begin(place: Place) -> io::Result<Self> {
        let open = Arc::new(RwLock::new(place.open(place.today())?));
        let log = Self { place, open };
        // The first log of a process is the one that stays.
        let _ = CURRENT.set(log.clone());
        Ok(log)
    }

    fn reopen(&self) -> io::Result<()> {
        self.go_on_in(self.place.today()).map_err(|error| {
            let path = self.place.path().display();
            io::Error::new(error.kind(), format!("{path}: {error}"))
        })
    }

    fn go_on_in(&self, day: Option<Day>) -> io::Result<()> {
        let new = self.place.open(day)?;
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl MakeWriter<'_> for LogFile {
    type Writer = Handle;

    fn make_writer(&self) -> Handle {
        let current = || {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            (open.day.clone(), Arc::clone(&open.file))
        };
        let (day, file) = current();
        let today = self.place.today();
        if day == today {
            return Handle(file);
        }
        // Yesterday's file takes the line if today's cannot be opened; the next line tries again.
        let _ = self.go_on_in(today);
        Handle(current().1)
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

impl Place {
    /// The file, or the folder of files.
    fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Daily { folder: path, .. } => path,
        }
    }

    /// The day whose file is to be written, where each has its own.
    fn today(&self) -> Option<Day> {
        match self {
            Self::File(_) => None,
            Self::Daily { .. } => Some(today()),
        }
    }

    /// Opens the file of a day; in a folder, the oldest make room for it.
    fn open(&self, day: Option<Day>) -> io::Result<Open> {
        let path = match self {
            Self::File(path) => path.clone(),
            Self::Daily { folder, program, .. } => {
                make_folder(folder)?;
                folder.join(format!("{program}.{}.log", day.as_deref().unwrap_or_default()))
            }
        };
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
        let file = options.open(&path)?;
        if let (Self::Daily { folder, program, keep }, Some(day)) = (self, &day) {
            // Old logs that stay for a day longer are no reason to have no new one.
            let _ = remove_old(folder, program, *keep, day);
        }
        Ok(Open { day, file: Arc::new(file) })
    }
}

fn today() -> Day {
    let mut now = String::new();
    // Writing to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    now.truncate("2026-11-26".len());
    now
}

/// Removes the files of the days before `today`, but for the last `keep` together with today's. No
/// other file of the folder is touched: it may be shared with other programs.
fn remove_old(folder: &Path, program: &str, keep: usize, today: &str) -> io::Result<()> {
    let mut days: Vec<Day> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        days.extend(name.to_str().and_then(|name| day_of(name, program)).map(ToOwned::to_owned));
    }
    days.retain(|day| day.as_str() < today);
    days.sort();
    let stay = keep.saturating_sub(1).min(days.len());
    days.truncate(days.len() - stay);
    for day in days {
        std::fs::remove_file(folder.join(format!("{program}.{day}.log")))?;
    }
    Ok(())
}

/// The day in the name of a daily file of this program.
fn day_of<'a>(name: &'a str, program: &str) -> Option<&'a str> {
    let day = name.strip_prefix(program)?.strip_prefix('.')?.strip_suffix(".log")?;
    let is_day = day.len() == "2026-11-26".len()
        && day.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_day.then_some(day)
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
    fn a_folder_keeps_the_newest_days_and_what_is_not_the_programs() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("a/logs");
        std::fs::create_dir_all(&folder).expect("a folder");
        // Made in this order: what counts is the day in the name.
        let old = ["03", "02", "01"].map(|day| format!("prog.2020-01-{day}.log"));
        let others =
            ["progd.2020-01-01.log", "prog-notes.log", "prog.old.log", "prog.2020-01-1x.log"];
        for name in old.iter().map(String::as_str).chain(others) {
            std::fs::write(folder.join(name), "old").expect("a file");
        }
        let log = daily(&folder, "prog", 2).expect("a log");
        log.make_writer().write_all(b"new\n").expect("written");
        let todays = format!("prog.{}.log", today());
        let mut expected: Vec<&str> = others.into_iter().chain(["prog.2020-01-03.log"]).collect();
        expected.push(&todays);
        expected.sort_unstable();
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .expect("readable")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, expected);
        assert_eq!(std::fs::read_to_string(folder.join(&todays)).expect("today's"), "new\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = folder.join(&todays).metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o007, 0, "others read no log");
        }
    }

    #[test]
    fn a_new_day_has_a_new_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("logs");
        let log = daily(&folder, "prog", 5).expect("a log");
        let yesterday = folder.join("prog.2020-01-01.log");
        let file = Arc::new(File::create(&yesterday).expect("a file"));
        *log.open.write().expect("no panic") = Open { day: Some("2020-01-01".into()), file };
        log.make_writer().write_all(b"one\n").expect("written");
        let todays = folder.join(format!("prog.{}.log", today()));
        assert_eq!(std::fs::read_to_string(&todays).expect("today's"), "one\n");
        assert_eq!(std::fs::read_to_string(&yesterday).expect("yesterday's"), "");
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_removed_is_made_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("logs");
        let log = daily(&folder, "prog", 5).expect("a log");
        std::fs::remove_dir_all(&folder).expect("removed");
        log.reopen().expect("made again");
        log.make_writer().write_all(b"on\n").expect("written");
        let todays = folder.join(format!("prog.{}.log", today()));
        assert_eq!(std::fs::read_to_string(todays).expect("today's"), "on\n");
    }
}
