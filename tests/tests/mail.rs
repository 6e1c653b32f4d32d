//! The main job on a realistic tree: 50,000 messages, pushed and pulled with a stock rsync at the
//! other end, fresh and after a day of mail. Afterwards `rsync -ainc --delete` finds nothing.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

use bascule_tests::mail::{self, Shape};
use bascule_tests::peer::{Daemon, Whose, mirror};

const MESSAGES: usize = 50_000;

/// What the real rsync would still change, comparing contents.
fn left_to_do(source: &Path, target: &Path) -> String {
    let output = Command::new("rsync")
        .args(["-ainc", "--delete", "--modify-window=-1"])
        .args([format!("{}/", source.display()), format!("{}/", target.display())])
        .output()
        .expect("rsync runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn fifty_thousand_messages_both_ways_with_a_stock_peer() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    let (source, one, two) = (root.join("source"), root.join("one"), root.join("two"));
    let made = mail::tree(&source, Shape::of(MESSAGES)).expect("a tree");
    assert_eq!(made.files, MESSAGES);
    fs::create_dir(&one).expect("a folder");
    fs::create_dir(&two).expect("a folder");
    let config = format!(
        "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\nmunge symlinks = no\n\
         [m]\npath = {}\nread only = no\n",
        root.display()
    );
    let ours = Daemon::start(Whose::Ours, root, &config);
    let rsync = Daemon::start(Whose::Rsync, root, &config);
    let url = |daemon: &Daemon, name: &str| format!("rsync://127.0.0.1:{}/m/{name}/", daemon.port);
    let here = |path: &Path| format!("{}/", path.display());
    let run = |client: Whose, ends: [&str; 2]| {
        let ran = mirror(client, &[], None, ends);
        assert_eq!(ran.code, 0, "{client} {ends:?}: {}", ran.said);
    };

    run(Whose::Ours, [&here(&source), &url(&rsync, "one")]);
    assert_eq!(left_to_do(&source, &one), "");
    run(Whose::Rsync, [&url(&ours, "source"), &here(&two)]);
    assert_eq!(left_to_do(&source, &two), "");

    let changed = mail::churn(&source, 0.01, 7).expect("a day of mail");
    assert!(changed > 400);
    run(Whose::Ours, [&url(&rsync, "source"), &here(&one)]);
    assert_eq!(left_to_do(&source, &one), "");
    run(Whose::Rsync, [&here(&source), &url(&ours, "two")]);
    assert_eq!(left_to_do(&source, &two), "");
}
