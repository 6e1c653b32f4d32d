//! Ends that come too early: a process that is killed, a connection that is cut. Whatever was under
//! way, every file is its old or its new version, the agent says that the run failed, and the next
//! run heals everything.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bascule_tests::judge::{Description, describe, differences, is_temporary};
use bascule_tests::mail::Dice;
use bascule_tests::peer::{Daemon, Ran, Whose, client, finish, program};
use bascule_tests::relay::Relay;
use bascule_tests::scratch::{T0, file, noise};

/// How often processes are killed, half the time the agent, else the daemon.
const KILLS: u64 = 200;
/// How often connections are cut.
const CUTS: u64 = 500;

/// A new tree, an old one, and a target that is on its way from the old to the new.
struct World {
    scratch: tempfile::TempDir,
    daemon: Daemon,
    old: Description,
    new: Description,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let (new, old) = (scratch.path().join("new"), scratch.path().join("old"));
        for number in 0..60_u8 {
            let name = format!("dir{}/{number}", number % 7);
            let size = if number % 20 == 0 { 200_000 } else { usize::from(number) * 100 };
            let data = noise(u64::from(number) + 1, size);
            file(&new, name.as_bytes(), &data, 0o640, (T0, 123)).expect("a file");
            match number % 3 {
                // An old version, most of which is still good.
                0 => {
                    let data = [&data[..size / 2], b"old"].concat();
                    file(&old, name.as_bytes(), &data, 0o600, (T0 - 100, 5)).expect("a file");
                }
                1 => file(&old, format!("{name} gone").as_bytes(), &data, 0o600, (T0 - 50, 0))
                    .expect("a file"),
                _ => {}
            }
        }
        let description = |root: &Path| describe(root, true).expect("a tree");
        let (old, new) = (description(&old), description(&new));
        let daemon = Self::serve(scratch.path());
        Self { scratch, daemon, old, new }
    }

    fn serve(root: &Path) -> Daemon {
        let config = format!(
            "use chroot = yes\nuid = 0\ngid = 0\nreverse lookup = no\n[m]\npath = {}\n\
             read only = no\n",
            root.display()
        );
        Daemon::start(Whose::Ours, root, &config)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Lays the old tree out again.
    fn start_over(&self) {
        let to = self.path("to");
        if to.exists() {
            fs::remove_dir_all(&to).expect("it can be removed");
        }
        let copied = Command::new("cp").arg("-a").args([self.path("old"), to]).status();
        assert!(copied.expect("cp runs").success());
    }

    /// The two ends of a push or a pull by way of `port`.
    fn ends(&self, push: bool, port: u16) -> [String; 2] {
        let here = |name: &str| format!("{}/", self.path(name).display());
        let there = |name: &str| format!("rsync://127.0.0.1:{port}/m/{name}/");
        if push { [here("new"), there("to")] } else { [there("new"), here("to")] }
    }

    fn run(&self, push: bool, port: u16) -> Ran {
        let mut command = client(Whose::Ours, &[]);
        finish(command.args(self.ends(push, port)).stdin(Stdio::null()))
    }

    /// No file may be anything but its old or its new version.
    fn assert_nothing_torn(&self, why: &str) {
        for (name, found) in describe(&self.path("to"), true).expect("a tree") {
            if !found.starts_with("file") || is_of_the_run(&name) {
                continue;
            }
            let versions = [self.old.get(&name), self.new.get(&name)];
            assert!(
                versions.contains(&Some(&found)),
                "{why}: {} is {found}, neither of {versions:#?}",
                name.escape_ascii()
            );
        }
    }

    /// One more run makes the target equal to the source, with nothing left over.
    fn assert_heals(&self, push: bool, why: &str) {
        let ran = self.run(push, self.daemon.port);
        assert_eq!(ran.code, 0, "{why}: {}", ran.said);
        let found = differences(&self.new, &describe(&self.path("to"), true).expect("a tree"));
        assert!(found.is_empty(), "{why}: {found:#?}\n{}", ran.said);
    }
}

/// A temporary file, or something kept in the partial dir.
fn is_of_the_run(name: &[u8]) -> bool {
    name.windows(16).any(|part| part == b".bascule-partial") || is_temporary(name)
}

fn agent(world: &World, push: bool) -> Child {
    Command::new(program("bascule"))
        .args(["mirror", "--retries=0"])
        .args(world.ends(push, world.daemon.port))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

#[test]
fn a_killed_process_leaves_old_or_new_files_and_the_next_run_heals() {
    let mut world = World::new();
    let mut random = Dice::new(7);
    let mut interrupted = 0;
    for push in [true, false] {
        world.start_over();
        let began = Instant::now();
        assert_eq!(world.run(push, world.daemon.port).code, 0);
        let whole = u64::try_from(began.elapsed().as_micros()).expect("a short run");
        for number in 0..KILLS / 2 {
            world.start_over();
            let mut child = agent(&world, push);
            thread::sleep(Duration::from_micros(random.below(whole)));
            let daemon_dies = number % 2 == 1;
            let why = format!("push {push}, kill {number}, the daemon {daemon_dies}");
            if daemon_dies {
                // Dropping it is SIGKILL.
                world.daemon = World::serve(world.scratch.path());
            } else {
                child.kill().expect("a signal");
            }
            let code = child.wait().expect("it ends").code();
            // A daemon that no longer reads finds out soon; what it was writing must be over.
            if !daemon_dies {
                settle(&world.path("to"));
            }
            world.assert_nothing_torn(&why);
            let is = describe(&world.path("to"), true).expect("a tree");
            let is_whole = differences(&world.new, &is).is_empty();
            interrupted += u64::from(!is_whole);
            if daemon_dies && code == Some(0) {
                assert!(is_whole, "{why}: success was claimed");
            }
            world.assert_heals(push, &why);
        }
    }
    assert!(interrupted > 0, "no kill came in time to interrupt anything");
}

/// Waits until nothing below `root` changes any more.
fn settle(root: &Path) {
    let names = || {
        let mut found: Vec<_> = describe_names(root);
        found.sort();
        found
    };
    let mut before = names();
    loop {
        thread::sleep(Duration::from_millis(30));
        let now = names();
        if now == before {
            return;
        }
        before = now;
    }
}

fn describe_names(root: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => found.push((entry.path(), metadata.len())),
                // It was renamed in this moment.
                Err(_) => found.push((entry.path(), u64::MAX)),
            }
        }
    }
    found
}

#[test]
fn a_cut_connection_is_reported_and_the_next_run_heals() {
    let world = World::new();
    let mut random = Dice::new(11);
    let relay = Relay::before(world.daemon.port);
    for push in [true, false] {
        world.start_over();
        relay.allow(u64::MAX);
        assert_eq!(world.run(push, relay.port).code, 0);
        let whole = u64::MAX - relay.left();
        for number in 0..CUTS / 2 {
            world.start_over();
            let budget = random.below(whole);
            relay.allow(budget);
            let ran = world.run(push, relay.port);
            let why = format!("push {push}, cut {number} after {budget} of {whole} bytes");
            assert!([10, 12].contains(&ran.code), "{why}: {} {}", ran.code, ran.said);
            assert!(ran.said.contains("connection"), "{why}: {}", ran.said);
            settle(&world.path("to"));
            world.assert_nothing_torn(&why);
            world.assert_heals(push, &why);
        }
    }
}
