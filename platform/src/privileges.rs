//! Giving up root, for one thread at a time: sessions of one process run as different users.

use std::io;

/// Whom a thread works as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group of new files.
    pub gid: u32,
    /// All groups, the one of new files among them.
    pub groups: Vec<u32>,
}

/// Whether this process may become any user.
pub fn runs_as_root() -> bool {
    #[cfg(unix)]
    {
        rustix::process::geteuid().is_root()
    }
    #[cfg(not(unix))]
    {
        false
    }
}

/// The user and group that this thread works as; `None` where there is no such thing.
pub fn own_ids() -> Option<(u32, u32)> {
    #[cfg(unix)]
    {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Some((uid.as_raw(), gid.as_raw()))
    }
    #[cfg(not(unix))]
    {
        None
    }
}

impl Identity {
    /// Makes the calling thread, and every thread that it starts, work as this user. There is no
    /// way back. A thread that already does is left alone.
    ///
    /// # Errors
    /// What the system says; the thread must then not touch any file. `Unsupported` where threads
    /// cannot have users of their own.
    pub fn enter_thread(&self) -> io::Result<()> {
        self.enter().map_err(|error| {
            let Self { uid, gid, .. } = self;
            io::Error::new(error.kind(), format!("cannot become user {uid}, group {gid}: {error}"))
        })
    }

    #[cfg(target_os = "linux")]
    fn enter(&self) -> io::Result<()> {
        use rustix::process::{Gid, Uid};
        use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

        let valid = |id: &u32| *id != u32::MAX;
        if !valid(&self.uid) || !valid(&self.gid) || !self.groups.iter().all(valid) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such id is possible"));
        }
        if !runs_as_root() {
            return if own_ids() == Some((self.uid, self.gid)) {
                Ok(())
            } else {
                Err(io::ErrorKind::PermissionDenied.into())
            };
        }
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        // Groups first: without root they cannot be changed any more.
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn enter(&self) -> io::Result<()> {
        if own_ids() == Some((self.uid, self.gid)) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system has no users per thread; run the daemon as that user",
        ))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_changes_and_there_is_no_way_back() {
        let before = own_ids();
        let nobody = Identity { uid: 65534, gid: 65533, groups: vec![65533, 65532] };
        let was_root = runs_as_root();
        let thread = std::thread::spawn(move || {
            let entered = nobody.enter_thread();
            let again = nobody.enter_thread();
            let back = Identity { uid: 0, gid: 0, groups: vec![0] }.enter_thread();
            let child = std::thread::spawn(own_ids).join().expect("a thread");
            (entered.is_ok(), again.is_ok(), back.is_ok(), own_ids(), child)
        });
        let seen = thread.join().expect("a thread");
        let changed = Some((65534, 65533));
        if was_root {
            assert_eq!(seen, (true, true, false, changed, changed));
        } else {
            assert_eq!(seen, (false, false, false, before, before));
        }
        assert_eq!(own_ids(), before);
    }

    #[test]
    fn the_id_that_means_unchanged_is_refused() {
        let none = Identity { uid: u32::MAX, gid: 0, groups: vec![0] };
        assert!(none.enter_thread().is_err());
    }
}
