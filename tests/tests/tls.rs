//! TLS with the peers that people have: our agent, `rsync-ssl` over openssl and over stunnel, a
//! stock daemon behind stunnel; and plain clients on the same port.
#![cfg(unix)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bascule_session::tls::{Fingerprint, Identity};
use bascule_tests::judge::{describe, differences};
use bascule_tests::peer::{Daemon, Ran, Whose, client, finish, free_port, program};
use bascule_tests::scratch::{T0, file, noise};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "The test authority");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Writes `NAME.crt` and `NAME.key`; gives the certificate's fingerprint.
    fn sign(&self, folder: &Path, name: &str, hosts: &[&str]) -> Fingerprint {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        file(folder, format!("{name}.crt").as_bytes(), chain.as_bytes(), 0o644, (T0, 0))
            .expect("a file");
        file(folder, format!("{name}.key").as_bytes(), key.as_bytes(), 0o600, (T0, 0))
            .expect("a file");
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("an identity").fingerprint()
    }
}

/// A source, a target, and a daemon that serves the target both ways.
struct World {
    scratch: tempfile::TempDir,
    authority: Authority,
    pin: Fingerprint,
    daemon: Daemon,
    tls_port: u16,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let root = scratch.path();
        let from = root.join("from");
        file(&from, b"small", b"first", 0o644, (T0, 1)).expect("a file");
        file(&from, b"dir/big", &noise(3, 2_000_000), 0o600, (T0, 999_999_999)).expect("a file");
        for number in 0..300 {
            let name = format!("many/{number}");
            file(&from, name.as_bytes(), name.as_bytes(), 0o644, (T0, number)).expect("a file");
        }
        fs::create_dir(root.join("to")).expect("a folder");
        let authority = Authority::new();
        file(root, b"ca.crt", authority.0.pem().as_bytes(), 0o644, (T0, 0)).expect("a file");
        let pin = authority.sign(root, "server", &["localhost", "127.0.0.1"]);
        authority.sign(root, "alice", &[]);
        authority.sign(root, "mallory", &[]);
        file(root, b"secrets", b"alice:wonderland\n", 0o600, (T0, 0)).expect("a file");
        let tls_port = free_port();
        let config = format!(
            "tls certificate = {0}/server.crt\ntls key = {0}/server.key\n\
             tls client ca = {0}/ca.crt\ntls port = {tls_port}\nuid = 0\ngid = 0\n\
             reverse lookup = no\nread only = no\npath = {0}/to\n\
             [open]\n\
             [closed]\nrequire tls = yes\nauth users = alice\nsecrets file = {0}/secrets\n",
            root.display()
        );
        let daemon = Daemon::start(Whose::Ours, root, &config);
        Self { scratch, authority, pin, daemon, tls_port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn option(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.path(file).display())
    }

    /// Runs our agent from the source to `url`, without anything left of other runs.
    fn ours(&self, options: &[String], url: &str) -> Ran {
        let mut command = client(Whose::Ours, options);
        command.arg(format!("{}/", self.path("from").display())).arg(url);
        command.env("XDG_STATE_HOME", self.path("state")).stdin(Stdio::null());
        command.env("RSYNC_PASSWORD", "wonderland");
        finish(&mut command)
    }

    /// Runs `rsync-ssl` from the source to a module on `port`.
    fn rsync_ssl(&self, kind: &str, port: u16, module: &str) -> Ran {
        let mut command = Command::new("rsync-ssl");
        command.args(["-a", "--modify-window=-1", "--delete"]);
        command.arg(format!("{}/", self.path("from").display()));
        command.arg(format!("rsync://alice@localhost/{module}/")).stdin(Stdio::null());
        command
            .env("RSYNC_SSL_TYPE", kind)
            .env("RSYNC_SSL_PORT", port.to_string())
            .env("RSYNC_SSL_CA_CERT", self.path("ca.crt"))
            .env("RSYNC_PASSWORD", "wonderland");
        finish(&mut command)
    }

    fn assert_mirrored(&self, ran: &Ran) {
        assert_eq!(ran.code, 0, "{}", ran.said);
        let [from, to] = ["from", "to"].map(|name| describe(&self.path(name), true));
        let found = differences(&from.expect("a tree"), &to.expect("a tree"));
        assert!(found.is_empty(), "{found:#?}\n{}", ran.said);
        fs::remove_dir_all(self.path("to/dir")).expect("it can be removed");
        fs::write(self.path("to/small"), "changed").expect("written");
    }
}

#[test]
fn everybody_gets_in_by_the_same_port_and_by_that_of_tls() {
    let world = World::new();
    for port in [world.daemon.port, world.tls_port] {
        let pinned = format!("rsyncs://alice@127.0.0.1:{port}/closed/#{}", world.pin);
        world.assert_mirrored(&world.ours(&[], &pinned));
        let named = format!("rsyncs://alice@localhost:{port}/closed/");
        world.assert_mirrored(&world.ours(&[world.option("ca-file", "ca.crt")], &named));
        for kind in ["openssl", "stunnel"] {
            world.assert_mirrored(&world.rsync_ssl(kind, port, "closed"));
        }
    }
    let plain = format!("rsync://127.0.0.1:{}/open/", world.daemon.port);
    let mut rsync = client(Whose::Rsync, &[]);
    rsync.arg(format!("{}/", world.path("from").display())).arg(&plain);
    world.assert_mirrored(&finish(&mut rsync));
    // An old client that waits for the daemon to speak first.
    let mut silent = TcpStream::connect(("127.0.0.1", world.daemon.port)).expect("connected");
    silent.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut greeting = [0; 9];
    silent.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(&greeting, b"@RSYNCD: ");
}

#[test]
fn a_module_that_requires_tls_asks_nobody_for_a_password_in_the_clear() {
    let world = World::new();
    let mut stream = TcpStream::connect(("127.0.0.1", world.daemon.port)).expect("connected");
    stream.write_all(b"@RSYNCD: 32.0 sha512 md5\nclosed\n").expect("written");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    assert!(said.contains("@ERROR: module closed requires TLS"), "{said}");
    assert!(!said.contains("AUTHREQD"), "{said}");
    let ran = world.ours(&[], &format!("rsync://alice@127.0.0.1:{}/closed/", world.daemon.port));
    assert_eq!(ran.code, 5, "{}", ran.said);
    assert!(ran.said.contains("requires TLS"), "{}", ran.said);
}

#[test]
fn a_daemon_seen_with_tls_is_not_reached_in_the_clear() {
    let world = World::new();
    let port = world.daemon.port;
    let plain = format!("rsync://127.0.0.1:{port}/open/");
    world.assert_mirrored(&world.ours(&[], &plain));
    world.assert_mirrored(
        &world.ours(&[], &format!("rsyncs://127.0.0.1:{port}/open/#{}", world.pin)),
    );
    let ran = world.ours(&[], &plain);
    assert_eq!(ran.code, 1, "{}", ran.said);
    assert!(ran.said.contains("reached by TLS before"), "{}", ran.said);
    world.assert_mirrored(&world.ours(&["--allow-plain".to_owned()], &plain));
}

#[test]
fn the_trash_is_listed_and_brought_back_by_a_url_with_a_fingerprint() {
    let world = World::new();
    let url = format!("rsyncs://127.0.0.1:{}/open/#{}", world.daemon.port, world.pin);
    world.assert_mirrored(&world.ours(&[], &url));
    fs::remove_file(world.path("from/small")).expect("it is there");
    let ran = world.ours(&["--trash".to_owned()], &url);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let restore = |words: &[&str]| {
        let mut command = Command::new(program("bascule"));
        command.arg("restore").args(words).arg(&url);
        finish(command.env("XDG_STATE_HOME", world.path("state")).stdin(Stdio::null()))
    };
    let mut runs = fs::read_dir(world.path("to/.bascule-trash")).expect("a trash");
    let run = runs.next().expect("a run").expect("readable").file_name();
    let run = run.to_str().expect("a date");
    let listed = restore(&[]);
    assert!(listed.code == 0 && listed.said.contains(run), "{}", listed.said);
    let back = restore(&["--run", run]);
    assert_eq!(back.code, 0, "{}", back.said);
    assert_eq!(fs::read(world.path("to/small")).expect("it is back"), b"changed");
}

#[test]
fn an_untrusted_certificate_ends_the_run_before_anything_is_said() {
    let world = World::new();
    let port = world.daemon.port;
    let wrong = Fingerprint::of(b"another certificate");
    for (url, text) in [
        (format!("rsyncs://alice@127.0.0.1:{port}/closed/#{wrong}"), "not the pinned one"),
        (format!("rsyncs://alice@127.0.0.1:{port}/closed/"), "is not trusted"),
    ] {
        let ran = world.ours(&[], &url);
        assert_eq!(ran.code, 10, "{}", ran.said);
        assert!(ran.said.contains(text), "{}", ran.said);
        assert!(!ran.said.contains("wonderland"), "{}", ran.said);
    }
    let rsync = Daemon::start(Whose::Rsync, world.scratch.path(), "[m]\npath = /nowhere\n");
    let ran = world.ours(&[], &format!("rsyncs://127.0.0.1:{}/m/#{wrong}", rsync.port));
    assert_eq!(ran.code, 10, "{}", ran.said);
    assert!(ran.said.contains("does not speak TLS"), "{}", ran.said);
}

#[test]
fn a_client_certificate_is_a_login() {
    let world = World::new();
    let url = format!("rsyncs://127.0.0.1:{}/closed/#{}", world.daemon.port, world.pin);
    let shown = |name: &str| {
        [
            world.option("client-cert", &format!("{name}.crt")),
            world.option("client-key", &format!("{name}.key")),
        ]
    };
    let run = |options: &[String]| {
        let mut command = client(Whose::Ours, options);
        command.arg(format!("{}/", world.path("from").display())).arg(&url);
        command.env("XDG_STATE_HOME", world.path("state")).stdin(Stdio::null());
        command.env_remove("RSYNC_PASSWORD").env("USER", "nobody-special");
        finish(&mut command)
    };
    world.assert_mirrored(&run(&shown("alice")));
    for options in [&shown("mallory")[..], &[]] {
        let ran = run(options);
        assert_eq!(ran.code, 5, "{}", ran.said);
    }
    // A certificate of somebody else's authority is not even let in.
    Authority::new().sign(world.scratch.path(), "alice", &[]);
    let ran = run(&shown("alice"));
    assert!([10, 12].contains(&ran.code), "{} {}", ran.code, ran.said);
}

#[test]
fn a_new_certificate_counts_at_once() {
    let world = World::new();
    let url = |pin: Fingerprint| format!("rsyncs://127.0.0.1:{}/open/#{pin}", world.daemon.port);
    world.assert_mirrored(&world.ours(&[], &url(world.pin)));
    let new = world.authority.sign(world.scratch.path(), "server", &["localhost"]);
    // Files of the same length within one tick of the clock would look the same.
    let certificate = fs::File::open(world.path("server.crt")).expect("there");
    certificate.set_modified(std::time::SystemTime::now()).expect("a time");
    world.assert_mirrored(&world.ours(&[], &url(new)));
    assert_eq!(world.ours(&[], &url(world.pin)).code, 10);
}

#[test]
fn a_stock_daemon_behind_stunnel_is_reached() {
    let world = World::new();
    let config = format!(
        "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\nmunge symlinks = no\n[m]\n\
         path = {}\nread only = no\n",
        world.path("to").display()
    );
    let rsyncd = Daemon::start(Whose::Rsync, world.scratch.path(), &config);
    let stunnel = Stunnel::before(rsyncd.port, world.scratch.path());
    let url = format!("rsyncs://127.0.0.1:{}/m/#{}", stunnel.port, world.pin);
    world.assert_mirrored(&world.ours(&[], &url));
    drop(stunnel);
}

/// stunnel in front of a daemon; dropping it ends the process.
struct Stunnel {
    child: Child,
    port: u16,
}

impl Stunnel {
    fn before(daemon: u16, folder: &Path) -> Self {
        let port = free_port();
        let file = folder.join("stunnel.conf");
        let text = format!(
            "foreground = yes\npid =\ndebug = err\n[rsync]\naccept = 127.0.0.1:{port}\n\
             connect = 127.0.0.1:{daemon}\ncert = {0}/server.crt\nkey = {0}/server.key\n",
            folder.display()
        );
        fs::write(&file, text).expect("written");
        let child = Command::new("stunnel4")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("stunnel starts (is it installed?)");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "stunnel does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }
}

impl Drop for Stunnel {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
