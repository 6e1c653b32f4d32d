//! The rules against hostile peers (§19 of the wire reference), each by its number, held against the
//! whole programs. What one module alone answers for is tested there, under the same kind of name.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

use bascule_tests::hostile::opening::Opening;
use bascule_tests::hostile::scene::{Scene, lie_to_daemon, lying_daemon, watched};
use bascule_tests::hostile::senders::{self, Told};
use bascule_tests::hostile::{Lie, receivers};
use bascule_tests::peer::{Ran, Whose, client, program};
use bascule_tests::scratch::noise;
use bascule_wire::Options;
use bascule_wire::args::Direction;
use bascule_wire::greeting::ServerLine;
use bascule_wire::options::DeleteTiming;

/// The options of an evil client: the list comes at once.
fn options() -> Options {
    Options { no_inc_recursive: true, ..Options::archive() }
}

/// Our agent with some options and two ends.
fn agent(scene: &Scene, options: &[&str], ends: [&str; 2]) -> Ran {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let mut command = client(Whose::Ours, &options);
    command.args(ends).env("USER", "alice");
    watched(&mut command, &scene.path(".")).0
}

fn assert_refused(table: &[Told], direction: Direction) {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    for told in table {
        let verdict = lie_to_daemon(daemon.port, direction, options(), told.lie);
        assert_eq!(verdict.code, Some(2), "{}: {}", told.name, verdict.text);
        assert!(verdict.text.contains(told.says), "{}: {}", told.name, verdict.text);
        scene.assert_untouched(told.name);
    }
}

#[test]
fn rule_19_1_no_path_leads_out_of_the_module() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    let source = scene.path("source/small");
    let source = source.to_str().expect("UTF-8");
    for path in ["way/evil", "way/", "../outside/evil", "way/../../outside/evil"] {
        let remote = format!("rsync://127.0.0.1:{}/mod/{path}", daemon.port);
        agent(&scene, &["--no-delete"], [source, &remote]);
        // A path that climbs stays at the module's root.
        let _ = fs::remove_dir_all(scene.path("root/outside"));
        let _ = fs::remove_file(scene.path("root/evil"));
        scene.assert_untouched(path);
        let copy = scene.path("copy");
        let ran = agent(&scene, &["--no-delete"], [&remote, copy.to_str().expect("UTF-8")]);
        assert_ne!(ran.code, 0, "{path}: {}", ran.said);
        assert!(!copy.join("secret").exists(), "{path}");
    }
}

#[test]
fn rule_19_1_nothing_is_written_through_a_symlink() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    let lie = senders::through_a_symlink;
    assert_eq!(lie_to_daemon(daemon.port, Direction::Push, options(), lie).text, "");
    scene.assert_untouched("a file below a symlink");
}

#[test]
fn rule_19_2_names_are_relative_and_in_listed_folders() {
    assert_refused(senders::NAMES, Direction::Push);
}

#[test]
fn rule_19_3_lengths_in_a_list_are_bounded() {
    assert_refused(senders::LENGTHS, Direction::Push);
}

#[test]
fn rule_19_3_counts_and_indexes_of_a_sender_are_bounded() {
    assert_refused(senders::NUMBERS, Direction::Push);
}

#[test]
fn rule_19_3_counts_and_indexes_of_a_receiver_are_bounded() {
    assert_refused(receivers::NUMBERS, Direction::Pull);
}

#[test]
fn rule_19_3_hard_links_lead_to_earlier_first_members() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    for told in senders::ABOUT_LINKS {
        let options = Options { hard_links: 1, ..options() };
        let verdict = lie_to_daemon(daemon.port, Direction::Push, options, told.lie);
        assert_eq!(verdict.code, Some(2), "{}: {}", told.name, verdict.text);
        assert!(verdict.text.contains(told.says), "{}: {}", told.name, verdict.text);
    }
}

#[test]
fn rule_19_4_an_agent_takes_only_what_it_has_asked_for() {
    let cases: [(Lie, &str, &[&str], i32, &str); 5] = [
        (|talk| senders::only(talk, "wanted", false), "wanted", &[], 0, "complete"),
        (|talk| senders::only(talk, "evil", false), "wanted", &[], 2, "not asked for"),
        (|talk| senders::only(talk, "x.txt", false), "*.txt", &[], 0, "complete"),
        (|talk| senders::only(talk, "evil", true), "", &["--exclude=ev*"], 2, "leave out"),
        (|talk| senders::only(talk, "old.txt", true), "", &["--exclude=ev*"], 0, "complete"),
    ];
    for (lie, path, options, code, says) in cases {
        let scene = Scene::new();
        let (port, daemon) = lying_daemon(lie);
        let options = [options, &["--no-delete", "--no-inc-recursive"]].concat();
        let remote = format!("rsync://127.0.0.1:{port}/mod/{path}");
        let target = format!("{}/", scene.path("root").display());
        let ran = agent(&scene, &options, [&remote, &target]);
        daemon.join().expect("no panic").expect("the opening went well");
        assert_eq!(ran.code, code, "{path}: {}", ran.said);
        assert!(ran.said.contains(says), "{path}: {}", ran.said);
        scene.assert_untouched(path);
    }
}

#[test]
fn rule_19_4_only_a_basis_that_was_offered_is_taken() {
    let scene = Scene::new();
    let (port, daemon) = lying_daemon(senders::foreign_basis);
    let (ran, _) = scene.agent(Direction::Pull, &["--no-delete", "--no-inc-recursive"], port);
    daemon.join().expect("no panic").expect("the opening went well");
    assert_eq!(ran.code, 2, "{}", ran.said);
    assert!(ran.said.contains("a basis that it was not offered"), "{}", ran.said);
    scene.assert_untouched("a basis");
}

#[test]
fn rule_19_5_nothing_is_deleted_that_the_list_does_not_speak_of() {
    for timing in [DeleteTiming::Before, DeleteTiming::During, DeleteTiming::After] {
        let scene = Scene::new();
        let daemon = scene.daemon("");
        let options = Options { delete: Some(timing), ..options() };
        let lie = |lie| lie_to_daemon(daemon.port, Direction::Push, options.clone(), lie);
        // Who could not read everything does not know what is gone.
        let verdict = lie(senders::less_with_errors);
        assert_eq!(verdict.code, None, "{}", verdict.text);
        scene.assert_untouched("a list with errors");
        // The contents of `kept` are not part of the list, and those behind `way` never are.
        let verdict = lie(senders::folder_without_contents);
        assert_eq!(verdict.code, None, "{}", verdict.text);
        scene.assert_untouched("a folder without contents");
    }
}

#[test]
fn rule_19_6_arguments_are_bounded_in_number_and_size() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    for argument in [&b"-v\0"[..], &[b'x'; 60_000]] {
        let mut opening = Opening::to(daemon.port).expect("it listens");
        opening.enter("mod").expect("let in");
        // Written without end: the daemon hangs up.
        while opening.send(argument).is_ok() {}
        drop(opening);
    }
    scene.assert_served(&daemon, "arguments");
}

#[test]
fn rule_19_6_a_client_cannot_lift_limits() {
    let scene = Scene::new();
    let daemon = scene.daemon("max entries = 1\n");
    let mut opening = Opening::to(daemon.port).expect("it listens");
    opening.enter("mod").expect("let in");
    opening.send(b"--server\0-re.iLsfxCIvu\0--max-alloc=0\0.\0mod/\0\0").expect("it listens");
    let listed = Options { recurse: true, ..Options::default() };
    let mut talk = opening.negotiated(listed).expect("let in");
    let _ = senders::only(&mut talk, "evil", true);
    let verdict = talk.last_words();
    assert_eq!(verdict.code, Some(22), "{}", verdict.text);
    scene.assert_untouched("limits");
}

#[test]
fn rule_19_6_clients_count_before_they_log_in() {
    let scene = Scene::new();
    let secrets = scene.path("secrets");
    fs::write(&secrets, "alice:wonderland\n").expect("a file");
    let daemon = scene.daemon(&format!(
        "max connections = 1\nauth users = alice\nstrict modes = no\nsecrets file = {}\n",
        secrets.display()
    ));
    let mut first = Opening::to(daemon.port).expect("it listens");
    let asked = first.enter("mod").expect_err("a password is wanted");
    assert!(asked.to_string().contains("AuthRequired"), "{asked}");
    let mut second = Opening::to(daemon.port).expect("it listens");
    let refused = second.enter("mod").expect_err("there is one already");
    let limit = ServerLine::Error("max connections (1) reached -- try again later".to_owned());
    assert_eq!(refused.to_string(), format!("{limit:?}"));
}

#[test]
fn rule_19_7_symlinks_of_a_module_are_disarmed() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    drop(daemon);
    // The default of a module that does not change its root.
    let config = format!(
        "uid = 0\ngid = 0\nuse chroot = no\n[mod]\npath = {}\nread only = no\n",
        scene.path("root").display()
    );
    let daemon = bascule_tests::peer::Daemon::start(Whose::Ours, &scene.path("."), &config);
    let verdict = lie_to_daemon(daemon.port, Direction::Push, options(), senders::a_way_out);
    assert_eq!(verdict.code, None, "{}", verdict.text);
    let stored = fs::read_link(scene.path("root/out")).expect("a symlink");
    assert_eq!(stored.to_str(), Some("/rsyncd-munged/../outside"));
    scene.assert_untouched("a symlink");
}

#[test]
fn rule_19_9_trouble_with_a_file_is_told_as_such() {
    let scene = Scene::new();
    let daemon = scene.daemon("");
    let verdict = lie_to_daemon(daemon.port, Direction::Push, options(), senders::wrong_sum);
    assert_eq!((verdict.code, verdict.about_files), (None, 1), "{}", verdict.text);
    assert!(verdict.text.contains("old: its content did not match"), "{}", verdict.text);
    assert!(fs::read(scene.path("root/old")).expect("the old version") == noise(3, 5000));
    // And it makes the exit code of our own agent.
    let mut command = Command::new(program("bascule"));
    command.args(["mirror", "--retries=0", "--no-delete"]);
    command.arg(format!("rsync://127.0.0.1:{}/mod/missing", daemon.port));
    command.arg(scene.path("copy"));
    let (ran, _) = watched(&mut command, &scene.path("."));
    assert_eq!(ran.code, 23, "{}", ran.said);
    assert!(ran.said.contains("missing"), "{}", ran.said);
}
