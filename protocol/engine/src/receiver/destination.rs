//! Where received files go (§15): into a directory, or to one new name.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use bascule_wire::Options;
use bascule_wire::flist::{Kind, Segment};

use crate::empty::EmptyTree;
use crate::filter::{ModuleFilter, ModuleView};
use crate::outcome::{ExitCode, Fatal};
use crate::path::RelPath;
use crate::run::{Run, Side};
use crate::tree::Target;
use bascule_wire::shown;

/// A destination as it was named.
#[derive(Clone)]
pub struct Destination {
    /// The tree that holds it.
    pub tree: Arc<dyn Target>,
    /// Its path in that tree, without a trailing slash.
    pub path: RelPath,
    /// Whether it was written with a trailing slash: it is then a directory.
    pub is_directory: bool,
}

/// A destination that is there.
pub(super) struct Place {
    /// The directory into which names are received.
    pub(super) tree: Arc<dyn Target>,
    /// Its path in the destination's tree.
    pub(super) base: RelPath,
    /// The one file's name in it, when the destination names that file.
    pub(super) single_name: Option<RelPath>,
    /// Whether the directory was made just now.
    pub(super) created: bool,
}

/// Finds or makes the destination directory for a list.
///
/// # Errors
/// [`ExitCode::FileSelection`] when several files would go to a name that is no directory, or
/// the destination cannot be used.
pub(super) fn resolve(
    run: &Run,
    destination: &Destination,
    module: Option<&ModuleFilter>,
    first: &Segment,
) -> Result<Place, Fatal> {
    let Destination { tree, path, is_directory } = destination;
    if module.is_some_and(|module| module.hides_on_the_way(path, *is_directory)) {
        return Err(Fatal::new(
            ExitCode::FileSelection,
            format!("{path}: the module's filter excludes this destination"),
        ));
    }
    let mut entries = first.iter().map(|(_, entry)| entry);
    let one_file = match (entries.next(), entries.next()) {
        (Some(only), None) => !only.is_dir(),
        _ => false,
    };
    let into = |tree: Arc<dyn Target>, created| {
        let base = path.clone();
        Place { tree, base, single_name: None, created }
    };
    match tree.metadata(path, true) {
        Ok(metadata) if metadata.kind == Kind::Directory => {
            Ok(into(enter(tree, path).map_err(|error| unusable(path, &error))?, false))
        }
        Ok(_) if one_file && !is_directory => single(tree, path),
        Ok(_) => Err(Fatal::new(
            ExitCode::FileSelection,
            format!("{path}: the destination has to be a directory, and it is something else"),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if one_file && !is_directory && !run.options.mkpath {
                return single(tree, path);
            }
            if run.options.dry_run || run.options.list_only {
                return Ok(into(Arc::new(EmptyTree(tree.abilities())), true));
            }
            let with_parents = run.options.mkpath;
            let whole = one_file && !is_directory;
            let dir = if whole { path.parent().unwrap_or_default() } else { path.clone() };
            create(tree, &dir, with_parents)
                .map_err(|error| Fatal { exit: ExitCode::FileIo, ..unusable(path, &error) })?;
            if whole {
                return single(tree, path);
            }
            // Made with its parents, a directory for several entries counts as old (as in rsync).
            let several = *is_directory || first.iter().nth(1).is_some();
            let created = !(with_parents && several);
            Ok(into(enter(tree, path).map_err(|error| unusable(path, &error))?, created))
        }
        Err(error) => Err(unusable(path, &error)),
    }
}

/// Refuses a `--temp-dir` or `--backup-dir` that the module hides: what is there would be overwritten
/// (C: `parse_arguments`). A leading slash stands for the module.
///
/// # Errors
/// [`ExitCode::Unsupported`] then: nothing has been changed.
pub(super) fn refuse_hidden(options: &Options, module: Option<&ModuleView>) -> Result<(), Fatal> {
    let Some(module) = module else { return Ok(()) };
    for (option, dir) in [("temp-dir", &options.temp_dir), ("backup-dir", &options.backup_dir)] {
        let Some(dir) = dir.as_deref() else { continue };
        let trimmed: &[u8] = dir.strip_suffix(b"/").unwrap_or(dir);
        // A path that makes no sense is refused where it is used.
        let is_hidden = match trimmed.strip_prefix(b"/") {
            Some(whole) => RelPath::parse(whole)
                .is_ok_and(|whole| module.filter.hides_on_the_way(&whole, true)),
            None => RelPath::parse(trimmed).is_ok_and(|dir| module.hides_on_the_way(&dir, true)),
        };
        if is_hidden {
            let name = shown(dir);
            let text = format!("the module's filter excludes --{option}={name}: name another");
            return Err(Fatal::new(ExitCode::Unsupported, text));
        }
    }
    Ok(())
}

/// The tree of a destination with its `--temp-dir`: relative to the destination or, written with a
/// leading slash by a peer, to the module. A user's own absolute one is in the tree already.
///
/// # Errors
/// [`ExitCode::Syntax`] when there is no such directory: nothing has been changed then.
pub(super) fn staging(
    run: &Run,
    destination: &Destination,
    place: &Place,
) -> Result<Arc<dyn Target>, Fatal> {
    let options = &run.options;
    let tree = Arc::clone(&place.tree);
    let Some(dir) = options.temp_dir.as_deref().filter(|_| !options.dry_run && !options.inplace)
    else {
        return Ok(tree);
    };
    let unusable = |why: &dyn std::fmt::Display| {
        let name = shown(dir);
        Fatal::new(ExitCode::Syntax, format!("the temp dir {name} cannot be used: {why}"))
    };
    let trimmed: &[u8] = dir.strip_suffix(b"/").unwrap_or(dir);
    let staged = match trimmed.strip_prefix(b"/") {
        Some(_) if run.side == Side::Client => return Ok(tree),
        Some(in_module) => {
            let dir = RelPath::parse(in_module).map_err(|error| unusable(&error))?;
            destination.tree.with_temp_dir(&dir).and_then(|tree| enter(&tree, &place.base))
        }
        None => {
            let dir = RelPath::parse(trimmed).map_err(|error| unusable(&error))?;
            tree.with_temp_dir(&dir)
        }
    };
    staged.map_err(|error| unusable(&error))
}

fn enter(tree: &Arc<dyn Target>, path: &RelPath) -> io::Result<Arc<dyn Target>> {
    if path.is_root() { Ok(Arc::clone(tree)) } else { tree.subtree(path) }
}

/// The one file goes to `path` itself.
fn single(tree: &Arc<dyn Target>, path: &RelPath) -> Result<Place, Fatal> {
    let (parent, base) = path.split();
    let name = RelPath::parse(base)
        .map_err(|error| Fatal::new(ExitCode::FileSelection, format!("{path}: {error}")))?;
    let tree = enter(tree, &parent).map_err(|error| unusable(&parent, &error))?;
    Ok(Place { tree, base: parent, single_name: Some(name), created: false })
}

fn create(tree: &Arc<dyn Target>, path: &RelPath, with_parents: bool) -> io::Result<()> {
    if with_parents && let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
        match tree.metadata(&parent, true) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => create(tree, &parent, true)?,
            Err(error) => return Err(error),
        }
    }
    match tree.create_dir(path, 0o755) {
        Err(error) if with_parents && error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn unusable(path: &RelPath, error: &io::Error) -> Fatal {
    Fatal::new(
        ExitCode::FileSelection,
        format!(
            "{path}: the destination cannot be used: {error}; check that its parent exists, or use --mkpath"
        ),
    )
}
