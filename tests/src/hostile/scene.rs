//! What is lied to: our daemon, our agent, the folders that they work in, and what is outside.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bascule_wire::Options;
use bascule_wire::args::Direction;

use super::opening::Opening;
use super::talk::{Lie, Talk, Verdict};
use crate::peer::{Daemon, Ran, Whose, client, mirror};
use crate::scratch::{T0, file, noise};

/// Bytes of memory that a program under attack may take, its own code and libraries included.
pub const MOST_MEMORY: u64 = 64 << 20;

/// A folder `root` to write to, a folder `source` to read, and something outside of both.
pub struct Scene {
    scratch: tempfile::TempDir,
    outside: Snapshot,
}

/// Size, mode, owner, time and content of each name.
type Snapshot = BTreeMap<PathBuf, ([i64; 6], Vec<u8>)>;

impl Scene {
    /// Lays the folders out.
    ///
    /// # Panics
    /// When the disk does not let it.
    pub fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let put = |folder: &str, name: &str, data: &[u8]| {
            file(&scratch.path().join(folder), name.as_bytes(), data, 0o644, (T0 - 99, 0))
                .expect("a file");
        };
        put("root", "old", &noise(3, 5000));
        put("root", "kept/file", b"nobody lists me");
        put("outside", "secret", b"not yours");
        put("source", "big", &noise(4, 3_000_000));
        put("source", "small", b"a good file");
        symlink("../outside", scratch.path().join("root/way")).expect("a link");
        let outside = snapshot(&scratch.path().join("outside"));
        Self { scratch, outside }
    }

    /// A path of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Fails when something outside has changed, or something inside that nobody has named, or when
    /// something was left lying about. `old` has to be its old version.
    ///
    /// # Panics
    /// Then.
    pub fn assert_untouched(&self, lie: &str) {
        assert!(
            snapshot(&self.path("outside")) == self.outside,
            "{lie}: something outside changed"
        );
        let read = |name: &str| fs::read(self.path(name)).unwrap_or_default();
        assert!(
            read("root/kept/file") == b"nobody lists me",
            "{lie}: the rest of the tree changed"
        );
        assert!(read("root/old") == noise(3, 5000), "{lie}: the old version is gone");
        let strays: Vec<_> = snapshot(self.scratch.path())
            .into_keys()
            .filter(|path| path.to_string_lossy().contains("evil"))
            .collect();
        assert!(strays.is_empty(), "{lie}: {strays:?}");
        // What was no lie may have arrived; the next lie begins without it.
        let _ = fs::remove_file(self.path("root/good"));
    }

    /// Starts our daemon with the module `mod` (`root`, writable) and `source` (read only), and
    /// further parameters of each.
    pub fn daemon(&self, parameters: &str) -> Daemon {
        let config = format!(
            "uid = 0\ngid = 0\nuse chroot = no\nmunge symlinks = no\n{parameters}\n\
             [mod]\npath = {}\nread only = no\n[source]\npath = {}\n",
            self.path("root").display(),
            self.path("source").display(),
        );
        Daemon::start(Whose::Ours, self.scratch.path(), &config)
    }

    /// Runs our agent to pull from, or push to, the daemon at `port`.
    pub fn agent(&self, direction: Direction, options: &[&str], port: u16) -> (Ran, u64) {
        let remote = format!("rsync://127.0.0.1:{port}/mod/");
        let local = |name: &str| format!("{}/", self.path(name).display());
        let ends = match direction {
            Direction::Push => [local("source"), remote],
            Direction::Pull => [remote, local("root")],
        };
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let mut command = client(Whose::Ours, &options);
        command.args(ends).env("USER", "alice");
        watched(&mut command, self.scratch.path())
    }

    /// A run that everybody has to get through, whatever happened before.
    ///
    /// # Panics
    /// When it does not.
    pub fn assert_served(&self, daemon: &Daemon, lie: &str) {
        let ends = [
            &format!("{}/small", self.path("source").display()),
            &format!("rsync://127.0.0.1:{}/mod/good-run/", daemon.port),
        ];
        let options = ["--no-delete".to_owned(), "--mkpath".to_owned()];
        let ran = mirror(Whose::Ours, &options, None, ends.map(String::as_str));
        assert_eq!(ran.code, 0, "{lie}: the daemon serves others no more: {}", ran.said);
        let arrived = fs::read(self.path("root/good-run/small")).expect("it has arrived");
        assert_eq!(arrived, b"a good file");
        fs::remove_dir_all(self.path("root/good-run")).expect("removed");
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// Pushes to, or pulls from, the daemon at `port`, lies, and listens to what it says of that.
///
/// # Panics
/// When it does not even let the client in.
pub fn lie_to_daemon(port: u16, direction: Direction, options: Options, lie: Lie) -> Verdict {
    let mut talk = let_in(port, direction, options);
    // The other end may well hang up in the middle of it.
    let _ = lie(&mut talk);
    talk.last_words()
}

/// Becomes a client of the daemon at `port`, up to the list.
///
/// # Panics
/// When it is not let in.
pub fn let_in(port: u16, direction: Direction, options: Options) -> Talk {
    let (module, path) = match direction {
        Direction::Push => ("mod", "mod/"),
        Direction::Pull => ("source", "source/"),
    };
    let opened = Opening::to(port).and_then(|mut opening| {
        opening.enter(module)?;
        opening.ask(direction, &[path], options)
    });
    opened.unwrap_or_else(|error| panic!("not let in: {error}"))
}

/// A daemon that answers one client on its port.
///
/// # Panics
/// When there is no free port.
pub fn evil_daemon<T: Send + 'static>(
    serve: impl FnOnce(Opening) -> io::Result<T> + Send + 'static,
) -> (u16, JoinHandle<io::Result<T>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (port, thread::spawn(move || serve(Opening::from(&listener)?)))
}

/// A daemon that opens the conversation as it should, and then lies.
pub fn lying_daemon(lie: Lie) -> (u16, JoinHandle<io::Result<Verdict>>) {
    evil_daemon(move |mut opening| {
        opening.greet()?;
        let mut talk: Talk = opening.serve()?;
        // The other end may well hang up in the middle of it.
        let _ = lie(&mut talk);
        Ok(talk.last_words())
    })
}

/// The most memory that a running process has ever had, in bytes.
pub fn peak_memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Runs a command to its end, with what it says in files: that may be much. Tells the most memory
/// that it had.
///
/// # Panics
/// When it does not start or end.
pub fn watched(command: &mut Command, scratch: &Path) -> (Ran, u64) {
    let output = scratch.join(format!("said-{:?}", thread::current().id()));
    let said = fs::File::create(&output).expect("a file");
    let errors = said.try_clone().expect("a handle");
    command.stdin(Stdio::null()).stdout(said).stderr(errors);
    let mut child = command.spawn().expect("the program starts");
    // Until it is executed it shares the memory of this process, in which other tests run.
    let own = std::env::current_exe().expect("the program of this test");
    let executes = format!("/proc/{}/exe", child.id());
    let mut peak = 0;
    let status = loop {
        if fs::read_link(&executes).is_ok_and(|program| program != own) {
            peak = peak_memory(child.id()).unwrap_or(0).max(peak);
        }
        if let Some(status) = child.try_wait().expect("its state is known") {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let text = fs::read(&output).expect("what it said");
    // The verdict is at the end.
    let end = text.len().saturating_sub(10_000);
    let said = String::from_utf8_lossy(&text[end..]).into_owned();
    fs::remove_file(&output).expect("removed");
    (Ran { code: status.code().unwrap_or(-1), items: Vec::new(), said }, peak)
}

fn snapshot(folder: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let seen = fs::symlink_metadata(&path).expect("an entry");
            let facts = [
                i64::try_from(seen.size()).expect("a size"),
                i64::from(seen.mode()),
                i64::from(seen.uid()),
                i64::from(seen.gid()),
                seen.mtime(),
                seen.mtime_nsec(),
            ];
            let data = if seen.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
            if seen.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (facts, data));
        }
    }
    found
}
