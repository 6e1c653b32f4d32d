//! Lying clients against our daemon, lying daemons against our agent: a clear error, bounded memory,
//! nothing outside touched, and the daemon serves whoever comes next.
#![cfg(target_os = "linux")]

use bascule_tests::hostile::scene::{MOST_MEMORY, Scene, lie_to_daemon, lying_daemon, peak_memory};
use bascule_tests::hostile::senders::{self, Told};
use bascule_tests::hostile::{Lie, Verdict, receivers};
use bascule_tests::peer::Daemon;
use bascule_wire::Options;
use bascule_wire::args::Direction;

/// The options of an evil client; the list comes at once, or by segments.
fn options(by_segments: bool) -> Options {
    let mut options = Options::archive();
    options.no_inc_recursive = !by_segments;
    options.checksum_seed = Some(1);
    options
}

fn assert_modest(daemon: &Daemon, lie: &str) {
    let peak = peak_memory(daemon.id()).expect("it runs");
    assert!(peak < MOST_MEMORY, "{lie}: {} MiB", peak >> 20);
}

fn assert_told(told: &Told, verdict: &Verdict) {
    let Verdict { code, text, .. } = verdict;
    // Of trouble with files a run does not die.
    let expected = (told.code != 23).then_some(told.code);
    assert_eq!(*code, expected, "{}: {text}", told.name);
    assert!(text.contains(told.says), "{}: {text}", told.name);
}

#[test]
fn clients_that_push_lies() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    for told in senders::all() {
        for by_segments in [false, true] {
            let verdict =
                lie_to_daemon(daemon.port, Direction::Push, options(by_segments), told.lie);
            assert_told(told, &verdict);
            scene.assert_untouched(told.name);
        }
        assert_modest(&daemon, told.name);
    }
    for told in senders::ABOUT_LINKS {
        let options = Options { hard_links: 1, ..options(false) };
        assert_told(told, &lie_to_daemon(daemon.port, Direction::Push, options, told.lie));
    }
    scene.assert_served(&daemon, "all lies");
}

#[test]
fn clients_that_pull_with_lies() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    for told in receivers::all() {
        let verdict = lie_to_daemon(daemon.port, Direction::Pull, options(false), told.lie);
        assert_told(told, &verdict);
        assert_modest(&daemon, told.name);
    }
    scene.assert_served(&daemon, "all lies");
}

/// Lets our agent run against a daemon that lies.
fn lie_to_agent(scene: &Scene, direction: Direction, options: &[&str], lie: Lie) -> (i32, String) {
    let (port, daemon) = lying_daemon(lie);
    let (ran, peak) = scene.agent(direction, options, port);
    daemon.join().expect("no panic").expect("the opening went well");
    assert!(peak < MOST_MEMORY, "{} MiB: {}", peak >> 20, ran.said);
    (ran.code, ran.said)
}

#[test]
fn daemons_that_send_lies() {
    let scene = Scene::new();
    for told in senders::all() {
        for options in [&["--no-delete", "--no-inc-recursive"][..], &["--no-delete"]] {
            let (code, said) = lie_to_agent(&scene, Direction::Pull, options, told.lie);
            assert_eq!(code, told.code, "{}: {said}", told.name);
            assert!(said.contains(told.says), "{}: {said}", told.name);
            scene.assert_untouched(told.name);
        }
    }
}

#[test]
fn daemons_that_receive_with_lies() {
    let scene = Scene::new();
    for told in receivers::all() {
        let options = ["--no-delete", "--no-inc-recursive"];
        let (code, said) = lie_to_agent(&scene, Direction::Push, &options, told.lie);
        assert_eq!(code, told.code, "{}: {said}", told.name);
        assert!(said.contains(told.says), "{}: {said}", told.name);
        scene.assert_untouched(told.name);
    }
}

/// The symlink gives way to the folder, as it should; what it led to stays as it is.
#[test]
fn nothing_is_written_through_a_symlink_that_is_there() {
    let lie = senders::through_a_symlink;
    let scene = Scene::new();
    let daemon = scene.daemon("");
    let verdict = lie_to_daemon(daemon.port, Direction::Push, options(false), lie);
    assert_eq!(verdict, Verdict::default());
    scene.assert_untouched("a client");
    assert_eq!(std::fs::read(scene.path("root/way/below")).expect("it is there"), b"good");
    let scene = Scene::new();
    let options = ["--no-delete", "--no-inc-recursive"];
    let (code, said) = lie_to_agent(&scene, Direction::Pull, &options, lie);
    assert_eq!(code, 0, "{said}");
    scene.assert_untouched("a daemon");
    assert_eq!(std::fs::read(scene.path("root/way/below")).expect("it is there"), b"good");
}
