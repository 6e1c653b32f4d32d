//! A second wall around a thread that works for a peer: only one tree to reach, no more rights than
//! the work needs, and no way to gain any.

use std::io;
use std::path::PathBuf;

/// What a confined thread may do in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Read it.
    Read,
    /// Change everything in it.
    Write,
}

/// The wall around one tree.
#[derive(Debug, Clone)]
pub struct Walls {
    /// The tree's root.
    pub root: PathBuf,
    /// What may be done in it.
    pub rights: Rights,
}

/// How far a thread is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// To the tree, in every way that was asked for.
    Fully,
    /// To the tree, but this kernel knows only some of the ways.
    Partly,
    /// Not to the tree: this system has no such walls.
    Not,
}

/// Files outside the tree that look-ups of users and groups need.
#[cfg(target_os = "linux")]
const NAMES: [&str; 2] = ["/etc/passwd", "/etc/group"];

impl Walls {
    /// Confines the calling thread, and every thread that it starts: with Landlock to the tree (and
    /// to reading the names of users and groups), away from TCP, and to programs without privileges.
    /// There is no way back.
    ///
    /// # Errors
    /// What the system says; the thread must then not work. A system without such walls is no error.
    #[cfg(target_os = "linux")]
    pub fn enter_thread(&self) -> io::Result<Held> {
        use landlock::{
            ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
            RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
        };

        // The newest that this was tested with; what an older kernel lacks is left out.
        const TESTED: ABI = ABI::V7;
        let cannot = |error: RulesetError| io::Error::other(format!("no Landlock: {error}"));
        let open = |path: &std::path::Path| {
            PathFd::new(path).map_err(|error| io::Error::other(error.to_string()))
        };
        let allowed = match self.rights {
            Rights::Read => AccessFs::ReadFile | AccessFs::ReadDir,
            Rights::Write => AccessFs::from_all(TESTED) & !AccessFs::Execute,
        };
        let root = open(&self.root)?;
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(TESTED))
            .and_then(|rules| rules.handle_access(AccessNet::from_all(TESTED)))
            .and_then(|rules| rules.scope(Scope::from_all(TESTED)))
            .and_then(Ruleset::create)
            .and_then(|rules| rules.add_rule(PathBeneath::new(root, allowed)))
            .map_err(cannot)?;
        for file in NAMES {
            // Without the file, ids travel as numbers.
            if let Ok(file) = open(file.as_ref()) {
                let readable = PathBeneath::new(file, AccessFs::ReadFile);
                rules = rules.add_rule(readable).map_err(cannot)?;
            }
        }
        let status = rules.restrict_self().map_err(cannot)?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Held::Fully,
            RulesetStatus::PartiallyEnforced => Held::Partly,
            RulesetStatus::NotEnforced => Held::Not,
        })
    }

    /// There are no such walls on this system.
    ///
    /// # Errors
    /// None.
    #[cfg(not(target_os = "linux"))]
    pub fn enter_thread(&self) -> io::Result<Held> {
        Ok(Held::Not)
    }
}

/// Leaves the calling thread, and every thread that it starts, only those of root's rights that
/// mirroring needs: with [`Rights::Write`] to change any file, its owner and its mode, and to make
/// devices; with [`Rights::Read`] to read any file. Other users have none anyway.
///
/// # Errors
/// What the system says; the thread must then not work.
pub fn drop_capabilities(rights: Rights) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

        let needed = match rights {
            Rights::Read => CapabilitySet::DAC_READ_SEARCH,
            Rights::Write => {
                CapabilitySet::CHOWN
                    | CapabilitySet::DAC_OVERRIDE
                    | CapabilitySet::DAC_READ_SEARCH
                    | CapabilitySet::FOWNER
                    | CapabilitySet::FSETID
                    | CapabilitySet::MKNOD
            }
        };
        let left = capabilities(None)?.permitted & needed;
        let inheritable = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: left, permitted: left, inheritable })?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = rights;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Runs on a thread of its own, since there is no way back.
    fn confined<T: Send>(walls: &Walls, work: impl FnOnce(Held) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| work(walls.enter_thread().expect("confined")));
            thread.join().expect("it ended")
        })
    }

    #[test]
    fn nothing_outside_the_tree_is_reached_and_nothing_inside_is_lost() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, outside) = (dir.path().join("module"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a")).expect("a folder");
        fs::write(root.join("a/inside"), "1").expect("a file");
        fs::write(&outside, "secret").expect("a file");
        symlink(&outside, root.join("way out")).expect("a symlink");
        let walls = Walls { root: root.clone(), rights: Rights::Write };
        confined(&walls, |held| {
            // This is what the test is about: a kernel without Landlock cannot show it.
            assert_ne!(held, Held::Not, "this kernel has no Landlock");
            fs::write(root.join("a/new"), "2").expect("a file within");
            fs::rename(root.join("a/new"), root.join("moved")).expect("a rename within");
            fs::hard_link(root.join("moved"), root.join("a/second")).expect("a link within");
            fs::remove_file(root.join("a/inside")).expect("removed");
            fs::read("/etc/passwd").expect("names can be looked up");
            for refused in [
                fs::read(&outside).map(drop),
                fs::read(root.join("way out")).map(drop),
                fs::write(root.join("way out"), "overwritten"),
                fs::remove_file(&outside),
                fs::write(dir.path().join("new"), "x"),
                fs::read_dir(dir.path()).map(drop),
                fs::write("/etc/passwd", ""),
            ] {
                let error = refused.expect_err("outside the tree");
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            }
            // Threads that it starts are within the same walls.
            let read = || fs::read(&outside).map(drop);
            let read = std::thread::scope(|scope| scope.spawn(read).join().expect("it ended"));
            assert!(read.is_err());
            let connected = std::net::TcpStream::connect(("127.0.0.1", 9));
            assert_eq!(
                connected.expect_err("no way out by TCP").kind(),
                ErrorKind::PermissionDenied
            );
        });
        assert_eq!(fs::read_to_string(&outside).expect("untouched"), "secret");
    }

    #[test]
    fn what_may_be_read_cannot_be_changed() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("file"), "1").expect("a file");
        let walls = Walls { root: dir.path().to_owned(), rights: Rights::Read };
        confined(&walls, |_| {
            assert_eq!(fs::read(dir.path().join("file")).expect("readable"), b"1");
            for refused in [
                fs::write(dir.path().join("file"), "2"),
                fs::write(dir.path().join("new"), "2"),
                fs::remove_file(dir.path().join("file")),
            ] {
                assert!(refused.is_err());
            }
        });
    }

    #[test]
    fn only_the_needed_capabilities_are_left() {
        let status = |name: &str| {
            let text = fs::read_to_string("/proc/thread-self/status").expect("a status");
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.trim().to_owned()
        };
        let was_root = crate::privileges::runs_as_root();
        for (rights, left) in [(Rights::Write, 0x0800_001f_u64), (Rights::Read, 4)] {
            let thread = std::thread::spawn(move || {
                drop_capabilities(rights).expect("dropped");
                (status("CapEff:"), status("CapPrm:"), status("CapInh:"))
            });
            let (effective, permitted, inheritable) = thread.join().expect("it ended");
            let expected = if was_root { left } else { 0 };
            assert_eq!(u64::from_str_radix(&effective, 16), Ok(expected), "{rights:?}");
            assert_eq!(permitted, effective);
            assert_eq!(u64::from_str_radix(&inheritable, 16), Ok(0));
        }
    }
}
