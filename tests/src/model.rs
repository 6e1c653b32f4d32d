//! The reference for the property tests: a tree in memory, edited and compared by the plainest
//! means. It knows nothing of how a mirror works.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use crate::scratch::{T0, noise, set_time};

/// Names that an edit may use; few, so that edits meet each other.
const NAMES: [&str; 8] = ["a", "a-b", "b", "-c", "d e", "é", "n\nl", ".h"];

/// What is under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A regular file with its content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symlink with its target.
    Link(String),
}

/// One path of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub what: What,
    /// Permission bits; 0 for a symlink.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
}

/// A tree: paths with `/` between components, the root itself as the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    nodes: BTreeMap<String, Node>,
    /// Every change gets a time of its own.
    clock: i64,
}

/// One change. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub enum Edit {
    /// A new file (or a new content for an old one).
    Write(usize, usize, usize),
    /// A new directory.
    MakeDir(usize, usize),
    /// A new symlink.
    Link(usize, usize, usize),
    /// Data at the end of a file.
    Grow(usize, usize),
    /// A file cut off.
    Shrink(usize, usize),
    /// Data in the middle of a file.
    Insert(usize, usize, usize),
    /// Another name.
    Rename(usize, usize, usize),
    /// Another kind under the same name.
    Retype(usize, usize),
    /// Another time.
    Touch(usize, i64, i64),
    /// Another mode.
    Chmod(usize, u32),
    /// Gone, with everything below.
    Delete(usize),
}

/// Any edit.
pub fn any_edit() -> impl Strategy<Value = Edit> {
    let n = any::<usize>;
    prop_oneof![
        5 => (n(), n(), 0_usize..40_000).prop_map(|(d, name, len)| Edit::Write(d, name, len)),
        3 => (n(), n()).prop_map(|(d, name)| Edit::MakeDir(d, name)),
        1 => (n(), n(), n()).prop_map(|(d, name, to)| Edit::Link(d, name, to)),
        2 => (n(), 1_usize..9_000).prop_map(|(at, by)| Edit::Grow(at, by)),
        2 => (n(), n()).prop_map(|(at, to)| Edit::Shrink(at, to)),
        3 => (n(), n(), 1_usize..3_000).prop_map(|(at, pos, len)| Edit::Insert(at, pos, len)),
        2 => (n(), n(), n()).prop_map(|(at, d, name)| Edit::Rename(at, d, name)),
        2 => (n(), 0_usize..3).prop_map(|(at, to)| Edit::Retype(at, to)),
        1 => (n(), -2_000_000_000_i64..6_000_000_000, 0_i64..1_000_000_000)
            .prop_map(|(at, s, ns)| Edit::Touch(at, s, ns)),
        1 => (n(), 0_u32..0o1000).prop_map(|(at, mode)| Edit::Chmod(at, mode)),
        2 => n().prop_map(Edit::Delete),
    ]
}

impl Default for Model {
    fn default() -> Self {
        let root = Node { what: What::Directory, mode: 0o755, mtime: (T0, 0) };
        Self { nodes: BTreeMap::from([(String::new(), root)]), clock: 0 }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn joined(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Model {
    /// Makes one change, as far as there is something to change.
    pub fn apply(&mut self, edit: &Edit) {
        match *edit {
            Edit::Write(dir, name, len) => {
                let path = self.place(dir, name);
                let content = noise(len as u64 + self.clock.unsigned_abs(), len);
                self.put(&path, What::File(content), 0o644);
            }
            Edit::MakeDir(dir, name) => {
                let path = self.place(dir, name);
                self.put(&path, What::Directory, 0o755);
            }
            Edit::Link(dir, name, to) => {
                let path = self.place(dir, name);
                self.put(&path, What::Link(NAMES[to % NAMES.len()].to_owned()), 0);
            }
            Edit::Grow(at, by) => self.change(at, |content, seed| content.extend(noise(seed, by))),
            Edit::Shrink(at, to) => {
                self.change(at, |content, _| content.truncate(to % (content.len() + 1)));
            }
            Edit::Insert(at, position, len) => self.change(at, |content, seed| {
                let position = position % (content.len() + 1);
                content.splice(position..position, noise(seed, len));
            }),
            Edit::Rename(at, dir, name) => self.rename(at, dir, name),
            Edit::Retype(at, to) => {
                let Some(path) = self.chosen(at, |_| true) else { return };
                let what = match to {
                    0 => What::File(b"retyped".to_vec()),
                    1 => What::Directory,
                    _ => What::Link("elsewhere".to_owned()),
                };
                self.remove(&path);
                self.put(&path, what, 0o700);
            }
            Edit::Touch(at, seconds, nanos) => {
                if let Some(path) = self.chosen(at, |_| true)
                    && let Some(node) = self.nodes.get_mut(&path)
                {
                    node.mtime = (seconds, nanos);
                }
            }
            Edit::Chmod(at, mode) => {
                let plain = |node: &Node| !matches!(node.what, What::Link(_));
                if let Some(path) = self.chosen(at, plain)
                    && let Some(node) = self.nodes.get_mut(&path)
                {
                    node.mode = mode;
                }
            }
            Edit::Delete(at) => {
                if let Some(path) = self.chosen(at, |_| true) {
                    self.remove(&path);
                }
            }
        }
    }

    /// Brings the tree on disk from `before` to this state.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, before: &Self, root: &Path) -> io::Result<()> {
        for (path, old) in before.nodes.iter().rev() {
            let kept = self.nodes.get(path).is_some_and(|new| same_kind(&new.what, &old.what));
            if kept || path.is_empty() {
                continue;
            }
            match old.what {
                What::Directory => fs::remove_dir(root.join(path))?,
                _ => fs::remove_file(root.join(path))?,
            }
        }
        for (path, node) in &self.nodes {
            let on_disk = root.join(path);
            let old = before.nodes.get(path).filter(|old| same_kind(&old.what, &node.what));
            let same = old.is_some_and(|old| old.what == node.what);
            match &node.what {
                What::Directory if old.is_none() => fs::create_dir_all(&on_disk)?,
                What::File(content) if !same => fs::write(&on_disk, content)?,
                What::Link(target) if !same => {
                    if old.is_some() {
                        fs::remove_file(&on_disk)?;
                    }
                    symlink(target, &on_disk)?;
                }
                _ => {}
            }
        }
        // Children first: work in a directory changes its time.
        for (path, node) in self.nodes.iter().rev() {
            let on_disk = root.join(path);
            if !matches!(node.what, What::Link(_)) {
                fs::set_permissions(&on_disk, Permissions::from_mode(node.mode))?;
            }
            set_time(&on_disk, node.mtime)?;
        }
        Ok(())
    }

    /// Reads a tree from disk, to be compared.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(root: &Path) -> io::Result<BTreeMap<String, Node>> {
        let mut nodes = BTreeMap::new();
        read_into(root, "", &mut nodes)?;
        Ok(nodes)
    }

    /// The paths with what is under them.
    pub fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    fn tick(&mut self) -> (i64, i64) {
        self.clock += 1;
        (T0 + self.clock, self.clock * 1_000_003 % 1_000_000_000)
    }

    /// The n-th of the paths (without the root) that fit.
    fn chosen(&self, number: usize, fits: impl Fn(&Node) -> bool) -> Option<String> {
        let fitting: Vec<&String> = self
            .nodes
            .iter()
            .filter(|(path, node)| !path.is_empty() && fits(node))
            .map(|(path, _)| path)
            .collect();
        (!fitting.is_empty()).then(|| fitting[number % fitting.len()].clone())
    }

    fn place(&self, dir: usize, name: usize) -> String {
        let shallow: Vec<&String> = self
            .nodes
            .iter()
            .filter(|(path, node)| node.what == What::Directory && path.matches('/').count() < 3)
            .map(|(path, _)| path)
            .collect();
        joined(shallow[dir % shallow.len()], NAMES[name % NAMES.len()])
    }

    fn put(&mut self, path: &str, what: What, mode: u32) {
        let is_dir = |node: &Node| node.what == What::Directory;
        if what == What::Directory && self.nodes.get(path).is_some_and(is_dir) {
            return;
        }
        self.remove(path);
        let mtime = self.tick();
        let mode = if matches!(what, What::Link(_)) { 0 } else { mode };
        self.nodes.insert(path.to_owned(), Node { what, mode, mtime });
        self.touch_parent(path);
    }

    fn remove(&mut self, path: &str) {
        let before = self.nodes.len();
        self.nodes.retain(|known, _| !is_below(known, path));
        if self.nodes.len() < before {
            self.touch_parent(path);
        }
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Vec<u8>, u64)) {
        let Some(path) = self.chosen(at, |node| matches!(node.what, What::File(_))) else { return };
        let mtime = self.tick();
        let seed = self.clock.unsigned_abs();
        if let Some(Node { what: What::File(content), mtime: old, .. }) = self.nodes.get_mut(&path)
        {
            change(content, seed);
            *old = mtime;
        }
    }

    fn rename(&mut self, at: usize, dir: usize, name: usize) {
        let Some(from) = self.chosen(at, |_| true) else { return };
        let to = self.place(dir, name);
        if is_below(&to, &from) || is_below(&from, &to) {
            return;
        }
        self.remove(&to);
        let moved: Vec<String> =
            self.nodes.keys().filter(|path| is_below(path, &from)).cloned().collect();
        for path in moved {
            if let Some(node) = self.nodes.remove(&path) {
                self.nodes.insert(format!("{to}{}", &path[from.len()..]), node);
            }
        }
        self.touch_parent(&from);
        self.touch_parent(&to);
    }

    fn touch_parent(&mut self, path: &str) {
        let mtime = self.tick();
        if let Some(node) = self.nodes.get_mut(parent(path)) {
            node.mtime = mtime;
        }
    }
}

fn same_kind(a: &What, b: &What) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn read_into(root: &Path, path: &str, nodes: &mut BTreeMap<String, Node>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let on_disk = root.join(path);
    let metadata = fs::symlink_metadata(&on_disk)?;
    let what = if metadata.is_dir() {
        What::Directory
    } else if metadata.is_symlink() {
        What::Link(fs::read_link(&on_disk)?.to_string_lossy().into_owned())
    } else {
        What::File(fs::read(&on_disk)?)
    };
    let mode = if metadata.is_symlink() { 0 } else { metadata.mode() & 0o7777 };
    let mtime = (metadata.mtime(), metadata.mtime_nsec());
    nodes.insert(path.to_owned(), Node { what, mode, mtime });
    if metadata.is_dir() {
        for child in fs::read_dir(&on_disk)? {
            let name = child?.file_name().to_string_lossy().into_owned();
            read_into(root, &joined(path, &name), nodes)?;
        }
    }
    Ok(())
}
