//! Peers that never end: lists, names, messages, requests, data that grow when they are decompressed,
//! bytes that trickle. Each ends in a clear error, within little memory, and the daemon serves
//! whoever comes next.
#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use bascule_tests::hostile::opening::Opening;
use bascule_tests::hostile::scene::{
    MOST_MEMORY, Scene, evil_daemon, let_in, lie_to_daemon, lying_daemon, peak_memory, watched,
};
use bascule_tests::hostile::{Lie, receivers, senders};
use bascule_tests::peer::{Daemon, program};
use bascule_wire::Options;
use bascule_wire::args::Direction;
use bascule_wire::greeting::ServerLine;
use bascule_wire::names::CompressName;
use bascule_wire::varint::PutWire as _;
use bytes::BytesMut;

fn options(by_segments: bool) -> Options {
    let mut options = Options::archive();
    options.no_inc_recursive = !by_segments;
    options
}

fn assert_modest(daemon: &Daemon, lie: &str) {
    let peak = peak_memory(daemon.id()).expect("it runs");
    assert!(peak < MOST_MEMORY, "{lie}: {} MiB", peak >> 20);
}

/// Tells our agent a lie; it has to end with that code and text.
fn lie_to_agent(scene: &Scene, direction: Direction, options: &[&str], lie: Lie, end: (i32, &str)) {
    let (port, daemon) = lying_daemon(lie);
    let (ran, peak) = scene.agent(direction, options, port);
    daemon.join().expect("no panic").expect("the opening went well");
    assert_eq!(ran.code, end.0, "{}", ran.said);
    assert!(ran.said.contains(end.1), "{}", ran.said);
    assert!(peak < MOST_MEMORY, "{} MiB: {}", peak >> 20, ran.said);
    scene.assert_untouched(end.1);
}

/// What a sender never stops sending, with the code and the text that end it.
const ENDLESS: &[(Lie, i32, &str)] = &[
    (senders::endless_list, 22, "more than 50000 entries"),
    (senders::endless_names, 22, "more than 33554432 bytes"),
    (senders::endless_owners, 2, "id list"),
    (senders::endless_talk, 13, "messages without end"),
    (senders::endless_refusals, 2, "not asked for"),
];

#[test]
fn a_daemon_ends_what_clients_never_do() {
    let scene = Scene::new();
    let daemon = scene.daemon("max entries = 50000\nmax list memory = 32\n");
    for (lie, code, says) in ENDLESS {
        for by_segments in [false, true] {
            if by_segments && *says == "id list" {
                // There the names come with the entries.
                continue;
            }
            let verdict = lie_to_daemon(daemon.port, Direction::Push, options(by_segments), *lie);
            assert_eq!(verdict.code, Some(*code), "{says}: {}", verdict.text);
            assert!(verdict.text.contains(says), "{}", verdict.text);
            scene.assert_untouched(says);
            assert_modest(&daemon, says);
        }
    }
    scene.assert_served(&daemon, "all of them");
}

#[test]
fn the_agent_ends_what_daemons_never_do() {
    let scene = Scene::new();
    for (lie, code, says) in ENDLESS {
        let options =
            ["--no-delete", "--no-inc-recursive", "--max-entries=50000", "--max-list-memory=32m"];
        lie_to_agent(&scene, Direction::Pull, &options, *lie, (*code, says));
    }
}

#[test]
fn a_list_within_the_limits_passes_and_one_beyond_does_not() {
    let scene = Scene::new();
    // The root, `big` and `small`.
    for (limit, code) in [(3, 0), (2, 22)] {
        let daemon = scene.daemon(&format!("max entries = {limit}\n"));
        let (ran, _) = scene.agent(Direction::Push, &["--no-delete"], daemon.port);
        assert_eq!(ran.code, code, "{}", ran.said);
        // What the daemon lists itself is bounded as well: a client may name it many times.
        let names = ["source/", "source/", "source/"];
        let mut opening = Opening::to(daemon.port).expect("it listens");
        opening.enter("source").expect("let in");
        let mut talk =
            opening.ask(Direction::Pull, &names[..limit - 1], options(false)).expect("let in");
        let listed = talk.read_list();
        assert!(listed.is_err(), "{listed:?}");
        assert_eq!(talk.last_words().code, Some(22));
        drop(daemon);
    }
    let daemon = scene.daemon("");
    for (limit, code) in [("3", 22), ("7", 0)] {
        // Its root has four names and a folder with one.
        let target = scene.path("copy");
        let mut command = std::process::Command::new(program("bascule"));
        command.args(["mirror", "--retries=0"]).arg(format!("--max-entries={limit}"));
        command.arg(format!("rsync://127.0.0.1:{}/mod/", daemon.port)).arg(&target);
        let (ran, _) = watched(&mut command, &scene.path("."));
        assert_eq!(ran.code, code, "{limit}: {}", ran.said);
    }
}

#[test]
fn data_that_grow_are_written_piece_by_piece_and_then_refused() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    for name in [CompressName::Zstd, CompressName::Zlib, CompressName::Lz4] {
        let options = Options { compress: true, compress_choice: Some(name), ..options(false) };
        let verdict = lie_to_daemon(daemon.port, Direction::Push, options, senders::bomb);
        assert!(verdict.text.contains("did not match its checksum twice"), "{}", verdict.text);
        assert_modest(&daemon, name.as_str());
        scene.assert_untouched(name.as_str());
        let choice = format!("--compress-choice={}", name.as_str());
        let options = ["--no-delete", "--no-inc-recursive", choice.as_str()];
        let end = (23, "did not match its checksum twice");
        lie_to_agent(&scene, Direction::Pull, &options, senders::bomb, end);
    }
    scene.assert_served(&daemon, "bombs");
}

#[test]
fn requests_that_nobody_reads_the_answers_of_take_no_memory() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    let mut talk = let_in(daemon.port, Direction::Pull, options(false));
    receivers::endless_requests(&mut talk).expect("it is let in, and then no more is read");
    assert_modest(&daemon, "requests");
    scene.assert_served(&daemon, "requests");
    drop(talk);
    // Our agent pushes to such a daemon, which hangs up in the end.
    let (port, evil) = evil_daemon(|mut opening| {
        opening.greet()?;
        receivers::endless_requests(&mut opening.serve()?)
    });
    let (ran, peak) = scene.agent(Direction::Push, &["--no-delete", "--no-inc-recursive"], port);
    evil.join().expect("no panic").expect("the opening went well");
    assert!([10, 12].contains(&ran.code) && peak < MOST_MEMORY, "{peak}: {}", ran.said);
}

#[test]
fn sums_of_more_blocks_than_are_kept_make_the_file_travel_whole() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    let mut talk = let_in(daemon.port, Direction::Pull, options(false));
    receivers::many_sums(&mut talk).expect("the file comes as data");
    assert_modest(&daemon, "sums");
}

#[test]
fn filter_rules_without_end_are_refused() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    for length in [1, 8000] {
        let mut opening = Opening::to(daemon.port).expect("it listens");
        opening.enter("source").expect("let in");
        let mut talk =
            opening.negotiate(Direction::Pull, &["source/"], options(false)).expect("let in");
        let mut rule = BytesMut::new();
        rule.put_int(length + 2);
        rule.extend_from_slice(b"- ");
        // Sets take the most memory for a byte of pattern.
        rule.extend(b"[a]".iter().cycle().take(usize::try_from(length).expect("short")));
        let rules = rule.repeat(100_000 / rule.len());
        while talk.flush().is_ok() {
            talk.put(&rules);
        }
        let verdict = talk.last_words();
        assert_eq!(verdict.code, Some(2), "{}", verdict.text);
        assert!(verdict.text.contains("filter list"), "{}", verdict.text);
        assert_modest(&daemon, "rules");
    }
    scene.assert_served(&daemon, "rules");
}

#[test]
fn paths_that_stand_for_too_much_are_refused() {
    let scene = Scene::new();
    for number in 0..1001 {
        let folder = scene.path(&format!("source/d{number}"));
        std::fs::create_dir(&folder).expect("a folder");
    }
    let daemon = scene.daemon("");
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).expect("it runs").count();
    let before = descriptors();
    let many = ["source/*"; 100];
    for paths in [&many[..], &["source/*/"]] {
        let mut opening = Opening::to(daemon.port).expect("it listens");
        opening.enter("source").expect("let in");
        let mut talk = opening.ask(Direction::Pull, paths, options(false)).expect("let in");
        let listed = talk.read_list();
        assert!(listed.is_err(), "{listed:?}");
        let verdict = talk.last_words();
        assert_eq!(verdict.code, Some(1), "{}", verdict.text);
        assert!(verdict.text.contains("name the folder above them"), "{}", verdict.text);
        assert_modest(&daemon, "paths");
    }
    // A thousand names in one folder cost one descriptor.
    let mut opening = Opening::to(daemon.port).expect("it listens");
    opening.enter("source").expect("let in");
    let mut talk = opening.ask(Direction::Pull, &["source/*"], options(false)).expect("let in");
    assert_eq!(talk.read_list().expect("a list"), 1003);
    let open = descriptors() - before;
    assert!(open < 50, "{open} descriptors");
}

#[test]
fn bytes_that_trickle_hold_nobody_up() {
    let scene = Scene::new();
    let daemon = scene.daemon("handshake timeout = 1\ntimeout = 2\n");
    let mut trickling = Opening::to(daemon.port).expect("it listens").stream;
    trickling.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let mut silent = let_in(daemon.port, Direction::Push, options(false));
    silent.flush().expect("sent");
    scene.assert_served(&daemon, "one that trickles, one that is silent");
    // One that trickles is given up like one that is silent.
    let began = Instant::now();
    let mut heard = [0; 4096];
    loop {
        assert!(began.elapsed() < Duration::from_secs(60), "it is held for ever");
        if trickling.write_all(b"x").is_err() {
            break;
        }
        match trickling.read(&mut heard) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    // The other one has no list to offer, and the daemon does not wait for it for ever.
    silent.read_list().expect_err("it has none");
    scene.assert_served(&daemon, "both");
}

#[test]
fn a_daemon_that_never_gets_to_the_point_is_given_up() {
    let scene = Scene::new();
    let line = ServerLine::Text(vec![b'm'; 1000]).to_line();
    let lines = line.repeat(100);
    for list in [false, true] {
        let lines = lines.clone();
        let (port, evil) = evil_daemon(move |mut opening| {
            opening.greet()?;
            while opening.send(&lines).is_ok() {}
            Ok(())
        });
        let mut command = std::process::Command::new(program("bascule"));
        if list {
            command.arg("list").arg(format!("rsync://127.0.0.1:{port}/"));
        } else {
            command.args(["mirror", "--retries=0"]);
            command.arg(format!("rsync://127.0.0.1:{port}/mod/")).arg(scene.path("root"));
        }
        let (ran, peak) = watched(&mut command, &scene.path("."));
        evil.join().expect("no panic").expect("it had a client");
        assert_eq!(ran.code, 2, "{}", ran.said);
        assert!(ran.said.contains("lines without end") && peak < MOST_MEMORY, "{}", ran.said);
    }
}

#[test]
fn a_daemon_gets_one_digest_of_the_password() {
    let scene = Scene::new();
    let (port, evil) = evil_daemon(|mut opening| {
        opening.greet()?;
        let challenge = ServerLine::AuthRequired { challenge: "c2FsdA".to_owned() };
        let mut digests = 0;
        while opening.send(&challenge.to_line()).is_ok() && opening.line().is_ok() {
            digests += 1;
        }
        Ok(digests)
    });
    let mut command = std::process::Command::new(program("bascule"));
    command.args(["mirror", "--retries=0"]).env("RSYNC_PASSWORD", "s3cret");
    command.arg(format!("rsync://joe@127.0.0.1:{port}/mod/")).arg(scene.path("root"));
    let (ran, _) = watched(&mut command, &scene.path("."));
    assert_eq!(evil.join().expect("no panic").expect("it had a client"), 1);
    assert_eq!(ran.code, 2, "{}", ran.said);
    assert!(ran.said.contains("a second time"), "{}", ran.said);
}
