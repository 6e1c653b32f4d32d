//! A machine of its own, with systemd as its first process: namespaces, a root in memory, and no
//! units but those of a test. Needs root, and systemd installed, not running.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything there may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running machine; dropping it ends all its processes.
#[derive(Debug)]
pub struct Machine {
    unshare: Child,
    first: u32,
    group: String,
    root: PathBuf,
}

impl Machine {
    /// Starts a machine whose `/opt/bascule` is the folder with the programs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(scratch: &Path, programs: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let group = format!("bascule-test-{}-{number}", std::process::id());
        let root = scratch.join(format!("machine-{number}"));
        std::fs::create_dir(&root).expect("a folder");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine.sh");
        // A control group of its own, whatever of cgroups is mounted here.
        let outer = "mount -t cgroup2 none \"$1\"; mkdir \"$1/$2\"; echo $$ > \"$1/$2/cgroup.procs\"; \
                     umount \"$1\"; exec setpriv --pdeathsig KILL unshare --mount --pid --fork --cgroup --uts --ipc --net \
                     --propagation private --kill-child sh \"$3\" \"$1\" \"$4\"";
        let log_file = root.with_extension("log");
        let log = std::fs::File::create(&log_file).expect("a file");
        let unshare = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-euc", outer, "sh"])
            .arg(&root)
            .args([&group, script])
            .arg(programs)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("unshare is installed");
        let mut machine = Self { unshare, first: 0, group, root };
        let began = Instant::now();
        loop {
            machine.first = machine.child();
            let up = machine.first != 0
                && machine
                    .run(&["systemctl", "is-active", "multi-user.target"])
                    .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == "active");
            if up {
                return machine;
            }
            let ended = machine.unshare.try_wait().expect("its state is known");
            let log = std::fs::read_to_string(&log_file).unwrap_or_default();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "no systemd ({ended:?}): {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The first process of the machine, by its number out here; 0 while it is not there.
    fn child(&self) -> u32 {
        let id = self.unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        children.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Lays a cable to another machine: the ends are called `wire` and have these addresses, each
    /// with the length of its network.
    ///
    /// # Panics
    /// When iproute2 is not installed.
    pub fn connect(&self, other: &Self, addresses: [&str; 2]) {
        let to = other.first.to_string();
        let pair = ["ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns"];
        let laid = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.first))
            .args(pair)
            .arg(to)
            .status();
        assert!(laid.expect("nsenter is installed").success(), "no cable");
        for (machine, address) in [self, other].into_iter().zip(addresses) {
            machine.good(&["ip", "address", "add", address, "dev", "wire"]);
            machine.set_link(true);
        }
    }

    /// Plugs the cable in or pulls it out.
    ///
    /// # Panics
    /// When there is none.
    pub fn set_link(&self, up: bool) {
        self.good(&["ip", "link", "set", "wire", if up { "up" } else { "down" }]);
    }

    /// A path in the machine, as it is reached from out here.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.first))
    }

    /// Does something in the network of the machine, such as listening there.
    ///
    /// # Panics
    /// When the machine is gone.
    pub fn in_network<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.first));
        let network = network.expect("the machine runs");
        std::thread::scope(|scope| {
            let acting = scope.spawn(move || {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(network.as_fd(), kind)
                    .expect("the network is entered");
                act()
            });
            acting.join().expect("no panic")
        })
    }

    /// Runs a command that has to succeed; gives what it said.
    ///
    /// # Panics
    /// When it does not.
    pub fn good(&self, words: &[&str]) -> String {
        let (code, said) = self.tell(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }

    /// Runs a command in the machine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, words: &[&str]) -> io::Result<Output> {
        Command::new("nsenter")
            .arg(format!("--target={}", self.first))
            .args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net", "--root", "--wd"])
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"])
            .args(words)
            .stdin(Stdio::null())
            .output()
    }

    /// Runs a command in the machine; gives its exit code and all it said.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn tell(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words).expect("nsenter is installed");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs a command until what it says holds; gives that.
    ///
    /// # Panics
    /// When it never does.
    pub fn until(&self, words: &[&str], holds: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let (code, said) = self.tell(words);
            if holds(&said) {
                return said;
            }
            assert!(began.elapsed() < PATIENCE, "{words:?}: {code}: {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let first = i32::try_from(self.first).ok().and_then(rustix::process::Pid::from_raw);
        // With the first process all end, and unshare with them.
        if first.is_none_or(|first| {
            rustix::process::kill_process(first, rustix::process::Signal::KILL).is_err()
        }) {
            let _ = self.unshare.kill();
        }
        let _ = self.unshare.wait();
        // The control groups stay behind, empty.
        let tidy = "mount -t cgroup2 none \"$1\"; find \"$1/$2\" -depth -type d -exec rmdir {} +";
        let _ = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-euc", tidy, "sh"])
            .arg(&self.root)
            .arg(&self.group)
            .stderr(Stdio::null())
            .status();
    }
}
