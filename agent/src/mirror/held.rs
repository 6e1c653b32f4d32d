//! A run from a tree in which another program keeps files to itself: what is read from a snapshot is
//! stored only where a later run would still see that it is old.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use bascule_engine::disk::Disk;
use bascule_engine::path::RelPath;
use bascule_engine::tree::{Listing, Metadata, Reach, ReadAt, Source};

use super::*;

/// When the files of the snapshot were written, in seconds since 1970.
const THEN: u64 = 1_700_000_000;

/// A tree as it is now. Files called `held…` are shown as they were, and so are those called
/// `locked…` once reading them has failed.
struct Tree {
    now: Disk,
    then: Disk,
    met: Arc<Mutex<HashSet<RelPath>>>,
}

struct Snapshot(Box<dyn ReadAt>);

struct Locked {
    file: Box<dyn ReadAt>,
    path: RelPath,
    met: Arc<Mutex<HashSet<RelPath>>>,
}

impl ReadAt for Snapshot {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn opened(&self) -> &Metadata {
        self.0.opened()
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    fn is_snapshot(&self) -> bool {
        true
    }
}

impl ReadAt for Locked {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        // Of a big file the beginning can be read.
        if self.opened().size > 300_000 && offset == 0 {
            return self.file.read_at(offset, &mut buf[..1000]);
        }
        self.met.lock().expect("no panic").insert(self.path.clone());
        Err(ErrorKind::ResourceBusy.into())
    }

    fn opened(&self) -> &Metadata {
        self.file.opened()
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
}

impl Source for Tree {
    fn metadata(&self, path: &RelPath, follow: bool) -> io::Result<Metadata> {
        self.now.metadata(path, follow)
    }

    fn list(&self, path: &RelPath) -> io::Result<Listing> {
        self.now.list(path)
    }

    fn open(&self, path: &RelPath) -> io::Result<Box<dyn ReadAt>> {
        let name = path.to_string();
        let has_met = self.met.lock().expect("no panic").contains(path);
        if name.starts_with("held") || has_met {
            return Ok(Box::new(Snapshot(self.then.open(path)?)));
        }
        let file = self.now.open(path)?;
        if name.starts_with("locked") {
            return Ok(Box::new(Locked { file, path: path.clone(), met: Arc::clone(&self.met) }));
        }
        Ok(file)
    }

    fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        self.now.read_link(path)
    }

    fn following(&self, _reach: Reach) -> io::Result<Arc<dyn Source>> {
        Err(ErrorKind::Unsupported.into())
    }

    fn user_name(&self, _uid: u32) -> Option<Vec<u8>> {
        None
    }

    fn group_name(&self, _gid: u32) -> Option<Vec<u8>> {
        None
    }
}

/// Keeps the problems of a run.
#[derive(Default)]
struct Problems(Mutex<Vec<String>>);

impl Observer for Problems {
    fn on(&self, event: &Event<'_>) {
        if let Event::Problem(problem) = event {
            self.0.lock().expect("no panic").push(problem.to_string());
        }
    }
}

struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        for name in ["now", "then", "to"] {
            fs::create_dir(scratch.path().join(name)).expect("a folder");
        }
        Self(scratch)
    }

    /// Writes a file of a time relative to that of the snapshot.
    fn write(&self, path: &str, content: impl AsRef<[u8]>, seconds: u64) {
        let path = self.0.path().join(path);
        fs::write(&path, content).expect("a file");
        let time = UNIX_EPOCH + Duration::from_secs(THEN + seconds);
        File::options().write(true).open(path).and_then(|f| f.set_modified(time)).expect("a time");
    }

    /// What the target has of a name, with its time relative to that of the snapshot.
    fn stored(&self, name: &str) -> Option<(Vec<u8>, u64)> {
        let path = self.0.path().join("to").join(name);
        let time = fs::metadata(&path).ok()?.modified().expect("a time");
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).expect("later").as_secs();
        Some((fs::read(path).expect("a file"), since(time) - THEN))
    }

    /// Runs a mirror; gives its exit code and problems.
    async fn run(&self, options: &Options) -> (ExitCode, Vec<String>) {
        let open = |name: &str| Disk::open(&self.0.path().join(name)).expect("a tree");
        let tree = Tree { now: open("now"), then: open("then"), met: Arc::default() };
        let (base, top) = (RelPath::root(), RelPath::root());
        let source = SourceArg { tree: Arc::new(tree), base, named: b"now/".to_vec(), top };
        let to = Path::new(self.0.path()).join("to").join("");
        let target = local::destination(to.as_os_str(), None).expect("a target");
        let heard = Arc::new(Problems::default());
        let observer = Arc::<Problems>::clone(&heard);
        let sources = vec![source];
        let ended =
            local_run(sources, target, options, Vec::new(), None, observer, Stop::new()).await;
        let (report, outcome) = ended.expect("a run");
        outcome.expect("to its end");
        let problems = std::mem::take(&mut *heard.0.lock().expect("no panic"));
        (report.exit_code(), problems)
    }
}

fn archive() -> Options {
    Options { owner: false, group: false, ..Options::archive() }
}

#[test]
fn a_shadow_copy_is_refused_where_there_is_none() {
    use clap::Parser as _;
    let wanted = |line: &str| {
        let cli = crate::cli::Cli::try_parse_from(line.split_whitespace()).expect("accepted");
        let crate::cli::Command::Mirror(mirror) = cli.command else { panic!("a mirror") };
        let source = Location::parse(&mirror.paths[0]).expect("a source");
        shadow_copies(&mirror, &[source]).map(|shadows| shadows.is_some())
    };
    assert!(!wanted("bascule mirror rsync://host/m/ b").expect("none wanted"));
    let refused = wanted("bascule mirror --shadow-copy rsync://host/m/ b").expect_err("remote");
    assert!(refused.to_string().contains("sources on this machine"), "{refused}");
    match wanted("bascule mirror --shadow-copy a b") {
        Ok(is_there) => assert!(is_there && cfg!(windows)),
        Err(error) => assert_eq!(
            format!("{error:#}"),
            "--shadow-copy: there are no shadow copies on this system, only on Windows"
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_or_locked_is_sent_as_the_snapshot_has_it() {
    let world = World::new();
    let big = |byte: u8| vec![byte; 2_000_000];
    for (tree, letter) in [("now", "n"), ("then", "t")] {
        world.write(&format!("{tree}/free"), letter, 0);
        world.write(&format!("{tree}/held"), letter, 0);
        world.write(&format!("{tree}/locked"), letter, 0);
        world.write(&format!("{tree}/locked big"), big(letter.as_bytes()[0]), 0);
    }
    let (exit, problems) = world.run(&archive()).await;
    assert_eq!(exit, ExitCode::Success, "{:?}", problems);
    assert_eq!(world.stored("free"), Some((b"n".to_vec(), 0)));
    assert_eq!(world.stored("held"), Some((b"t".to_vec(), 0)));
    assert_eq!(world.stored("locked"), Some((b"t".to_vec(), 0)));
    assert!(world.stored("locked big") == Some((big(b't'), 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_content_is_never_stored_with_a_newer_time() {
    for checksum in [false, true] {
        let world = World::new();
        world.write("now/held", "new", 9);
        world.write("then/held", "old", 0);
        world.write("to/held", "old", 1);
        world.write("now/held and missing", "new", 9);
        world.write("then/held and missing", "old", 0);
        let (exit, problems) = world.run(&Options { checksum, ..archive() }).await;
        assert_eq!(exit, ExitCode::Vanished, "{:?}", problems);
        assert_eq!(world.stored("held"), Some((b"old".to_vec(), 1)));
        assert_eq!(world.stored("held and missing"), None);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().all(|text| text.contains("the target keeps its old version")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_before_the_snapshot_is_sent_and_seen_again() {
    for checksum in [false, true] {
        let world = World::new();
        // As listed; the snapshot was made after that.
        world.write("now/held", "listed", 0);
        world.write("then/held", "written meanwhile", 5);
        world.write("to/held", "listed", 1);
        let (exit, problems) = world.run(&Options { checksum, ..archive() }).await;
        assert_eq!(exit, ExitCode::Vanished, "{:?}", problems);
        assert_eq!(world.stored("held"), Some((b"written meanwhile".to_vec(), 0)));
    }
}
