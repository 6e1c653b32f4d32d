//! Keeps what is deleted or overwritten: `--backup-dir`, and the dated trash made of it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use bascule_wire::Options;
use bascule_wire::flist::Kind;
use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::filter::ModuleView;
use crate::generator::dir_times::ChangedDirs;
use crate::outcome::{ExitCode, Fatal};
use crate::path::RelPath;
use crate::tree::{Attributes, Metadata, Target};
use bascule_wire::shown;

/// The folder of the dated backup dirs, below the destination.
pub const TRASH: &str = ".bascule-trash";
/// The name of a run's backup dir in it: the time at which the run began (UTC), to the millisecond,
/// so that no two runs share one.
pub const RUN_NAME: &str = "%Y-%m-%dT%H-%M-%S%.3fZ";

/// How much is copied at once, in bytes.
const COPY: usize = 256 * 1024;

/// The backup dir of one run, shared by the generator and the receiver.
pub struct Backups {
    tree: Arc<dyn Target>,
    changed: Arc<ChangedDirs>,
    /// What a daemon's module hides: no backup takes such a name.
    module: Option<ModuleView>,
    dir: RelPath,
    suffix: String,
    /// Directories that are known to be there.
    made: Mutex<HashSet<RelPath>>,
}

impl Backups {
    /// The backups that `options` ask for, in `tree`: the destination, of which a daemon's `module` may
    /// hide some.
    ///
    /// # Errors
    /// [`ExitCode::Syntax`] when the directory's name is unusable: nothing has been changed then.
    pub fn new(
        options: &Options,
        tree: &Arc<dyn Target>,
        changed: &Arc<ChangedDirs>,
        module: Option<ModuleView>,
    ) -> Result<Option<Self>, Fatal> {
        let Some(dir) = options.backup_dir.as_deref() else {
            return Ok(None);
        };
        let unusable = |why: &dyn std::fmt::Display| {
            let name = shown(dir);
            Fatal::new(ExitCode::Syntax, format!("the backup dir {name} cannot be used: {why}"))
        };
        let trimmed: &[u8] = dir.strip_suffix(b"/").unwrap_or(dir);
        let dir = RelPath::parse(trimmed).map_err(|error| unusable(&error))?;
        if dir.is_root() {
            return Err(unusable(&"it is the destination itself"));
        }
        Ok(Some(Self {
            tree: Arc::clone(tree),
            changed: Arc::clone(changed),
            module,
            dir,
            suffix: options.suffix.clone(),
            made: Mutex::new(HashSet::new()),
        }))
    }

    /// Whether `path` is on the way to the backups, or among them.
    pub fn holds(&self, path: &RelPath) -> bool {
        path.is_within(&self.dir) || self.dir.is_within(path)
    }

    /// Moves `path`, which is no directory, among the backups instead of removing it.
    ///
    /// # Errors
    /// What the file system says; `path` is then still there.
    pub fn keep_removed(&self, path: &RelPath) -> io::Result<()> {
        let kept = self.place_for(path)?;
        self.tree.rename(path, &kept)
    }

    /// Gives what is at `path` a second name among the backups: the first is about to be taken
    /// over. Directories, and names that are free, need none.
    ///
    /// # Errors
    /// What the file system says; `path` must not be taken over then.
    pub fn keep_replaced(&self, path: &RelPath) -> io::Result<()> {
        let Some(old) = self.replaceable(path)? else { return Ok(()) };
        let kept = self.place_for(path)?;
        match self.tree.hard_link(path, &kept) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.tree.remove_file(&kept)?;
                self.tree.hard_link(path, &kept)
            }
            // No hard links here, or too many.
            Err(_) if old.kind == Kind::File => self.copy(path, &kept, &old),
            linked => linked,
        }
    }

    /// Copies the file at `path` among the backups: it is about to be changed in place.
    ///
    /// # Errors
    /// As [`Self::keep_replaced`].
    pub fn keep_copy(&self, path: &RelPath) -> io::Result<()> {
        match self.replaceable(path)? {
            Some(old) if old.kind == Kind::File => {
                let kept = self.place_for(path)?;
                self.copy(path, &kept, &old)
            }
            _ => Ok(()),
        }
    }

    /// Removes the dated backup dirs beside this one that are more than `days` older than it, as
    /// `old_among` counts. Gives those that could not be removed, with the reasons.
    pub fn prune(&self, days: u32) -> Vec<(RelPath, io::Error)> {
        let (trash, own) = self.dir.split();
        let (Some(now), false) = (date_of(own), trash.is_root()) else {
            return Vec::new();
        };
        // Without backups there is no trash to list.
        let entries = self.tree.list(&trash).map_or_else(|_| Vec::new(), |found| found.entries);
        let dated = entries.iter().filter_map(|entry| Some((date_of(&entry.name)?, &entry.name)));
        let old = old_among(dated.collect(), now, days);
        let runs = old.into_iter().filter_map(|name| trash.join(name).ok());
        runs.filter_map(|run| self.remove_all(&run).err().map(|error| (run, error))).collect()
    }

    fn remove_all(&self, dir: &RelPath) -> io::Result<()> {
        for entry in self.tree.list(dir)?.entries {
            let path = dir
                .join(&entry.name)
                .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
            match entry.metadata?.kind {
                Kind::Directory => self.remove_all(&path)?,
                _ => self.tree.remove_file(&path)?,
            }
        }
        self.changed.name_changed(dir);
        self.tree.remove_dir(dir)
    }

    fn replaceable(&self, path: &RelPath) -> io::Result<Option<Metadata>> {
        match self.tree.metadata(path, false) {
            Ok(old) => Ok(Some(old).filter(|old| old.kind != Kind::Directory)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn copy(&self, path: &RelPath, kept: &RelPath, old: &Metadata) -> io::Result<()> {
        let from = self.tree.open(path)?;
        let mut to = self.tree.stage(kept)?;
        let mut buffer = vec![0; COPY];
        let mut offset = 0;
        loop {
            let read = from.read_at(offset, &mut buffer)?;
            if read == 0 {
                break;
            }
            to.write_at(offset, &buffer[..read])?;
            offset += read as u64;
        }
        for (_, error) in attributes_of(old).set_each(|attributes| to.apply(attributes)) {
            // A plain user cannot give files away: the content is what counts.
            if error.kind() != ErrorKind::PermissionDenied {
                return Err(error);
            }
        }
        to.commit()
    }

    /// The name among the backups, in a directory that is there.
    fn place_for(&self, path: &RelPath) -> io::Result<RelPath> {
        let unusable = |error| io::Error::new(ErrorKind::InvalidInput, error);
        let (parent, base) = path.split();
        let base = [base, self.suffix.as_bytes()].concat();
        let dir = self.dir.join(parent.as_bytes()).map_err(unusable)?;
        let place = dir.join(&base).map_err(unusable)?;
        if self.module.as_ref().is_some_and(|module| module.hides_on_the_way(&place, false)) {
            let text = format!("the module's filter excludes the name of its backup, {place}");
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        self.make(&dir)?;
        self.changed.note(dir);
        Ok(place)
    }

    /// Makes a directory among the backups, with the owner and mode of the one that it stands for.
    fn make(&self, dir: &RelPath) -> io::Result<()> {
        if dir.is_root() || self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(dir) {
            return Ok(());
        }
        self.make(&dir.parent().unwrap_or_default())?;
        let is_above = dir.as_bytes().len() < self.dir.as_bytes().len();
        match self.tree.create_dir(dir, if is_above { 0o755 } else { 0o700 }) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
            Ok(()) => {
                self.changed.name_changed(dir);
                self.adopt_attributes(dir);
            }
        }
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.clone());
        Ok(())
    }

    /// Without them a backup is harder to reach, and no less whole.
    fn adopt_attributes(&self, dir: &RelPath) {
        let Some(original) = dir.as_bytes().strip_prefix(self.dir.as_bytes()) else { return };
        let original = original.strip_prefix(b"/").unwrap_or(original);
        let Ok(original) = RelPath::parse(original) else { return };
        if let Ok(seen) = self.tree.metadata(&original, false) {
            let like = Attributes { mtime: None, ..attributes_of(&seen) };
            like.set_each(|attributes| self.tree.set_attributes(dir, Kind::Directory, attributes));
        }
    }
}

/// Those of the `dated` that are more than `days` older than `now`. Of a pause between one and the next
/// no more than half of that counts: a clock that is ahead once must not make all of them old.
fn old_among<T>(mut dated: Vec<(DateTime, T)>, now: DateTime, days: u32) -> Vec<T> {
    let limit = SignedDuration::from_hours(24 * (i64::from(days) + 1));
    dated.retain(|(date, _)| *date < now);
    dated.sort_by_key(|(date, _)| Reverse(*date));
    let (mut age, mut younger) = (SignedDuration::ZERO, now);
    let old = dated.into_iter().filter(|(date, _)| {
        age = age.saturating_add(younger.duration_since(*date).min(limit / 2));
        younger = *date;
        age >= limit
    });
    old.map(|(_, named)| named).collect()
}

/// The date in the name of a run's backup dir.
fn date_of(name: &[u8]) -> Option<DateTime> {
    DateTime::strptime(RUN_NAME, name).ok()
}

fn attributes_of(seen: &Metadata) -> Attributes {
    Attributes {
        owner: Some(seen.uid),
        group: Some(seen.gid),
        mode: Some(seen.mode & 0o7777),
        mtime: Some((seen.mtime, seen.nanos)),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::disk::Disk;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a legal path")
    }

    fn backups(dir: &std::path::Path) -> Backups {
        let tree: Arc<dyn Target> = Arc::new(Disk::open(dir).expect("a tree"));
        let options = Options {
            backup_dir: Some(b"trash/run".to_vec()),
            suffix: ".old".to_owned(),
            ..Options::default()
        };
        Backups::new(&options, &tree, &Arc::default(), None).expect("usable").expect("asked for")
    }

    #[test]
    fn removed_and_replaced_files_are_kept_as_they_were() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).expect("folders");
        fs::write(root.join("a/b/gone"), "1").expect("a file");
        fs::write(root.join("a/new"), "2").expect("a file");
        let before = fs::metadata(root.join("a/new")).expect("there");
        let backups = backups(root);
        backups.keep_removed(&path("a/b/gone")).expect("moved");
        backups.keep_replaced(&path("a/new")).expect("linked");
        backups.keep_replaced(&path("a/new")).expect("linked again");
        backups.keep_replaced(&path("a/free")).expect("nothing to keep");
        backups.keep_replaced(&path("a/b")).expect("nothing to keep");
        assert!(!root.join("a/b/gone").exists() && root.join("a/new").exists());
        let kept = root.join("trash/run/a");
        assert_eq!(fs::read(kept.join("b/gone.old")).expect("kept"), b"1");
        assert_eq!(fs::metadata(kept.join("new.old")).expect("kept").ino(), before.ino());
        fs::remove_file(kept.join("new.old")).expect("removed");
        backups.keep_copy(&path("a/new")).expect("copied");
        let copy = fs::metadata(kept.join("new.old")).expect("kept");
        assert_ne!(copy.ino(), before.ino());
        assert_eq!((copy.mtime(), copy.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    }

    #[test]
    fn only_old_dated_folders_are_pruned() {
        let dir = tempfile::tempdir().expect("a folder");
        let tree: Arc<dyn Target> = Arc::new(Disk::open(dir.path()).expect("a tree"));
        let trash = dir.path().join(TRASH);
        let runs = [
            "2026-10-25T00-00-00.000Z",
            "2026-10-26T11-00-00.000Z",
            "2026-11-10T11-00-00.000Z",
            "2026-10-25",
            "notes",
        ];
        for run in runs {
            fs::create_dir_all(trash.join(run).join("a/b")).expect("folders");
            fs::write(trash.join(run).join("a/b/message"), "1").expect("a file");
        }
        let options = Options {
            backup_dir: Some(format!("{TRASH}/2026-11-25T10-00-00.000Z").into_bytes()),
            ..Options::default()
        };
        let backups = Backups::new(&options, &tree, &Arc::default(), None)
            .expect("usable")
            .expect("asked for");
        assert!(backups.prune(31).is_empty());
        assert!(runs.iter().all(|run| trash.join(run).exists()));
        assert!(backups.prune(30).is_empty());
        let left: Vec<_> = runs.iter().filter(|run| trash.join(run).exists()).collect();
        assert_eq!(left, [&runs[1], &runs[2], &runs[3], &runs[4]]);
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_empty_the_trash() {
        let day = |day: i64| {
            let first = DateTime::constant(2026, 11, 1, 0, 0, 0, 0);
            first + SignedDuration::from_hours(24 * day)
        };
        let old = |days: &[i64], now| {
            old_among(days.iter().map(|at| (day(*at), *at)).collect(), day(now), 30)
        };
        let each_day: Vec<i64> = (0..30).collect();
        assert_eq!(old(&each_day, 30), []);
        assert_eq!(old(&each_day, 33), [2, 1, 0]);
        // A year ahead, for some runs: the younger half stays.
        assert_eq!(old(&each_day, 395).last(), Some(&0));
        assert_eq!(old(&each_day, 395).first(), Some(&13));
        let ahead = [&each_day[..], &[395, 396]].concat();
        assert_eq!(old(&ahead, 397).first(), Some(&15));
        // Put right again.
        assert_eq!(old(&ahead, 30), []);
        assert_eq!(old(&ahead, 33), [2, 1, 0]);
        // Not used for long: the last one stays until there are others.
        assert_eq!(old(&[0], 400), []);
        assert_eq!(old(&[0, 400, 401], 415), []);
        assert_eq!(old(&[0, 400, 401], 416), [0]);
    }

    #[test]
    fn knows_its_own_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let backups = backups(dir.path());
        for held in ["trash", "trash/run", "trash/run/a", ""] {
            assert!(backups.holds(&path(held)), "{held}");
        }
        for other in ["tras", "trash/running", "a/trash", "trash2"] {
            assert!(!backups.holds(&path(other)), "{other}");
        }
    }
}
