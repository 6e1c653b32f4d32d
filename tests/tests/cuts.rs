//! A recorded conversation, cut at each of its bytes: the end that is left alone ends with the right
//! code, keeps what it had, and leaves nothing lying about.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use bascule_tests::hostile::recording::{Recording, Speaker};
use bascule_tests::hostile::scene::{MOST_MEMORY, Scene, peak_memory, watched};
use bascule_tests::peer::{Whose, client};

/// Our agent between a tiny folder and the daemon at `port`; each run says the same.
fn agent(ends: [&str; 2]) -> Command {
    let options = ["--no-delete", "--no-partial-dir", "--checksum-seed=1"].map(str::to_owned);
    let mut command = client(Whose::Ours, &options);
    command.args(ends).env("USER", "alice");
    command
}

/// A scene with a folder `tiny`, and a `good` file in `root` that is older.
fn scene() -> Scene {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("tiny/sub")).expect("folders");
    fs::write(scene.path("tiny/good"), b"the new version").expect("a file");
    fs::write(scene.path("tiny/sub/file"), b"another").expect("a file");
    reset(&scene);
    scene
}

fn reset(scene: &Scene) {
    let _ = fs::remove_dir_all(scene.path("root/sub"));
    fs::write(scene.path("root/good"), b"the old one").expect("a file");
}

/// Each file is its old or its new version, and nothing else is there.
fn assert_whole(scene: &Scene, cut: usize) {
    let good = fs::read(scene.path("root/good")).expect("one of them");
    assert!(good == b"the old one" || good == b"the new version", "byte {cut}: {good:?}");
    let mut names: Vec<String> = Vec::new();
    for folder in ["root", "root/sub"] {
        let Ok(entries) = fs::read_dir(scene.path(folder)) else { continue };
        names.extend(
            entries.map(|entry| entry.expect("an entry").file_name().display().to_string()),
        );
    }
    names.retain(|name| !["good", "sub", "file", "old", "kept", "way"].contains(&&**name));
    assert!(names.is_empty(), "byte {cut}: {names:?} were left");
}

fn shown(path: &Path) -> String {
    format!("{}/", path.display())
}

#[test]
fn a_client_that_is_cut_off_at_each_byte() {
    let scene = scene();
    let daemon = scene.daemon("");
    let recording = Recording::of(daemon.port, |port| {
        let remote = format!("rsync://127.0.0.1:{port}/mod/");
        let (ran, _) =
            watched(&mut agent([&shown(&scene.path("tiny")), &remote]), &scene.path("."));
        assert_eq!(ran.code, 0, "{}", ran.said);
    });
    let all = recording.len(Speaker::Client);
    for cut in 0..all {
        reset(&scene);
        let stream = TcpStream::connect(("127.0.0.1", daemon.port)).expect("it listens");
        // The daemon may have had enough before.
        let _ = recording.play(Speaker::Client, cut, stream);
        assert_whole(&scene, cut);
    }
    scene.assert_served(&daemon, "cuts");
    // It has seen the end of each by now, or is about to: nothing is left of them.
    assert_whole(&scene, all);
    scene.assert_untouched("cuts");
    let peak = peak_memory(daemon.id()).expect("it runs");
    assert!(peak < MOST_MEMORY, "{} MiB", peak >> 20);
    println!("{all} bytes");
}

#[test]
fn a_daemon_that_is_cut_off_at_each_byte() {
    let scene = scene();
    let daemon = scene.daemon(&format!("[tiny]\npath = {}\n", scene.path("tiny").display()));
    let target = shown(&scene.path("root"));
    let recording = Recording::of(daemon.port, |port| {
        let remote = format!("rsync://127.0.0.1:{port}/tiny/");
        let (ran, _) = watched(&mut agent([&remote, &target]), &scene.path("."));
        assert_eq!(ran.code, 0, "{}", ran.said);
    });
    let all = recording.len(Speaker::Daemon);
    for cut in 0..=all {
        reset(&scene);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let playing = recording.clone();
        let evil = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("the agent");
            // The agent may have had enough before.
            let _ = playing.play(Speaker::Daemon, cut, stream);
        });
        let remote = format!("rsync://127.0.0.1:{port}/tiny/");
        let (ran, peak) = watched(&mut agent([&remote, &target]), &scene.path("."));
        evil.join().expect("no panic");
        if cut == all {
            assert_eq!(ran.code, 0, "the whole conversation: {}", ran.said);
        } else {
            assert!(
                [10, 12].contains(&ran.code),
                "byte {cut} of {all}: {}: {}",
                ran.code,
                ran.said
            );
        }
        assert!(peak < MOST_MEMORY, "{} MiB", peak >> 20);
        assert_whole(&scene, cut);
    }
    scene.assert_untouched("cuts");
    println!("{all} bytes");
}
