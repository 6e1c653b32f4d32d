//! `bascule init` and `bascule check`: a job from nothing, and what is wrong with one.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;

use bascule_tests::job::World;
use bascule_tests::peer::{Daemon, Whose};
use serde_json::Value;

/// The texts of the findings that are not `ok`.
fn trouble(world: &World, options: &[&str]) -> (i32, Vec<String>) {
    let mut words = vec!["check", "mail", "--json"];
    words.extend(options);
    let ran = world.bascule(&words);
    let document: Value =
        serde_json::from_str(&ran.said).unwrap_or_else(|error| panic!("{error}: {}", ran.said));
    let findings = document["mail"].as_array().expect("a list").iter();
    let bad = findings.filter(|finding| finding["level"] != "ok");
    let texts = bad.map(|finding| format!("{}: {}", finding["level"], finding["text"]));
    (ran.code, texts.collect())
}

#[test]
fn a_job_from_nothing_with_the_printed_commands() {
    let world = World::new(Whose::Ours, "");
    let (config, state) = (world.at("new/bascule.toml"), world.at("new/state"));
    let url = format!("rsync://127.0.0.1:{}/mail/sub/", world.daemon.port);
    let from = format!("{}/", world.at("from").display());
    let words = [
        "init".to_owned(),
        url,
        from,
        format!("--config={}", config.display()),
        format!("--state={}", state.display()),
        "--trash-days=7".to_owned(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = world.bascule(&words);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let printed: Vec<String> = ran
        .said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("bascule "))
        .map(ToOwned::to_owned)
        .collect();
    let is_there = |start: &str| printed.iter().any(|line| line.starts_with(start));
    assert!(printed.len() == 3 && is_there("service install --config="), "{}", ran.said);
    // The service is installed in `two_machines`; this machine is not to have one.
    let by_hand = ran.said.split('`').find_map(|text| text.strip_prefix("bascule converge "));
    let by_hand = format!("converge {}", by_hand.expect("told"));
    for command in [&printed[0], &by_hand, &printed[2]] {
        let words: Vec<&str> = command.split_whitespace().collect();
        let ran = world.bascule(&words);
        assert_eq!(ran.code, 0, "{command}: {}", ran.said);
    }
    assert!(world.at("to/sub/joe/sent/4.imap").exists());
    assert!(state.join("history.sqlite3").exists());
    // What the check wrote is gone with the first run.
    assert!(!world.at("to/sub/.bascule-check").exists());
    let again = world.bascule(&words);
    assert!(again.code == 1 && again.said.contains("left as it is"), "{}", again.said);
}

#[test]
fn the_first_run_removes_what_a_check_leaves_wherever_the_job_goes() {
    let world = World::new(Whose::Ours, "");
    let text = std::fs::read_to_string(world.at("bascule.toml")).expect("a configuration");
    std::fs::write(world.at("bascule.toml"), text.replace("/from/\"", "/from\"")).expect("a file");
    let (code, texts) = trouble(&world, &[]);
    assert_eq!((code, texts.as_slice()), (0, &[][..]));
    assert!(world.at("to/from/.bascule-check").exists());
    let ran = world.bascule(&["run", "mail"]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert!(world.at("to/from/joe/sent/4.imap").exists());
    let left: Vec<_> = world.at("to").read_dir().expect("a folder").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!world.at("to/from/.bascule-check").exists());
}

#[test]
fn all_is_well() {
    for whose in [Whose::Ours, Whose::Rsync] {
        let world = World::new(whose, "");
        let (code, texts) = trouble(&world, &[]);
        assert_eq!((code, texts.as_slice()), (0, &[][..]), "{whose}");
        let left: Vec<_> = world.at("to").read_dir().expect("a folder").flatten().collect();
        let names: Vec<_> = left.iter().map(std::fs::DirEntry::file_name).collect();
        assert_eq!(names, [".bascule-check"], "{whose}: nothing of the job was copied");
        let within = world.at("to/.bascule-check").read_dir().expect("a folder").count();
        assert_eq!(within, 0, "{whose}: the test files are gone");
        let ran = world.bascule(&["check"]);
        assert!(ran.code == 0 && ran.said.contains("4 files"), "{}", ran.said);
        assert!(ran.said.contains("; 0 names to delete"), "{}", ran.said);
        assert!(ran.said.contains("its clock agrees"), "{}", ran.said);
        assert!(ran.said.contains("dates are kept to 100 ns"), "{}", ran.said);
    }
}

#[test]
fn names_what_is_wrong_and_what_to_do() {
    let mut world = World::new(Whose::Ours, "");
    let expect = |world: &World, part: &str| {
        let (code, texts) = trouble(world, &[]);
        assert!(code == 1 && texts.iter().any(|text| text.contains(part)), "{part}: {texts:#?}");
    };
    std::fs::set_permissions(world.at("to"), std::fs::Permissions::from_mode(0o755))
        .expect("a mode");
    let port = world.daemon.port;
    let config = world.daemon_config();
    // A module that may not be written, one whose user may not write there, one with a login.
    for (from, to, part) in [
        ("read only = no", "read only = yes", "read only"),
        ("uid = root\ngid = root", "uid = 65534\ngid = 65534", "ermission denied"),
        ("[mail]", "[mail]\nauth users = joe\nsecrets file = /nonexistent", "asks for a password"),
        ("[mail]", "[post]", "mail"),
    ] {
        world.daemon.end();
        let twisted = config.replace(from, to);
        assert_ne!(twisted, config);
        world.daemon = Daemon::start_at(Whose::Ours, &world.at(""), &twisted, "127.0.0.1", port);
        expect(&world, part);
    }
    world.daemon.end();
    expect(&world, "no connection");
    world.daemon = Daemon::start_at(Whose::Ours, &world.at(""), &config, "127.0.0.1", port);
    let (code, texts) = trouble(&world, &[]);
    assert_eq!((code, texts.as_slice()), (0, &[][..]));
    std::fs::remove_dir_all(world.at("from")).expect("it is there");
    expect(&world, "from/: No such file");
    std::fs::create_dir(world.at("from")).expect("a folder");
    expect(&world, "is empty");
}
