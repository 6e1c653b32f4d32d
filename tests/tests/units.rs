//! `basculed service install`: the unit files, and where nothing manages services.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bascule_tests::peer::program;

fn basculed(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(program("basculed"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn printed(args: &[&str]) -> String {
    let (code, out, said) = basculed(&[&["service", "install", "--print"], args].concat());
    assert_eq!(code, 0, "{said}");
    out
}

/// Lets systemd judge a unit; gives its exposure in tenths, from 0 to 100.
fn judged(folder: &Path, unit: &str) -> u32 {
    let path = folder.join("basculed.service");
    fs::write(&path, unit).expect("a file");
    let verify = Command::new("systemd-analyze").arg("verify").arg(&path).output();
    let verify = verify.expect("systemd-analyze is installed");
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    assert!(verify.status.success() && !said.contains("basculed"), "{said}");
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&path)
        .output()
        .expect("systemd-analyze is installed");
    let text = String::from_utf8_lossy(&security.stdout).into_owned();
    let line = text.lines().rev().find(|line| line.contains("Overall exposure level"));
    let line = line.unwrap_or_else(|| panic!("no judgement: {text}")).to_owned();
    println!("{}", line.trim());
    let score = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next());
    let score = score.and_then(|score| score.replace('.', "").parse().ok());
    score.unwrap_or_else(|| panic!("no number: {line}"))
}

#[test]
fn the_unit_that_is_shipped_is_the_one_that_is_installed() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/systemd/basculed.service");
    let shipped = fs::read_to_string(shipped).expect("the unit");
    let example = ["--config=/etc/basculed.conf", "--writes=/srv"];
    assert_eq!(printed(&[&example[..], &["--program=/usr/bin/basculed"]].concat()), shipped);
    // The program is not installed here.
    let own = format!("--program={}", program("basculed").display());
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = judged(scratch.path(), &printed(&[&example[..], &[&own]].concat()));
    assert!(root <= 30, "the exposure has grown to {root} tenths");
    let user = ["--user=daemon", &own];
    let user = judged(scratch.path(), &printed(&[&example[..], &user].concat()));
    assert!(user <= 20, "the exposure has grown to {user} tenths");
}

#[test]
fn what_a_configuration_holds_stays_what_it_is() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let store = scratch.path().join("mail 100% \"é\" $HOME");
    fs::create_dir(&store).expect("a folder");
    let config = store.join("conf");
    let path = store.display().to_string().replace('%', "%%");
    fs::write(&config, format!("port = 8730\n[m]\npath = {path}\nread only = no\n"))
        .expect("a file");
    let own = format!("--program={}", program("basculed").display());
    let config = format!("--config={}", config.display());
    let text = printed(&[&config, &own, "--socket-activation", "--user=daemon"]);
    let (unit, socket) = text.split_once("\n# basculed.socket\n").expect("two units");
    assert!(socket.contains("ListenStream=8730\n"), "{socket}");
    // No right is needed for a port that systemd opens.
    assert!(unit.contains("\nCapabilityBoundingSet=\n"), "{unit}");
    fs::write(scratch.path().join("basculed.socket"), socket).expect("a file");
    judged(scratch.path(), unit);
}

#[test]
fn installs_into_another_root_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path().join("root");
    fs::create_dir_all(root.join("etc")).expect("a folder");
    let config = scratch.path().join("conf");
    fs::write(&config, format!("[m]\npath = {}\n", scratch.path().display())).expect("a file");
    let (at, config) =
        (format!("--root={}", root.display()), format!("--config={}", config.display()));
    let units = root.join("etc/systemd/system");
    let install = ["service", "install", "--name=second", &at, &config];
    // Twice: the second brings the first up to date.
    for more in [&["--socket-activation"][..], &[]] {
        let (code, out, said) = basculed(&[&install[..], more].concat());
        assert_eq!(code, 0, "{said}");
        assert!(out.contains("second starts with this machine"), "{out}");
        assert!(units.join("second.service").is_file());
        assert!(units.join("multi-user.target.wants/second.service").is_symlink());
        assert_eq!(units.join("second.socket").exists(), !more.is_empty());
    }
    let (code, _, said) = basculed(&["service", "uninstall", "--name=second", &at]);
    assert_eq!(code, 0, "{said}");
    let mut left = walk(&units);
    left.retain(|path| !path.is_dir());
    assert!(left.is_empty(), "{left:?}");
    let (code, _, said) = basculed(&["service", "uninstall", "--name=second", &at]);
    assert!(code == 1 && said.contains("there is no service \"second\""), "{said}");

    // What somebody else has written is not touched.
    fs::write(units.join("second.service"), "[Service]\nExecStart=/bin/true\n").expect("a file");
    for verb in ["install", "uninstall"] {
        let mut args = vec!["service", verb, "--name=second", &at];
        args.extend((verb == "install").then_some(&config[..]));
        let (code, _, said) = basculed(&args);
        assert!(code == 1 && said.contains("was not made by this program"), "{said}");
    }
    let text = fs::read_to_string(units.join("second.service")).expect("still there");
    assert!(text.ends_with("ExecStart=/bin/true\n"));

    // Nothing is installed that could not start.
    fs::write(scratch.path().join("conf"), "[m]\nno such thing = 1\n").expect("a file");
    let (code, _, said) = basculed(&["service", "install", "--name=third", &at, &config]);
    assert!(code == 1 && said.contains("conf:2: "), "{said}");
    assert!(!units.join("third.service").exists());
}

#[test]
fn a_place_to_write_to_is_named_in_full() {
    // systemd ignores others.
    let unit = printed(&["--config=/no/such/file", "--writes=hooks"]);
    let here = std::env::current_dir().expect("a folder").join("hooks");
    let line = format!("ReadWritePaths=-{}", here.display());
    assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
}

#[test]
fn a_closed_pipe_is_no_trouble() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(program("basculed"))
        .args(["service", "install", "--print", "--config=/no/such/file"])
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        all.push(entry.path());
        if entry.path().is_dir() {
            all.extend(walk(&entry.path()));
        }
    }
    all
}

#[test]
fn without_a_manager_it_says_how_to_run_in_the_foreground() {
    // Whatever runs this machine, nothing is seen of it here.
    let hidden = "mount -t tmpfs none /run; exec \"$@\"";
    for verb in ["start", "stop", "restart", "reload", "status", "uninstall"] {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-euc", hidden, "sh"])
            .arg(program("basculed"))
            .args(["service", verb])
            .output()
            .expect("unshare is installed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("systemd does not run this machine"), "{said}");
        assert!(said.contains("--log-dir=/var/log/basculed"), "{said}");
    }
}
