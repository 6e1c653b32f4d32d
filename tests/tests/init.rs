//! `basculed init` as a new administrator uses it: the commands that it prints, word for word.
#![cfg(unix)]

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bascule_tests::judge::{describe, differences};
use bascule_tests::peer::{free_port, program};
use bascule_tests::scratch::{destination, source};

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The printed commands: lines that are indented.
fn commands(said: &str) -> Vec<Vec<String>> {
    let indented = said.lines().filter(|line| line.starts_with("  "));
    indented.map(|line| line.split_whitespace().map(ToOwned::to_owned).collect()).collect()
}

fn run(words: &[String], root: &Path) -> (Option<i32>, String) {
    let output = Command::new(program(&words[0]))
        .args(&words[1..])
        .current_dir(root)
        .env("XDG_STATE_HOME", root.join("agent"))
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn what_it_prints_mirrors_two_modules() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    source(&root.join("from")).expect("a source");
    destination(&root.join("to/mail")).expect("a target");
    fs::create_dir_all(root.join("to/archive")).expect("a folder");
    let port = free_port();
    let words = ["basculed", "init", "mail=to/mail", "archive=to/archive", "--address=127.0.0.1"];
    let places = ["--config=basculed.conf", "--state-dir=state"].map(ToOwned::to_owned);
    let mut init = words.map(ToOwned::to_owned).to_vec();
    init.extend(places);
    init.push(format!("--port={port}"));
    let (code, said) = run(&init, root);
    assert_eq!(code, Some(0), "{said}");
    let commands = commands(&said);
    assert_eq!(commands.len(), 3, "{said}");

    let check = ["basculed", "check-config", "basculed.conf"].map(ToOwned::to_owned);
    assert_eq!(run(&check, root).0, Some(0));
    // The service would stay: what it starts is started here.
    assert_eq!(commands[0][..3], ["basculed", "service", "install"], "{said}");
    let started = Command::new(program("basculed"))
        .args(&commands[0][3..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _daemon = Daemon(started.expect("it starts"));
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }

    // The administrator has copied the password file to where the lines are typed.
    fs::copy(root.join("state/bascule.password"), root.join("bascule.password")).expect("a copy");
    let from = format!("{}/", root.join("from").display());
    for (line, module) in commands[1..].iter().zip(["mail", "archive"]) {
        let mut words = line.clone();
        let place = words.iter().position(|word| word == "SRC/").expect("a place for the folder");
        words[place].clone_from(&from);
        words.push("--allow-deletes=100".into());
        words.push("-H".into());
        let (code, said) = run(&words, root);
        assert_eq!(code, Some(0), "{module}: {said}");
        let is = |path: &str| describe(&root.join(path), true).expect("a tree");
        let found = differences(&is("from"), &is(&format!("to/{module}")));
        assert!(found.is_empty(), "{module}: {found:#?}");
        // Nobody is asked for a password in the clear.
        let plain = words.iter().map(|word| word.replace("rsyncs:", "rsync:"));
        let mut plain: Vec<String> =
            plain.map(|word| word.split('#').next().unwrap_or_default().to_owned()).collect();
        plain.push("--allow-plain".into());
        let (code, said) = run(&plain, root);
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains("TLS"), "{said}");
    }

    let (code, said) = run(&init, root);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("left as it is"), "{said}");
}
