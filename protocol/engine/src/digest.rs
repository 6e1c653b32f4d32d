//! Digests of whole files, of many at a time on several threads.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bascule_wire::strong::{Digest, FileHasher, StrongSum};

use crate::path::RelPath;
use crate::tree::{Metadata, ReadAt, Source, open_around_lock};

/// How much of a file is read at once, in bytes: it stays in the cache until it is hashed.
const READ: usize = 256 * 1024;
/// Threads that one list keeps busy: the disk is the limit soon, and others want to work too.
const MOST_THREADS: usize = 4;
/// Bytes that are worth a thread of their own.
const WORTH_A_THREAD: u64 = 1 << 20;

/// Reads files through one buffer.
#[derive(Debug)]
pub struct FileReader {
    buffer: Vec<u8>,
}

impl Default for FileReader {
    fn default() -> Self {
        Self { buffer: vec![0; READ] }
    }
}

impl FileReader {
    /// The digest of a file up to the size that it had when it was opened, or to its end if it has
    /// shrunk. `on_read` is told the bytes of each step, and may end the reading with an error.
    ///
    /// # Errors
    /// What the file system says, and those of `on_read`.
    pub fn digest(
        &mut self,
        file: &dyn ReadAt,
        mut hasher: FileHasher,
        mut on_read: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<Digest> {
        let size = file.opened().size;
        let mut offset = 0;
        while offset < size {
            let wanted = usize::try_from(size - offset).unwrap_or(READ).min(READ);
            match file.read_at(offset, &mut self.buffer[..wanted]) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&self.buffer[..read]);
                    offset += read as u64;
                    on_read(read as u64)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(hasher.finish())
    }
}

/// A file to read, and its size in bytes as far as it is known.
pub type Weighed = (RelPath, u64);

/// The list digests of several files of a tree, in their order; `None` for one that can only be read
/// from a snapshot and has changed since. When `go_on` says no, those that are left fail.
pub fn of_files(
    tree: &dyn Source,
    strong: &StrongSum,
    files: &[Weighed],
    go_on: &(dyn Fn() -> bool + Sync),
) -> Vec<io::Result<Option<Digest>>> {
    let check = || if go_on() { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) };
    let one = |reader: &mut FileReader, path: &RelPath| {
        check()?;
        let mut file = tree.open(path)?;
        let mut digest = reader.digest(&*file, strong.list(), |_| check());
        if let Err(error) = digest {
            file = open_around_lock(tree, path, &*file, error)?;
            digest = reader.digest(&*file, strong.list(), |_| check());
        }
        let digest = digest?;
        Ok(is_of_now(tree, path, &*file)?.then_some(digest))
    };
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        let mut reader = FileReader::default();
        let mut own = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, _)) = files.get(at) else { break };
            own.push((at, one(&mut reader, path)));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
    };
    thread::scope(|scope| {
        for number in 1..threads_for(files) {
            let named = thread::Builder::new().name(format!("digest {number}"));
            if named.spawn_scoped(scope, work).is_err() {
                // Fewer threads take longer, and that is all.
                break;
            }
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, digest)| digest).collect()
}

/// Whether the content of an open file is what its path has.
fn is_of_now(tree: &dyn Source, path: &RelPath, file: &dyn ReadAt) -> io::Result<bool> {
    if !file.is_snapshot() {
        return Ok(true);
    }
    let key = |metadata: &Metadata| (metadata.size, metadata.mtime, metadata.nanos);
    Ok(key(file.opened()) == key(&tree.metadata(path, true)?))
}

fn threads_for(files: &[Weighed]) -> usize {
    let bytes: u64 = files.iter().map(|(_, size)| size).sum();
    let worth = usize::try_from(bytes / WORTH_A_THREAD).unwrap_or(MOST_THREADS).max(1);
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    worth.min(processors).min(MOST_THREADS).min(files.len().max(1))
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::Disk;
    use crate::observe::Silent;
    use crate::run::Run;
    use crate::stop::Stop;
    use bascule_wire::Options;

    #[test]
    fn every_digest_is_in_its_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut files = Vec::new();
        for number in 0..40_usize {
            let name = format!("f{number}");
            let content = vec![number as u8; number * 50_000];
            if number != 7 {
                std::fs::write(dir.path().join(&name), &content).expect("a file");
            }
            files.push((RelPath::parse(name.as_bytes()).expect("legal"), content.len() as u64));
        }
        let run = Run::alone(Options::default(), Arc::new(Silent), Stop::new());
        let strong = StrongSum::new(&run.negotiated);
        let tree = Disk::open(dir.path()).expect("a tree");
        let digests = of_files(&tree, &strong, &files, &|| true);
        assert_eq!(digests.len(), files.len());
        for (number, digest) in digests.iter().enumerate() {
            let mut hasher = strong.list();
            hasher.update(&vec![number as u8; number * 50_000]);
            match digest {
                Ok(digest) => assert_eq!(*digest, Some(hasher.finish()), "{number}"),
                Err(error) => assert_eq!((error.kind(), number), (io::ErrorKind::NotFound, 7)),
            }
        }
        assert!(of_files(&tree, &strong, &files, &|| false).iter().all(Result::is_err));
    }
}
