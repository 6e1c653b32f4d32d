//! `bascule verify`: what it finds, what it leaves alone, and that its reports can be trusted.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bascule_tests::judge::describe;
use bascule_tests::peer::{Daemon, Ran, Whose, finish, program};
use bascule_tests::scratch::{T0, file, noise, set_time, settle, source};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Two equal trees with everything in them, and a read-only daemon for either.
struct World {
    scratch: tempfile::TempDir,
    daemon: Daemon,
}

/// Where the ends are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Local,
    Push,
    Pull,
}

const WAYS: [(Way, Whose); 5] = [
    (Way::Local, Whose::Ours),
    (Way::Push, Whose::Ours),
    (Way::Pull, Whose::Ours),
    (Way::Push, Whose::Rsync),
    (Way::Pull, Whose::Rsync),
];

impl World {
    fn new(whose: Whose) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let root = scratch.path();
        fs::set_permissions(root, Permissions::from_mode(0o755)).expect("a mode");
        for end in ["from", "to"] {
            source(&root.join(end)).expect("a tree");
        }
        let config = format!(
            "use chroot = no\nmunge symlinks = no\nread only = yes\n\
             [m]\nuid = 0\ngid = 0\npath = {0}\n[plain]\nuid = 65534\ngid = 65534\npath = {0}\n",
            root.display()
        );
        let daemon = Daemon::start(whose, root, &config);
        Self { scratch, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// An end as a user types it.
    fn end(&self, name: &str, module: Option<&str>) -> String {
        match module {
            Some(module) => format!("rsync://127.0.0.1:{}/{module}/{name}", self.daemon.port),
            None => self.path(name).display().to_string(),
        }
    }

    /// The command, with a report.
    fn command(&self, way: Way, module: &str, ends: [&str; 2], options: &[&str]) -> Command {
        let mut command = Command::new(program("bascule"));
        let there = |is_there: bool| is_there.then_some(module);
        command
            .arg("verify")
            .arg("--report")
            .arg(self.path("report.json"))
            .args(options)
            .arg(self.end(ends[0], there(way == Way::Pull)))
            .arg(self.end(ends[1], there(way == Way::Push)))
            .env("XDG_STATE_HOME", self.path("state"))
            .stdin(Stdio::null());
        command
    }

    fn verify(&self, way: Way, options: &[&str]) -> Ran {
        finish(&mut self.command(way, "m", ["from/", "to/"], options))
    }

    fn report(&self) -> Value {
        let text = fs::read_to_string(self.path("report.json")).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }

    /// What differs by the report: path and aspects.
    fn found(&self) -> BTreeMap<String, Vec<String>> {
        let report = self.report();
        let listed = report["differences"].as_array().expect("a list");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let aspects = |listed: &Value| {
            listed["differs"].as_array().expect("a list").iter().map(text).collect()
        };
        listed.iter().map(|listed| (text(&listed["path"]), aspects(listed))).collect()
    }

    fn settle(&self) {
        for end in ["from", "to"] {
            settle(&self.path(end)).expect("times");
        }
    }
}

fn expected(found: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |aspects: &[&str]| aspects.iter().map(ToString::to_string).collect();
    found.iter().map(|(path, aspects)| ((*path).to_owned(), owned(aspects))).collect()
}

/// Changes the first byte of a file, and neither its size nor its time.
fn flip_a_byte(path: &Path) {
    let before = fs::metadata(path).expect("it is there");
    let file = OpenOptions::new().write(true).open(path).expect("it is there");
    file.write_all_at(b"\xa5", 0).expect("a byte");
    set_time(path, (before.mtime(), before.mtime_nsec())).expect("a time");
}

fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn equal_ends_are_identical_and_stay_as_they_are() {
    for (way, whose) in WAYS {
        let world = World::new(whose);
        let tree = |end: &str| describe(&world.path(end), true).expect("a tree");
        let before = [tree("from"), tree("to")];
        let ran = world.verify(way, &["--perms", "--owner"]);
        assert_eq!(ran.code, 0, "{way:?} {whose:?}: {}", ran.said);
        assert!(ran.said.starts_with("identical, after"), "{way:?} {whose:?}: {}", ran.said);
        let report = world.report();
        assert_eq!(report["identical"], true, "{way:?} {whose:?}");
        assert_eq!(report["proof"]["times"], "to the nanosecond", "{way:?} {whose:?}");
        let digest = if whose == Whose::Ours { "blake3" } else { "xxh128" };
        assert_eq!(report["proof"]["digest"], digest, "{way:?} {whose:?}");
        for end in ["source_names", "target_names"] {
            assert_eq!(report[end]["files"], 21, "{way:?} {whose:?}: {report:#}");
            assert_eq!(report[end]["symlinks"], 2, "{way:?} {whose:?}");
        }
        assert_eq!(report["compared"]["files"], 21, "{way:?} {whose:?}");
        assert_eq!([tree("from"), tree("to")], before, "{way:?} {whose:?}");
    }
}

#[test]
fn each_kind_of_difference_is_told() {
    for (way, whose) in WAYS {
        let world = World::new(whose);
        let to = world.path("to");
        flip_a_byte(&to.join("a.txt"));
        set_time(&to.join("same.txt"), (T0 + 40, 1)).expect("a time");
        set_time(&to.join("past"), (-86_399, 5)).expect("a time");
        file(&to, b"delta.bin", &noise(1, 199_999), 0o644, (T0 + 11, 0)).expect("a file");
        fs::remove_file(to.join("dir1/b.txt")).expect("it was there");
        fs::remove_dir_all(to.join("retyped")).expect("it was there");
        file(&to, b"added/deep", b"x", 0o644, (T0, 0)).expect("a file");
        fs::remove_file(to.join("empty")).expect("it was there");
        file(&to, b"empty/in", b"", 0o644, (T0, 0)).expect("a file");
        fs::remove_file(to.join("link")).expect("it was there");
        symlink("b.txt", to.join("link")).expect("a symlink");
        set_time(&to.join("link"), (T0 + 60, 42)).expect("a time");
        fs::set_permissions(to.join("prog.sh"), Permissions::from_mode(0o700)).expect("a mode");
        chown(to.join("text.txt"), Some(12_345), Some(1)).expect("an owner");
        world.settle();
        set_time(&to.join("dir10"), (T0, 0)).expect("a time");
        let always = [
            ("a.txt", &["content"][..]),
            ("added", &["extra"]),
            ("added/deep", &["extra"]),
            ("delta.bin", &["content", "time"]),
            ("dir1/b.txt", &["missing"]),
            ("dir10", &["time"]),
            ("empty", &["kind"]),
            ("empty/in", &["extra"]),
            ("link", &["content"]),
            ("past", &["time"]),
            ("retyped", &["missing"]),
            ("retyped/now a dir", &["missing"]),
            ("same.txt", &["time"]),
        ];
        let ran = world.verify(way, &[]);
        let what = format!("{way:?} {whose:?}: {}", ran.said);
        assert_eq!(ran.code, 23, "{what}");
        assert_eq!(world.found(), expected(&always), "{what}");
        let report = world.report();
        assert_eq!(report["identical"], false, "{what}");
        assert_eq!(report["counts"]["missing"], 3, "{what}");
        for text in [
            "NOT identical",
            "missing at the target (3):\n  dir1/b.txt: 8 bytes",
            "with another content (3):\n  a.txt: 12 bytes\n  delta.bin: 200000 bytes, target 199999",
            "link: -> a.txt, target -> b.txt",
            "same.txt: 2023-11-14T22:14:00Z, target 2023-11-14T22:14:00.000000001Z",
            "empty: file, target directory",
        ] {
            assert!(ran.said.contains(text), "{text}: {what}");
        }

        let ran = world.verify(way, &["--perms", "--owner", "-O", "--modify-window=1"]);
        let what = format!("{way:?} {whose:?}: {}", ran.said);
        let mut found = expected(&always);
        for same in ["dir10", "past", "same.txt"] {
            found.remove(same);
        }
        found.insert("prog.sh".into(), vec!["permissions".into()]);
        // A new owner's symlink is one's own.
        found.insert("link".into(), vec!["content".into(), "owner".into()]);
        found.insert("delta.bin".into(), vec!["content".into()]);
        found.insert("text.txt".into(), vec!["owner".into()]);
        assert_eq!(world.found(), found, "{what}");

        let ran = world.verify(way, &["--protocol=30", "--omit-dir-times"]);
        let sees_nanoseconds = world.found().contains_key("same.txt");
        assert_eq!(sees_nanoseconds, way == Way::Local, "{way:?} {whose:?}: {}", ran.said);
    }
}

#[test]
fn what_cannot_be_read_is_not_called_different() {
    let nobody = |command: &Command| {
        let mut plain = Command::new("setpriv");
        plain.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        plain.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        plain
    };
    for (way, whose) in WAYS {
        let world = World::new(whose);
        for end in ["from", "to"] {
            file(&world.path(end), b"closed/in", b"x", 0o644, (T0, 0)).expect("a file");
            for (name, mode) in [("empty", 0o644), ("text.txt", 0o644), ("dir1/b.txt", 0o644)] {
                let mode = Permissions::from_mode(mode);
                fs::set_permissions(world.path(end).join(name), mode).expect("a mode");
            }
            let open = Permissions::from_mode(0o755);
            fs::set_permissions(world.path(end).join("dir2"), open).expect("a mode");
        }
        world.settle();
        let locked = if way == Way::Pull { "from" } else { "to" };
        let lock = |name: &str| {
            let mode = Permissions::from_mode(0o0);
            fs::set_permissions(world.path(locked).join(name), mode).expect("a mode");
        };
        lock("a.txt");
        fs::create_dir(world.path("out")).expect("a folder");
        fs::set_permissions(world.path("out"), Permissions::from_mode(0o777)).expect("a mode");
        if way == Way::Local {
            lock("closed");
        }
        let mut command = world.command(way, "plain", ["from/", "to/"], &[]);
        if way == Way::Local {
            let report = world.path("out/report.json");
            command.arg("--no-progress").arg("--report").arg(&report);
            let mut line: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            // The report's folder has to be one that a plain user can write.
            line.drain(1..3);
            let mut command = Command::new(program("bascule"));
            let ran = finish(nobody(command.args(line)).env("XDG_STATE_HOME", world.path("out")));
            assert_eq!(ran.code, 23, "{}", ran.said);
            fs::rename(report, world.path("report.json")).expect("a report");
            let found = expected(&[("a.txt", &["unreadable"]), ("closed", &["unreadable"])]);
            assert_eq!(world.found(), found, "{}", ran.said);
            assert!(ran.said.contains("a.txt: at the target: "), "{}", ran.said);
        } else {
            let ran = finish(&mut command);
            assert_eq!(ran.code, 23, "{way:?} {whose:?}: {}", ran.said);
            let found = expected(&[("a.txt", &["unreadable"])]);
            assert_eq!(world.found(), found, "{way:?} {whose:?}: {}", ran.said);
        }
    }
}

/// Starts a verification over a file that takes its time.
fn start_on_a_big_file(world: &World, way: Way, name: &str, options: &[&str]) -> Child {
    for end in ["from", "to"] {
        // A hole: nothing is stored, and everything is read.
        file(&world.path(end), name.as_bytes(), b"", 0o644, (T0, 0)).expect("a file");
        set_len(&world.path(end).join(name), 64 << 30);
    }
    world.settle();
    let mut command = world.command(way, "m", ["from/", "to/"], options);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn set_len(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("it is there");
    file.set_len(length).expect("a length");
    set_time(path, (T0, 0)).expect("a time");
}

/// Bytes that a process has read so far.
fn bytes_read_by(process: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_changes_meanwhile_is_in_motion() {
    let world = World::new(Whose::Ours);
    let child = start_on_a_big_file(&world, Way::Local, "big", &[]);
    wait_until("it reads", || bytes_read_by(child.id()) > 200 << 20);
    for end in ["from", "to"] {
        set_len(&world.path(end).join("big"), 1000);
    }
    let (code, said) = ended(child);
    assert_eq!(code, Some(24), "{said}");
    assert_eq!(world.found(), expected(&[("big", &["in-motion"])]));
    assert_eq!(world.report()["identical"], false);
    // It holds still now, and has another content at either end.
    flip_a_byte(&world.path("to").join("big"));
    for end in ["from", "to"] {
        set_time(&world.path(end).join("big"), (T0, 0)).expect("a time");
    }
    let ran = world.verify(Way::Local, &[]);
    assert_eq!(ran.code, 23, "{}", ran.said);
    assert_eq!(world.found(), expected(&[("big", &["content"])]));
}

/// What changed a moment ago is not trusted to a state.
fn wait_until_old(path: &Path) {
    let changed = fs::metadata(path).expect("it is there").ctime().unsigned_abs();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    wait_until("the file grows old", || now() > changed + 3);
}

#[test]
fn a_daemon_reads_nothing_again_either() {
    const FILES: u64 = 3000;
    const FOLDERS: u64 = 20;
    let world = World::new(Whose::Ours);
    let message = |end: &str, number: u64| {
        let name = format!("a/{}/{number}", number % FOLDERS);
        let content = noise(number, 2000);
        file(&world.path(end), name.as_bytes(), &content, 0o644, (T0, 3)).expect("a file");
    };
    for number in 0..FILES {
        message("from", number);
        message("to", number);
    }
    wait_until_old(&world.path(&format!("to/a/{}/{}", FOLDERS - 1, FILES - 1)));
    let state = world.path("verification");
    let resume = format!("--resume={}", state.display());
    for (way, here, there, only) in
        [(Way::Push, "from", "to", "extra"), (Way::Pull, "to", "from", "missing")]
    {
        let child = start_on_a_big_file(&world, way, "z/big", &[&resume]);
        // Of each file two lines, and some of the daemon's list is still on its way.
        let lines = || fs::read_to_string(&state).unwrap_or_default().lines().count() as u64;
        wait_until("most files are noted", || lines() > FILES);
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let (code, said) = ended(child);
        assert_eq!(code, Some(20), "{way:?}: {said}");

        flip_a_byte(&world.path(here).join("a/0/20"));
        file(&world.path(there), b"a/1/new", b"x", 0o644, (T0, 0)).expect("a file");
        for end in ["from", "to"] {
            // The daemon may still be at it.
            set_len(&world.path(end).join("z/big"), 0);
        }
        world.settle();
        let before = bytes_read_by(world.daemon.id());
        let ran = world.verify(way, &[&resume]);
        let found = expected(&[("a/0/20", &["content"]), ("a/1/new", &[only])]);
        assert_eq!(world.found(), found, "{way:?}: {}", ran.said);
        let read = bytes_read_by(world.daemon.id()) - before;
        // Folders that are not complete, or have a new file, are read again.
        assert!(read < FILES * 2000 * 2 / 3, "{way:?}: {read}");
        let compared = &world.report()["compared"];
        let spared = compared["files_not_read_again"].as_u64().expect("a number");
        assert!(spared > FILES / 2, "{way:?}: {compared}");

        message(here, 20);
        fs::remove_file(world.path(there).join("a/1/new")).expect("it was there");
    }
}

#[test]
fn an_interrupted_verification_goes_on_from_its_state() {
    let world = World::new(Whose::Ours);
    for number in 0..100 {
        for end in ["from", "to"] {
            let name = format!("a/{number}");
            file(&world.path(end), name.as_bytes(), name.as_bytes(), 0o644, (T0, 3)).expect("ok");
        }
    }
    wait_until_old(&world.path("to/a/99"));
    let state = world.path("verification");
    let resume = format!("--resume={}", state.display());
    let child = start_on_a_big_file(&world, Way::Local, "z big", &[&resume]);
    wait_until("it reads", || bytes_read_by(child.id()) > 200 << 20);
    let lines = || fs::read_to_string(&state).unwrap_or_default().lines().count();
    wait_until("the small files are noted", || lines() > 200);
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let (code, said) = ended(child);
    assert_eq!(code, Some(20), "{said}");
    assert!(said.contains("the same --resume"), "{said}");
    assert!(!world.path("report.json").exists());

    // The size and both times that a user can set are the same as before.
    flip_a_byte(&world.path("to/a/50"));
    for end in ["from", "to"] {
        fs::remove_file(world.path(end).join("z big")).expect("it was there");
    }
    world.settle();
    let noted = fs::read(&state).expect("a state");
    for (way, least) in [(Way::Local, 200), (Way::Push, 100), (Way::Pull, 100)] {
        fs::write(&state, &noted).expect("a state");
        let ran = world.verify(way, &[&resume]);
        assert_eq!(ran.code, 23, "{way:?}: {}", ran.said);
        assert_eq!(world.found(), expected(&[("a/50", &["content"])]), "{way:?}: {}", ran.said);
        let compared = &world.report()["compared"];
        let spared = compared["files_not_read_again"].as_u64().expect("a number");
        assert!(spared >= least, "{way:?}: {compared}");
        assert!(compared["bytes_read_here"].as_u64().expect("a number") < 1000, "{compared}");
        // It came to its end: there is nothing to go on with, and the next one reads everything.
        assert!(!state.exists(), "{way:?}");
    }
    let ran = world.verify(Way::Local, &[&resume]);
    assert_eq!(ran.code, 23, "{}", ran.said);
    assert_eq!(world.report()["compared"]["files_not_read_again"], 0);
}

#[test]
fn an_altered_report_is_told_from_an_unaltered_one() {
    let world = World::new(Whose::Ours);
    flip_a_byte(&world.path("to/a.txt"));
    file(&world.path("to"), b"extra \xff", b"", 0o644, (T0, 0)).expect("a file");
    world.settle();
    let ran = world.verify(Way::Local, &[]);
    let digest = world.report()["digest"].as_str().expect("a digest").to_owned();
    assert!(ran.code == 23 && ran.said.contains(&digest), "{}", ran.said);
    let path = world.path("report.json");
    let check = || {
        let mut command = Command::new(program("bascule"));
        finish(command.arg("verify").arg("--check").arg(&path))
    };
    let ran = check();
    assert!(ran.code == 0 && ran.said.contains("unaltered; NOT identical"), "{}", ran.said);
    let text = fs::read_to_string(&path).expect("a report");
    let same: Value = serde_json::from_str(&text).expect("JSON");
    // Its canonical form, by hand: this library sorts keys and leaves out white space.
    let mut unsigned = same.clone();
    unsigned.as_object_mut().expect("an object").remove("digest");
    let canonical = blake3::hash(unsigned.to_string().as_bytes());
    assert_eq!(digest, format!("blake3:{canonical}"));
    fs::write(&path, same.to_string()).expect("a file");
    assert_eq!(check().code, 0, "white space and the order of keys mean nothing");
    for (old, new) in [
        ("\"identical\": false", "\"identical\": true"),
        ("\"identical\": false", "\"identical\": true,\n  \"identical\": false"),
        ("\"identical\": false", "\"identical\": false,\n  \"checked_by\": \"me\""),
        ("\"content\"", "\"time\""),
        ("a.txt", "b.txt"),
        ("\"bytes\": ", "\"bytes\": 1"),
        ("blake3:", "blake3:0"),
    ] {
        assert!(text.contains(old), "{old}");
        fs::write(&path, text.replacen(old, new, 1)).expect("a file");
        let ran = check();
        assert!(ran.code == 23 && ran.said.contains("ALTERED"), "{new}: {}", ran.said);
    }
    for other in ["", "{}", "[1]", "mail"] {
        fs::write(&path, other).expect("a file");
        assert_eq!(check().code, 3, "{other}");
    }
}

#[test]
fn what_a_mirror_leaves_out_is_left_out() {
    for (way, whose) in WAYS {
        let world = World::new(whose);
        for kept in [".bascule-trash/2026/x", "dir1/.bascule-partial/b", "dir1/notes.tmp"] {
            file(&world.path("to"), kept.as_bytes(), b"x", 0o644, (T0, 0)).expect("a file");
        }
        world.settle();
        let ran = world.verify(way, &[]);
        let found = expected(&[("dir1/notes.tmp", &["extra"])]);
        assert_eq!(world.found(), found, "{way:?} {whose:?}: {}", ran.said);
        let ran = world.verify(way, &["--exclude=*.tmp"]);
        assert_eq!(ran.code, 0, "{way:?} {whose:?}: {}", ran.said);
        let ran = world.verify(way, &["--filter=P *.tmp"]);
        assert!(ran.code == 1 && ran.said.contains("one end only"), "{}", ran.said);

        // Without a slash the source has its place below the target.
        let named = |ends| finish(&mut world.command(way, "m", ends, &["--exclude=*.tmp"]));
        let ran = named(["from/dir1", "to"]);
        assert_eq!(ran.code, 0, "{way:?} {whose:?}: {}", ran.said);
        flip_a_byte(&world.path("to/dir1/sub/c.txt"));
        let ran = named(["from/dir1", "to/"]);
        assert_eq!(ran.code, 23, "{way:?} {whose:?}: {}", ran.said);
        assert_eq!(world.found(), expected(&[("dir1/sub/c.txt", &["content"])]));
        let ran = named(["from/a.txt", "to/"]);
        assert_eq!(ran.code, 0, "{way:?} {whose:?}: {}", ran.said);
        assert_eq!(world.report()["compared"]["files"], 1, "{way:?} {whose:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let world = World::new(Whose::Ours);
    let (from, to) = (world.end("from/", None), world.end("to/", None));
    let url = |rest: &str| format!("rsync://127.0.0.1:{}/{rest}", world.daemon.port);
    let inside = format!("--report={to}report.json");
    let state = format!("--resume={from}dir1/state");
    let mail = format!("--resume={from}a.txt");
    for (args, code, text) in [
        (vec![&from[..]], 1, "SRC"),
        (vec![&from, "/no/such/folder"], 3, "/no/such/folder"),
        (vec!["/no/such/folder", &to], 3, "/no/such/folder"),
        (vec![&from, &url("m/no/such/")], 3, "no/such"),
        (vec![&from, &url("nosuch/")], 5, "Unknown module"),
        (vec![&from, &url("")], 1, "the module is missing"),
        (vec![&url("m/from/"), &url("m/to/")], 1, "cannot both be remote"),
        (vec![&from, "rsync://127.0.0.1:1/m/"], 10, "no connection"),
        (vec![&inside, &from, &to], 1, "nothing is written at the target"),
        (vec![&state, &from, &to], 1, "nothing is written at the source"),
        (vec![&mail, &from, &to], 1, "nothing is written at the source"),
        (vec!["--check=/no/such", &from, &to], 1, "--check"),
        (vec!["--check=/no/such"], 3, "/no/such"),
    ] {
        let mut command = Command::new(program("bascule"));
        let ran = finish(command.arg("verify").args(&args).stdin(Stdio::null()));
        assert_eq!(ran.code, code, "{args:?}: {}", ran.said);
        assert!(ran.said.contains(text), "{args:?}: {}", ran.said);
    }
}
