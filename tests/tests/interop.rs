//! The interop matrix: direction × who is at each end × protocol × case. Exit code, itemized
//! lines and the resulting tree have to equal those of rsync with rsync.
#![cfg(unix)]

use std::fs;
use std::path::Path;

use bascule_tests::judge::{describe, differences};
use bascule_tests::peer::{Daemon, Ran, Whose, mirror};
use bascule_tests::scratch;

/// Options of each case, beside the protocol.
const CASES: &[&[&str]] = &[
    &[],
    &["-c"],
    &["-H"],
    &["-W"],
    &["-S"],
    &["--inplace"],
    &["--no-inc-recursive"],
    &["--no-delete"],
    &["--delete-before"],
    &["--delete-during"],
    &["--delete-delay"],
    &["--delete-after"],
    &["--max-delete=1"],
    &["--max-delete=0"],
    &["--delete-excluded", "--exclude=*.sh"],
    &["--exclude=*.sh", "--exclude=/dir1/sub"],
    &["--include=*.txt", "--include=*/", "--exclude=*"],
    &["--filter=P extra.txt", "--filter=H prog.sh"],
    &["-n"],
    &["-n", "--no-inc-recursive"],
    &["-z"],
    &["--compress-choice=zstd"],
    &["--compress-choice=lz4"],
    &["--compress-choice=zlibx"],
    &["--compress-choice=zlib"],
    &["--checksum-choice=md5"],
    &["--checksum-choice=sha1"],
    &["--checksum-choice=xxh64"],
    &["--checksum-choice=xxh3"],
    &["--checksum-choice=xxh128"],
    &["--checksum-choice=none"],
    &["-c", "--checksum-choice=md4"],
    &["--numeric-ids"],
    &["--delay-updates"],
    &["-s"],
    &["-ii"],
    &["--existing"],
    &["--ignore-existing", "--exclude=/retyped"],
    &["-u", "--modify-window=0"],
    &["--no-perms"],
    &["--no-perms", "--inplace"],
    &["--safe-links"],
    // Some symlinks lead to nothing, which would suppress deletions.
    &["-L", "-H", "--ignore-errors"],
    &["--delay-updates", "-H"],
];

/// Modules whose settings change what is stored, and the cases run with each.
const MODULES: &[(&str, &[&[&str]])] = &[
    ("munged", &[&[], &["-n"]]),
    ("chmod", &[&[], &["--no-inc-recursive"]]),
    ("filtered", &[&[], &["--delete-after"]]),
];

const PAIRS: [(Whose, Whose); 3] =
    [(Whose::Ours, Whose::Rsync), (Whose::Rsync, Whose::Ours), (Whose::Ours, Whose::Ours)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Push,
    Pull,
}

/// What is at the destination before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing.
    Fresh,
    /// An older, different tree.
    Stale,
    /// Exactly what the source has: there is nothing to do.
    Same,
}

/// One world: pristine trees, and a daemon of each kind over a module folder.
struct World {
    scratch: tempfile::TempDir,
    ours: Daemon,
    rsync: Daemon,
}

impl World {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the interop tests compare owners: run them as root"
        );
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let root = scratch.path();
        scratch::source(&root.join("source")).expect("a source");
        let links = [("/etc/passwd", "absolute"), ("../../up", "dir1/up"), ("../a.txt", "dir1/a")];
        for (target, link) in links {
            std::os::unix::fs::symlink(target, root.join("source").join(link)).expect("a symlink");
        }
        scratch::destination(&root.join("stale")).expect("a destination");
        fs::write(root.join("secrets"), "alice:wonderland\n").expect("a secrets file");
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(root.join("secrets"), fs::Permissions::from_mode(0o600))
            .expect("a mode");
        let path = root.join("module");
        let config = format!(
            "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\nmunge symlinks = no\n\
             [m]\npath = {path}\nread only = no\n\
             [jail]\npath = {path}\nread only = no\nuse chroot = yes\n\
             [munged]\npath = {path}\nread only = no\nmunge symlinks = yes\n\
             [chmod]\npath = {path}\nread only = no\nincoming chmod = Dg+s,Fo-r,u+X,+w\n\
             outgoing chmod = Fg=u,o=\n\
             [filtered]\npath = {path}\nread only = no\nexclude = *.sh /dir1/b.txt\n\
             [ro]\npath = {path}\n\
             [auth]\npath = {path}\nread only = no\nauth users = alice\nsecrets file = {secrets}\n\
             [refuse]\npath = {path}\nread only = no\nrefuse options = delete\n",
            path = path.display(),
            secrets = root.join("secrets").display(),
        );
        let ours = Daemon::start(Whose::Ours, root, &config);
        let rsync = Daemon::start(Whose::Rsync, root, &config);
        Self { scratch, ours, rsync }
    }

    /// Runs one case on fresh copies; gives what was said and where the result is.
    fn run(
        &self,
        (client, daemon): (Whose, Whose),
        way: Way,
        module: &str,
        options: &[String],
        password: Option<&str>,
        before: Before,
    ) -> (Ran, std::path::PathBuf) {
        let root = self.scratch.path();
        let (served, local) = (root.join("module"), root.join("local"));
        for path in [&served, &local] {
            if path.exists() {
                fs::remove_dir_all(path).expect("it can be removed");
            }
        }
        let (source_at, target_at) = match way {
            Way::Push => (&local, &served),
            Way::Pull => (&served, &local),
        };
        copy(&root.join("source"), source_at);
        match before {
            Before::Fresh => fs::create_dir(target_at).expect("a folder"),
            Before::Stale => copy(&root.join("stale"), target_at),
            Before::Same => copy(&root.join("source"), target_at),
        }
        let port = if daemon == Whose::Ours { self.ours.port } else { self.rsync.port };
        let url = format!("rsync://alice@127.0.0.1:{port}/{module}/");
        let here = format!("{}/", local.display());
        let ends = match way {
            Way::Push => [&here[..], &url],
            Way::Pull => [&url[..], &here],
        };
        let ran = mirror(client, options, password, ends);
        let kept = root.join("result");
        if kept.exists() {
            fs::remove_dir_all(&kept).expect("it can be removed");
        }
        fs::rename(target_at, &kept).expect("a rename");
        (ran, kept)
    }

    /// Compares the three pairs with rsync on both ends; gives the differences as text.
    fn compare(
        &self,
        way: Way,
        module: &str,
        options: &[String],
        password: Option<&str>,
        before: Before,
    ) -> Vec<String> {
        let hard_links = options.iter().any(|option| option == "-H");
        let stock = (Whose::Rsync, Whose::Rsync);
        let (expected, tree) = self.run(stock, way, module, options, password, before);
        let expected_tree = describe(&tree, hard_links).expect("a tree");
        let mut wrong = Vec::new();
        for pair in PAIRS {
            let (ran, tree) = self.run(pair, way, module, options, password, before);
            let tree = describe(&tree, hard_links).expect("a tree");
            let mut faults = differences(&expected_tree, &tree);
            // Before protocol 31 a daemon that refuses can only close the connection; whether the
            // client then sees a reset (10) or an end (12) is a race in rsync itself.
            let lost = [10, 12];
            let raced = options.iter().any(|option| option == "--protocol=30")
                && [ran.code, expected.code].iter().all(|code| lost.contains(code));
            if ran.code != expected.code && !raced {
                faults.push(format!("exit code {} instead of {}", ran.code, expected.code));
            }
            for (side, other, mark) in [
                (&expected.items, &ran.items, "missing"),
                (&ran.items, &expected.items, "unexpected"),
            ] {
                // Which name of a group is the file and which are its links is free to choose; the
                // judge compares the groups themselves.
                let is_free = |line: &str| {
                    hard_links
                        && ["h1", "h2", "dir1/h3"].iter().any(|name| line[12..].starts_with(name))
                };
                let lines = side.iter().filter(|line| !other.contains(line) && !is_free(line));
                faults.extend(lines.map(|line| format!("{mark}: {line}")));
            }
            if !faults.is_empty() {
                let (client, daemon) = pair;
                wrong.push(format!(
                    "{way:?} {module} {options:?} {before:?}, {client:?} → {daemon:?}:\n  {}\n{}",
                    faults.join("\n  "),
                    ran.said
                ));
            }
        }
        wrong
    }
}

/// A copy that keeps everything, made by a third program.
fn copy(from: &Path, to: &Path) {
    let status =
        std::process::Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
}

fn options(case: &[&str], protocol: u8) -> Vec<String> {
    let mut options = vec![format!("--protocol={protocol}")];
    if !case.contains(&"-ii") {
        options.push("-i".to_owned());
    }
    options.extend(case.iter().map(ToString::to_string));
    options
}

fn matrix(way: Way, protocol: u8) {
    let world = World::new();
    let mut wrong = Vec::new();
    let mut runs = 0;
    for (number, case) in CASES.iter().enumerate() {
        // A module as most are, and one that a root daemon changes its root into.
        let modules = if case.contains(&"-L") { ["jail"; 2] } else { ["m", "jail"] };
        let module = modules[number % 2];
        wrong.extend(world.compare(way, module, &options(case, protocol), None, Before::Stale));
        runs += PAIRS.len();
    }
    for (module, cases) in MODULES {
        for case in *cases {
            wrong.extend(world.compare(way, module, &options(case, protocol), None, Before::Stale));
            runs += PAIRS.len();
        }
    }
    for case in [&[][..], &["-H"], &["-z"], &["-n"]] {
        wrong.extend(world.compare(way, "m", &options(case, protocol), None, Before::Fresh));
        runs += PAIRS.len();
    }
    for case in [&[][..], &["-c"], &["-H"], &["-n"], &["-ii"], &["--no-inc-recursive"]] {
        wrong.extend(world.compare(way, "m", &options(case, protocol), None, Before::Same));
        runs += PAIRS.len();
    }
    for (module, password) in [
        ("auth", Some("wonderland")),
        ("auth", Some("wrong")),
        ("auth", None),
        ("ro", None),
        ("refuse", None),
        ("nosuch", None),
    ] {
        wrong.extend(world.compare(way, module, &options(&[], protocol), password, Before::Stale));
        runs += PAIRS.len();
    }
    assert!(wrong.is_empty(), "{} of {runs} runs differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn push_at_protocol_32() {
    matrix(Way::Push, 32);
}

#[test]
fn push_at_protocol_31() {
    matrix(Way::Push, 31);
}

#[test]
fn push_at_protocol_30() {
    matrix(Way::Push, 30);
}

#[test]
fn pull_at_protocol_32() {
    matrix(Way::Pull, 32);
}

#[test]
fn pull_at_protocol_31() {
    matrix(Way::Pull, 31);
}

#[test]
fn pull_at_protocol_30() {
    matrix(Way::Pull, 30);
}
