//! What keeps deletions from being mistakes: the delete guard, the disks of both ends, the trash.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use bascule_tests::forgetful::ForgetfulDisk;
use bascule_tests::judge::{Description, describe, differences};
use bascule_tests::peer::{Daemon, Ran, Way, Whose, client, end, finish, program};
use bascule_tests::scratch::{T0, file, set_time};

/// A source and a target that are equal, and a daemon for either.
struct World {
    scratch: tempfile::TempDir,
    daemon: Daemon,
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
        fs::create_dir(root.join("from")).expect("a folder");
        fs::create_dir(root.join("to")).expect("a folder");
        let config = format!(
            "use chroot = no\nuid = 0\ngid = 0\nmunge symlinks = no\n\
             [m]\npath = {}\nread only = no\n",
            root.display()
        );
        let daemon = Daemon::start(whose, root, &config);
        Self { scratch, daemon }
    }

    fn from(&self) -> PathBuf {
        self.scratch.path().join("from")
    }

    fn to(&self) -> PathBuf {
        self.scratch.path().join("to")
    }

    /// An end as a user types it.
    fn end(&self, name: &str, remote: bool) -> String {
        end(self.scratch.path(), self.daemon.port, name, remote)
    }

    fn ours(&self, command: &mut Command) -> Ran {
        finish(command.env("XDG_STATE_HOME", self.scratch.path().join("state")))
    }

    fn mirror(&self, way: Way, options: &[&str]) -> Ran {
        let mut command =
            client(Whose::Ours, &options.iter().map(ToString::to_string).collect::<Vec<_>>());
        command.args(way.ends(self.scratch.path(), self.daemon.port));
        self.ours(&mut command)
    }

    fn assert_equal(&self, ran: &Ran) {
        assert_eq!(ran.code, 0, "{}", ran.said);
        let found = differences(&tree(&self.from()), &tree(&self.to()));
        assert!(found.is_empty(), "{found:#?}\n{}", ran.said);
    }
}

fn tree(root: &Path) -> Description {
    let mut tree = describe(root, false).expect("a tree");
    tree.retain(|name, _| !name.starts_with(b".bascule-trash"));
    tree
}

fn message(folder: &Path, name: &str, text: &str) {
    file(folder, name.as_bytes(), text.as_bytes(), 0o600, (T0, 7)).expect("a file");
}

fn messages(folder: &Path, count: usize) {
    for number in 0..count {
        message(folder, &format!("inbox/{}/{number}.imap", number % 7), &number.to_string());
    }
}

/// Removes the first `count` messages.
fn lose(folder: &Path, count: usize) {
    for number in 0..count {
        let name = format!("inbox/{}/{number}.imap", number % 7);
        fs::remove_file(folder.join(name)).expect("it was there");
    }
}

#[test]
fn many_deletions_are_held_back_and_allowed_once() {
    for (way, whose) in WAYS {
        let world = World::new(whose);
        messages(&world.from(), 500);
        world.assert_equal(&world.mirror(way, &[]));
        lose(&world.from(), 150);
        message(&world.from(), "inbox/new.imap", "arrived meanwhile");
        for options in
            [&[][..], &["--allow-deletes=149"], &["--delete-before"], &["--delete-after"]]
        {
            let held = world.mirror(way, options);
            let what = format!("{way:?} {whose:?} {options:?}: {}", held.said);
            assert_eq!(held.code, 25, "{what}");
            assert!(held.said.contains("nothing is deleted: 150"), "{what}");
            assert_eq!(held.items, Vec::<String>::new(), "{what}");
            assert_eq!(tree(&world.to()).len(), tree(&world.from()).len() + 150, "{what}");
            assert!(world.to().join("inbox/new.imap").exists(), "{what}");
        }
        let shown = world.mirror(way, &["-n", "-i"]);
        let deletions = shown.items.iter().filter(|item| item.starts_with("*deleting"));
        assert_eq!(deletions.count(), 150, "{way:?} {whose:?}: {}", shown.said);
        world.assert_equal(&world.mirror(way, &["--allow-deletes=150"]));
        lose_more(&world);
        world.assert_equal(&world.mirror(way, &[]));
    }
}

/// A few more than a tenth, but no more than a hundred.
fn lose_more(world: &World) {
    for number in 150..250 {
        let name = format!("inbox/{}/{number}.imap", number % 7);
        fs::remove_file(world.from().join(name)).expect("it was there");
    }
}

#[test]
fn a_source_without_files_deletes_nothing() {
    for (way, whose) in WAYS {
        let world = World::new(whose);
        messages(&world.to(), 5);
        fs::create_dir(world.from().join("inbox")).expect("a folder");
        let before = tree(&world.to().join("inbox/1"));
        let held = world.mirror(way, &[]);
        assert_eq!(held.code, 25, "{way:?} {whose:?}: {}", held.said);
        assert!(held.said.contains("the source has no files at all"), "{}", held.said);
        assert_eq!(tree(&world.to().join("inbox/1")), before, "{way:?} {whose:?}");
        let off = world.mirror(way, &["--delete-guard=off"]);
        world.assert_equal(&off);
    }
}

#[test]
fn a_full_folder_in_the_way_of_a_file_stays() {
    for (way, whose) in WAYS.into_iter().filter(|(way, whose)| {
        // A stock receiver empties what is in the way itself; the count comes before it.
        *whose == Whose::Ours || *way == Way::Pull
    }) {
        let world = World::new(whose);
        messages(&world.to(), 300);
        message(&world.from(), "inbox", "a file by mistake");
        message(&world.from(), "other", "still copied");
        let held = world.mirror(way, &[]);
        assert_eq!(held.code, 23, "{way:?} {whose:?}: {}", held.said);
        assert!(
            held.said.contains("a directory is in the way, and was not deleted"),
            "{}",
            held.said
        );
        assert_eq!(tree(&world.to().join("inbox")).len(), 308, "{way:?} {whose:?}");
        assert!(world.to().join("other").exists(), "{way:?} {whose:?}");
        world.assert_equal(&world.mirror(way, &["--allow-deletes=308"]));
    }
}

#[test]
fn a_source_on_another_disk_changes_nothing() {
    let world = World::new(Whose::Ours);
    let script = "set -e
        cd \"$1\"
        mount -t tmpfs none from
        echo mail > from/message
        \"$2\" mirror from/ \"$3\"
        umount from
        echo stray > from/message
        ! \"$2\" mirror from/ \"$3\"
        grep -qx mail to/message
        \"$2\" mirror --allow-deletes 0 from/ \"$3\"
        grep -qx stray to/message
        \"$2\" mirror from/ \"$3\"";
    for end in [world.end("to", true), world.end("to", false)] {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(world.scratch.path()).arg(program("bascule")).arg(&end);
        let ran = world.ours(&mut command);
        assert_eq!(ran.code, 0, "{end}: {}", ran.said);
        assert!(ran.said.contains("is on another disk than in the last run"), "{}", ran.said);
        assert!(ran.said.contains("NOT complete (code 3)"), "{}", ran.said);
    }
}

#[test]
fn a_target_on_another_disk_takes_nothing() {
    let world = World::new(Whose::Ours);
    message(&world.from(), "inbox/1.imap", "mail");
    // The second target is a folder that nobody has made on the disk below.
    let script = "set -e
        cd \"$1\"
        mkdir -p to
        mount -t tmpfs none to
        \"$2\" mirror \"$3\" \"$4\"
        grep -qx mail \"$4/inbox/1.imap\"
        umount to
        ! \"$2\" mirror \"$3\" \"$4\"
        test -z \"$(ls -A to)\"
        \"$2\" mirror --allow-deletes 0 \"$3\" \"$4\"
        \"$2\" mirror \"$3\" \"$4\"
        grep -qx mail \"$4/inbox/1.imap\"
        rm -r to";
    for source in [world.end("from", false), world.end("from", true)] {
        for target in ["to", "to/mail"] {
            // What is known of the pair before.
            let _ = fs::remove_dir_all(world.scratch.path().join("state"));
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", script, "sh"]);
            command.arg(world.scratch.path()).arg(program("bascule"));
            let ran = world.ours(command.arg(&source).arg(world.end(target, false)));
            assert_eq!(ran.code, 0, "{source} {target}: {}", ran.said);
            assert!(
                ran.said.contains("is on another disk than in the last run to it"),
                "{}",
                ran.said
            );
            assert!(ran.said.contains("NOT complete (code 3)"), "{}", ran.said);
        }
    }
}

#[test]
fn a_module_without_its_disk_takes_nothing() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let at = scratch.path().join("disk");
    let (from, to) = (scratch.path().join("from"), at.join("mail"));
    let config = format!(
        "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\n[m]\npath = {}\n\
         read only = no\nmounted on = {}\n",
        to.display(),
        at.display()
    );
    let daemon = Daemon::start(Whose::Ours, scratch.path(), &config);
    message(&from, "inbox/1.imap", "mail");
    let push = |whose| {
        let mut command = client(whose, &[]);
        command.arg(format!("{}/", from.display()));
        command.arg(format!("rsync://127.0.0.1:{}/m/", daemon.port));
        finish(command.env("XDG_STATE_HOME", scratch.path().join("state")))
    };
    for round in 0..2 {
        let disk = ForgetfulDisk::mount(&at);
        fs::create_dir(&to).expect("a folder");
        for whose in [Whose::Ours, Whose::Rsync] {
            let ran = push(whose);
            assert_eq!(ran.code, 0, "{round} {whose}: {}", ran.said);
        }
        let found = differences(&tree(&from), &tree(&to));
        assert!(found.is_empty(), "{found:#?}");
        drop(disk);
        // The module's folder is there even so.
        fs::create_dir_all(&to).expect("a folder");
        for whose in [Whose::Ours, Whose::Rsync] {
            let ran = push(whose);
            assert_eq!(ran.code, 5, "{whose}: {}", ran.said);
            assert!(ran.said.contains("the module's disk is not mounted"), "{}", ran.said);
        }
        assert_eq!(fs::read_dir(&to).expect("a folder").count(), 0);
    }
}

/// The one run in the trash of the target.
fn the_run(world: &World) -> String {
    let runs = fs::read_dir(world.to().join(".bascule-trash")).expect("there is a trash");
    let mut runs: Vec<_> = runs.flatten().map(|run| run.file_name()).collect();
    runs.sort();
    runs.swap_remove(0).into_string().expect("a date")
}

#[test]
fn what_was_deleted_or_overwritten_is_in_the_trash_and_comes_back() {
    for (way, whose) in WAYS {
        for extra in [&[][..], &["--inplace"], &["--delay-updates"], &["--delete-excluded"]] {
            let world = World::new(whose);
            messages(&world.from(), 30);
            message(&world.from(), "[odd] *name?/a b", "first");
            world.assert_equal(&world.mirror(way, &[]));
            let old = tree(&world.to());
            lose(&world.from(), 10);
            fs::remove_dir_all(world.from().join("inbox/6")).expect("a folder");
            message(&world.from(), "inbox/5/12.imap", "overwritten");
            message(&world.from(), "[odd] *name?/a b", "second");
            let options: Vec<_> = ["--trash"].iter().chain(extra).copied().collect();
            world.assert_equal(&world.mirror(way, &options));
            // A run without the trash leaves it alone, and does not send it.
            world.assert_equal(&world.mirror(way, extra));
            let what = format!("{way:?} {whose:?} {extra:?}");
            let run = the_run(&world);
            let kept = world.to().join(".bascule-trash").join(&run);
            assert_eq!(fs::read(kept.join("inbox/0/0.imap")).expect("kept"), b"0", "{what}");
            assert_eq!(fs::read(kept.join("inbox/5/12.imap")).expect("kept"), b"12", "{what}");
            assert!(kept.join("inbox/6/6.imap").exists(), "{what}");

            let target = world.end("to", way == Way::Push);
            let mut command = Command::new(program("bascule"));
            let listed = world.ours(command.args(["restore", &target]));
            assert!(listed.code == 0 && listed.said.contains(&run), "{what}: {}", listed.said);
            let restore = |parts: &[&str]| {
                let mut command = Command::new(program("bascule"));
                world.ours(command.args(["restore", "--run", &run, &target]).args(parts))
            };
            let unknown = restore(&["inbox/0/0.imap", "inbox/5/19.imap"]);
            assert!(unknown.code != 0 && unknown.said.contains("19.imap"), "{}", unknown.said);
            assert!(!world.to().join("inbox/0/0.imap").exists(), "{what}");
            for (parts, back, not_back) in [
                (&["inbox/0/0.imap", "[odd] *name?/a b"][..], "inbox/0/0.imap", "inbox/6"),
                (&["inbox/6"], "inbox/6/6.imap", "inbox/1/1.imap"),
                (&[], "inbox/1/1.imap", "no such thing"),
            ] {
                let restored = restore(parts);
                assert_eq!(restored.code, 0, "{what} {parts:?}: {}", restored.said);
                assert!(world.to().join(back).exists(), "{what} {parts:?}: {}", restored.said);
                assert!(!world.to().join(not_back).exists(), "{what} {parts:?}");
            }
            let found = differences(&old, &tree(&world.to()));
            let is_folder =
                |line: &&String| !line.contains("missing") && line.contains("directory");
            let files: Vec<_> = found.iter().filter(|line| !is_folder(line)).collect();
            assert!(files.is_empty(), "{what}: {files:#?}");
        }
    }
}

#[test]
fn a_folder_that_gets_a_trash_keeps_its_time() {
    for way in [Way::Local, Way::Push, Way::Pull] {
        for options in [&["--no-delete"][..], &["--delete-guard=off", "--delete-during"]] {
            let world = World::new(Whose::Ours);
            messages(&world.from(), 30);
            message(&world.from(), "z last/message", "first");
            set_time(&world.from(), (T0, 5)).expect("a time");
            world.assert_equal(&world.mirror(way, &[]));
            // Its own list is done long before anything needs the trash.
            message(&world.from(), "z last/message", "second");
            let options = [&["--trash"], options].concat();
            world.assert_equal(&world.mirror(way, &options));
            assert!(!the_run(&world).is_empty(), "{way:?} {options:?}");
        }
    }
}

#[test]
fn backups_of_a_stock_client_are_stored_alike() {
    for options in [
        &["--backup", "--backup-dir=.old"][..],
        &["-b", "--backup-dir=.old/deep", "--suffix=.bak"],
        &["-b", "--backup-dir=.old", "--inplace"],
        &["-b", "--backup-dir=.old", "--delay-updates"],
        &["-b", "--backup-dir=.old", "--dry-run"],
    ] {
        let trees = [Whose::Rsync, Whose::Ours].map(|whose| {
            let world = World::new(whose);
            messages(&world.to(), 20);
            messages(&world.from(), 20);
            lose(&world.from(), 3);
            message(&world.from(), "inbox/4/4.imap", "changed");
            for (target, folder) in [("new", world.from()), ("old", world.to())] {
                symlink(target, folder.join("link")).expect("a symlink");
                set_time(&folder.join("link"), (T0, 0)).expect("a time");
            }
            let options: Vec<_> = options.iter().map(ToString::to_string).collect();
            let mut command = client(Whose::Rsync, &options);
            command.arg("--filter=P /.old/");
            command.args([world.end("from", false), world.end("to", true)]);
            let ran = finish(&mut command);
            assert_eq!(ran.code, 0, "{options:?}: {}", ran.said);
            (describe(&world.to(), false).expect("a tree"), ran.items)
        });
        let [(stock, items), (ours, our_items)] = &trees;
        // Folders of backups keep the times of their making.
        let found = differences(stock, ours);
        assert!(found.is_empty(), "{options:?}: {found:#?}");
        assert_eq!(items, our_items, "{options:?}");
    }
}
