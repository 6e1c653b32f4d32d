//! The disk as the engine uses it. What only a real Windows shows is in docs/windows.md.

use std::fs;
use std::io::ErrorKind;
use std::os::windows::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use bascule_wire::flist::Kind;

use super::*;
use crate::tree::{Attributes, Reach, Source as _, Stage, Target as _};

/// 1601 to 1970 in ticks of 100 ns.
const EPOCH: u64 = 116_444_736_000_000_000;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a legal path")
}

fn scratch() -> (tempfile::TempDir, Disk) {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let disk = Disk::open(dir.path()).expect("a tree");
    (dir, disk)
}

fn staged(disk: &Disk, name: &str, content: &[u8]) -> Box<dyn Stage> {
    let mut stage = disk.stage(&path(name)).expect("a temporary file");
    stage.write_at(0, content).expect("written");
    stage
}

fn names(disk: &Disk, dir: &str) -> Vec<String> {
    let listing = disk.list(&path(dir)).expect("listed");
    assert!(listing.error.is_none());
    let name = |name: &[u8]| String::from_utf8(name.to_vec()).expect("text");
    let mut names: Vec<_> = listing.entries.iter().map(|entry| name(&entry.name)).collect();
    names.sort();
    names
}

fn content(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).expect("readable")
}

#[test]
fn a_file_arrives_with_its_time_and_mode() {
    let (dir, disk) = scratch();
    for (time, mode) in [((1_700_000_000, 123_456_789), 0o644), ((-3, 100), 0o444), ((0, 0), 0o600)]
    {
        let mut stage = staged(&disk, "new", b"hello");
        stage.write_at(5, b" world").expect("written");
        stage.set_len(8).expect("cut");
        let mut start = [0; 4];
        assert_eq!(stage.read_at(1, &mut start).expect("read"), 4);
        assert_eq!(&start, b"ello");
        let wanted = Attributes { mode: Some(mode), mtime: Some(time), ..Attributes::default() };
        stage.apply(&wanted).expect("set");
        stage.sync().expect("flushed");
        stage.commit().expect("in place");
        let seen = disk.metadata(&path("new"), false).expect("there");
        assert_eq!((seen.mtime, seen.nanos), (time.0, time.1 / 100 * 100));
        assert_eq!((seen.kind, seen.size), (Kind::File, 8));
        assert_eq!(seen.mode & 0o200, mode & 0o200);
        let ticks = fs::metadata(dir.path().join("new")).expect("there").last_write_time();
        let expected = time.0 * 10_000_000 + i64::from(time.1 / 100);
        assert_eq!(ticks.wrapping_sub(EPOCH).cast_signed(), expected);
        assert_eq!(content(dir.path(), "new"), "hello wo");
        assert_eq!(names(&disk, "."), ["new"]);
        let opened = disk.open(&path("new")).expect("open");
        assert_eq!(*opened.opened(), seen);
        let mut end = [0; 10];
        assert_eq!(opened.read_at(6, &mut end).expect("read"), 2);
        assert_eq!(opened.read_at(8, &mut end).expect("the end"), 0);
    }
}

#[test]
fn a_dropped_file_leaves_nothing() {
    let (_dir, disk) = scratch();
    let mut stage = staged(&disk, "a", b"x");
    let read_only = Attributes { mode: Some(0o400), ..Attributes::default() };
    stage.apply(&read_only).expect("read-only");
    assert_eq!(names(&disk, ".").len(), 1);
    drop(stage);
    assert_eq!(names(&disk, "."), [""; 0]);
}

#[test]
fn read_only_files_are_replaced_updated_and_removed() {
    let (dir, disk) = scratch();
    let read_only = || {
        fs::write(dir.path().join("f"), "old").expect("a file");
        let mut permissions = fs::metadata(dir.path().join("f")).expect("there").permissions();
        permissions.set_readonly(true);
        fs::set_permissions(dir.path().join("f"), permissions).expect("read-only");
        assert_eq!(disk.metadata(&path("f"), false).expect("there").mode & 0o777, 0o444);
    };
    read_only();
    staged(&disk, "f", b"new").commit().expect("replaced");
    assert_eq!(content(dir.path(), "f"), "new");
    assert_eq!(disk.metadata(&path("f"), false).expect("there").mode & 0o777, 0o644);
    read_only();
    disk.sync(&path("f"), Kind::File).expect("flushed");
    assert_eq!(disk.metadata(&path("f"), false).expect("there").mode & 0o777, 0o444);
    let mut stage = disk.open_in_place(&path("f")).expect("opened");
    stage.write_at(0, b"up").expect("written");
    stage.commit().expect("nothing more");
    assert_eq!(content(dir.path(), "f"), "upd");
    disk.remove_file(&path("f")).expect("removed");
    assert_eq!(names(&disk, "."), [""; 0]);
}

#[test]
fn names_that_differ_in_case_are_never_taken_for_each_other() {
    let (dir, disk) = scratch();
    fs::write(dir.path().join("Foo"), "Foo's").expect("a file");
    fs::create_dir(dir.path().join("Dir")).expect("a folder");
    fs::write(dir.path().join("Dir/x"), "x").expect("a file");
    let missing = |error: io::Error| assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    missing(disk.metadata(&path("foo"), false).expect_err("another name"));
    missing(disk.remove_file(&path("FOO")).expect_err("another name"));
    missing(disk.open(&path("foo")).err().expect("another name"));
    missing(disk.metadata(&path("dir/x"), false).expect_err("another folder"));
    missing(disk.remove_dir(&path("dir")).expect_err("another folder"));
    let taken = |error: io::Error| {
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert!(error.to_string().contains("takes both names for one"), "{error}");
    };
    taken(staged(&disk, "foo", b"foo's").commit().expect_err("the name is taken"));
    taken(disk.create_dir(&path("dir"), 0o755).expect_err("the name is taken"));
    taken(disk.open_in_place(&path("fOO")).err().expect("the name is taken"));
    taken(disk.hard_link(&path("Dir/x"), &path("foo")).expect_err("the name is taken"));
    taken(disk.rename(&path("Dir/x"), &path("fOo")).expect_err("the name is taken"));
    assert_eq!(content(dir.path(), "Foo"), "Foo's");
    assert_eq!(names(&disk, "."), ["Dir", "Foo"]);
    disk.remove_file(&path("Foo")).expect("its own name");
    staged(&disk, "foo", b"foo's").commit().expect("the name is free");
    assert_eq!(names(&disk, "."), ["Dir", "foo"]);
}

#[test]
fn impossible_names_are_told_at_once_and_never_made() {
    let (_dir, disk) = scratch();
    let refused = |error: io::Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("Windows cannot have a file of that name"), "{error}");
    };
    disk.create_dir(&path("d"), 0o755).expect("a folder");
    for name in ["NUL", "d/con.txt", "a:b", "d/a.", "x ", "a\\b", "d/COM1", "q?", "\u{1b}"] {
        refused(disk.metadata(&path(name), false).expect_err(name));
        refused(disk.stage(&path(name)).err().expect(name));
        refused(disk.create_dir(&path(name), 0o755).expect_err(name));
        refused(disk.open_in_place(&path(name)).err().expect(name));
        refused(disk.rename(&path("d"), &path(name)).expect_err(name));
    }
    assert_eq!(names(&disk, "."), ["d"]);
    assert_eq!(names(&disk, "d"), [""; 0]);
}

#[test]
fn paths_may_be_as_long_as_they_like() {
    let (_dir, disk) = scratch();
    let mut deep = path("a-folder-with-a-long-name");
    let mut all = Vec::new();
    for depth in 0..20 {
        disk.create_dir(&deep, 0o755).expect("a folder");
        all.push(deep.clone());
        deep = deep.join(format!("a-folder-with-a-long-name-{depth}").as_bytes()).expect("legal");
    }
    assert!(deep.as_bytes().len() > 500);
    let name = String::from_utf8(deep.as_bytes().to_vec()).expect("text");
    staged(&disk, &name, b"deep").commit().expect("in place");
    assert_eq!(disk.metadata(&deep, false).expect("there").size, 4);
    disk.remove_file(&deep).expect("removed");
    for dir in all.iter().rev() {
        disk.remove_dir(dir).expect("removed");
    }
    assert_eq!(names(&disk, "."), [""; 0]);
}

#[test]
fn names_of_all_languages_are_listed_as_they_are() {
    let (dir, disk) = scratch();
    let all = ["e\u{301}", "plain", "é", "日本", "😀"];
    for name in all {
        staged(&disk, name, name.as_bytes()).commit().expect("in place");
        assert_eq!(content(dir.path(), name), name);
    }
    assert_eq!(names(&disk, "."), all);
}

#[test]
fn a_folder_of_thousands_is_listed_whole() {
    let (dir, disk) = scratch();
    let name = |number| format!("a message with quite a long name, number {number:04}");
    for number in 0..1500 {
        fs::write(dir.path().join(name(number)), [0; 3]).expect("a file");
    }
    let listing = disk.list(&RelPath::root()).expect("listed");
    let mut found: Vec<_> = listing.entries.iter().map(|entry| entry.name.to_vec()).collect();
    found.sort();
    let expected: Vec<_> = (0..1500).map(|number| name(number).into_bytes()).collect();
    assert_eq!(found, expected);
    for entry in listing.entries.iter().step_by(100) {
        let name = RelPath::parse(&entry.name).expect("legal");
        let listed = entry.metadata.as_ref().expect("seen");
        assert_eq!(*listed, disk.metadata(&name, false).expect("there"));
        assert_eq!((listed.kind, listed.size), (Kind::File, 3));
    }
}

#[test]
fn a_file_that_another_program_does_not_share_is_told() {
    let (dir, disk) = scratch();
    fs::write(dir.path().join("f"), "busy").expect("a file");
    let mut alone = fs::OpenOptions::new();
    alone.read(true).write(true).share_mode(0);
    let hold = alone.open(dir.path().join("f")).expect("held");
    let told = |error: io::Error| {
        assert!(error.to_string().contains("open in another program"), "{error}");
    };
    told(disk.open(&path("f")).err().expect("held"));
    told(disk.remove_file(&path("f")).expect_err("held"));
    told(disk.open_in_place(&path("f")).err().expect("held"));
    told(staged(&disk, "f", b"new").commit().expect_err("held"));
    assert_eq!(disk.metadata(&path("f"), false).expect("it can be seen").size, 4);
    assert_eq!(names(&disk, "."), ["f"]);
    // One that lets go in time is waited for.
    let let_go = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(15));
        drop(hold);
    });
    disk.open(&path("f")).expect("free again");
    let_go.join().expect("a thread");
}

#[test]
fn a_file_being_written_can_be_read() {
    let (dir, disk) = scratch();
    let mut log = File::create(dir.path().join("log")).expect("a file");
    io::Write::write_all(&mut log, b"line").expect("written");
    let open = disk.open(&path("log")).expect("shared");
    let mut buffer = [0; 8];
    assert_eq!(open.read_at(0, &mut buffer).expect("read"), 4);
    assert_eq!(open.metadata().expect("asked").size, 4);
    let listed = disk.list(&RelPath::root()).expect("listed");
    assert_eq!(listed.entries[0].metadata.as_ref().expect("seen").size, 4);
}

#[test]
fn second_names_are_counted() {
    let (dir, disk) = scratch();
    fs::create_dir(dir.path().join("d")).expect("a folder");
    fs::write(dir.path().join("a"), "x").expect("a file");
    disk.hard_link(&path("a"), &path("d/b")).expect("linked");
    let (a, b) = (disk.metadata(&path("a"), false), disk.metadata(&path("d/b"), false));
    let (a, b) = (a.expect("there"), b.expect("there"));
    assert_eq!((a.links, a.inode, a.file_system), (2, b.inode, b.file_system));
    let error = disk.hard_link(&path("a"), &path("d/b")).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn folders_are_renamed_and_removed_while_they_are_known() {
    let (_dir, disk) = scratch();
    for dir in ["a", "a/b", "a/b/c"] {
        disk.create_dir(&path(dir), 0o755).expect("a folder");
    }
    staged(&disk, "a/b/c/f", b"x").commit().expect("in place");
    disk.rename(&path("a"), &path("z")).expect("renamed");
    assert!(disk.metadata(&path("a/b/c/f"), false).is_err());
    assert!(disk.metadata(&path("z/b/c/f"), false).is_ok());
    let full = disk.remove_dir(&path("z/b/c")).expect_err("not empty");
    assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty, "{full}");
    let folder = disk.remove_file(&path("z")).expect_err("a folder");
    assert_eq!(folder.kind(), ErrorKind::IsADirectory, "{folder}");
    let file = disk.remove_dir(&path("z/b/c/f")).expect_err("a file");
    assert_eq!(file.kind(), ErrorKind::NotADirectory, "{file}");
    let through = disk.metadata(&path("z/b/c/f/x"), false).expect_err("a file on the way");
    assert_eq!(through.kind(), ErrorKind::NotADirectory, "{through}");
    disk.remove_file(&path("z/b/c/f")).expect("removed");
    for dir in ["z/b/c", "z/b", "z"] {
        disk.remove_dir(&path(dir)).expect("removed");
    }
    assert_eq!(names(&disk, "."), [""; 0]);
}

#[test]
fn folders_keep_times_and_have_no_read_only() {
    let (_dir, disk) = scratch();
    disk.create_dir(&path("d"), 0o500).expect("a folder");
    let time = Some((1_600_000_000, 700));
    let wanted = Attributes { mtime: time, mode: Some(0o500), ..Attributes::default() };
    disk.set_attributes(&path("d"), Kind::Directory, &wanted).expect("set");
    let seen = disk.metadata(&path("d"), false).expect("there");
    assert_eq!((seen.kind, Some((seen.mtime, seen.nanos))), (Kind::Directory, time));
    assert_eq!(seen.mode & 0o7777, 0o755);
    disk.set_attributes(&RelPath::root(), Kind::Directory, &wanted).expect("the root's");
    let root = disk.metadata(&RelPath::root(), true).expect("there");
    assert_eq!(Some((root.mtime, root.nanos)), time);
    let owner = Attributes { owner: Some(7), ..Attributes::default() };
    assert!(disk.set_attributes(&path("d"), Kind::Directory, &owner).is_err());
}

#[test]
fn subtrees_and_temp_dirs() {
    let (dir, disk) = scratch();
    for name in ["sub", "temp"] {
        disk.create_dir(&path(name), 0o755).expect("a folder");
    }
    let tree = disk.with_temp_dir(&path("temp")).expect("staged there");
    let sub = tree.subtree(&path("sub")).expect("a tree");
    let mut stage = sub.stage(&path("f")).expect("a temporary file");
    stage.write_at(0, b"x").expect("written");
    assert_eq!((names(&disk, "temp").len(), names(&disk, "sub").len()), (1, 0));
    stage.keep_as(&path("kept")).expect("renamed");
    assert_eq!(names(&disk, "sub"), ["kept"]);
    assert!(sub.metadata(&path("temp"), false).is_err());
    assert!(disk.subtree(&path("sub/kept")).is_err(), "a file");
    let other = tempfile::tempdir().expect("a scratch folder");
    let disk = Disk::open(dir.path()).and_then(|disk| disk.with_temp_path(other.path()));
    staged(&disk.expect("staged there"), "g", b"y").commit().expect("in place");
    assert_eq!(content(dir.path(), "g"), "y");
}

#[test]
fn tells_room_and_flushes() {
    let (_dir, disk) = scratch();
    assert!(disk.room(&RelPath::root()).expect("told").expect("known") > 1 << 20);
    disk.create_dir(&path("d"), 0o755).expect("a folder");
    staged(&disk, "d/f", b"x").commit().expect("in place");
    disk.sync(&path("d"), Kind::Directory).expect("flushed");
    disk.sync(&path("d/f"), Kind::File).expect("flushed");
    disk.sync(&RelPath::root(), Kind::Directory).expect("flushed");
    assert_ne!(disk.volume(&RelPath::root()).expect("told"), 0);
}

#[test]
fn a_following_source_reads_all_the_same() {
    let (dir, disk) = scratch();
    fs::create_dir(dir.path().join("d")).expect("a folder");
    fs::write(dir.path().join("d/f"), "x").expect("a file");
    for reach in [Reach::Beneath, Reach::Anywhere] {
        let source = disk.following(reach).expect("followed");
        assert_eq!(source.metadata(&path("d/f"), true).expect("there").size, 1);
        assert_eq!(source.list(&path("d")).expect("listed").entries.len(), 1);
        let mut byte = [0];
        let file = source.open(&path("d/f")).expect("open");
        assert_eq!(file.read_at(0, &mut byte).expect("read"), 1);
        let gone = source.metadata(&path("d/g"), true).expect_err("not there");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_root_is_a_directory() {
    let (dir, _disk) = scratch();
    fs::write(dir.path().join("f"), "x").expect("a file");
    let file = Disk::open(&dir.path().join("f")).expect_err("a file");
    assert_eq!(file.kind(), ErrorKind::NotADirectory);
    let missing = Disk::open(&dir.path().join("missing")).expect_err("missing");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}
