//! The daemon as a service: its units, what it says to a service manager, what it does at signals,
//! and its log.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bascule_tests::peer::{Whose, client, free_port, mirror, program};
use bascule_tests::scratch::{T0, file, noise};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// What systemd gives the daemon to end, by its unit.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A daemon with somebody to tell.
struct Told {
    child: Child,
    manager: UnixDatagram,
    port: u16,
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Told {
    fn start(root: &Path, config: &str) -> Self {
        let socket = root.join("notify");
        let manager = UnixDatagram::bind(&socket).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let port = free_port();
        fs::write(root.join("conf"), config).expect("a file");
        let child = Command::new(program("basculed"))
            .args(["--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}/conf", root.display()))
            .arg(format!("--log-file={}/log", root.display()))
            .arg("--log-format=json")
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "400000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self { child, manager, port }
    }

    /// The next thing it says with this in it.
    fn says(&self, wanted: &str) -> String {
        let mut buffer = [0; 4096];
        let began = Instant::now();
        loop {
            let length = self.manager.recv(&mut buffer).unwrap_or_else(|_| panic!("no {wanted}"));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.contains(wanted) {
                return said;
            }
            // Keep-alives go on for ever.
            assert!(began.elapsed() < PATIENCE, "no {wanted}, last {said}");
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("small");
        kill_process(Pid::from_raw(id).expect("a process"), signal).expect("it runs");
    }

    fn end(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state is known") {
                return status;
            }
            assert!(began.elapsed() < STOP_LIMIT, "systemd would have killed it");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The events in a log, oldest first.
fn events(log: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// Waits for an event; gives it.
fn event(log: &Path, name: &str) -> serde_json::Value {
    let began = Instant::now();
    loop {
        if let Some(found) = events(log).into_iter().rev().find(|event| event["event"] == name) {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "no {name}: {:?}", fs::read_to_string(log));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn module(name: &str, root: &Path) -> String {
    format!(
        "[{name}]\npath = {}\nread only = no\nuse chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\n",
        root.display()
    )
}

#[test]
fn the_manager_hears_of_ready_life_reload_and_end() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    let (log, conf) = (root.join("log"), root.join("conf"));
    let mut daemon = Told::start(root, &module("m", root));
    let ready = daemon.says("READY=1");
    assert!(
        ready.contains(&format!("STATUS=serving 1 module on 127.0.0.1:{}", daemon.port)),
        "{ready}"
    );
    for _ in 0..3 {
        assert_eq!(daemon.says("WATCHDOG=1").trim(), "WATCHDOG=1");
    }

    // One more module, and a parameter that counts only at the start.
    let more = format!("listen backlog = 7\n{}{}", module("m", root), module("n", root));
    fs::write(&conf, more).expect("written");
    fs::rename(&log, root.join("log.1")).expect("renamed");
    daemon.signal(Signal::HUP);
    let reloading = daemon.says("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(daemon.says("READY=1").contains("serving 2 modules"));
    // What was renamed is begun again, and says what happened.
    assert_eq!(event(&log, "config.reloaded")["modules"], 2);
    assert_eq!(event(&log, "config.restart_needed")["parameters"], "listen backlog");

    // Nonsense changes nothing but the log.
    fs::write(&conf, "[m]\nno such parameter = 1\npath = /\n").expect("written");
    daemon.signal(Signal::HUP);
    daemon.says("RELOADING=1");
    assert!(daemon.says("READY=1").contains("serving 2 modules"));
    let bad = event(&log, "config.bad");
    assert!(bad["error"].as_str().is_some_and(|text| text.contains("conf:2: ")), "{bad}");

    daemon.signal(Signal::TERM);
    assert!(daemon.says("STOPPING=1").contains("STATUS=waiting for transfers to end"));
    assert_eq!(daemon.end().code(), Some(0));
    event(&log, "service.stopped");
}

#[test]
fn the_end_comes_in_time_whatever_clients_do() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    file(&root.join("from"), b"big", &noise(1, 4_000_000), 0o644, (T0, 0)).expect("a file");
    let mut daemon = Told::start(root, &module("m", root));
    daemon.says("READY=1");
    let url = format!("rsync://127.0.0.1:{}/m/to/", daemon.port);
    let mut slow = client(Whose::Rsync, &["--bwlimit=50".to_owned()])
        .args([&format!("{}/from/", root.display()), &url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    event(&root.join("log"), "session.started");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().code(), Some(0));
    slow.kill().expect("it is there");
    slow.wait().expect("it ends");
}

#[test]
fn certificates_are_read_again_too() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    let certify = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        fs::write(root.join("crt"), made.cert.pem()).expect("a file");
        fs::write(root.join("key"), made.signing_key.serialize_pem()).expect("a file");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(root.join("key"), private).expect("a mode");
    };
    certify();
    let tls = format!("tls certificate = {0}/crt\ntls key = {0}/key\n", root.display());
    let daemon = Told::start(root, &format!("{tls}{}", module("m", root)));
    daemon.says("READY=1");
    certify();
    daemon.signal(Signal::HUP);
    event(&root.join("log"), "certificate.reloaded");
    event(&root.join("log"), "config.reloaded");
    // A key that is none does not take the place of one that works.
    fs::write(root.join("key"), "nonsense").expect("a file");
    daemon.signal(Signal::HUP);
    event(&root.join("log"), "certificate.bad");
}

#[test]
fn the_log_has_names_of_events_and_none_of_files_or_secrets() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    file(&root.join("from"), b"privatemail", b"text", 0o644, (T0, 0)).expect("a file");
    fs::write(root.join("secrets"), "alice:opensesame\n").expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(root.join("secrets"), private).expect("a mode");
    let login = format!("auth users = alice\nsecrets file = {}/secrets\n", root.display());
    let daemon = Told::start(root, &format!("{}{login}", module("m", root)));
    daemon.says("READY=1");
    let from = format!("{}/from/", root.display());
    let url = format!("rsync://alice@127.0.0.1:{}/m/to/", daemon.port);
    for (password, code) in [("hopeless", 5), ("opensesame", 0)] {
        let ran = mirror(Whose::Ours, &[], Some(password), [&from, &url]);
        assert_eq!(ran.code, code, "{}", ran.said);
    }
    let log = root.join("log");
    let ended = event(&log, "session.ended");
    assert_eq!((&ended["module"], &ended["files"]), (&"m".into(), &1.into()));
    assert_eq!(event(&log, "session.started")["operation"], "push");
    assert_eq!(event(&log, "login.accepted")["user"], "alice");
    assert_eq!(event(&log, "login.failed")["level"], "WARN");
    let text = fs::read_to_string(&log).expect("a log");
    for secret in ["opensesame", "hopeless", "privatemail"] {
        assert!(!text.contains(secret), "{text}");
    }
    for event in events(&log) {
        let name = event["event"].as_str().expect("a name");
        assert!(name.contains('.'), "an event without a name: {event}");
        assert_ne!(event["level"], "DEBUG", "only -v tells that: {event}");
    }
}

#[test]
fn a_folder_of_logs_has_a_file_for_the_day() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    fs::write(root.join("conf"), "no such parameter = 1\n").expect("a file");
    let run = |config: &str| {
        Command::new(program("basculed"))
            .args(["--port=0", "--address=127.0.0.1"])
            .arg(format!("--config={}/{config}", root.display()))
            .arg(format!("--log-dir={}/logs", root.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts")
    };
    fs::write(root.join("good"), module("m", root)).expect("a file");
    let mut daemon = run("good");
    let began = Instant::now();
    let path = loop {
        let found = fs::read_dir(root.join("logs")).ok().and_then(|mut all| all.next());
        if let Some(Ok(found)) = found
            && fs::read_to_string(found.path()).is_ok_and(|text| text.contains("service.ready"))
        {
            break found.path();
        }
        assert!(began.elapsed() < PATIENCE, "no log");
        std::thread::sleep(Duration::from_millis(20));
    };
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with("basculed.20") && name.ends_with(".log"), "{name}");
    daemon.kill().expect("it runs");
    daemon.wait().expect("it ends");
}

#[test]
fn a_socket_that_is_handed_over_is_served_and_outlives_the_daemon() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    file(&root.join("from"), b"a", b"text", 0o644, (T0, 0)).expect("a file");
    // A port that the daemon must not try to open: it is somebody else's.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = taken.local_addr().expect("an address").port();
    fs::write(root.join("conf"), format!("port = {other}\n{}", module("m", root))).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // As systemd does: the socket is descriptor 3 of the very process.
    let start = |socket: OwnedFd| {
        let line = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" --config=\"$1\"";
        Command::new("sh")
            .args(["-c", line])
            .arg(program("basculed"))
            .arg(root.join("conf"))
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    };
    let (from, url) =
        (format!("{}/from/", root.display()), format!("rsync://127.0.0.1:{port}/m/to/"));
    for _ in 0..2 {
        // The client comes while there is no daemon, and waits.
        let running = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| mirror(Whose::Rsync, &[], None, [&from, &url]));
            let mut daemon = start(listener.try_clone().expect("a socket").into());
            let ran = waiting.join().expect("it ran");
            daemon.kill().expect("it runs");
            daemon.wait().expect("it ends");
            ran
        });
        assert_eq!(running.code, 0, "{}", running.said);
    }
    assert_eq!(fs::read(root.join("to/a")).expect("it arrived"), b"text");
    // Anything else is refused by its number.
    let no_socket = fs::File::open(root.join("conf")).expect("a file");
    let output = start(no_socket.into()).wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.contains("descriptor 3") && said.contains("no listening socket"), "{said}");
}
