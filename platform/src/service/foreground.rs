//! Where nothing manages services: the program runs in the foreground, under whatever the
//! administrator starts it with, and keeps a log of its own.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Logs, ServiceError};
use crate::shell::word;

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(300);
/// The piece in which a log is read backwards, in bytes.
const CHUNK: usize = 8 << 10;

/// What to type where there is no manager.
#[derive(Debug, Clone)]
pub struct Instead {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, the log's folder among them.
    pub arguments: Vec<String>,
}

impl Instead {
    /// That, in words.
    pub fn text(&self) -> String {
        let mut line = word(&self.program.to_string_lossy());
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(&word(argument));
        }
        format!(
            "systemd does not run this machine (there is no /run/systemd/system), and no other \
             manager of services is known here. Let yours run the program in the foreground; it \
             keeps its log in daily files, reads its configuration again at SIGHUP and ends at \
             SIGTERM:\n\n  {line}\n"
        )
    }
}

/// The folder of daily logs of the program that runs as `name`: below `/var/log`, on Windows
/// below `%ProgramData%\Bascule\logs`.
pub fn log_folder(name: &str) -> PathBuf {
    if cfg!(windows) {
        let data = std::env::var_os("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into());
        return PathBuf::from(data).join("Bascule").join("logs").join(name);
    }
    PathBuf::from("/var/log").join(name)
}

/// Shows the end of the newest log of a folder on standard output; goes on with what comes if
/// asked, also in the next day's file.
///
/// # Errors
/// When there is no log, or it cannot be read.
pub fn show_log(folder: &Path, logs: Logs) -> Result<(), ServiceError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ServiceError::File { path, error }
    };
    let mut path = newest(folder).map_err(failed(folder))?;
    let mut file = File::open(&path).map_err(failed(&path))?;
    let mut out = io::stdout().lock();
    seek_to_last_lines(&mut file, logs.lines).map_err(failed(&path))?;
    loop {
        // A reader that has gone away wants no more.
        if io::copy(&mut file, &mut out).and_then(|_| out.flush()).is_err() || !logs.follow {
            return Ok(());
        }
        std::thread::sleep(POLL);
        let now = newest(folder).map_err(failed(folder))?;
        if now != path {
            // What came after the last look is still shown.
            let _ = io::copy(&mut file, &mut out);
            file = File::open(&now).map_err(failed(&now))?;
            path = now;
        }
    }
}

/// The log of the last day: dates in names sort as they should.
fn newest(folder: &Path) -> io::Result<PathBuf> {
    let mut newest = None;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "log") {
            newest = newest.max(Some(path));
        }
    }
    newest.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no log yet"))
}

/// Moves to where the last `lines` lines begin, reading the file backwards.
fn seek_to_last_lines(file: &mut File, lines: u32) -> io::Result<()> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let (mut buffer, mut seen) = (vec![0; CHUNK], 0);
    let whole = end;
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        file.seek(SeekFrom::Start(start))?;
        // At most CHUNK, which is small.
        let length = usize::try_from(end - start).unwrap_or(CHUNK);
        file.read_exact(&mut buffer[..length])?;
        for index in (0..length).rev() {
            let place = start + index as u64 + 1;
            // The last line's own end begins no line.
            if buffer[index] == b'\n' && place < whole {
                seen += 1;
                if seen == lines {
                    return file.seek(SeekFrom::Start(place)).map(drop);
                }
            }
        }
        end = start;
    }
    let from = if lines == 0 { SeekFrom::End(0) } else { SeekFrom::Start(0) };
    file.seek(from).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_the_newest_log() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(newest(dir.path()).is_err());
        for (name, text) in
            [("p.2026-01-02.log", "new"), ("p.2026-01-01.log", "old"), ("x.txt", "")]
        {
            std::fs::write(dir.path().join(name), text).expect("a file");
        }
        let path = newest(dir.path()).expect("a log");
        assert!(path.ends_with("p.2026-01-02.log"));
        let long = "x".repeat(CHUNK * 2);
        for (text, lines, expected) in [
            ("1\n2\n3\n".to_owned(), 2, "2\n3\n".to_owned()),
            ("1\n2\n3".to_owned(), 2, "2\n3".to_owned()),
            ("1\n2\n".to_owned(), 5, "1\n2\n".to_owned()),
            ("1\n".to_owned(), 0, String::new()),
            (String::new(), 3, String::new()),
            (format!("a\n{long}\nb\n"), 2, format!("{long}\nb\n")),
        ] {
            std::fs::write(&path, &text).expect("written");
            let mut file = File::open(&path).expect("open");
            seek_to_last_lines(&mut file, lines).expect("found");
            let mut rest = String::new();
            file.read_to_string(&mut rest).expect("read");
            assert_eq!(rest, expected, "{lines} of {} bytes", text.len());
        }
    }

    #[test]
    fn what_to_type_can_be_pasted() {
        let instead = Instead {
            program: "/opt/my programs/p".into(),
            arguments: vec!["--config=/etc/it's".into(), "--log-dir=/var/log/p".into()],
        };
        let line = match cfg!(windows) {
            true => r#""/opt/my programs/p" "--config=/etc/it's" --log-dir=/var/log/p"#,
            false => r"'/opt/my programs/p' '--config=/etc/it'\''s' --log-dir=/var/log/p",
        };
        assert!(instead.text().contains(line), "{}", instead.text());
    }
}
