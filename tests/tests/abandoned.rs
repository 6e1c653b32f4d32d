//! Parts of files that were cut off and that nobody asks for again: the source has moved or deleted
//! the file meanwhile. They go with the deletions of the next run, and nothing else does.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use bascule_tests::judge::{Description, describe, differences, has_settled};
use bascule_tests::mail::Dice;
use bascule_tests::peer::{Daemon, Ran, Whose, client, finish};
use bascule_tests::relay::Relay;
use bascule_tests::scratch::{T0, file, noise, set_time};

/// How often the source goes on and one more run has to make both ends equal.
const ROUNDS: u64 = 40;
const BIG: usize = 3_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// How a world's target is brought up to date.
type Way<'a> = &'a dyn Fn(&World) -> Ran;

struct World {
    scratch: tempfile::TempDir,
}

impl World {
    /// A source whose folder has a big file and a small one, and an empty target.
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let world = Self { scratch };
        fs::create_dir(world.path("to")).expect("a folder");
        let from = world.path("from");
        file(&from, b"dir/big", &noise(1, BIG), 0o640, (T0, 123)).expect("a file");
        file(&from, b"dir/small", b"a message", 0o640, (T0, 5)).expect("a file");
        set_time(&from.join("dir"), (T0 - 100, 7)).expect("a time");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn tree(&self, name: &str) -> Description {
        describe(&self.path(name), false).expect("a tree")
    }

    fn serve(&self) -> Daemon {
        let root = self.scratch.path();
        let config = format!(
            "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\n[m]\npath = {}\n\
             read only = no\n",
            root.display()
        );
        Daemon::start(Whose::Ours, root, &config)
    }

    fn run(&self, whose: Whose, push: bool, port: u16) -> Ran {
        let here = |name: &str| format!("{}/", self.path(name).display());
        let there = |name: &str| format!("rsync://127.0.0.1:{port}/m/{name}/");
        let ends = if push { [here("from"), there("to")] } else { [there("from"), here("to")] };
        finish(client(whose, &[]).args(ends).stdin(Stdio::null()))
    }

    /// A local mirror with `options`.
    fn mirror(&self, options: &[&str]) -> Ran {
        let options = options.iter().map(ToString::to_string).collect::<Vec<_>>();
        let ends = ["from", "to"].map(|name| format!("{}/", self.path(name).display()));
        finish(client(Whose::Ours, &options).args(ends).stdin(Stdio::null()))
    }

    /// Puts what a run that was cut off keeps into the target's folder.
    fn keep_part(&self, dir: &str, of: &str) {
        let name = format!("dir/{dir}/{of}");
        file(&self.path("to"), name.as_bytes(), b"a mess", 0o600, (T0, 9)).expect("a file");
    }

    fn has(&self, name: &str) -> bool {
        self.path("to").join(name).symlink_metadata().is_ok()
    }
}

fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_file_that_moves_after_it_was_cut_off_leaves_nothing_behind() {
    for (whose, push) in [(Whose::Ours, true), (Whose::Ours, false), (Whose::Rsync, true)] {
        for moved in [Some("dir/moved"), Some("dir/another/moved"), None] {
            let why = format!("{whose:?}, push {push}, moved to {moved:?}");
            let world = World::new();
            let daemon = world.serve();
            let relay = Relay::before(daemon.port);
            relay.allow(BIG as u64 * 6 / 10);
            let cut = world.run(whose, push, relay.port);
            assert_ne!(cut.code, 0, "{why}: {}", cut.said);
            wait_until("the part is kept", || world.has("dir/.bascule-partial/big"));

            let big = world.path("from/dir/big");
            match moved.map(|name| world.path("from").join(name)) {
                Some(moved) => {
                    fs::create_dir_all(moved.parent().expect("a folder")).expect("a folder");
                    fs::rename(big, moved).expect("renamed");
                }
                None => fs::remove_file(big).expect("removed"),
            }
            let ran = world.run(whose, push, daemon.port);
            assert_eq!(ran.code, 0, "{why}: {}", ran.said);
            let found = differences(&world.tree("from"), &world.tree("to"));
            assert!(found.is_empty(), "{why}: {found:#?}\n{}", ran.said);
        }
    }
}

#[test]
fn a_part_stays_where_deletions_do_not_happen() {
    let missing = |world: &World| {
        let (from, to) = (world.path("from/"), world.path("to/"));
        let gone = world.path("nosuch");
        finish(client(Whose::Ours, &[]).args([from, gone, to]).stdin(Stdio::null()))
    };
    let with = |options: &'static [&str]| move |world: &World| world.mirror(options);
    let runs: [(&str, i32, Way); 4] = [
        ("a dry run", 0, &with(&["-n"])),
        ("no deletions", 0, &with(&["--no-delete"])),
        ("the guard objects", 25, &with(&["--allow-deletes=0"])),
        ("a source is missing", 23, &missing),
    ];
    for (why, code, run) in runs {
        let world = World::new();
        world.keep_part(".bascule-partial", "gone");
        file(&world.path("to"), b"dir/extraneous", b"", 0o600, (T0, 0)).expect("a file");
        let ran = run(&world);
        assert_eq!(ran.code, code, "{why}: {}", ran.said);
        assert!(world.has("dir/.bascule-partial/gone"), "{why}");
        // The next run may delete.
        let ran = world.mirror(&["--allow-deletes=1"]);
        assert_eq!(ran.code, 0, "{why}: {}", ran.said);
        let found = differences(&world.tree("from"), &world.tree("to"));
        assert!(found.is_empty(), "{why}: {found:#?}");
    }
}

#[test]
fn only_parts_without_a_file_go() {
    for timing in ["--delete-before", "--delete-during", "--delete-delay", "--delete-after"] {
        let world = World::new();
        for of in ["gone", "small", "protected.tmp"] {
            world.keep_part(".bascule-partial", of);
            // A folder that a user has named may be one of the user's.
            world.keep_part("named", of);
        }
        world.keep_part(".bascule-partial/folder", "x");
        // A folder has taken the name of the file.
        world.keep_part(".bascule-partial", "now a folder");
        fs::create_dir(world.path("from/dir/now a folder")).expect("a folder");
        // Its file is larger than the run takes: another run goes on with it.
        world.keep_part(".bascule-partial", "big");
        let options =
            [timing, "--max-size=1m", "--exclude=named", "--exclude=*.tmp", "--trash", "--json"];
        let ran = world.mirror(&options);
        assert_eq!(ran.code, 0, "{timing}: {}", ran.said);
        for (name, stays) in [
            ("dir/.bascule-partial/gone", false),
            ("dir/.bascule-partial/small", false),
            ("dir/.bascule-partial/now a folder", false),
            ("dir/.bascule-partial/big", true),
            ("dir/.bascule-partial/protected.tmp", true),
            ("dir/.bascule-partial/folder/x", true),
            ("dir/named/gone", true),
            (".bascule-trash", false),
        ] {
            assert_eq!(world.has(name), stays, "{timing}: {name}");
        }
        let document: serde_json::Value = serde_json::from_str(&ran.said).expect("JSON");
        assert_eq!(document["deleted"], 0, "{}", ran.said);

        let ran = world.mirror(&[timing, "--partial-dir=named", "--exclude=.bascule-partial"]);
        assert_eq!(ran.code, 0, "{timing}: {}", ran.said);
        for name in ["dir/named/gone", "dir/.bascule-partial/big"] {
            assert!(world.has(name), "{timing}: {name}");
        }
    }
}

#[test]
fn an_empty_partial_dir_goes() {
    let world = World::new();
    for dir in ["to/.bascule-partial", "to/dir/.bascule-partial"] {
        fs::create_dir_all(world.path(dir)).expect("a folder");
    }
    let ran = world.mirror(&[]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let found = differences(&world.tree("from"), &world.tree("to"));
    assert!(found.is_empty(), "{found:#?}");
}

/// Renames, deletes, replaces and adds files, some of them big.
fn churn(from: &Path, random: &mut Dice, round: u64) {
    let mut files: Vec<PathBuf> = Vec::new();
    for dir in ["dir", "dir/below", "other"].map(|dir| from.join(dir)) {
        fs::create_dir_all(&dir).expect("a folder");
        let names = fs::read_dir(dir).expect("a folder").flatten().map(|entry| entry.path());
        files.extend(names.filter(|path| path.is_file()));
    }
    files.sort();
    for number in 0..4 {
        let size = [0, 5_000, 400_000, 2_000_000][usize::try_from(random.below(4)).expect("small")];
        let dir = ["dir", "dir/below", "other"][usize::try_from(random.below(3)).expect("small")];
        let name = format!("{dir}/{round}-{number}");
        let time = (T0 + i64::try_from(round).expect("small"), 7);
        file(from, name.as_bytes(), &noise(round + number, size), 0o640, time).expect("a file");
    }
    for file in files {
        match random.below(8) {
            0 => fs::rename(&file, file.with_extension("moved")).expect("renamed"),
            1 | 2 => fs::remove_file(&file).expect("removed"),
            3 => {
                fs::remove_file(&file).expect("removed");
                fs::create_dir(&file).expect("a folder of that name");
            }
            _ => {}
        }
    }
}

#[test]
fn nothing_is_left_of_runs_that_were_cut_off_while_the_source_went_on() {
    let world = World::new();
    let daemon = world.serve();
    let relay = Relay::before(daemon.port);
    let mut random = Dice::new(23);
    let (mut cut, mut parts) = (0, 0);
    for round in 0..ROUNDS {
        let why = format!("round {round}");
        for _ in 0..random.below(3) {
            churn(&world.path("from"), &mut random, round * 100 + cut);
            relay.allow(random.below(3_000_000));
            let (whose, push) = [(Whose::Ours, true), (Whose::Ours, false), (Whose::Rsync, true)]
                [usize::try_from(random.below(3)).expect("small")];
            cut += u64::from(world.run(whose, push, relay.port).code != 0);
            wait_until("no temporary file stays", || has_settled(&world.path("to")));
            parts += world.tree("to").keys().filter(|name| is_part(name)).count();
        }
        churn(&world.path("from"), &mut random, round * 100 + 50);
        let ran = world.run(Whose::Ours, random.below(2) == 0, daemon.port);
        assert_eq!(ran.code, 0, "{why}: {}", ran.said);
        let found = differences(&world.tree("from"), &world.tree("to"));
        assert!(found.is_empty(), "{why}: {found:#?}");
    }
    assert!(cut > 10 && parts > 10, "{cut} runs were cut off, and left {parts} parts");
}

fn is_part(name: &[u8]) -> bool {
    name.windows(17).any(|part| part == b".bascule-partial/")
}
