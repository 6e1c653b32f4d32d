//! A bad network: silence, delay, bytes that trickle, links that go down, daemons that are not
//! there yet. The agent ends by itself with the right code, or heals by itself with new attempts.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bascule_tests::judge::{describe, differences, has_settled, is_temporary};
use bascule_tests::peer::{Daemon, Whose, free_port, program};
use bascule_tests::relay::{Manner, Relay};
use bascule_tests::scratch::{T0, file, noise};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(100);
const BIG: usize = 3_000_000;

/// A source with some files, one of them big, and a daemon.
struct World {
    scratch: tempfile::TempDir,
    daemon: Daemon,
}

impl World {
    /// `more` is added to the module.
    fn new(more: &str) -> Self {
        let scratch = scratch();
        let daemon = Daemon::start(Whose::Ours, scratch.path(), &config(scratch.path(), more));
        Self { scratch, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The two ends of a push or a pull by way of `port`.
    fn ends(&self, push: bool, port: u16) -> [String; 2] {
        ends(self.scratch.path(), push, "127.0.0.1", port)
    }

    fn start_over(&self) {
        fs::remove_dir_all(self.path("to")).expect("it can be removed");
        fs::create_dir(self.path("to")).expect("a folder");
    }

    fn assert_equal(&self, why: &str) {
        assert_equal(self.scratch.path(), why);
    }

    /// What has arrived is whole, and one more run brings the rest.
    fn assert_heals(&self, push: bool, why: &str) {
        let new = describe(&self.path("from"), true).expect("a tree");
        for (name, found) in describe(&self.path("to"), true).expect("a tree") {
            let is_partial = name.windows(8).any(|part| part == b".partial");
            if found.starts_with("file") && !is_partial && !is_temporary(&name) {
                assert_eq!(new.get(&name), Some(&found), "{why}: {}", name.escape_ascii());
            }
        }
        let ran = Agent::start(&["--retries=0"], self.ends(push, self.daemon.port)).end();
        assert_eq!(ran.code, 0, "{why}: {}", ran.trouble);
        self.assert_equal(why);
    }
}

fn scratch() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let from = scratch.path().join("from");
    for number in 0..40_u8 {
        let name = format!("dir{}/{number}", number % 5);
        let content = noise(u64::from(number) + 1, usize::from(number) * 50);
        file(&from, name.as_bytes(), &content, 0o640, (T0, 123)).expect("a file");
    }
    file(&from, b"big", &noise(3, BIG), 0o644, (T0, 2)).expect("a file");
    fs::create_dir(scratch.path().join("to")).expect("a folder");
    scratch
}

fn config(root: &Path, more: &str) -> String {
    format!(
        "use chroot = no\nmunge symlinks = no\nuid = 0\ngid = 0\nreverse lookup = no\n\
         read only = no\npath = {0}\n[m]\n{more}\n[locked]\nauth users = alice\n\
         secrets file = {0}/secrets\n",
        root.display()
    )
}

fn ends(root: &Path, push: bool, host: &str, port: u16) -> [String; 2] {
    let here = |name: &str| format!("{}/", root.join(name).display());
    let there = |name: &str| format!("rsync://{host}:{port}/m/{name}/");
    if push { [here("from"), there("to")] } else { [there("from"), here("to")] }
}

fn assert_equal(root: &Path, why: &str) {
    let [from, to] = ["from", "to"].map(|name| describe(&root.join(name), true).expect("a tree"));
    assert_eq!(differences(&from, &to), Vec::<String>::new(), "{why}");
}

/// Waits until the receiving end has given up as well.
fn wait_for_receiver(to: &Path) {
    wait_until("no temporary file stays", || has_settled(to));
}

/// A running `bascule mirror --json`.
struct Agent {
    child: Child,
    trouble: BufReader<std::process::ChildStderr>,
    said: String,
}

/// How it ended.
struct Ran {
    code: i32,
    trouble: String,
    document: Value,
}

impl Ran {
    fn number(&self, name: &str) -> u64 {
        self.document[name].as_u64().unwrap_or_else(|| panic!("no {name}: {}", self.document))
    }
}

impl Agent {
    fn start(options: &[&str], ends: [String; 2]) -> Self {
        Self::run(Command::new(program("bascule")), options, ends)
    }

    /// `command` is one to which the arguments of `bascule` can be added.
    fn run(mut command: Command, options: &[&str], ends: [String; 2]) -> Self {
        command.args(["mirror", "--json", "--partial-dir=.partial"]);
        if !options.iter().any(|option| option.starts_with("--retry-wait")) {
            command.arg("--retry-wait=1");
        }
        command.args(options).args(ends).stdin(Stdio::null()).env_remove("RSYNC_PASSWORD");
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let trouble = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, trouble, said: String::new() }
    }

    /// Waits until it has told of a failed attempt.
    fn wait_for_failure(&mut self) {
        loop {
            let from = self.said.len();
            let read = self.trouble.read_line(&mut self.said).expect("text");
            assert!(read > 0, "it ended without a failed attempt: {}", self.said);
            if self.said[from..].contains("; the next begins in ") {
                return;
            }
        }
    }

    fn end(mut self) -> Ran {
        let mut document = String::new();
        let mut stdout = self.child.stdout.take().expect("piped");
        let reader = thread::spawn(move || stdout.read_to_string(&mut document).map(|_| document));
        self.trouble.read_to_string(&mut self.said).expect("text");
        let code = self.child.wait().expect("it ends").code().unwrap_or(-1);
        let document = reader.join().expect("no panic").expect("text");
        let document = serde_json::from_str(&document).unwrap_or(Value::Null);
        Ran { code, trouble: self.said, document }
    }
}

fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_cut_connection_is_taken_up_again_where_it_broke() {
    let world = World::new("");
    for push in [true, false] {
        world.start_over();
        let relay = Relay::before(world.daemon.port);
        relay.allow(BIG as u64 * 6 / 10);
        let mut agent = Agent::start(&[], world.ends(push, relay.port));
        agent.wait_for_failure();
        let kept = world.path("to/.partial/big");
        wait_until("the partial file is kept", || kept.exists());
        let second = BIG as u64;
        relay.allow(second);
        let ran = agent.end();
        assert_eq!(ran.code, 0, "push {push}: {}", ran.trouble);
        // Less than the whole file travels: the rest of it, and the sums of the partial.
        let travelled = second - relay.left();
        assert!(travelled < BIG as u64 * 6 / 10, "push {push}: {travelled} bytes");
        assert!(ran.number("matched_bytes") > BIG as u64 / 2, "{}", ran.document);
        let failed = ran.document["failed_attempts"].as_array().expect("a list");
        assert_eq!(ran.number("attempts"), failed.len() as u64 + 1);
        let code = failed[0]["exit_code"].as_u64().expect("a number");
        assert!([10, 12].contains(&code), "{}", ran.document);
        assert!(failed[0]["error"].as_str().is_some_and(|text| text.contains("connection")));
        world.assert_equal(&format!("push {push}"));
    }
}

#[test]
fn a_daemon_that_comes_later_is_waited_for() {
    let world = World::new("");
    let port = free_port();
    let mut agent = Agent::start(&["--retries=50"], world.ends(true, port));
    agent.wait_for_failure();
    let relay = Relay::on(port, world.daemon.port, Manner::default());
    relay.allow(u64::MAX);
    let ran = agent.end();
    assert_eq!(ran.code, 0, "{}", ran.trouble);
    assert!(ran.trouble.contains("attempt 1 of 51 failed (code 10): no connection"));
    world.assert_equal("after a refused connection");
}

#[test]
fn a_busy_daemon_is_tried_again() {
    let world = World::new("max connections = 1");
    let mut other = TcpStream::connect(("127.0.0.1", world.daemon.port)).expect("connected");
    other.write_all(b"@RSYNCD: 31.0\nm\n").expect("sent");
    let mut lines = BufReader::new(other.try_clone().expect("a handle")).lines();
    assert!(lines.any(|line| line.expect("a line") == "@RSYNCD: OK"));
    let mut agent = Agent::start(&[], world.ends(true, world.daemon.port));
    agent.wait_for_failure();
    drop((other, lines));
    let ran = agent.end();
    assert_eq!(ran.code, 0, "{}", ran.trouble);
    assert_eq!(ran.document["failed_attempts"][0]["exit_code"], 5);
    world.assert_equal("after max connections");
}

#[test]
fn what_no_attempt_heals_is_tried_once() {
    let world = World::new("");
    fs::write(world.path("secrets"), "alice:wonderland\n").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(world.path("secrets"), mode).expect("a mode");
    let port = world.daemon.port;
    let from = format!("{}/", world.path("from").display());
    for (url, code) in [
        (format!("rsync://127.0.0.1:{port}/nosuch/"), 5),
        (format!("rsync://mallory@127.0.0.1:{port}/locked/to/"), 5),
        (format!("rsyncs://127.0.0.1:{port}/m/to/"), 10),
        (format!("rsync://127.0.0.1:{port}/"), 1),
    ] {
        let mut command = Command::new(program("bascule"));
        command.env("XDG_STATE_HOME", world.path("state"));
        let ran = Agent::run(command, &[], [from.clone(), url.clone()]).end();
        assert_eq!(ran.code, code, "{url}: {}", ran.trouble);
        assert!(!ran.trouble.contains("attempt"), "{url}: {}", ran.trouble);
    }
}

#[test]
fn an_interruption_ends_the_wait() {
    let world = World::new("");
    let mut agent = Agent::start(&["--retry-wait=3600"], world.ends(true, free_port()));
    agent.wait_for_failure();
    kill_process(Pid::from_child(&agent.child), Signal::INT).expect("it runs");
    let ran = agent.end();
    assert_eq!(ran.code, 20, "{}", ran.trouble);
    assert_eq!((ran.number("exit_code"), ran.number("attempts")), (20, 2));
}

#[test]
fn a_silent_link_ends_by_itself_and_a_new_attempt_heals() {
    let world = World::new("timeout = 4");
    for push in [true, false] {
        // In the opening, in the list, in the big file.
        for (bytes, code) in [(30, 35), (1500, 30), (BIG as u64 / 2, 30)] {
            let why = format!("push {push}, silent after {bytes} bytes");
            world.start_over();
            // A new one each time: what still waits in the last must not use up what this may pass.
            let relay = Relay::before(world.daemon.port);
            relay.allow_until_silence(bytes);
            let options = ["--timeout=4", "--retries=0"];
            let ran = Agent::start(&options, world.ends(push, relay.port)).end();
            assert_eq!(ran.code, code, "{why}: {}", ran.trouble);
            let text = if code == 30 { "nothing moved" } else { "did not answer in time" };
            assert!(ran.trouble.contains(text), "{why}: {}", ran.trouble);
            wait_for_receiver(&world.path("to"));
            world.assert_heals(push, &why);
        }
        world.start_over();
        let relay = Relay::before(world.daemon.port);
        relay.allow_until_silence(BIG as u64 / 2);
        let mut agent = Agent::start(&["--timeout=4"], world.ends(push, relay.port));
        agent.wait_for_failure();
        wait_for_receiver(&world.path("to"));
        relay.allow(u64::MAX);
        let ran = agent.end();
        assert_eq!(ran.code, 0, "push {push}: {}", ran.trouble);
        world.assert_equal(&format!("push {push}, after a silent link"));
    }
}

#[test]
fn a_stall_that_is_shorter_than_the_timeout_is_sat_out() {
    let world = World::new("");
    // The first is the real thing, with the timeout that everybody has.
    thread::scope(|scope| {
        let runs = [(30, &[][..], 0), (1, &["--timeout=8"][..], 1)];
        for (stall, options, number) in runs {
            let world = &world;
            scope.spawn(move || {
                let relay = Relay::before(world.daemon.port);
                relay.allow_until_silence(BIG as u64 / 2);
                let mut ends = world.ends(true, relay.port);
                ends[1] = ends[1].replace("/to/", &format!("/to/{number}/"));
                let options = [options, &["--retries=0"]].concat();
                let agent = Agent::start(&options, ends);
                wait_until("the stall", || relay.left() == 0);
                thread::sleep(Duration::from_secs(stall));
                relay.allow(u64::MAX);
                let ran = agent.end();
                assert_eq!(ran.code, 0, "{stall} s: {}", ran.trouble);
            });
        }
    });
    let from = describe(&world.path("from"), true).expect("a tree");
    for number in ["0", "1"] {
        let to = describe(&world.path("to").join(number), true).expect("a tree");
        assert_eq!(differences(&from, &to), Vec::<String>::new(), "stall {number}");
    }
}

#[test]
fn delay_and_trickling_bytes_only_take_time() {
    let world = World::new("timeout = 5");
    for (piece, delay) in [(4096, 200), (3, 0)] {
        for push in [true, false] {
            world.start_over();
            let manner = Manner { piece, delay: Duration::from_millis(delay) };
            let relay = Relay::on(0, world.daemon.port, manner);
            relay.allow(u64::MAX);
            let options = ["--timeout=5", "--retries=0", "--max-size=100k", "--no-delete"];
            let ran = Agent::start(&options, world.ends(push, relay.port)).end();
            let why = format!("push {push}, {piece} bytes at a time, {delay} ms");
            assert_eq!(ran.code, 0, "{why}: {}", ran.trouble);
            let mut from = describe(&world.path("from"), true).expect("a tree");
            from.remove(&b"big"[..]);
            let to = describe(&world.path("to"), true).expect("a tree");
            assert_eq!(differences(&from, &to), Vec::<String>::new(), "{why}");
        }
    }
}

/// A network namespace with a link to it; dropping it takes both away.
struct Namespace {
    name: String,
    number: u32,
}

impl Namespace {
    fn new() -> Self {
        let number = std::process::id() % 60_000;
        let namespace = Self { name: format!("bascule-{number}"), number };
        let (name, near, far) = (&namespace.name, namespace.near(), namespace.far());
        let address = |last: u8| format!("{}/30", namespace.address(last));
        ip(&["netns", "add", name]);
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", name]);
        ip(&["addr", "add", &address(1), "dev", &near]);
        ip(&["-n", name, "addr", "add", &address(2), "dev", &far]);
        ip(&["-n", name, "link", "set", &far, "up"]);
        namespace.link("up");
        namespace
    }

    fn near(&self) -> String {
        format!("bsc{}a", self.number)
    }

    fn far(&self) -> String {
        format!("bsc{}b", self.number)
    }

    /// 1 is this side's address, 2 the other's.
    fn address(&self, last: u8) -> String {
        format!("10.213.{}.{}", self.number % 256, self.number / 256 % 60 * 4 + u32::from(last))
    }

    fn link(&self, state: &str) {
        ip(&["link", "set", &self.near(), state]);
    }

    /// `bascule` on the other side of the link.
    fn agent(&self, options: &[&str], ends: [String; 2]) -> Agent {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program("bascule"));
        Agent::run(command, options, ends)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The link goes with the namespace.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).status().expect("ip runs (iproute2, as root)");
    assert!(done.success(), "ip {args:?}");
}

#[test]
fn a_link_that_goes_down_is_noticed_and_a_new_attempt_goes_on_when_it_is_up() {
    let namespace = Namespace::new();
    let here = namespace.address(1);
    let scratch = scratch();
    let root = scratch.path();
    let serve = |port| {
        let config = config(root, "timeout = 2");
        Daemon::start_at(Whose::Ours, root, &config, &here, port)
    };
    let mut daemon = serve(free_port());
    let port = daemon.port;
    let arriving = |push: bool| {
        wait_until("some of the big file arrived", || {
            fs::read_dir(root.join("to")).is_ok_and(|names| {
                names.flatten().any(|name| name.metadata().is_ok_and(|it| it.len() > 200_000))
            })
        });
        format!("push {push}")
    };
    for push in [true, false] {
        // The daemon dies behind the dead link in the second round, and comes back with it.
        for daemon_dies in [false, true] {
            fs::remove_dir_all(root.join("to")).expect("it can be removed");
            fs::create_dir(root.join("to")).expect("a folder");
            let options = ["--timeout=2", "--bwlimit=1000", "--retries=30"];
            let mut agent = namespace.agent(&options, ends(root, push, &here, port));
            let why = format!("{}, the daemon dies: {daemon_dies}", arriving(push));
            namespace.link("down");
            if daemon_dies {
                drop(daemon);
                namespace.link("up");
                daemon = serve(port);
            }
            agent.wait_for_failure();
            if !daemon_dies {
                wait_for_receiver(&root.join("to"));
            }
            namespace.link("up");
            let ran = agent.end();
            assert_eq!(ran.code, 0, "{why}: {}", ran.trouble);
            let code = ran.document["failed_attempts"][0]["exit_code"].as_u64();
            let expected: &[u64] = if daemon_dies { &[10, 12, 30] } else { &[30] };
            assert!(code.is_some_and(|code| expected.contains(&code)), "{why}: {}", ran.document);
            assert_equal(root, &why);
        }
    }
}
