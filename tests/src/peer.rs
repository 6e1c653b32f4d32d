//! The programs under test and the real rsync, as clients and as daemons.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to listen, and a run to end.
const PATIENCE: Duration = Duration::from_secs(240);

/// Whose program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Bascule's.
    Ours,
    /// Stock rsync's.
    Rsync,
}

/// A program built from this workspace.
///
/// # Panics
/// When it was not built: run `./test`, which builds it first.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its own path");
    // A program is in target/PROFILE, a test one folder further down.
    let found =
        own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing beside {}: build it first", own.display()))
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ours => "bascule",
            Self::Rsync => "rsync",
        })
    }
}

/// A port of 127.0.0.1 that nobody listens on.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A running daemon; dropping it ends the process.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// The port on 127.0.0.1, or on the address it was given.
    pub port: u16,
}

impl Daemon {
    /// Starts a daemon on a free port with `config`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(whose: Whose, scratch: &Path, config: &str) -> Self {
        Self::start_at(whose, scratch, config, "127.0.0.1", free_port())
    }

    /// Starts a daemon on a certain address and port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_at(whose: Whose, scratch: &Path, config: &str, address: &str, port: u16) -> Self {
        let file = scratch.join(format!("daemon-{port}.conf"));
        let log = scratch.join(format!("daemon-{port}.log"));
        std::fs::write(&file, format!("log file = {}\n{config}", log.display())).expect("a file");
        let mut command = match whose {
            Whose::Ours => Command::new(program("basculed")),
            Whose::Rsync => Command::new("rsync"),
        };
        command
            .args(["--daemon", "--no-detach"])
            .arg(format!("--address={address}"))
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", file.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the daemon starts (is rsync installed?)");
        let began = Instant::now();
        while TcpStream::connect((address, port)).is_err() {
            let ended = child.try_wait().expect("its state is known");
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "{whose:?} daemon did not listen ({ended:?}): {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }
}

impl Daemon {
    /// The process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("it was not waited for");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the ends of a mirror are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Both on this machine.
    Local,
    /// The target is a daemon's.
    Push,
    /// The source is a daemon's.
    Pull,
}

impl Way {
    /// The folders `from` and `to`, as [`end`] gives them.
    pub fn ends(self, root: &Path, port: u16) -> [String; 2] {
        [end(root, port, "from", self == Self::Pull), end(root, port, "to", self == Self::Push)]
    }
}

/// A folder below `root`, which is the module `m` of the daemon on `port`, as a user types it.
pub fn end(root: &Path, port: u16, name: &str, remote: bool) -> String {
    if remote {
        format!("rsync://127.0.0.1:{port}/m/{name}/")
    } else {
        format!("{}/{name}/", root.display())
    }
}

/// How a client's run went.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// The itemized lines, sorted.
    pub items: Vec<String>,
    /// Everything it said.
    pub said: String,
}

/// Runs a client: `bascule mirror` or `rsync -a --delete-delay` with the same meaning.
///
/// # Panics
/// When the program does not start or does not end.
pub fn mirror(whose: Whose, options: &[String], password: Option<&str>, ends: [&str; 2]) -> Ran {
    let mut command = client(whose, options);
    command.args(ends).stdin(Stdio::null()).env_remove("RSYNC_PASSWORD").env("USER", "alice");
    if let Some(password) = password {
        command.env("RSYNC_PASSWORD", password);
    }
    finish(&mut command)
}

/// The command of a client, without its ends.
///
/// # Panics
/// When the program was not built.
pub fn client(whose: Whose, options: &[String]) -> Command {
    let mut command = match whose {
        Whose::Ours => {
            let mut command = Command::new(program("bascule"));
            // A test that provokes a failure wants to see it, and at once.
            command.args(["mirror", "--retries=0"]);
            command
        }
        Whose::Rsync => {
            let mut command = Command::new("rsync");
            command.args(["-a", "--modify-window=-1"]);
            // The stock client refuses the two together; `bascule mirror` drops the partial dir.
            if !options.iter().any(|option| option == "--inplace") {
                command.arg("--partial-dir=.bascule-partial");
            }
            if !options.iter().any(|option| option == "--no-delete") {
                // The stock client takes one time of deletion, `bascule mirror` has a default.
                let timed = options.iter().any(|option| option.starts_with("--delete-"));
                command.arg(if timed { "--delete" } else { "--delete-delay" });
            }
            command
        }
    };
    command.args(options.iter().filter(|option| whose == Whose::Ours || *option != "--no-delete"));
    command
}

/// Runs a client to its end.
///
/// # Panics
/// When it does not start or does not end.
pub fn finish(command: &mut Command) -> Ran {
    let output = run(command).expect("the client starts (is rsync installed?)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut items: Vec<String> = text
        .lines()
        .filter(|line| {
            line.starts_with(['<', '>', 'c', 'h', '.', '*']) && line.get(11..12) == Some(" ")
        })
        .map(ToOwned::to_owned)
        .collect();
    items.sort();
    let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Ran { code: output.status.code().unwrap_or(-1), items, said }
}

fn run(command: &mut Command) -> io::Result<std::process::Output> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let id = child.id();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if wait.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // A hanging run is a failed test, not a hanging one.
            let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap_or(0));
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    });
    let output = child.wait_with_output();
    drop(done);
    watch.join().map_err(|_| io::Error::other("the watcher failed"))?;
    output
}
