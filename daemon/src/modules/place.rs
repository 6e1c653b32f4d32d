//! Where a module is: its path, its tree, and what follows from `use chroot`.

use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use bascule_engine::disk::Disk;
use bascule_engine::path::RelPath;
use bascule_engine::tree::Target;
use bascule_platform::privileges::runs_as_root;
use bascule_platform::{mounts, paths};
use bascule_session::site::Refusal;

use super::{DaemonModule, NO_SHADOWS};

/// What a client is told while the module's disk is missing.
pub(super) const NOT_MOUNTED: &str = "the module's disk is not mounted";

/// What rsyncd would do with its root directory. Here a module is always confined by the
/// descriptor of its path; this only decides what follows from `use chroot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chroot {
    No,
    /// Into the path.
    Whole,
    /// Into the part before `/./`.
    Outer,
}

impl DaemonModule {
    /// An empty folder below a disk that is not there would take a whole copy.
    fn expect_disk(&self) -> Result<(), Refusal> {
        let Some(dir) = self.rules().mounted_on.as_deref() else { return Ok(()) };
        let reason = match mounts::is_mount_point(&paths::native(self.client.expand(dir))) {
            Ok(true) => return Ok(()),
            Ok(false) => format!("no disk is mounted at {dir}"),
            Err(error) => format!("no disk is mounted at {dir}: {error}"),
        };
        Err(self.refuse(NOT_MOUNTED, &reason))
    }

    /// Where the module is, and whether rsyncd would change its root into it.
    pub(super) fn path(&self) -> Result<(String, Chroot), Refusal> {
        let raw = self.rules().path.as_deref().unwrap_or_default();
        let path =
            self.client.expand_path(raw).map_err(|reason| self.refuse("chdir failed", &reason))?;
        let path = paths::native_text(&path);
        if !Path::new(&*path).is_absolute() {
            return Err(self.refuse("chdir failed", "the module's path is not absolute"));
        }
        self.expect_disk()?;
        let split = path.contains("/./");
        let chroot = match self.rules().use_chroot.unwrap_or(split || runs_as_root()) {
            false => Chroot::No,
            true if split => Chroot::Outer,
            true => Chroot::Whole,
        };
        Ok((path.replacen("/./", "/", 1), chroot))
    }

    /// The module's tree, staging in `temp dir` if there is one; with the reason if that cannot be
    /// used, which concerns only those who push.
    pub(super) fn tree(
        &self,
        path: &str,
        chroot: Chroot,
    ) -> Result<(Arc<dyn Target>, Option<String>), Refusal> {
        let disk = Disk::open(Path::new(path)).map_err(|error| {
            let text = if chroot == Chroot::No { "chdir failed" } else { "chroot failed" };
            self.refuse(text, &format!("cannot open the module's path {path}: {error}"))
        })?;
        let disk = match &self.shadows {
            None => disk,
            Some(shadows) => {
                let shadows = Arc::clone(shadows);
                let root_of = move |volume: &str| shadows.of(volume).map_err(io::Error::other);
                disk.with_snapshots(Arc::new(root_of))
                    .map_err(|error| self.refuse(NO_SHADOWS, &error.to_string()))?
            }
        };
        let root: Arc<dyn Target> = Arc::new(disk);
        let Some(temp_dir) = self.rules().temp_dir.as_deref() else { return Ok((root, None)) };
        let staged = self
            .client
            .expand_path(temp_dir)
            .and_then(|temp_dir| within(&paths::native_text(&temp_dir), path, chroot))
            .and_then(|temp_dir| {
                root.with_temp_dir(&temp_dir)
                    .map_err(|error| format!("cannot use the temp dir {temp_dir}: {error}"))
            });
        Ok(match staged {
            Ok(tree) => (tree, None),
            Err(reason) => {
                let text = "the module's temp dir cannot be used";
                (root, Some(self.refuse(text, &reason).0))
            }
        })
    }
}

/// The temp dir relative to the module. An absolute one starts at the module when that is the
/// root directory, and must else lie within the module's path.
fn within(temp_dir: &str, path: &str, chroot: Chroot) -> Result<RelPath, String> {
    let outside = || format!("the temp dir {temp_dir} outside the module is not supported yet");
    let dir = Path::new(temp_dir);
    let relative = match (dir.strip_prefix(path), dir.has_root(), chroot) {
        (Ok(inside), _, _) => inside,
        (Err(_), true, Chroot::Whole) => dir.strip_prefix("/").map_err(|_| outside())?,
        (Err(_), false, _) => dir,
        (Err(_), true, _) => return Err(outside()),
    };
    let mut found = RelPath::root();
    for component in relative.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => {
                let name = name.to_str().ok_or_else(outside)?;
                found = found.join(name.as_bytes()).map_err(|error| error.to_string())?;
            }
            _ => return Err(outside()),
        }
    }
    Ok(found)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn temp_dirs_are_found_within_the_module() {
        let found = |dir: &str, chroot| within(dir, "/srv/m", chroot).map(|path| path.to_string());
        assert_eq!(found("/srv/m/tmp", Chroot::No), Ok("tmp".to_owned()));
        assert_eq!(found("tmp/./x", Chroot::No), Ok("tmp/x".to_owned()));
        assert_eq!(found("/tmp", Chroot::Whole), Ok("tmp".to_owned()));
        assert!(found("/tmp", Chroot::No).is_err());
        assert!(found("../x", Chroot::Whole).is_err());
        assert!(found("/srv/m/../x", Chroot::No).is_err());
    }
}
