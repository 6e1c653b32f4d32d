//! Sources that do not hold still or are hard to store: what vanishes, changes, cannot be read, is
//! huge, deep or oddly named. Nothing of it may damage the copy or stop the other files.
#![cfg(unix)]

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bascule_tests::judge::{describe, differences};
use bascule_tests::peer::{Daemon, Ran, Whose, client, finish, mirror};
use bascule_tests::scratch::{T0, file, noise, set_time};

/// A scratch folder with a source and a target, served by a daemon of each kind.
struct World {
    scratch: tempfile::TempDir,
    ours: Daemon,
    rsync: Daemon,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let config = format!(
            "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\nmunge symlinks = no\n\
             [m]\npath = {}\nread only = no\n",
            scratch.path().display()
        );
        let ours = Daemon::start(Whose::Ours, scratch.path(), &config);
        let rsync = Daemon::start(Whose::Rsync, scratch.path(), &config);
        for name in ["from", "to"] {
            fs::create_dir(scratch.path().join(name)).expect("a folder");
        }
        Self { scratch, ours, rsync }
    }

    fn from(&self) -> PathBuf {
        self.scratch.path().join("from")
    }

    fn to(&self) -> PathBuf {
        self.scratch.path().join("to")
    }

    fn url(&self, daemon: Whose, name: &str) -> String {
        let port = if daemon == Whose::Ours { self.ours.port } else { self.rsync.port };
        format!("rsync://127.0.0.1:{port}/m/{name}/")
    }

    /// The two ends of a run in which the sending side is ours.
    fn sent_by_us(&self) -> [(Whose, [String; 2]); 3] {
        let here = |path: PathBuf| format!("{}/", path.display());
        [
            (Whose::Ours, [here(self.from()), self.url(Whose::Rsync, "to")]),
            (Whose::Ours, [here(self.from()), self.url(Whose::Ours, "to")]),
            (Whose::Rsync, [self.url(Whose::Ours, "from"), here(self.to())]),
        ]
    }

    fn clear_target(&self) {
        fs::remove_dir_all(self.to()).expect("it can be removed");
        fs::create_dir(self.to()).expect("a folder");
    }
}

fn options(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Starts a run slowed down by `--bwlimit`, lets `change` happen once data move, and gives the end.
fn while_running(
    whose: Whose,
    options: &[String],
    ends: &[String; 2],
    target: &Path,
    change: impl FnOnce(),
) -> Ran {
    let mut command = client(whose, options);
    command.args(ends).stdin(Stdio::null());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| finish(&mut command));
        // The first file is being staged: the list has been read, the next file not yet.
        let staged = |dir: &Path| {
            fs::read_dir(dir).is_ok_and(|mut names| {
                names.any(|name| {
                    name.is_ok_and(|name| name.file_name().as_bytes().starts_with(b".a-big."))
                })
            })
        };
        while !staged(target) && !running.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        change();
        running.join().expect("the run ends")
    })
}

#[test]
fn what_vanishes_is_reported_and_stops_nothing() {
    let world = World::new();
    let from = world.from();
    for (whose, ends) in world.sent_by_us() {
        world.clear_target();
        file(&from, b"a-big", &noise(1, 900_000), 0o644, (T0, 1)).expect("a file");
        file(&from, b"b-gone", b"here now", 0o644, (T0, 1)).expect("a file");
        file(&from, b"c-last", b"arrives all the same", 0o644, (T0, 1)).expect("a file");
        let ran = while_running(whose, &options(&["--bwlimit=700"]), &ends, &world.to(), || {
            fs::remove_file(from.join("b-gone")).expect("it was there");
        });
        assert_eq!(ran.code, 24, "{ends:?}: {}", ran.said);
        assert!(ran.said.contains("b-gone"), "{ends:?}: {}", ran.said);
        let left = differences(
            &describe(&from, false).expect("a tree"),
            &describe(&world.to(), false).expect("a tree"),
        );
        assert_eq!(left, Vec::<String>::new(), "{ends:?}");
    }
}

#[test]
fn what_changes_is_never_stored_torn() {
    let world = World::new();
    let (from, to) = (world.from(), world.to());
    for (whose, ends) in world.sent_by_us() {
        for grows in [true, false] {
            world.clear_target();
            let old = noise(1, 900_000);
            file(&from, b"a-big", &old, 0o644, (T0, 1)).expect("a file");
            file(&from, b"c-last", b"arrives all the same", 0o644, (T0, 1)).expect("a file");
            let ran = while_running(whose, &options(&["--bwlimit=700"]), &ends, &to, || {
                let mut changing =
                    OpenOptions::new().append(true).open(from.join("a-big")).expect("a file");
                if grows {
                    changing.write_all(b"and more").expect("it grows");
                } else {
                    changing.set_len(300_000).expect("it shrinks");
                }
            });
            assert!([23, 24].contains(&ran.code), "{ends:?}: {} {}", ran.code, ran.said);
            assert!(ran.said.contains("a-big"), "{ends:?}: {}", ran.said);
            // Either nothing, or all of what the source has now; never a mixture.
            if let Ok(stored) = fs::read(to.join("a-big")) {
                assert_eq!(stored, fs::read(from.join("a-big")).expect("the source"), "{ends:?}");
            }
            let last = fs::read(to.join("c-last")).expect("the others are complete");
            assert_eq!(last, b"arrives all the same");
            // The next run heals it.
            let ran = mirror(whose, &[], None, [&ends[0], &ends[1]]);
            assert_eq!(ran.code, 0, "{ends:?}: {}", ran.said);
            let left = differences(
                &describe(&from, false).expect("a tree"),
                &describe(&to, false).expect("a tree"),
            );
            assert_eq!(left, Vec::<String>::new(), "{ends:?}");
        }
    }
}

/// Runs an agent as a user who may not read everything.
fn as_nobody(options: &[String], ends: [&str; 2]) -> Ran {
    let inner = client(Whose::Ours, options);
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(inner.get_program()).args(inner.get_args()).args(ends).stdin(Stdio::null());
    finish(&mut command)
}

#[test]
fn what_cannot_be_read_is_reported_and_suppresses_deletions() {
    let world = World::new();
    let (from, to) = (world.from(), world.to());
    file(&from, b"closed", b"secret", 0o000, (T0, 0)).expect("a file");
    file(&from, b"open", b"public", 0o644, (T0, 0)).expect("a file");
    file(&from, b"dir/closed too", b"x", 0o644, (T0, 0)).expect("a file");
    file(&to, b"dir/closed too", b"x", 0o644, (T0, 0)).expect("a file");
    file(&to, b"closed", b"old version", 0o644, (T0, 0)).expect("a file");
    file(&to, b"extra", b"would be deleted", 0o644, (T0, 0)).expect("a file");
    // The agent itself has to be reachable for that user.
    fs::set_permissions(world.scratch.path(), Permissions::from_mode(0o755)).expect("a mode");
    let here = format!("{}/", from.display());

    // A file that cannot be read: the others arrive, its old version stays.
    let ran = as_nobody(&[], [&here, &world.url(Whose::Rsync, "to")]);
    assert_eq!(ran.code, 23, "{}", ran.said);
    assert!(ran.said.contains("closed: it could not be opened for reading"), "{}", ran.said);
    assert_eq!(fs::read(to.join("open")).expect("it arrived"), b"public");
    assert_eq!(fs::read(to.join("closed")).expect("it stayed"), b"old version");

    // A directory that cannot be read: nothing in it is deleted, and with the whole list known
    // before the first deletion, nothing anywhere.
    file(&to, b"extra", b"would be deleted", 0o644, (T0, 0)).expect("a file");
    fs::set_permissions(from.join("dir"), Permissions::from_mode(0o000)).expect("a mode");
    for set in [&["--no-inc-recursive"][..], &["--delete-after"], &["--delete-before"], &[]] {
        for target in [world.url(Whose::Rsync, "to"), world.url(Whose::Ours, "to")] {
            let ran = as_nobody(&options(set), [&here, &target]);
            assert_eq!(ran.code, 23, "{set:?}: {}", ran.said);
            let told = ran.said.contains("dir: the directory could not be read");
            assert!(told, "{set:?}: {}", ran.said);
            assert!(to.join("extra").exists() || set.is_empty(), "{set:?}: {}", ran.said);
            assert!(to.join("dir/closed too").exists(), "{set:?}: {}", ran.said);
        }
    }
}

#[test]
fn more_than_four_gibibytes() {
    const SIZE: u64 = (4 << 30) + (1 << 20) + 17;
    let world = World::new();
    let source = world.from().join("huge");
    let islands =
        [(0, b"begin"), (SIZE / 2, b"inner"), ((1 << 32) - 2, b"cross"), (SIZE - 5, b"final")];
    let huge = File::create(&source).expect("a file");
    huge.set_len(SIZE).expect("a sparse file");
    for (at, text) in islands {
        huge.write_all_at(text, at).expect("an island");
    }
    drop(huge);
    set_time(&source, (T0, 123_456_789)).expect("a time");
    let check = |what: &str| {
        let copy = File::open(world.to().join("huge")).expect("the copy");
        let metadata = copy.metadata().expect("its metadata");
        assert_eq!(metadata.len(), SIZE, "{what}");
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (T0, 123_456_789), "{what}");
        assert!(metadata.blocks() * 512 < 64 << 20, "{what}: the holes were filled");
        for (at, text) in islands {
            let mut read = [0; 5];
            copy.read_exact_at(&mut read, at).expect("an island");
            assert_eq!(&read, text, "{what}");
        }
    };
    let sparse = options(&["-S", "-z"]);
    let here = |path: PathBuf| format!("{}/", path.display());
    for (whose, ends) in [
        (Whose::Ours, [here(world.from()), world.url(Whose::Rsync, "to")]),
        (Whose::Rsync, [here(world.from()), world.url(Whose::Ours, "to")]),
    ] {
        world.clear_target();
        let ran = mirror(whose, &sparse, None, [&ends[0], &ends[1]]);
        assert_eq!(ran.code, 0, "{}", ran.said);
        check(&format!("{ends:?}"));
    }
}

#[test]
fn names_and_depths_that_a_file_system_allows() {
    let world = World::new();
    let from = world.from();
    // Every byte that may stand in a name, alone and inside.
    for byte in (1..=255_u8).filter(|byte| *byte != b'/') {
        if byte != b'.' {
            file(&from, &[byte], b"alone", 0o644, (T0, i64::from(byte))).expect("a file");
        }
        file(&from, &[b'x', byte, b'y'], &[byte], 0o644, (T0, 0)).expect("a file");
    }
    for name in [&b"..."[..], b"..x", b"-rf", b"--delete", b"*", b"[a]", b"~", b"$HOME", b"a:b::c"]
    {
        file(&from, name, b"odd", 0o644, (T0, 0)).expect("a file");
    }
    file(&from, &[b'n'; 255], b"long", 0o644, (T0, 0)).expect("a file");
    // As deep as a path can be named: close to 4096 bytes.
    let mut deep = Vec::new();
    while deep.len() + 201 < 3700 {
        deep.extend_from_slice(&[b'd'; 200]);
        deep.push(b'/');
    }
    deep.extend_from_slice(b"leaf");
    file(&from, &deep, b"deep down", 0o644, (T0, 0)).expect("a file");
    for (time, name) in [(-2_147_483_648, &b"1901"[..]), (4_294_967_296, b"2106"), (-1, b"-1 s")] {
        file(&from, name, b"time", 0o644, (time, 999_999_999)).expect("a file");
    }
    chown(from.join("1901"), Some(4_000_000_000), Some(4_000_000_001)).expect("an owner");
    let expected = describe(&from, false).expect("a tree");
    let here = |path: PathBuf| format!("{}/", path.display());
    for (whose, ends) in [
        (Whose::Ours, [here(world.from()), world.url(Whose::Rsync, "to")]),
        (Whose::Ours, [world.url(Whose::Rsync, "from"), here(world.to())]),
        (Whose::Rsync, [here(world.from()), world.url(Whose::Ours, "to")]),
        (Whose::Rsync, [world.url(Whose::Ours, "from"), here(world.to())]),
        (Whose::Ours, [here(world.from()), here(world.to())]),
    ] {
        for set in [&[][..], &["--no-inc-recursive"], &["--protocol=31"]] {
            world.clear_target();
            let ran = mirror(whose, &options(set), None, [&ends[0], &ends[1]]);
            assert_eq!(ran.code, 0, "{ends:?}: {}", ran.said);
            let found = describe(&world.to(), false).expect("a tree");
            let left = differences(&expected, &found);
            assert_eq!(left, Vec::<String>::new(), "{ends:?} {set:?}");
        }
    }
}

/// Some file systems have longer names than others. The tests' own on FUSE takes what the target's
/// does not.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_whose_name_the_target_cannot_have_is_told_once() {
    let world = World::new();
    let disk = bascule_tests::forgetful::ForgetfulDisk::mount(&world.scratch.path().join("disk"));
    let source = disk.path().join("from");
    let long = "n".repeat(300);
    for number in 0..5 {
        for dir in [long.clone(), format!("{long}/below"), "good".to_owned()] {
            let name = format!("{dir}/{number}");
            file(&source, name.as_bytes(), b"a message", 0o640, (T0, 5)).expect("a file");
        }
    }
    let from = format!("{}/", source.display());
    for to in [world.url(Whose::Ours, "to"), format!("{}/", world.to().display())] {
        for option in ["-n", "--times"] {
            let ran = mirror(Whose::Ours, &[option.to_owned()], None, [&from, &to]);
            assert_eq!(ran.code, 23, "{to}: {}", ran.said);
            let told: Vec<&str> = ran.said.lines().filter(|line| line.contains(&long)).collect();
            assert_eq!(told.len(), 1, "{to} {option}: {told:#?}");
            assert!(told[0].contains("nothing in it was received"), "{}", told[0]);
        }
        assert_eq!(fs::read(world.to().join("good/4")).ok().as_deref(), Some(&b"a message"[..]));
        world.clear_target();
    }
}
