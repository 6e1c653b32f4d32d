//! A folder of the target has the name of something else at the source: a message, a symlink. What
//! is in it goes with all other deletions or not at all.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;

use bascule_tests::judge::{describe, differences};
use bascule_tests::peer::{Daemon, Ran, Way, Whose, client, finish};
use bascule_tests::scratch::{T0, file};

const WAYS: [Way; 3] = [Way::Local, Way::Push, Way::Pull];
/// Folders of messages.
const FOLDERS: usize = 12;
/// Messages in each.
const MESSAGES: usize = 20;

/// Puts something at a path.
type Make<'a> = &'a dyn Fn(&World, &str);

struct World {
    scratch: tempfile::TempDir,
    daemon: Daemon,
}

impl World {
    /// The same messages at both ends.
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let config = format!(
            "use chroot = no\nuid = 0\ngid = 0\nmunge symlinks = no\n[m]\npath = {}\nread only = no\n",
            scratch.path().display()
        );
        let daemon = Daemon::start(Whose::Ours, scratch.path(), &config);
        let world = Self { scratch, daemon };
        for folder in 0..FOLDERS {
            for message in 0..MESSAGES {
                world.message(&format!("from/u{folder}/inbox/{message}"), "a message");
            }
        }
        fs::create_dir(world.path("to")).expect("a folder");
        world.assert_equal(&world.mirror(Way::Local, &[]), "at first");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn message(&self, name: &str, text: &str) {
        file(self.scratch.path(), name.as_bytes(), text.as_bytes(), 0o600, (T0, 7))
            .expect("a file");
    }

    /// Puts something else in a folder's place at the source.
    fn replace(&self, folder: usize, make: impl Fn(&Self, &str)) {
        let name = format!("from/u{folder}");
        fs::rename(self.path(&name), self.path(&format!("away{folder}"))).expect("renamed");
        make(self, &name);
    }

    fn mirror(&self, way: Way, options: &[&str]) -> Ran {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let ends = way.ends(self.scratch.path(), self.daemon.port);
        let mut command = client(Whose::Ours, &options);
        command.args(ends).stdin(Stdio::null());
        finish(command.env("XDG_STATE_HOME", self.path("state")))
    }

    /// The messages that the target has.
    fn messages(&self) -> usize {
        let tree = describe(&self.path("to"), false).expect("a tree");
        let is_message = |name: &[u8]| name.windows(7).any(|part| part == b"/inbox/");
        tree.keys().filter(|name| is_message(name)).count()
    }

    fn assert_equal(&self, ran: &Ran, why: &str) {
        assert_eq!(ran.code, 0, "{why}: {}", ran.said);
        let [from, to] = ["from", "to"].map(|end| {
            let mut tree = describe(&self.path(end), false).expect("a tree");
            tree.retain(|name, _| !name.starts_with(b".bascule-trash"));
            tree
        });
        let found = differences(&from, &to);
        assert!(found.is_empty(), "{why}: {found:#?}\n{}", ran.said);
    }
}

#[test]
fn a_message_takes_the_place_of_a_small_folder_in_one_run() {
    for way in WAYS {
        for options in [
            &[][..],
            &["--delete-before"],
            &["--delete-after"],
            &["--delay-updates"],
            &["--no-partial-dir"],
            &["--trash"],
            &["--durable"],
            &["-H"],
        ] {
            let why = format!("{way:?} {options:?}");
            let world = World::new();
            world.replace(3, |world, name| world.message(name, "no folder any more"));
            world.assert_equal(&world.mirror(way, options), &why);
            if options == ["--trash"] {
                let runs = fs::read_dir(world.path("to/.bascule-trash")).expect("a trash");
                let run = runs.flatten().next().expect("a run").path();
                assert!(run.join("u3/inbox/19").exists(), "{why}");
            }
        }
    }
}

#[test]
fn so_does_whatever_else_has_its_name() {
    for way in WAYS {
        let link = |world: &World, name: &str| {
            symlink("u1", world.path(name)).expect("a symlink");
        };
        let linked = |world: &World, name: &str| {
            world.message(name, "two names");
            fs::hard_link(world.path(name), world.path("from/second")).expect("a link");
        };
        let message = |world: &World, name: &str| world.message(name, "no folder any more");
        let empty = |world: &World, name: &str| world.message(name, "");
        let cases: [(&[&str], Make); 6] = [
            (&[], &link),
            (&["--no-partial-dir"], &link),
            (&["-H"], &linked),
            (&["--inplace"], &message),
            (&["--max-delete=1000"], &message),
            (&[], &empty),
        ];
        for (number, (options, make)) in cases.into_iter().enumerate() {
            let world = World::new();
            world.replace(3, make);
            let why = format!("{way:?} {options:?}, case {number}");
            world.assert_equal(&world.mirror(way, options), &why);
        }
    }
}

#[test]
fn many_small_folders_go_together_or_not_at_all() {
    for way in WAYS {
        for link in [true, false] {
            for timing in ["--delete-delay", "--delete-before", "--delete-after"] {
                let why = format!("{way:?}, links {link}, {timing}");
                let world = World::new();
                for folder in 0..FOLDERS - 1 {
                    world.replace(folder, |world, name| {
                        if link {
                            symlink("u11", world.path(name)).expect("a symlink");
                        } else {
                            world.message(name, "no folder any more");
                        }
                    });
                }
                world.message("from/new", "still copied");
                // However often the service tries.
                for _ in 0..3 {
                    let held = world.mirror(way, &[timing]);
                    assert_eq!(held.code, 23, "{why}: {}", held.said);
                    assert!(held.said.contains("nothing is deleted"), "{why}: {}", held.said);
                    assert_eq!(world.messages(), FOLDERS * MESSAGES, "{why}");
                    assert!(world.path("to/new").exists(), "{why}");
                    let has_parts = world.path("to/.bascule-partial").exists();
                    assert_eq!(has_parts, !link, "{why}: what a run can go on with");
                }
                let allow = ["--allow-deletes=1000", timing];
                world.assert_equal(&world.mirror(way, &allow), &why);
            }
        }
    }
}

#[test]
fn a_source_that_is_not_whole_moves_no_folder_out_of_the_way() {
    let world = World::new();
    world.replace(3, |world, name| world.message(name, "no folder any more"));
    let mut command = client(Whose::Ours, &[]);
    command.args([world.path("from/"), world.path("nosuch"), world.path("to/")]);
    let ran = finish(command.stdin(Stdio::null()).env("XDG_STATE_HOME", world.path("state")));
    assert_eq!(ran.code, 23, "{}", ran.said);
    assert_eq!(world.messages(), FOLDERS * MESSAGES, "{}", ran.said);
    world.assert_equal(&world.mirror(Way::Local, &[]), "with all sources");
}
