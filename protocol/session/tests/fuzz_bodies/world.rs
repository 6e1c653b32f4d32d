//! What a fuzzed session may touch, and what it may not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use bascule_engine::disk::Disk;

const T0: Duration = Duration::from_secs(1_700_000_000);

/// A folder with a module, in which a new tree and an old one are, and with something beside it
/// that is nobody's business.
pub(crate) struct World {
    scratch: tempfile::TempDir,
    outside: Outside,
}

/// Everything beside the module: size, mode, owner, time, links and content of each name.
type Outside = BTreeMap<PathBuf, ([i64; 6], Vec<u8>)>;

impl World {
    /// Lays both trees out.
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let path = |name: &str| scratch.path().join(name);
        for folder in ["root/new/sub", "root/old/sub", "outside/folder"] {
            fs::create_dir_all(path(folder)).expect("a folder");
        }
        let big: Vec<u8> = (0..3000_u32).map(|n| (n * n / 7 % 251) as u8).collect();
        let changed = [&big[..700], b"something else", &big[900..]].concat();
        for (name, content) in [
            ("root/new/a", &b"the same\n"[..]),
            ("root/new/big", &big),
            ("root/new/empty", b""),
            ("root/new/sub/new", b"only in the new tree"),
            ("root/new/sub/touched", b"of another time"),
            ("root/old/a", b"the same\n"),
            ("root/old/big", &changed),
            ("root/old/gone", b"only in the old tree"),
            ("root/old/sub/touched", b"of another time"),
            ("outside/canary", b"alive"),
            ("outside/folder/canary", b"alive too"),
        ] {
            let age = Duration::from_secs(content.len() as u64);
            let file = path(name);
            fs::write(&file, content).expect("a file");
            let file = File::options().write(true).open(file).expect("a file");
            let older = if name == "root/old/sub/touched" { age } else { Duration::ZERO };
            file.set_modified(UNIX_EPOCH + T0 - age - older).expect("a time");
        }
        fs::hard_link(path("root/new/sub/new"), path("root/new/sub/twin")).expect("a link");
        symlink("a", path("root/new/link")).expect("a link");
        // Ways out for those who follow them.
        symlink("../../outside/folder", path("root/old/way out")).expect("a link");
        symlink("../../outside/canary", path("root/old/canary")).expect("a link");
        symlink("../../outside/folder", path("root/new/way out")).expect("a link");
        let outside = outside(scratch.path());
        Self { scratch, outside }
    }

    /// The module's folder.
    pub(crate) fn root(&self) -> Disk {
        self.folder("root")
    }

    /// A folder below the scratch folder.
    pub(crate) fn folder(&self, name: &str) -> Disk {
        Disk::open(&self.scratch.path().join(name)).expect("it is there")
    }

    /// Fails when anything beside the module has changed.
    pub(crate) fn assert_safe(&self) {
        assert_eq!(outside(self.scratch.path()), self.outside, "something outside was touched");
    }
}

fn outside(scratch: &Path) -> Outside {
    let mut found = Outside::new();
    let mut folders = vec![scratch.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let seen = fs::symlink_metadata(&path).expect("an entry");
            let is_dir = seen.is_dir();
            if is_dir && path == scratch.join("root") {
                continue;
            }
            let facts = [
                if is_dir { 0 } else { i64::try_from(seen.size()).expect("a size") },
                i64::from(seen.mode()),
                i64::from(seen.uid()),
                i64::from(seen.gid()),
                seen.mtime(),
                seen.mtime_nsec(),
            ];
            let content =
                if seen.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
            found.insert(path.clone(), (facts, content));
            if is_dir {
                folders.push(path);
            }
        }
    }
    found
}
