//! The target's disk: what a loss of power, a kill at each step and every fault of it leave behind.
//! The disk is a FUSE file system of the tests' own, which forgets what was not synced.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bascule_tests::forgetful::{ForgetfulDisk, Loss, Step};
use bascule_tests::judge::{Description, describe, differences};
use bascule_tests::peer::{Daemon, Ran, Whose, client, finish};
use bascule_tests::scratch::{T0, file, noise, set_time};

/// A source on a sound disk, and a target on one that is not.
struct World {
    scratch: tempfile::TempDir,
    disk: ForgetfulDisk,
    old: Description,
    new: Description,
}

impl World {
    /// New files, changed ones (one of them of equal length), unchanged ones, some to delete, and a
    /// message that was moved.
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let new = scratch.path().join("new");
        let disk = ForgetfulDisk::mount(&scratch.path().join("disk"));
        let old = disk.path().join("to");
        let make = |root: &Path, name: &str, seed, size, time| {
            file(root, name.as_bytes(), &noise(seed, size), 0o640, (T0 + time, 123))
                .expect("a file");
        };
        make(&new, "inbox/added", 1, 3000, 0);
        make(&new, "inbox/changed", 2, 150_000, 0);
        make(&old, "inbox/changed", 3, 90_000, -100);
        make(&new, "inbox/same length", 4, 500, 0);
        make(&old, "inbox/same length", 5, 500, -100);
        make(&new, "inbox/empty", 6, 0, 0);
        for root in [&new, &old] {
            make(root, "inbox/unchanged", 7, 700, 0);
        }
        make(&new, "archive/2024/moved", 8, 900, 0);
        make(&old, "inbox/moved", 8, 900, 0);
        make(&old, "gone/message", 9, 100, 0);
        symlink("changed", new.join("inbox/link")).expect("a symlink");
        set_time(&new.join("inbox/link"), (T0, 0)).expect("its time");
        disk.save();
        disk.arm();
        let description = |root: &Path| describe(root, false).expect("a tree");
        let (old, new) = (description(&old), description(&new));
        Self { scratch, disk, old, new }
    }

    fn to(&self) -> PathBuf {
        self.disk.path().join("to")
    }

    fn mirror(&self, options: &[&str]) -> Command {
        let mut command = client(Whose::Ours, &[]);
        command.args(["new", "disk/to"].map(|name| format!("{}/", self.at(name).display())));
        command.args(options).arg("--allow-deletes=100").stdin(Stdio::null());
        command
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn is(&self) -> Description {
        describe(&self.to(), false).expect("the target can be read")
    }

    fn assert_equal(&self, why: &str) {
        let found = differences(&self.new, &self.is());
        assert!(found.is_empty(), "{why}: {found:#?}");
    }

    /// Every file is its old or its new version, and no message has gone from both its places.
    fn assert_nothing_torn(&self, why: &str) {
        let is = self.is();
        for (name, found) in is.iter().filter(|(_, found)| found.starts_with("file")) {
            let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
            let versions = [self.old.get(name), self.new.get(name)];
            assert!(
                base.starts_with(b".") || versions.contains(&Some(found)),
                "{why}: {} is {found}, neither of {versions:#?}",
                name.escape_ascii()
            );
        }
        let places: [&[u8]; 2] = [b"inbox/moved", b"archive/2024/moved"];
        assert!(
            places.iter().any(|place| is.contains_key(*place)),
            "{why}: a moved message is lost"
        );
        let stays: [&[u8]; 3] = [b"inbox/changed", b"inbox/same length", b"inbox/unchanged"];
        for name in stays {
            assert!(is.contains_key(name), "{why}: {} is missing", name.escape_ascii());
        }
    }

    fn assert_heals(&self, options: &[&str], why: &str) {
        let ran = finish(&mut self.mirror(options));
        assert_eq!(ran.code, 0, "{why}: {}", ran.said);
        self.assert_equal(why);
    }

    /// What is not like the source after a run that `ran`; it must be these.
    fn assert_missing(&self, ran: &Ran, names: &[&str]) {
        let lines = differences(&self.new, &self.is());
        let found: Vec<_> = lines
            .iter()
            .filter_map(|line| line.split(": ").next())
            .filter(|name| self.new.get(name.as_bytes()).is_none_or(|is| is.starts_with("file")))
            .collect();
        assert_eq!(found, names, "{lines:#?}\n{}", ran.said);
        for name in names {
            assert!(ran.said.contains(name), "{name} is not reported: {}", ran.said);
        }
    }
}

#[test]
fn power_lost_at_each_step_of_a_durable_run() {
    let world = World::new();
    for loss in [Loss::Everything, Loss::Content] {
        let mut step = 0;
        loop {
            world.disk.start_over();
            world.disk.cut_power_after(step);
            let ran = finish(&mut world.mirror(&["--durable"]));
            let was_cut = world.disk.steps().len() == step && ran.code != 0;
            world.disk.lose(loss);
            let why = format!("{loss:?} lost after step {step}, code {}", ran.code);
            if ran.code == 0 {
                // It came too late: success was reported, and all of it is there.
                world.assert_equal(&why);
                assert!(!was_cut && step > 40, "{why}");
                break;
            }
            world.assert_nothing_torn(&why);
            world.assert_heals(&["--durable"], &why);
            step += 1;
        }
    }
}

#[test]
fn without_durable_power_loss_shows() {
    // The disk of these tests does forget: what the test above finds is not for want of trying.
    let world = World::new();
    for loss in [Loss::Everything, Loss::Content] {
        world.disk.start_over();
        let ran = finish(&mut world.mirror(&[]));
        assert_eq!(ran.code, 0, "{}", ran.said);
        world.assert_equal("before the loss");
        world.disk.lose(loss);
        let found = differences(&world.new, &world.is());
        assert!(!found.is_empty(), "{loss:?}");
    }
}

#[test]
fn killed_at_each_step() {
    let world = World::new();
    let mut stopped_at = BTreeSet::new();
    for options in [&["--durable"][..], &[]] {
        world.disk.start_over();
        let ran = finish(&mut world.mirror(options));
        assert_eq!(ran.code, 0, "{}", ran.said);
        for after in 0..world.disk.steps().len() {
            world.disk.start_over();
            let (reached, go_on) = world.disk.hold_after(after);
            let mut child = world.mirror(options).stdout(Stdio::null()).spawn().expect("it starts");
            let Ok(step) = reached.recv() else { panic!("step {after} did not come") };
            child.kill().expect("a signal");
            // The step fails, and nobody hears of it.
            go_on.send(()).expect("the disk waits");
            child.wait().expect("it ends");
            let why = format!("killed at step {after}, {step:?}, with {options:?}");
            world.assert_nothing_torn(&why);
            world.assert_heals(options, &why);
            stopped_at.insert(step);
        }
    }
    let named = [
        Step::Create,
        Step::Write,
        Step::SetMode,
        Step::SetTime,
        Step::MakeDir,
        Step::MakeSymlink,
        Step::Rename,
        Step::Remove,
        Step::Sync,
        Step::SyncDir,
    ];
    for step in named {
        assert!(stopped_at.contains(&step), "never killed at {step:?}: {stopped_at:?}");
    }
}

#[test]
fn a_file_that_does_not_fit_is_not_begun() {
    let world = World::new();
    let mebibyte = 1 << 20;
    // 16 MiB stay free; the target has less than one in use.
    world.disk.set_capacity(17 * mebibyte, true);
    let ran = finish(&mut world.mirror(&[]));
    assert_eq!(ran.code, 0, "{}", ran.said);
    let big = world.at("new/inbox/big");
    file(&world.at("new"), b"inbox/big", &noise(10, 2 << 20), 0o640, (T0, 0)).expect("a file");
    file(&world.at("new"), b"inbox/small", &noise(11, 5000), 0o640, (T0, 0)).expect("a file");
    world.disk.arm();
    let ran = finish(&mut world.mirror(&[]));
    assert_eq!(ran.code, 23, "{}", ran.said);
    assert!(ran.said.contains("inbox/big") && ran.said.contains("2097152"), "{}", ran.said);
    assert!(ran.said.contains("the target is full: 1 files"), "{}", ran.said);
    assert!(world.to().join("inbox/small").exists() && !world.to().join("inbox/big").exists());
    let steps = world.disk.steps();
    let created = steps.iter().filter(|step| **step == Step::Create).count();
    assert_eq!(created, 1, "{steps:?}");
    // With room again, the next run heals.
    world.disk.set_capacity(40 * mebibyte, true);
    let ran = finish(&mut world.mirror(&[]));
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert_eq!(std::fs::read(big).ok(), std::fs::read(world.to().join("inbox/big")).ok());
}

/// What of the disk fails, for which file, and what the run says.
type Case = (&'static str, Step, &'static str, fuser::Errno);

#[test]
fn each_fault_of_the_disk_costs_one_file() {
    use fuser::Errno;
    let world = World::new();
    let cases: [Case; 9] = [
        ("no space left", Step::Write, "changed", Errno::ENOSPC),
        ("quota", Step::Write, "changed", Errno::EDQUOT),
        ("input/output error", Step::Write, "changed", Errno::EIO),
        ("input/output error", Step::Create, "changed", Errno::EIO),
        ("input/output error", Step::Rename, "changed", Errno::EIO),
        ("input/output error", Step::Sync, "changed", Errno::EIO),
        ("too many open files", Step::Create, "changed", Errno::EMFILE),
        ("input/output error", Step::SetMode, "changed", Errno::EIO),
        ("input/output error", Step::SetTime, "changed", Errno::EIO),
    ];
    let daemon = Daemon::start(
        Whose::Ours,
        world.scratch.path(),
        &format!(
            "use chroot = no\nmunge symlinks = no\nreverse lookup = no\n[m]\npath = {}\nread only = no\nuid = 0\n\
             gid = 0\ndurable = yes\n",
            world.disk.path().display()
        ),
    );
    let there = format!("rsync://127.0.0.1:{}/m/to/", daemon.port);
    let here = format!("{}/", world.at("new").display());
    for whose in [Whose::Ours, Whose::Rsync] {
        for (says, step, name, errno) in cases {
            world.disk.start_over();
            world.disk.fail(step, name, errno);
            let options = match whose {
                Whose::Ours => &["--allow-deletes=100"][..],
                Whose::Rsync => &["-a", "--delete"],
            };
            let push = || {
                let mut command = client(whose, &[]);
                finish(command.args(options).args([&here, &there]).stdin(Stdio::null()))
            };
            let ran = push();
            let why = format!("{whose}, {step:?} fails with {errno:?}: {} {}", ran.code, ran.said);
            assert_eq!(ran.code, 23, "{why}");
            assert!(ran.said.to_lowercase().contains(says), "{why}");
            world.assert_missing(&ran, &["inbox/changed"]);
            world.disk.arm();
            let ran = push();
            assert_eq!(ran.code, 0, "{why}\n{}", ran.said);
            world.assert_equal(&why);
        }
    }
}

#[test]
fn a_source_that_cannot_be_read_costs_one_file_and_no_deletion() {
    use fuser::Errno;
    let world = World::new();
    for (step, errno) in [(Step::Open, Errno::EIO), (Step::Read, Errno::EIO)] {
        world.disk.start_over();
        world.disk.fail(step, "moved", errno);
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let back = scratch.path().join("back");
        let source = describe(&world.to(), false);
        assert!(source.is_err(), "the fault is not there");
        file(&back, b"only here", b"1", 0o600, (T0, 0)).expect("a file");
        let ends = [world.to(), back.clone()].map(|end| format!("{}/", end.display()));
        let mut command = client(Whose::Ours, &[]);
        let ran = finish(command.args(&ends).arg("--allow-deletes=9").stdin(Stdio::null()));
        assert_eq!(ran.code, 23, "{step:?}: {}", ran.said);
        assert!(ran.said.contains("inbox/moved"), "{step:?}: {}", ran.said);
        assert!(!back.join("inbox/moved").exists(), "{step:?}");
        assert!(back.join("inbox/unchanged").exists(), "{step:?}");
        assert!(back.join("only here").exists(), "{step:?}");
        world.disk.arm();
        let ran = finish(&mut command);
        assert_eq!(ran.code, 0, "{step:?}: {}", ran.said);
        let is = describe(&back, false).expect("a tree");
        let found = differences(&world.old, &is);
        assert!(found.is_empty(), "{step:?}: {found:#?}");
    }
}

#[test]
fn an_old_version_that_cannot_be_read_is_replaced_all_the_same() {
    let world = World::new();
    world.disk.fail(Step::Read, "changed", fuser::Errno::EIO);
    let ran = finish(&mut world.mirror(&["--no-whole-file"]));
    world.disk.arm();
    assert_eq!(ran.code, 0, "{}", ran.said);
    world.assert_equal(&ran.said);
}

#[test]
fn a_read_only_target_is_not_changed() {
    let world = World::new();
    let changing = [
        Step::Create,
        Step::Write,
        Step::SetOwner,
        Step::SetMode,
        Step::SetTime,
        Step::MakeDir,
        Step::MakeSymlink,
        Step::Rename,
        Step::Remove,
    ];
    for step in changing {
        world.disk.fail(step, "", fuser::Errno::EROFS);
    }
    let ran = finish(&mut world.mirror(&[]));
    assert_eq!(ran.code, 23, "{}", ran.said);
    assert!(ran.said.contains("inbox/added") && ran.said.contains("Read-only"), "{}", ran.said);
    assert_eq!(world.disk.steps(), []);
    let found = differences(&world.old, &world.is());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_folder_without_permission_costs_what_is_in_it() {
    const NOBODY: u32 = 65_534;
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let [from, to] = ["from", "to"].map(|name| scratch.path().join(name));
    let chmod = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
    };
    for name in ["inbox/new", "locked/new", "locked/same", "sent/new"] {
        file(&from, name.as_bytes(), &noise(1, 300), 0o644, (T0, 7)).expect("a file");
    }
    for name in ["locked/same", "locked/old", "sent/old"] {
        file(&to, name.as_bytes(), &noise(1, 300), 0o644, (T0, 7)).expect("a file");
    }
    for path in [&to, &to.join("locked"), &to.join("sent")] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("an owner");
    }
    // Another user's: its permissions are not ours to change.
    chown(to.join("locked"), Some(0), Some(0)).expect("an owner");
    chmod(&to.join("locked"), 0o755);
    chmod(scratch.path(), 0o755);
    let mirror = || {
        let mut command = client(Whose::Ours, &[]);
        command.args([&from, &to].map(|end| format!("{}/", end.display())));
        command.args(["--no-owner", "--no-group", "--allow-deletes=10"]).stdin(Stdio::null());
        command.env("HOME", "/nonexistent");
        command
    };
    let ran = finish(mirror().uid(NOBODY).gid(NOBODY));
    assert_eq!(ran.code, 23, "{}", ran.said);
    for name in ["locked/new", "locked/old", "ermission denied"] {
        assert!(ran.said.contains(name), "{name} is not reported: {}", ran.said);
    }
    for (name, is_there) in [
        ("inbox/new", true),
        ("sent/new", true),
        ("sent/old", false),
        ("locked/new", false),
        ("locked/old", true),
        ("locked/same", true),
    ] {
        assert_eq!(to.join(name).exists(), is_there, "{name}: {}", ran.said);
    }
    chown(to.join("locked"), Some(NOBODY), Some(NOBODY)).expect("an owner");
    let ran = finish(mirror().uid(NOBODY).gid(NOBODY));
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert!(to.join("locked/new").exists() && !to.join("locked/old").exists(), "{}", ran.said);
}

#[test]
fn few_file_handles_are_enough() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let [from, to] = ["from", "to"].map(|name| scratch.path().join(name));
    for number in 0..400 {
        let name = format!("{}/{number}", number % 5);
        file(&from, name.as_bytes(), &noise(number + 1, 300), 0o640, (T0, 7)).expect("a file");
    }
    // A durable run would hold 256 files open at once.
    let program = bascule_tests::peer::program("bascule");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 48; exec \"$@\"", "sh"])
        .arg(program)
        .args(["mirror", "--durable"]);
    command.args([&from, &to].map(|end| format!("{}/", end.display()))).stdin(Stdio::null());
    let ran = finish(&mut command);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let [from, to] = [from, to].map(|root| describe(&root, false).expect("a tree"));
    let found = differences(&from, &to);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_clock_that_jumps_changes_no_date() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let [from, to, clock] = ["from", "to", "clock"].map(|name| scratch.path().join(name));
    for number in 0..40 {
        let data = noise(number + 1, 20_000);
        file(&from, format!("{number}").as_bytes(), &data, 0o640, (T0, 7)).expect("a file");
    }
    let faketime = |program: &mut Command| {
        // The system's clock jumps, its timers go on.
        program
            .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1")
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    };
    let set_clock = |offset: &str| std::fs::write(&clock, offset).expect("a file");
    set_clock("+0");
    let mut command = client(Whose::Ours, &[]);
    command.args([&from, &to].map(|end| format!("{}/", end.display())));
    // Two seconds on its way.
    command.args(["--bwlimit=400", "-W", "--trash"]).stdin(Stdio::null());
    faketime(&mut command);
    let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let mut jumps = 0;
    for offset in ["-3d", "+2d", "-400d", "+0"].iter().cycle() {
        std::thread::sleep(std::time::Duration::from_millis(100));
        if let Some(status) = child.try_wait().expect("its state") {
            assert_eq!(status.code(), Some(0));
            break;
        }
        set_clock(offset);
        jumps += 1;
    }
    assert!(jumps > 3, "{jumps} jumps");
    let [from, to] = [from, to].map(|root| describe(&root, false).expect("a tree"));
    let found = differences(&from, &to);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn durable_reaches_every_kind_of_daemon() {
    let world = World::new();
    let serve = |whose, more: &str| {
        let config = format!(
            "use chroot = no\nmunge symlinks = no\nreverse lookup = no\n[m]\npath = {}\n\
             read only = no\nuid = 0\ngid = 0\n{more}",
            world.disk.path().display()
        );
        Daemon::start(whose, world.scratch.path(), &config)
    };
    let push = |whose, daemon: &Daemon, options: &[&str]| {
        world.disk.start_over();
        let mut command = client(whose, &[]);
        command.args(options).arg(format!("{}/", world.at("new").display()));
        command.arg(format!("rsync://127.0.0.1:{}/m/to/", daemon.port)).stdin(Stdio::null());
        let ran = finish(&mut command);
        assert_eq!(ran.code, 0, "{whose}: {}", ran.said);
    };
    let asked = ["--durable", "--allow-deletes=100"];
    let cases = [
        (Whose::Ours, &asked[..], ""),
        (Whose::Ours, &["--allow-deletes=100"], "durable = yes\n"),
        (Whose::Rsync, &[], "durable = yes\n"),
    ];
    for (whose, options, more) in cases {
        push(whose, &serve(Whose::Ours, more), options);
        world.disk.lose(Loss::Everything);
        world.assert_equal(&format!("{whose} {options:?}, {more:?}"));
    }
    // A stock daemon has no more than --fsync: contents, not names.
    push(Whose::Ours, &serve(Whose::Rsync, ""), &asked);
    let steps = world.disk.steps();
    let synced = steps.iter().filter(|step| **step == Step::Sync).count();
    let created = steps.iter().filter(|step| **step == Step::Create).count();
    assert_eq!(synced, created, "{steps:?}");
}
