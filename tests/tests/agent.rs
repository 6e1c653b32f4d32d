//! The agent as a user meets it: interruption, exit codes, what it prints.
#![cfg(unix)]

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bascule_tests::judge::{describe, differences};
use bascule_tests::peer::{Daemon, Whose, mirror, program};
use bascule_tests::scratch::{T0, file, noise};
use rustix::process::{Pid, Signal, kill_process};

const BIG: usize = 3_000_000;

struct World {
    scratch: tempfile::TempDir,
    daemon: Daemon,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let root = scratch.path();
        fs::create_dir(root.join("from")).expect("a folder");
        fs::create_dir(root.join("to")).expect("a folder");
        file(&root.join("from"), b"a small", b"first", 0o644, (T0, 1)).expect("a file");
        file(&root.join("from"), b"dir/big", &noise(3, BIG), 0o644, (T0, 2)).expect("a file");
        file(&root.join("from"), b"z last", b"last", 0o644, (T0, 3)).expect("a file");
        let config = format!(
            "use chroot = no\nuid = 0\ngid = 0\nmunge symlinks = no\nmotd file = {0}/motd\n\
             [m]\npath = {0}\nread only = no\ncomment = the scratch folder\n\
             [locked]\npath = {0}\nauth users = alice\nsecrets file = {0}/secrets\n\
             [hidden]\npath = {0}\nlist = no\n",
            root.display()
        );
        fs::write(root.join("motd"), "Welcome.\n").expect("a file");
        let daemon = Daemon::start(Whose::Ours, root, &config);
        Self { scratch, daemon }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}/", self.scratch.path().display())
    }

    fn url(&self, name: &str) -> String {
        format!("rsync://127.0.0.1:{}/m/{name}/", self.daemon.port)
    }
}

/// The names below a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let description = describe(dir, false).expect("a tree");
    description.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < Duration::from_secs(30), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn staged(dir: &Path) -> bool {
    fs::read_dir(dir.join("dir")).is_ok_and(|names| {
        names.flatten().any(|name| {
            name.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 300_000)
        })
    })
}

#[test]
fn an_interrupted_run_leaves_only_a_partial_and_goes_on_from_it() {
    let world = World::new();
    let (to, from) = (world.scratch.path().join("to"), world.scratch.path().join("from"));
    let ways = [
        [world.path("from"), world.url("to")],
        [world.url("from"), world.path("to")],
        [world.path("from"), world.path("to")],
    ];
    for ends in ways {
        for signal in [Signal::INT, Signal::TERM] {
            fs::remove_dir_all(&to).expect("it can be removed");
            fs::create_dir(&to).expect("a folder");
            let mut child = Command::new(program("bascule"))
                .args(["mirror", "--bwlimit=1000"])
                .args(&ends)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            wait_until("some of the big file arrived", || staged(&to));
            let id = Pid::from_child(&child);
            kill_process(id, signal).expect("it runs");
            let code = child.wait().expect("it ends").code();
            let said = io::read_to_string(child.stderr.take().expect("piped")).expect("text");
            assert_eq!(code, Some(20), "{ends:?}: {said}");
            assert!(said.contains("interrupted"), "{ends:?}: {said}");
            // A daemon notices the end of the connection a moment later.
            wait_until("the partial file is kept", || to.join("dir/.bascule-partial/big").exists());
            let expected =
                ["", "a small", "dir", "dir/.bascule-partial", "dir/.bascule-partial/big"];
            wait_until("no temporary file stays", || {
                names(&to).iter().filter(|name| **name != "z last").eq(expected.iter().copied())
            });

            let options = ["--json".to_owned()];
            let ran = mirror(Whose::Ours, &options, None, [&ends[0], &ends[1]]);
            assert_eq!(ran.code, 0, "{}", ran.said);
            let document: serde_json::Value = serde_json::from_str(&ran.said).expect("JSON");
            let matched = document["matched_bytes"].as_u64().expect("a number");
            assert!(matched > 200_000 || ends[1] == world.path("to"), "{}", ran.said);
            let expected = describe(&from, false).expect("a tree");
            let left = differences(&expected, &describe(&to, false).expect("a tree"));
            assert_eq!(left, Vec::<String>::new(), "{ends:?}");
        }
    }
}

/// Runs `bascule` and gives its exit code, standard output and standard error.
fn bascule(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(program("bascule"))
        .args(args)
        .stdin(Stdio::null())
        .env_remove("RSYNC_PASSWORD")
        .envs([("USER", "alice"), ("TZ", "Europe/Paris")])
        .output()
        .expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn lists_modules_and_files_as_rsync_does() {
    let world = World::new();
    let rsync = |url: &str| {
        let output = Command::new("rsync")
            .args(["--list-only", url])
            .env("TZ", "Europe/Paris")
            .output()
            .expect("rsync runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let base = format!("rsync://127.0.0.1:{}/", world.daemon.port);
    for url in [base.clone(), format!("{base}m/from/"), format!("{base}m/from/dir/big")] {
        let (code, said, trouble) = bascule(&["list", &url]);
        assert_eq!(code, 0, "{url}: {trouble}");
        assert_eq!(said, rsync(&url), "{url}");
    }
    let (_, modules, _) = bascule(&["list", &base]);
    assert!(modules.contains("m              \tthe scratch folder\n"), "{modules}");
    assert!(!modules.contains("hidden"), "{modules}");
}

#[test]
fn exit_codes_and_texts_tell_whose_fault_it_is() {
    let world = World::new();
    let url = |rest: &str| format!("rsync://127.0.0.1:{}/{rest}", world.daemon.port);
    let from = world.path("from");
    for (args, code, text) in [
        (vec!["mirror", &from], 1, "SRC"),
        (vec!["mirror", "--no-such-option", &from, "x"], 1, "--no-such-option"),
        (
            vec!["mirror", "--retries=0", &from, "rsync://127.0.0.1:1/m/"],
            10,
            "check the name, the firewall",
        ),
        (vec!["mirror", &from, &url("nosuch/")], 5, "Unknown module 'nosuch'"),
        (vec!["mirror", &from, &url("locked/")], 5, "--password-file"),
        (vec!["mirror", &from, &url("hidden/")], 1, "module is read only"),
        (vec!["mirror", &from, &url("")], 1, "the module is missing"),
        (vec!["mirror", "/no/such/folder/", &url("m/to/")], 23, "/no/such/folder"),
        (vec!["mirror", &url("m/nosuch/"), &world.path("to")], 23, "nosuch"),
        (vec!["mirror", &url("m/from/"), "/no/such/parent/x"], 11, "--mkpath"),
        (vec!["mirror", "--temp-dir=/no/such", &url("m/from/"), &from], 1, "temp dir /no/such"),
        (vec!["mirror", "host:path", &from], 1, "remote shells are not supported"),
        (vec!["mirror", "--checksum-choice=crc32", &from, &url("m/to/")], 1, "crc32"),
        (vec!["mirror", "--password-file=/no/such", &from, &url("m/to/")], 1, "/no/such"),
        (vec!["list", &url("nosuch/")], 5, "Unknown module"),
        (vec!["list", "/tmp"], 1, "a daemon's URL is needed"),
    ] {
        let (found, said, trouble) = bascule(&args);
        assert_eq!(found, code, "{args:?}: {said}{trouble}");
        assert!(trouble.contains(text), "{args:?}: {trouble}");
    }
    // The daemon that refused all that still serves.
    let (code, _, trouble) = bascule(&["mirror", &from, &url("m/to/")]);
    assert_eq!(code, 0, "{trouble}");
}

#[test]
fn one_json_document_and_nothing_else() {
    let world = World::new();
    let (code, said, trouble) = bascule(&[
        "mirror",
        "--json",
        "-i",
        "-v",
        "--stats",
        &world.path("from"),
        &world.url("to"),
    ]);
    assert_eq!((code, trouble.as_str()), (0, ""));
    let document: serde_json::Value = serde_json::from_str(&said).expect("one document");
    assert_eq!(document["files_transferred"], 3);
    assert_eq!(document["files_listed"], 3);
    assert_eq!(document["bytes_transferred"], BIG + 9);
    assert_eq!(document["created"], 4);
    assert_eq!(document["exit_code"], 0);
    let (code, said, _) = bascule(&[
        "mirror",
        "--json",
        "--retries=0",
        &world.path("from"),
        "rsync://127.0.0.1:1/m/",
    ]);
    let document: serde_json::Value = serde_json::from_str(&said).expect("one document");
    assert_eq!((code, &document["exit_code"]), (10, &serde_json::json!(10)));
    assert!(document["error"].as_str().is_some_and(|text| text.contains("no connection")));
}

#[test]
fn a_blake3_run_between_two_of_ours() {
    let world = World::new();
    for ends in [[world.path("from"), world.url("to")], [world.url("from"), world.path("to")]] {
        fs::remove_dir_all(world.scratch.path().join("to")).expect("it can be removed");
        fs::create_dir(world.scratch.path().join("to")).expect("a folder");
        let (code, _, trouble) =
            bascule(&["mirror", "-c", "--checksum-choice=blake3", &ends[0], &ends[1]]);
        assert_eq!(code, 0, "{trouble}");
        let (code, said, trouble) =
            bascule(&["mirror", "-ci", "--checksum-choice=blake3", &ends[0], &ends[1]]);
        assert_eq!(code, 0, "{trouble}");
        assert!(said.contains("  transferred  0 files"), "{said}");
    }
    // A stock peer has no such checksum, and says so.
    let config = format!("[m]\npath = {}\n", world.scratch.path().display());
    let stock = Daemon::start(Whose::Rsync, world.scratch.path(), &config);
    let url = format!("rsync://127.0.0.1:{}/m/from/", stock.port);
    let (code, _, trouble) =
        bascule(&["mirror", "--checksum-choice=blake3", &url, &world.path("to")]);
    assert_eq!(code, 4, "{trouble}");
    assert!(trouble.contains("blake3"), "{trouble}");
}

#[test]
fn nothing_is_drawn_where_there_is_no_terminal() {
    let world = World::new();
    let (code, said, trouble) = bascule(&["mirror", &world.path("from"), &world.url("to")]);
    assert_eq!((code, trouble.as_str()), (0, ""));
    assert!(said.starts_with("Welcome.\n\ncomplete, after "), "{said}");
    assert_eq!(said.lines().count(), 7, "{said}");
    assert!(!said.contains('\x1b') && !said.contains('\r'), "{said:?}");
}
