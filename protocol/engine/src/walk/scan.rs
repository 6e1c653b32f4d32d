//! Turns directories into list entries.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bascule_wire::flist::{Entry, Extra, Kind, entry::join};
use bascule_wire::limits::{MAX_LINK, MAX_NAME};

use super::{Found, SourceArg};
use crate::chmod::Chmod;
use crate::filter::{FilterSet, ModuleFilter, ModuleView};
use crate::outcome::{Fatal, Severity};
use crate::path::RelPath;
use crate::run::{IO_ERROR_GENERAL, Run};
use crate::symlinks::SymlinkTargets;
use crate::tree::Metadata;

use bascule_wire::strong::StrongSum;

/// What changes the walker's view.
pub struct Rules {
    /// Sender-side filter rules.
    pub filters: Arc<FilterSet>,
    /// A daemon's own.
    pub module: Option<ModuleFilter>,
    /// Changes the modes that are told.
    pub chmod: Option<Chmod>,
    /// How symlink targets are stored (§19.7).
    pub symlink_targets: SymlinkTargets,
}

/// Lists the sources of a run. Trouble goes to the run's account; a name that is in trouble is
/// left out, the others go on.
pub struct Walker {
    pub(super) run: Arc<Run>,
    pub(super) args: Vec<SourceArg>,
    rules: Rules,
    pub(super) strong: StrongSum,
    file_systems: Vec<Option<u64>>,
    /// Entries found so far.
    count: u64,
    /// The module's own filter as seen from each source argument.
    modules: Vec<Option<ModuleView>>,
}

impl Walker {
    /// Prepares a walk.
    pub fn new(run: Arc<Run>, args: Vec<SourceArg>, rules: Rules) -> Self {
        let view = |arg: &SourceArg| {
            let filter = rules.module.clone()?;
            Some(ModuleView { filter, base: arg.base.clone() })
        };
        Self {
            modules: args.iter().map(view).collect(),
            strong: StrongSum::new(&run.negotiated),
            file_systems: vec![None; args.len()],
            count: 0,
            run,
            args,
            rules,
        }
    }

    /// The first segment: the arguments and, of one that means a directory's contents, those.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub fn first(&mut self) -> Result<Vec<Found>, Fatal> {
        let mut found = Vec::new();
        for arg in 0..self.args.len() {
            self.argument(arg, &mut found)?;
        }
        Ok(found)
    }

    /// Everything at once.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub fn all(&mut self) -> Result<Vec<Found>, Fatal> {
        let mut found = self.first()?;
        let mut next = 0;
        while next < found.len() {
            if found[next].entry.content_dir && !found[next].entry.is_root() {
                let dir = found[next].clone();
                found.extend(self.contents(&dir)?);
            }
            next += 1;
        }
        Ok(found)
    }

    /// What is directly in a listed directory.
    ///
    /// # Errors
    /// When the connection broke or the run was stopped.
    pub fn contents(&mut self, dir: &Found) -> Result<Vec<Found>, Fatal> {
        let mut found = Vec::new();
        self.list(dir.arg, &dir.entry.path(), &mut found)?;
        Ok(found)
    }

    fn argument(&mut self, arg: usize, found: &mut Vec<Found>) -> Result<(), Fatal> {
        let SourceArg { tree, top, named, .. } = self.args[arg].clone();
        let name = if top.is_root() { b"." } else { top.as_bytes() };
        let follow = top.is_root() || self.run.options.copy_links;
        let seen = tree.metadata(&top, follow).and_then(|metadata| {
            let is_dir = metadata.kind == Kind::Directory;
            let module = self.modules[arg].as_ref();
            let hidden = module.is_some_and(|module| module.hides_on_the_way(&top, is_dir));
            if hidden { Err(ErrorKind::NotFound.into()) } else { Ok(metadata) }
        });
        let metadata = match seen {
            Ok(metadata) => metadata,
            Err(error) => {
                self.run.add_io_error(IO_ERROR_GENERAL);
                let is_missing =
                    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
                let text = if is_missing {
                    "the source does not exist".to_owned()
                } else {
                    format!("the source cannot be read: {error}")
                };
                return self.run.problem(Severity::Partial, &named, text);
            }
        };
        self.file_systems[arg] = Some(metadata.file_system);
        let options = &self.run.options;
        let (recurse, dirs) = (options.recurse, options.dirs || options.list_only);
        if metadata.kind == Kind::Directory && !recurse && !dirs {
            return self.run.problem(
                Severity::Warning,
                name,
                "the directory is left out because recursion is off",
            );
        }
        let is_contents = top.is_root();
        if !is_contents && self.is_excluded(name, metadata.kind) {
            return Ok(());
        }
        let Some(mut entry) = self.entry(arg, &top, b"", name, &metadata)? else {
            return Ok(());
        };
        let is_dir = metadata.kind == Kind::Directory;
        entry.top_dir = is_dir;
        entry.content_dir = is_dir && (recurse || is_contents);
        self.found(Found { entry, arg, metadata }, found)?;
        if is_dir && is_contents {
            return self.list(arg, b"", found);
        }
        self.add_digests(arg, found, found.len() - 1)
    }

    /// Lists a directory by its name on the wire (empty for the root).
    fn list(&mut self, arg: usize, name: &[u8], found: &mut Vec<Found>) -> Result<(), Fatal> {
        self.run.check_stop()?;
        let listed_before = found.len();
        let tree = Arc::clone(&self.args[arg].tree);
        let path =
            RelPath::parse(name).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error));
        let (path, mut listing) = match path.and_then(|path| Ok((tree.list(&path)?, path))) {
            Ok((listing, path)) => (path, listing),
            Err(error) => return self.unlisted(name, &error),
        };
        if let Some(error) = &listing.error {
            self.unlisted(name, error)?;
        }
        let module = self.modules[arg].as_ref();
        let rules = match self.rules.filters.rules_of((arg, &*tree), &path, module) {
            Ok(rules) => rules,
            Err(error) => return self.unlisted(name, &error),
        };
        listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let dir: Arc<[u8]> = name.into();
        for child in listing.entries {
            let child_name = join(name, &child.name);
            let mut metadata = match child.metadata {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.missed(&child_name, &error)?;
                    continue;
                }
            };
            let Ok(child_path) = path.join(&child.name) else {
                self.run.add_io_error(IO_ERROR_GENERAL);
                self.run.problem(
                    Severity::Partial,
                    &child_name,
                    "its path is too long to be sent",
                )?;
                continue;
            };
            if metadata.kind == Kind::Symlink && self.run.options.copy_links {
                metadata = match tree.metadata(&child_path, true) {
                    Ok(followed) => followed,
                    Err(error) => {
                        let excluded = |is_dir| {
                            self.is_hidden(arg, &child_path, is_dir)
                                || self.rules.filters.excludes(&rules, &child_name, is_dir)
                        };
                        if !excluded(false) && !excluded(true) {
                            self.leads_nowhere(&child_name, &error)?;
                        }
                        continue;
                    }
                };
            }
            let is_dir = metadata.kind == Kind::Directory;
            if self.is_hidden(arg, &child_path, is_dir)
                || self.rules.filters.excludes(&rules, &child_name, is_dir)
            {
                continue;
            }
            let Some(mut entry) = self.entry_in(arg, &child_path, &dir, &child.name, &metadata)?
            else {
                continue;
            };
            let crosses = self.run.options.one_file_system > 0
                && self.file_systems[arg].is_some_and(|own| own != metadata.file_system);
            if is_dir && crosses && self.run.options.one_file_system > 1 {
                continue;
            }
            entry.content_dir = is_dir && self.run.options.recurse && !crosses;
            self.found(Found { entry, arg, metadata }, found)?;
        }
        self.add_digests(arg, found, listed_before)
    }

    /// Takes an entry in, unless the list becomes too long: a peer may name a source many times.
    fn found(&mut self, new: Found, found: &mut Vec<Found>) -> Result<(), Fatal> {
        self.count += 1;
        self.run.list_limits.check_entries(self.count, self.run.side)?;
        found.push(new);
        Ok(())
    }

    /// Whether the module's own filter hides a path of an argument.
    fn is_hidden(&self, arg: usize, path: &RelPath, is_dir: bool) -> bool {
        self.modules[arg].as_ref().is_some_and(|module| module.hides(path, is_dir))
    }

    fn is_excluded(&self, name: &[u8], kind: Kind) -> bool {
        let none = crate::filter::DirFilters::default();
        self.rules.filters.excludes(&none, name, kind == Kind::Directory)
    }

    fn entry(
        &mut self,
        arg: usize,
        path: &RelPath,
        dir: &[u8],
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<Option<Entry>, Fatal> {
        let (dir, base) = match name.iter().rposition(|byte| *byte == b'/') {
            Some(slash) if dir.is_empty() => (&name[..slash], &name[slash + 1..]),
            _ => (dir, name),
        };
        self.entry_in(arg, path, &dir.into(), base, metadata)
    }

    /// The entry of a file; `None` when it cannot travel (told already).
    fn entry_in(
        &mut self,
        arg: usize,
        path: &RelPath,
        dir: &Arc<[u8]>,
        base: &[u8],
        metadata: &Metadata,
    ) -> Result<Option<Entry>, Fatal> {
        let run = Arc::clone(&self.run);
        let options = &run.options;
        let kind = metadata.kind;
        let skipped = match kind {
            Kind::File | Kind::Directory => false,
            Kind::Symlink => !options.links,
            Kind::BlockDevice | Kind::CharDevice => !options.devices,
            Kind::Fifo | Kind::Socket => !options.specials,
        };
        let name = join(dir, base);
        if skipped && !options.list_only {
            run.problem(
                Severity::Warning,
                &name,
                "it is no regular file and is left out (no option asks for it)",
            )?;
            return Ok(None);
        }
        if name.len() > MAX_NAME {
            run.add_io_error(IO_ERROR_GENERAL);
            run.problem(Severity::Partial, &name, "its path is too long to be sent")?;
            return Ok(None);
        }
        let mut extra = Extra::default();
        let tree = Arc::clone(&self.args[arg].tree);
        if kind == Kind::Symlink {
            match tree.read_link(path) {
                Ok(link) => {
                    let link = self.rules.symlink_targets.send(&link);
                    if link.len() > MAX_LINK {
                        run.problem(Severity::Partial, &name, "its target is too long")?;
                        return Ok(None);
                    }
                    extra.link = Some(link.into());
                }
                Err(error) => {
                    self.missed(&name, &error)?;
                    return Ok(None);
                }
            }
        }
        if kind.is_device() {
            extra.device = Some(metadata.device);
        }
        let mode = match &self.rules.chmod {
            Some(chmod) => chmod.apply(metadata.mode),
            None => metadata.mode,
        };
        Ok(Some(Entry {
            dir: Arc::clone(dir),
            base: base.into(),
            mode,
            size: if kind.is_device() || kind.is_special() { 0 } else { metadata.size },
            mtime: metadata.mtime,
            nanos: metadata.nanos,
            uid: metadata.uid,
            gid: metadata.gid,
            top_dir: false,
            content_dir: false,
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
        }))
    }

    /// A directory that could not be read, or not to its end.
    fn unlisted(&self, name: &[u8], error: &io::Error) -> Result<(), Fatal> {
        if error.kind() == ErrorKind::NotFound {
            return self.missed(name, error);
        }
        self.run.add_io_error(IO_ERROR_GENERAL);
        self.run.problem(
            Severity::Partial,
            name,
            format!("the directory could not be read: {error}"),
        )
    }

    /// A symlink that was to be followed.
    fn leads_nowhere(&self, name: &[u8], error: &io::Error) -> Result<(), Fatal> {
        self.run.add_io_error(IO_ERROR_GENERAL);
        let text = match error.kind() {
            ErrorKind::NotFound => "the symlink leads to nothing".to_owned(),
            ErrorKind::CrossesDevices => "the symlink leads out of the module".to_owned(),
            _ => format!("the symlink could not be followed: {error}"),
        };
        self.run.problem(Severity::Partial, name, text)
    }

    /// A name that was there a moment ago and cannot be had now.
    pub(super) fn missed(&self, name: &[u8], error: &io::Error) -> Result<(), Fatal> {
        if error.kind() == ErrorKind::NotFound {
            return self.run.problem(
                Severity::Vanished,
                name,
                "it vanished before it could be listed",
            );
        }
        self.run.add_io_error(IO_ERROR_GENERAL);
        self.run.problem(Severity::Partial, name, format!("it could not be read: {error}"))
    }
}
