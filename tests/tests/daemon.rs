//! The daemon as an administrator and its clients meet it.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bascule_tests::judge::{describe, differences};
use bascule_tests::peer::{Daemon, Whose, mirror, program};
use bascule_tests::scratch::{T0, file, noise, source};

fn config(root: &Path, more: &str) -> String {
    format!(
        "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\nmunge symlinks = no\n\
         [m]\npath = {}\nread only = no\n{more}",
        root.display()
    )
}

fn same(from: &Path, to: &Path) {
    let [from, to] = [from, to].map(|tree| describe(tree, false).expect("a tree"));
    assert_eq!(differences(&from, &to), Vec::<String>::new());
}

#[test]
fn many_clients_at_once_and_the_bad_ones_touch_nobody() {
    const CLIENTS: usize = 16;
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    source(&root.join("source")).expect("a source");
    let daemon = Daemon::start(Whose::Ours, root, &config(root, ""));
    let here = format!("{}/", root.join("source").display());
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let url = format!("rsync://127.0.0.1:{}/m/copy{number}/", daemon.port);
            let whose = if number % 2 == 0 { Whose::Ours } else { Whose::Rsync };
            let here = &here;
            scope.spawn(move || {
                for _ in 0..3 {
                    let ran = mirror(whose, &[], None, [here, &url]);
                    assert_eq!(ran.code, 0, "{whose} {number}: {}", ran.said);
                }
            });
        }
        for number in 0..CLIENTS {
            let port = daemon.port;
            scope.spawn(move || {
                // Noise, silence, and cuts in the middle of everything.
                let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                let hello = b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\nm\n--server\0-logDtpre.iLsfxCIvu\0.\0m/bad/\0\0";
                let cut = hello.len() * number / CLIENTS;
                let _ = stream.write_all(&hello[..cut]);
                let _ = stream.write_all(&noise(number as u64, 5000));
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let mut answer = Vec::new();
                let read = stream.read_to_end(&mut answer);
                assert!(answer.starts_with(b"@RSYNCD: "), "{number}: {read:?} {answer:?}");
            });
        }
    });
    for number in 0..CLIENTS {
        same(&root.join("source"), &root.join(format!("copy{number}")));
    }
}

/// `basculed serve` and the lines that it printed.
struct Served {
    child: Child,
    said: Vec<String>,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(root: &Path) -> Served {
    let mut child = Command::new(program("basculed"))
        .arg("serve")
        .arg(root.join("to"))
        .args(["--module", "mail", "--user", "admin", "--address=127.0.0.1", "--port=0"])
        .arg(format!("--state-dir={}", root.join("state").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let out = child.stdout.take().expect("piped");
    let mut said = Vec::new();
    for line in BufReader::new(out).lines() {
        said.push(line.expect("text"));
        if said.last().is_some_and(|line| line.starts_with("Ctrl-C")) {
            break;
        }
    }
    Served { child, said }
}

#[test]
fn a_folder_is_served_without_configuration() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    source(&root.join("from")).expect("a source");
    fs::create_dir(root.join("to")).expect("a folder");
    let served = serve(root);
    // The printed line, word for word, with the source's own folder.
    let line = served
        .said
        .iter()
        .map(|line| line.trim())
        .find(|line| line.starts_with("bascule mirror "))
        .unwrap_or_else(|| panic!("no line to type: {:?}", served.said));
    let from = format!("{}/", root.join("from").display());
    let words: Vec<&str> = line
        .split_whitespace()
        .skip(1)
        .map(|word| if word == "SRC/" { &from } else { word })
        .collect();
    let run = |password: &str| {
        // The administrator has copied the password file to where the line is typed.
        let copy = root.join("mail.password");
        fs::write(&copy, password).expect("a file");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("a mode");
        let output = Command::new(program("bascule"))
            .args(&words)
            .current_dir(root)
            .env("XDG_STATE_HOME", root.join("agent"))
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let kept = root.join("state/mail.password");
    let mode = fs::metadata(&kept).expect("the password file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let password = fs::read_to_string(&kept).expect("the password");
    assert_eq!(run(&password), (Some(0), String::new()));
    same(&root.join("from"), &root.join("to"));
    let (code, said) = run("something else\n");
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("auth failed on module mail"), "{said}");
    assert!(!served.said.iter().any(|line| line.contains(password.trim())));
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    let limit = bascule_platform::limits::raise_open_files().expect("a limit");
    assert!(limit.is_none_or(|limit| limit > 1_200), "this machine allows {limit:?} open files");
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    source(&root.join("from")).expect("a source");
    let daemon = Daemon::start(Whose::Ours, root, &config(root, ""));
    let idle: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", daemon.port)).expect("connected");
            // Some say nothing, some begin a greeting, some come as far as the module's name.
            let said: &[u8] = match number % 3 {
                0 => b"",
                1 => b"@RSYNCD: 3",
                _ => b"@RSYNCD: 32.0 sha512 md5\nm\n",
            };
            stream.write_all(said).expect("written");
            stream
        })
        .collect();
    let from = format!("{}/from/", root.display());
    let url = format!("rsync://127.0.0.1:{}/m/to/", daemon.port);
    for whose in [Whose::Ours, Whose::Rsync] {
        let ran = mirror(whose, &[], None, [&from, &url]);
        assert_eq!(ran.code, 0, "{}", ran.said);
        same(&root.join("from"), &root.join("to"));
    }
    drop(idle);
}

/// A connection to the daemon from a chosen address of this machine.
fn connect_from(address: [u8; 4], port: u16) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let at = |address: [u8; 4], port| std::net::SocketAddr::from((address, port));
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &at(address, 0)).expect("an address of the loopback network");
    connect(&socket, &at([127, 0, 0, 1], port)).expect("it listens");
    socket.into()
}

/// Whether the other end has closed, without waiting for it.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let mut rest = Vec::new();
    let read = (&mut &*stream).read_to_end(&mut rest);
    !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn a_crowd_at_the_door_makes_room_for_others_and_transfers_are_limited() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    source(&root.join("from")).expect("a source");
    let limits = "max openings per address = 10\nmax openings = 20\n\
                  max transfers per address = 1\nmax transfers = 2\n";
    let daemon = Daemon::start(Whose::Ours, root, &format!("{limits}{}", config(root, "")));
    let guest = connect_from([127, 0, 0, 9], daemon.port);
    let flood: Vec<_> = (0..50).map(|_| connect_from([127, 0, 0, 8], daemon.port)).collect();
    let began = std::time::Instant::now();
    while flood.iter().filter(|stream| !is_closed(stream)).count() > 10 {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody was sent away");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!is_closed(&guest), "the flood comes from another address");
    let from = format!("{}/from/", root.display());
    let url = format!("rsync://127.0.0.1:{}/m/to/", daemon.port);
    let ran = mirror(Whose::Rsync, &[], None, [&from, &url]);
    assert_eq!(ran.code, 0, "{}", ran.said);
    same(&root.join("from"), &root.join("to"));

    // One that transfers from this address, and the next is refused by name.
    file(&root.join("from"), b"big", &noise(7, 3_000_000), 0o644, (0, 0)).expect("a file");
    let slow: Vec<_> = ["--bwlimit=100".to_owned()].to_vec();
    let mut first = bascule_tests::peer::client(Whose::Ours, &slow);
    let mut first = first
        .args([&from, &format!("rsync://127.0.0.1:{}/m/slow/", daemon.port)])
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    while !root.join("slow/a.txt").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not transfer");
        std::thread::sleep(Duration::from_millis(10));
    }
    for whose in [Whose::Ours, Whose::Rsync] {
        let refused = mirror(whose, &[], None, [&from, &url]);
        assert_ne!(refused.code, 0, "{whose}");
        let text = "max connections (1) reached -- try again later";
        assert!(refused.said.contains(text), "{whose}: {}", refused.said);
    }
    first.kill().expect("it runs");
    first.wait().expect("it ends");
}

#[test]
fn guessing_is_slowed_down_and_a_right_login_is_not() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    source(&root.join("from")).expect("a source");
    fs::write(root.join("secrets"), "alice:wonderland\n").expect("a file");
    fs::set_permissions(root.join("secrets"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let locked = format!(
        "auth users = alice\nsecrets file = {0}/secrets\npre-xfer exec = env > {0}/environment\n",
        root.display()
    );
    let daemon = Daemon::start(Whose::Ours, root, &config(root, &locked));
    let from = format!("{}/from/", root.display());
    let url = format!("rsync://alice@127.0.0.1:{}/m/to/", daemon.port);
    for _ in 0..3 {
        let refused = mirror(Whose::Ours, &[], Some("rabbithole"), [&from, &url]);
        assert_eq!(refused.code, 5, "{}", refused.said);
    }
    let let_in = mirror(Whose::Ours, &[], Some("wonderland"), [&from, &url]);
    assert_eq!(let_in.code, 0, "{}", let_in.said);
    same(&root.join("from"), &root.join("to"));
    let log = fs::read_to_string(root.join(format!("daemon-{}.log", daemon.port))).expect("a log");
    assert_eq!(log.matches("login failed").count(), 3, "{log}");
    let environment = fs::read_to_string(root.join("environment")).expect("the hook ran");
    assert!(environment.contains("RSYNC_USER_NAME=alice"), "{environment}");
    for text in [log, environment, let_in.said] {
        assert!(!text.contains("wonderland") && !text.contains("rabbithole"), "{text}");
    }
}

#[test]
fn one_session_on_standard_input_and_output() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    source(&root.join("from")).expect("a source");
    let file = root.join("conf");
    fs::write(&file, config(root, "")).expect("a file");
    let connect = format!(
        "{} --stdio --config={} --log-file={}/log",
        program("basculed").display(),
        file.display(),
        root.display()
    );
    for (from, to) in [
        (format!("{}/from/", root.display()), "rsync://h/m/pushed/".to_owned()),
        ("rsync://h/m/from/".to_owned(), format!("{}/pulled/", root.display())),
    ] {
        let output = Command::new("rsync")
            .args(["-a", "--delete", &from, &to])
            .env("RSYNC_CONNECT_PROG", &connect)
            .output()
            .expect("rsync runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    same(&root.join("from"), &root.join("pushed"));
    same(&root.join("from"), &root.join("pulled"));
}

fn basculed(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program("basculed"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_configuration_is_refused_by_file_and_line() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = scratch.path().join("conf");
    let shown = path.display().to_string();
    for (text, problem) in [
        ("[m]\npath = /tmp\nno such thing = 1\n", "conf:3: "),
        ("[m]\npath = /tmp\nread only = perhaps\n", "conf:3: "),
        ("port = many\n[m]\npath = /tmp\n", "conf:1: "),
        ("[m]\nread only = no\n", "conf:1: the module [m] has no path"),
        ("[m]\npath = /tmp\nfake super = yes\n", "conf:3: "),
        ("[m]\npath = /tmp\nhosts allow = 10.0.0.0/40\n", "conf:3: "),
        ("&include /no/such/file\n", "conf:1: "),
        ("[m\npath = /tmp\n", "conf:1: "),
    ] {
        fs::write(&path, text).expect("a file");
        for args in [vec!["check-config", &shown], vec!["--port=0", "--config", &shown]] {
            let (code, said) = basculed(&args);
            assert_eq!(code, Some(1), "{args:?} {text}: {said}");
            assert!(said.contains(problem), "{args:?} {text}: {said}");
        }
    }
    fs::write(&path, "[m]\npath = /tmp\n[n]\npath=/var\ncomment = x\n").expect("a file");
    let (code, said) = basculed(&["check-config", &shown]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 module(s)"), "{said}");
    let (code, said) = basculed(&["check-config", "-M", "timeout=x", &shown]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--dparam=timeout=x"), "{said}");
}

#[test]
fn a_port_in_use_and_a_wrong_address_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = scratch.path().join("conf");
    fs::write(&path, "[m]\npath = /tmp\n").expect("a file");
    let shown = path.display().to_string();
    let (code, said) =
        basculed(&["--address=127.0.0.1", &format!("--port={port}"), "--config", &shown]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
}

#[test]
fn modules_limit_what_clients_may_do() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let root = scratch.path();
    let served = root.join("served");
    file(&served, b"keep.txt", b"x", 0o644, (T0, 0)).expect("a file");
    file(&served, b"secret.key", b"x", 0o600, (T0, 0)).expect("a file");
    file(&served, b"sub/secret.key", b"x", 0o600, (T0, 0)).expect("a file");
    let from = root.join("from");
    file(&from, b"new.txt", b"x", 0o600, (T0, 0)).expect("a file");
    file(&from, b"secret.key", b"overwritten", 0o644, (T0, 1)).expect("a file");
    let more = format!(
        "[filtered]\npath = {0}\nread only = no\nexclude = *.key\nincoming chmod = F640,D750\n\
         pre-xfer exec = echo $RSYNC_MODULE_NAME $RSYNC_REQUEST >> {1}/hooks\n\
         post-xfer exec = echo ended $RSYNC_EXIT_STATUS >> {1}/hooks\n\
         [refusing]\npath = {0}\npre-xfer exec = echo not today; exit 3\n\
         [writable]\npath = {0}\nread only = no\nwrite only = yes\n\
         [elsewhere]\npath = {0}\nhosts allow = 10.9.8.7\n\
         [no deleting]\npath = {0}\nread only = no\nrefuse options = delete\n",
        served.display(),
        root.display()
    );
    let daemon = Daemon::start(Whose::Ours, root, &config(root, &more));
    let url = |module: &str| format!("rsync://127.0.0.1:{}/{module}/", daemon.port);
    let [here, pulled] = [&from, &root.join("pulled")].map(|path| format!("{}/", path.display()));

    for whose in [Whose::Ours, Whose::Rsync] {
        // What the module excludes is neither shown, overwritten nor deleted.
        let ran = mirror(whose, &[], None, [&url("filtered"), &pulled]);
        assert_eq!(ran.code, 0, "{}", ran.said);
        assert!(root.join("pulled/keep.txt").exists());
        assert!(!root.join("pulled/secret.key").exists());
        assert!(!root.join("pulled/sub/secret.key").exists());
        let ran = mirror(whose, &[], None, [&here, &url("filtered")]);
        assert_eq!(ran.code, 23, "{whose}: {}", ran.said);
        assert!(ran.said.contains("secret.key: it was not received"), "{whose}: {}", ran.said);
        assert_eq!(fs::read(served.join("secret.key")).expect("it stays"), b"x");
        assert!(served.join("sub/secret.key").exists());
        assert!(!served.join("keep.txt").exists(), "deleted, since it is not excluded");
        let mode = fs::metadata(served.join("new.txt")).expect("it arrived").permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        let hooks = fs::read_to_string(root.join("hooks")).expect("the hooks ran");
        assert!(hooks.contains("filtered filtered/\n"), "{hooks}");
        file(&served, b"keep.txt", b"x", 0o644, (T0, 0)).expect("a file");

        for (module, ends, code, text) in [
            ("refusing", [url("refusing"), pulled.clone()], 5, "not today"),
            ("writable", [url("writable"), pulled.clone()], 1, "module is write only"),
            ("elsewhere", [url("elsewhere"), pulled.clone()], 5, "access denied to elsewhere"),
            ("no deleting", [here.clone(), url("no deleting")], 4, "configured to refuse --delete"),
        ] {
            let ran = mirror(whose, &[], None, [&ends[0], &ends[1]]);
            assert_eq!(ran.code, code, "{whose} {module}: {}", ran.said);
            assert!(ran.said.contains(text), "{whose} {module}: {}", ran.said);
        }
    }
}
