//! What an interrupted verification has read already: one line per version of a file, its mark and
//! its digest. A version is known by path, size, modification and change time, device and inode.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bascule_engine::path::RelPath;
use bascule_engine::tree::Metadata;
use bascule_wire::flist::Entry;

/// The first line of the file.
const FORMAT: &str = "bascule verification 1";
/// How long a line may wait in memory.
const LAZY: Duration = Duration::from_millis(200);
/// A file that changed so short a time ago may change again without its times showing it.
const YOUNG: i64 = 2;

/// The file of `--resume`.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    known: HashMap<Mark, Box<[u8]>>,
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    file: BufWriter<File>,
    flushed: Instant,
    failed: Option<io::Error>,
}

/// Stands for one version of a file of one tree.
pub type Mark = [u8; 16];

/// The mark of a file of the tree that is called `root`, read with the digest of that name.
pub fn mark(root: &str, digest: &str, path: &RelPath, seen: &Metadata) -> Mark {
    let (changed, changed_nanos) = seen.changed;
    let numbers = [
        seen.size,
        seen.mtime.cast_unsigned(),
        seen.nanos.into(),
        changed.cast_unsigned(),
        changed_nanos.into(),
        seen.file_system,
        seen.inode,
    ];
    mark_of(&[root.as_bytes(), digest.as_bytes(), path.as_bytes()], &numbers)
}

/// The mark of a file of the daemon's end `root`. Of that, size and modification time are all that
/// is known.
pub fn remote_mark(root: &str, digest: &str, path: &[u8], entry: &Entry) -> Mark {
    let numbers = [entry.size, entry.mtime.cast_unsigned(), entry.nanos.into()];
    mark_of(&[root.as_bytes(), digest.as_bytes(), path], &numbers)
}

fn mark_of(texts: &[&[u8]], numbers: &[u64]) -> Mark {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    let mut mark = Mark::default();
    hasher.finalize_xof().fill(&mut mark);
    mark
}

impl State {
    /// Opens the state at `path`, or begins it.
    ///
    /// # Errors
    /// When it cannot be read and written, or is no such file.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = opened.with_context(|| path.display().to_string())?;
        let mut known = HashMap::new();
        let mut lines = BufReader::new(&file).lines();
        match lines.next() {
            None => writeln!(file, "{FORMAT}")?,
            Some(Ok(first)) if first == FORMAT => {
                for line in lines {
                    // A line that was cut short is as good as none.
                    if let Some((mark, digest)) = parse(&line?) {
                        known.insert(mark, digest);
                    }
                }
                // What follows must not be taken for the rest of such a line.
                if !ends_a_line(&mut file)? {
                    writeln!(file)?;
                }
            }
            Some(_) => anyhow::bail!(
                "{}: this is no state of a verification; give another --resume FILE",
                path.display()
            ),
        }
        let out = Out { file: BufWriter::new(file), flushed: Instant::now(), failed: None };
        Ok(Self { path: path.to_path_buf(), known, out: Mutex::new(out) })
    }

    /// The digest of a version that was read before.
    pub fn recall(&self, mark: &Mark) -> Option<&[u8]> {
        self.known.get(mark).map(|digest| &**digest)
    }

    /// Whether nothing is known yet.
    pub fn is_new(&self) -> bool {
        self.known.is_empty()
    }

    /// Notes the digest of a version that last changed at that second.
    pub fn note(&self, mark: &Mark, changed: i64, digest: &[u8]) {
        if changed == 0 || changed + YOUNG > now() {
            return;
        }
        self.write(|file| writeln!(file, "{} {}", hex(mark), hex(digest)));
    }

    /// Writes out what has waited long enough.
    pub fn tick(&self) {
        self.write(|_| Ok(()));
    }

    fn write(&self, put: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Out { file, flushed, failed } = &mut *out;
        let mut written = put(file);
        if flushed.elapsed() >= LAZY {
            *flushed = Instant::now();
            written = written.and_then(|()| file.flush());
        }
        if let Err(error) = written {
            failed.get_or_insert(error);
        }
    }

    /// Writes out everything.
    ///
    /// # Errors
    /// When some of it could not be written: the next verification reads those files again.
    pub fn save(&self) -> anyhow::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = out.file.flush();
        out.failed.take().map_or(flushed, Err).with_context(|| self.path.display().to_string())
    }

    /// Removes the file: there is nothing left to go on with.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> anyhow::Result<()> {
        std::fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    io::Read::read_exact(file, &mut last)?;
    Ok(last == *b"\n")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().try_into().unwrap_or(i64::MAX)
}

/// Bytes as digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn parse(line: &str) -> Option<(Mark, Box<[u8]>)> {
    let (mark, digest) = line.split_once(' ')?;
    let digest = unhex(digest)?;
    let is_digest = matches!(digest.len(), 8 | 16 | 20 | 32);
    Some((unhex(mark)?.try_into().ok()?, digest.into())).filter(|_| is_digest)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use bascule_wire::flist::{Device, Kind};

    use super::*;

    fn version(size: u64, changed: i64) -> Metadata {
        Metadata {
            kind: Kind::File,
            mode: 0o100_644,
            size,
            mtime: 7,
            nanos: 8,
            changed: (changed, 9),
            uid: 0,
            gid: 0,
            device: Device::default(),
            file_system: 1,
            inode: 2,
            links: 1,
        }
    }

    fn mark_at(path: &str, seen: &Metadata) -> Mark {
        mark("/a", "blake3", &RelPath::parse(path.as_bytes()).expect("legal"), seen)
    }

    #[test]
    fn recalls_versions_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state");
        let (old, young) = (version(5, 1000), version(6, now()));
        let state = State::open(&path).expect("a new one");
        state.note(&mark_at("x", &old), old.changed.0, &[7; 32]);
        state.note(&mark_at("y", &young), young.changed.0, &[8; 32]);
        state.save().expect("written");
        drop(state);
        let cut = std::fs::read(&path).expect("there");
        std::fs::write(&path, [&cut[..], b"0011 22"].concat()).expect("written");
        let state = State::open(&path).expect("it goes on");
        state.note(&mark_at("z", &old), old.changed.0, &[9; 16]);
        state.save().expect("written");
        drop(state);
        let state = State::open(&path).expect("it goes on");
        assert_eq!(state.recall(&mark_at("x", &old)), Some(&[7; 32][..]));
        assert_eq!(state.recall(&mark_at("z", &old)), Some(&[9; 16][..]));
        for other in [mark_at("x", &version(6, 1000)), mark_at("x", &version(5, 1001))] {
            assert_eq!(state.recall(&other), None);
        }
        assert_eq!(state.recall(&mark_at("y", &young)), None);
        state.remove().expect("removed");
        // Some file systems let go of a name when its file is closed.
        drop(state);
        assert!(!path.exists());
    }

    #[test]
    fn refuses_a_file_that_is_something_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("mail");
        std::fs::write(&path, "Dear Sir").expect("a file");
        assert!(State::open(&path).is_err());
        assert_eq!(std::fs::read(&path).expect("there"), b"Dear Sir");
    }
}
