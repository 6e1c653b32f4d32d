//! A disk on FUSE that forgets what was not synced, fails on command, and stops the world at any
//! step of whoever writes on it.

mod image;
mod serve;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, Errno, MountOption, SessionACL};

use image::Image;
pub use image::Loss;

/// How long somebody may go on using a disk that is to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A file is opened for reading.
    Open,
    /// A file is read.
    Read,
    /// A file is made.
    Create,
    /// A file is written.
    Write,
    /// A file's length is set.
    SetLength,
    /// An owner or group is set.
    SetOwner,
    /// A mode is set.
    SetMode,
    /// A time is set.
    SetTime,
    /// A directory is made.
    MakeDir,
    /// A symlink is made.
    MakeSymlink,
    /// A file gets another name beside its own.
    Link,
    /// A name is changed.
    Rename,
    /// A name is removed.
    Remove,
    /// A file is synced.
    Sync,
    /// A directory is synced.
    SyncDir,
}

impl Step {
    fn changes_something(self) -> bool {
        !matches!(self, Self::Open | Self::Read)
    }
}

/// A fault of the disk: this step fails for files with this in their name, with this errno.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The step.
    pub step: Step,
    /// Part of the name; empty for all.
    pub name: &'static str,
    /// The error.
    pub errno: Errno,
}

/// What happens at the step that was chosen.
enum Cut {
    /// From there on everything fails.
    Power,
    /// The step waits until the process that asked for it is dead.
    Kill { reached: Sender<Step>, go_on: Receiver<()> },
}

struct State {
    image: Image,
    /// Steps that changed something since the last [`ForgetfulDisk::arm`], as they came.
    steps: Vec<Step>,
    cut: Option<(usize, Cut)>,
    is_off: bool,
    faults: Vec<Fault>,
    /// Bytes that files may have in all.
    capacity: u64,
    /// Whether the disk says how full it is.
    tells_room: bool,
}

/// A mounted disk; dropping it unmounts it.
pub struct ForgetfulDisk {
    state: Arc<Mutex<State>>,
    mounted: PathBuf,
    session: Option<BackgroundSession>,
}

impl ForgetfulDisk {
    /// Mounts an empty disk on the folder `at`, which is made. Needs root and /dev/fuse.
    ///
    /// # Panics
    /// When that fails.
    pub fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("a folder to mount on");
        let state = Arc::new(Mutex::new(State {
            image: Image::new(),
            steps: Vec::new(),
            cut: None,
            is_off: false,
            faults: Vec::new(),
            capacity: u64::MAX,
            tells_room: true,
        }));
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("forgetful".into()), MountOption::DefaultPermissions];
        config.acl = SessionACL::All;
        let served = serve::Served(Arc::clone(&state));
        let session = fuser::spawn_mount(served, at, &config).expect("a FUSE mount (root?)");
        Self { state, mounted: at.into(), session: Some(session) }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Forgets earlier steps and faults, and takes all that is there for synced.
    pub fn arm(&self) {
        let mut state = self.lock();
        state.image.sync_all();
        state.steps.clear();
        state.faults.clear();
        state.cut = None;
        state.is_off = false;
    }

    /// Remembers what is there for [`Self::start_over`].
    pub fn save(&self) {
        self.lock().image.save();
    }

    /// Everything is as it was at [`Self::save`], and the disk is armed.
    pub fn start_over(&self) {
        self.lock().image.start_over();
        self.arm();
    }

    /// The power fails when `step` steps have changed something.
    pub fn cut_power_after(&self, step: usize) {
        self.lock().cut = Some((step, Cut::Power));
    }

    /// When `step` steps have changed something, the next waits until `go_on` is sent; which it is
    /// can be received.
    pub fn hold_after(&self, step: usize) -> (Receiver<Step>, Sender<()>) {
        let ((reached, tell), (go_on, wait)) = (channel(), channel());
        self.lock().cut = Some((step, Cut::Kill { reached, go_on: wait }));
        (tell, go_on)
    }

    /// The power is back: what was not synced is lost.
    pub fn lose(&self, loss: Loss) {
        let mut state = self.lock();
        state.image.lose(loss);
        state.cut = None;
        state.is_off = false;
    }

    /// The steps since [`Self::arm`] that changed something.
    pub fn steps(&self) -> Vec<Step> {
        self.lock().steps.clone()
    }

    /// Lets a step fail from now on.
    pub fn fail(&self, step: Step, name: &'static str, errno: Errno) {
        self.lock().faults.push(Fault { step, name, errno });
    }

    /// Lets files have that many bytes in all; the disk tells how many are left, or pretends that
    /// there is plenty.
    pub fn set_capacity(&self, bytes: u64, tells_room: bool) {
        let mut state = self.lock();
        state.capacity = bytes;
        state.tells_room = tells_room;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ForgetfulDisk {
    fn drop(&mut self) {
        // A daemon lets go of it a moment after its client has ended.
        let began = Instant::now();
        while is_open(&self.mounted) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(session) = self.session.take() {
            // A mount that somebody still uses is the test's failure already.
            let _ = session.umount_and_join();
        }
    }
}

/// Whether a process has something beneath `folder` open.
fn is_open(folder: &Path) -> bool {
    let entries = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut open = entries("/proc".into()).flat_map(|process| entries(process.path().join("fd")));
    open.any(|file| std::fs::read_link(file.path()).is_ok_and(|at| at.starts_with(folder)))
}

impl State {
    /// One step on a file of this name: an error if the disk is off or fails here.
    fn step(&mut self, step: Step, name: &std::ffi::OsStr) -> Result<(), Errno> {
        if self.is_off {
            return Err(Errno::EIO);
        }
        let name = name.to_string_lossy();
        if let Some(fault) =
            self.faults.iter().find(|fault| fault.step == step && name.contains(fault.name))
        {
            return Err(fault.errno);
        }
        if !step.changes_something() {
            return Ok(());
        }
        if let Some((_, cut)) = self.cut.take_if(|(after, _)| *after <= self.steps.len()) {
            if let Cut::Kill { reached, go_on } = cut {
                // Nobody listens any more when the test has failed.
                let _ = reached.send(step);
                let _ = go_on.recv();
            } else {
                self.is_off = true;
            }
            return Err(Errno::EIO);
        }
        self.steps.push(step);
        Ok(())
    }

    fn name_of(&self, number: u64) -> std::ffi::OsString {
        self.image.node(number).map(|node| node.name.clone()).unwrap_or_default()
    }

    /// A step on what is there already.
    fn step_on(&mut self, step: Step, number: u64) -> Result<(), Errno> {
        let name = self.name_of(number);
        self.step(step, &name)
    }

    fn left(&self) -> u64 {
        self.capacity.saturating_sub(self.image.used())
    }
}
