//! The daemon's walls: what its threads may do, and a directory that turns into a symlink.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bascule_tests::judge::describe;
use bascule_tests::peer::{Daemon, Whose, client, mirror};
use bascule_tests::scratch::{T0, file, noise};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Flips of the directory and the symlink, with and without Landlock together.
const FLIPS: u32 = 10_000;

fn daemon(root: &Path, more: &str) -> Daemon {
    let config = format!(
        "use chroot = no\nmunge symlinks = no\nuid = 0\ngid = 0\nread only = no\n{more}\n\
         [m]\npath = {0}/module\n[lowly]\npath = {0}/module\nuid = nobody\ngid = nogroup\n",
        root.display()
    );
    Daemon::start(Whose::Ours, root, &config)
}

/// The lines of a thread's status that tell what it may do, by the thread's name.
fn threads(process: u32) -> BTreeMap<String, [String; 3]> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let mut threads = BTreeMap::new();
    for task in tasks.flatten() {
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().trim().to_owned()
        };
        threads.insert(line("Name:"), [line("NoNewPrivs:"), line("CapEff:"), line("Uid:")]);
    }
    threads
}

#[test]
fn threads_that_serve_a_module_keep_no_more_rights_than_they_need() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    fs::create_dir(root.join("module")).expect("a folder");
    fs::create_dir(root.join("copy")).expect("a folder");
    fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    file(&root.join("module"), b"big", &noise(1, 4_000_000), 0o644, (T0, 0)).expect("a file");
    file(&root.join("from"), b"new", &noise(2, 4_000_000), 0o644, (T0, 0)).expect("a file");
    let daemon = daemon(root, "");
    let url = |module: &str| format!("rsync://127.0.0.1:{}/{module}/", daemon.port);
    let here = |name: &str| format!("{}/", root.join(name).display());
    // CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, MKNOD; reading needs only the third.
    let (writer, reader, nobody) = ("000000000800001f", "0000000000000004", "0000000000000000");
    for (from, to, engine, capabilities) in [
        (here("from"), url("m"), "generator", writer),
        (url("m"), here("copy"), "walker", reader),
        (url("lowly"), here("copy"), "walker", nobody),
    ] {
        let options = ["--no-delete", "--bwlimit=500", "-I"].map(str::to_owned);
        let mut run = client(Whose::Ours, &options)
            .args([&from, &to])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let began = Instant::now();
        let seen = loop {
            let threads = threads(daemon.id());
            if threads.contains_key("engine") {
                break threads;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "no engine: {threads:?}");
            std::thread::sleep(Duration::from_millis(1));
        };
        // The engine confines itself first, so what is seen early may still be the old state.
        let confined = |threads: &BTreeMap<String, [String; 3]>| {
            threads
                .get("engine")
                .is_some_and(|[no_new, effective, _]| no_new == "1" && effective == capabilities)
        };
        let mut threads_now = seen;
        while !confined(&threads_now) {
            assert!(began.elapsed() < Duration::from_secs(30), "{from} → {to}: {threads_now:?}");
            std::thread::sleep(Duration::from_millis(1));
            threads_now = threads(daemon.id());
        }
        if let Some([no_new, effective, _]) = threads_now.get(engine) {
            assert_eq!((&no_new[..], &effective[..]), ("1", capabilities), "{from} → {to}");
        }
        let [no_new, effective, _] = &threads_now["basculed"];
        assert_eq!(no_new, "0", "the daemon's own threads run programs: {threads_now:?}");
        assert_ne!(effective, capabilities);
        run.kill().expect("it runs");
        run.wait().expect("it ends");
        let began = Instant::now();
        while threads(daemon.id()).contains_key("engine") {
            assert!(began.elapsed() < Duration::from_secs(30), "the session does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_directory_that_turns_into_a_symlink_leads_nowhere() {
    for more in ["landlock = no", "landlock = yes"] {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let root = scratch.path();
        let (module, outside) = (root.join("module"), root.join("outside"));
        for (folder, text) in [(&module.join("flip"), "inside"), (&outside, "canary")] {
            for number in 0..20 {
                let name = format!("file {number}");
                file(folder, name.as_bytes(), text.as_bytes(), 0o644, (T0, 0)).expect("a file");
            }
            file(folder, b"sub/deep", text.as_bytes(), 0o644, (T0, 0)).expect("a file");
        }
        symlink(&outside, module.join("swap")).expect("a symlink");
        let before = describe(&outside, true).expect("a tree");
        // Overwrites some, brings new ones, lets most be deleted.
        for name in ["flip/file 1", "flip/file 2", "flip/new", "flip/sub/new"] {
            file(&root.join("from"), name.as_bytes(), b"pushed", 0o600, (T0 + 9, 0))
                .expect("a file");
        }
        let daemon = daemon(root, more);
        let url = format!("rsync://127.0.0.1:{}/m/", daemon.port);
        let flips = AtomicU32::new(0);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (flip, swap) = (module.join("flip"), module.join("swap"));
                while !over.load(Ordering::Relaxed) {
                    // A run may have put a directory in the symlink's place, or deleted either.
                    let _ = fs::create_dir(&flip);
                    let is_link =
                        |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_symlink());
                    if !is_link(&flip) && !is_link(&swap) {
                        let _ = fs::remove_dir_all(&swap);
                        let _ = symlink(&outside, &swap);
                    }
                    if renameat_with(CWD, &flip, CWD, &swap, RenameFlags::EXCHANGE).is_ok() {
                        flips.fetch_add(1, Ordering::Relaxed);
                    }
                    // Long enough for a run to get somewhere in between.
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            let mut runs = 0;
            while flips.load(Ordering::Relaxed) < FLIPS / 2 || runs < 30 {
                let copy = root.join("copy");
                let _ = fs::remove_dir_all(&copy);
                fs::create_dir(&copy).expect("a folder");
                let copy = format!("{}/", copy.display());
                let from = format!("{}/", root.join("from").display());
                let (options, ends): (&[&str], [&str; 2]) = match runs % 4 {
                    0 => (&["--no-delete"], [&from, &url]),
                    1 => (&["--delete-guard=off", "--exclude=/swap"], [&from, &url]),
                    2 => (&[], [&url, &copy]),
                    // Through the flipping name itself, as destination and as source.
                    _ => (&["--delete-guard=off"], [&from, &url]),
                };
                let through = format!("{url}flip/");
                let ends = if runs % 8 == 7 { [&from[..], &through] } else { ends };
                let options: Vec<_> = options.iter().map(ToString::to_string).collect();
                let ran = mirror(Whose::Ours, &options, None, ends);
                // It may fail, or find nothing wrong: what counts is what it touched.
                assert!([0, 3, 11, 12, 23, 24].contains(&ran.code), "{}: {}", ran.code, ran.said);
                for (name, what) in describe(Path::new(&copy), false).expect("a tree") {
                    let path = Path::new(&copy).join(String::from_utf8_lossy(&name).as_ref());
                    if what.starts_with("file") {
                        let text = fs::read_to_string(&path).expect("readable");
                        assert_ne!(text, "canary", "{more}: {path:?} came from outside");
                    }
                }
                assert_eq!(describe(&outside, true).expect("a tree"), before, "{more}: run {runs}");
                runs += 1;
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(describe(&outside, true).expect("a tree"), before, "{more}");
    }
}

#[test]
fn folders_that_a_client_names_do_not_lead_out_of_the_module() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    let (module, outside) = (root.join("module"), root.join("outside"));
    file(&outside, b"canary", b"outside", 0o644, (T0, 0)).expect("a file");
    let before = describe(&outside, true).expect("a tree");
    let daemon = daemon(root, "landlock = no");
    let url = format!("rsync://127.0.0.1:{}/m/", daemon.port);
    let from = format!("{}/", root.join("from").display());
    file(&root.join("from"), b"file", &noise(2, 90_000), 0o644, (T0 + 9, 0)).expect("a file");
    for place in ["backup-dir", "partial-dir", "temp-dir"] {
        for target in ["../outside", &outside.display().to_string()] {
            let _ = fs::remove_dir_all(&module);
            file(&module, b"file", &noise(1, 90_000), 0o644, (T0, 0)).expect("a file");
            symlink(target, module.join("way")).expect("a symlink");
            for dir in ["way", "way/below", "../outside"] {
                let options = [format!("--{place}={dir}"), "--backup".to_owned()];
                let options = if place == "backup-dir" { &options[..] } else { &options[..1] };
                let mut command = Command::new("rsync");
                command.arg("-a").args(options).args([&from, &url]).stdin(Stdio::null());
                // Refused, or kept within the module: what counts is what it touched.
                let said = command.output().expect("rsync is installed");
                let said = String::from_utf8_lossy(&said.stderr).into_owned();
                assert_eq!(
                    describe(&outside, true).expect("a tree"),
                    before,
                    "{options:?}: {said}"
                );
            }
        }
    }
}

#[test]
fn folders_that_a_client_names_are_not_what_the_module_hides() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let (module, from) = (scratch.path().join("module"), scratch.path().join("from"));
    let hidden = module.join("hidden");
    file(&from, b"file", &noise(2, 90_000), 0o644, (T0 + 9, 0)).expect("a file");
    // What is hidden is just what comes: as a basis it would be matched.
    file(&hidden, b"file", &noise(2, 90_000), 0o644, (T0, 0)).expect("a file");
    file(&module, b"shown/file.key", b"hidden as well", 0o644, (T0, 0)).expect("a file");
    let is_hidden = |name: &Vec<u8>| name.starts_with(b"hidden") || name.ends_with(b".key");
    let what_is_hidden = || {
        let mut tree = describe(&module, true).expect("a tree");
        tree.retain(|name, _| is_hidden(name));
        tree
    };
    let before = what_is_hidden();
    assert_eq!(before.len(), 3);
    let daemon = daemon(scratch.path(), "exclude = /hidden *.key");
    let url = format!("rsync://127.0.0.1:{}/m/", daemon.port);
    let from = format!("{}/", from.display());
    for (options, code) in [
        (&["--backup", "--backup-dir=hidden"][..], 4),
        (&["--backup", "--backup-dir=hidden/below"], 4),
        (&["--backup", "--backup-dir=/hidden"], 4),
        (&["--backup", "--backup-dir=shown", "--suffix=.key"], 23),
        (&["--temp-dir=hidden"], 4),
        (&["--temp-dir=/hidden"], 4),
        (&["--partial-dir=hidden"], 0),
        (&["--partial-dir=hidden", "--delay-updates"], 23),
    ] {
        file(&module, b"file", &noise(1, 90_000), 0o644, (T0, 0)).expect("a file");
        let mut command = Command::new("rsync");
        command.args(["-a", "--stats"]).args(options).args([&from, &url]).stdin(Stdio::null());
        let ran = command.output().expect("rsync is installed");
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        assert_eq!(ran.status.code(), Some(code), "{options:?}: {said}");
        assert_eq!(what_is_hidden(), before, "{options:?}: {said}");
        assert!(code != 0 || said.contains("Matched data: 0 bytes"), "{options:?}: {said}");
    }
}
