//! What the forgetful disk holds now, and what of it is safe.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use fuser::Errno;

/// The number of the root.
pub(super) const ROOT: u64 = 1;

/// What a power cut does to what was never synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It is gone: contents, attributes and names.
    Everything,
    /// Names, sizes and times are there, and the content is zeros.
    Content,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    File(Vec<u8>),
    Dir(BTreeMap<OsString, u64>),
    Symlink(PathBuf),
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) what: What,
    /// The last name that it was given, for faults that go by name.
    pub(super) name: OsString,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: SystemTime,
}

impl Node {
    fn new(what: What, name: &OsStr) -> Self {
        Self { what, name: name.into(), mode: 0o700, uid: 0, gid: 0, mtime: UNIX_EPOCH }
    }

    /// Its length in bytes.
    pub(super) fn size(&self) -> u64 {
        match &self.what {
            What::File(data) => data.len() as u64,
            _ => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Image {
    now: HashMap<u64, Node>,
    /// As of the last sync of each.
    safe: HashMap<u64, Node>,
    /// What [`Self::start_over`] goes back to.
    saved: HashMap<u64, Node>,
    next: u64,
}

impl Image {
    pub(super) fn new() -> Self {
        let root = Node { mode: 0o755, ..Node::new(What::Dir(BTreeMap::new()), OsStr::new("")) };
        let nodes = HashMap::from([(ROOT, root)]);
        Self { safe: nodes.clone(), saved: nodes.clone(), now: nodes, next: ROOT + 1 }
    }

    pub(super) fn node(&self, number: u64) -> Result<&Node, Errno> {
        self.now.get(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.now.get_mut(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn names(&self, dir: u64) -> Result<&BTreeMap<OsString, u64>, Errno> {
        match &self.node(dir)?.what {
            What::Dir(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn names_mut(&mut self, dir: u64) -> Result<&mut BTreeMap<OsString, u64>, Errno> {
        let node = self.node_mut(dir)?;
        node.mtime = SystemTime::now();
        match &mut node.what {
            What::Dir(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn find(&self, dir: u64, name: &OsStr) -> Result<u64, Errno> {
        self.names(dir)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(super) fn content(&mut self, number: u64) -> Result<&mut Vec<u8>, Errno> {
        match &mut self.node_mut(number)?.what {
            What::File(data) => Ok(data),
            _ => Err(Errno::EISDIR),
        }
    }

    pub(super) fn make(
        &mut self,
        dir: u64,
        name: &OsStr,
        what: What,
        mode: u32,
    ) -> Result<u64, Errno> {
        if self.find(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let number = self.next;
        self.next += 1;
        let mode = u16::try_from(mode & 0o7777).unwrap_or(0);
        let node = Node { mode, mtime: SystemTime::now(), ..Node::new(what, name) };
        self.now.insert(number, node);
        self.names_mut(dir)?.insert(name.into(), number);
        Ok(number)
    }

    pub(super) fn link(&mut self, number: u64, dir: u64, name: &OsStr) -> Result<(), Errno> {
        if self.find(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.names_mut(dir)?.insert(name.into(), number);
        Ok(())
    }

    pub(super) fn remove(&mut self, dir: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.find(dir, name)?;
        if self.names(number).is_ok_and(|names| !names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.names_mut(dir)?.remove(name);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        (dir, name): (u64, &OsStr),
        (to_dir, to_name): (u64, &OsStr),
    ) -> Result<(), Errno> {
        let number = self.find(dir, name)?;
        self.names_mut(dir)?.remove(name);
        self.names_mut(to_dir)?.insert(to_name.into(), number);
        self.node_mut(number)?.name = to_name.into();
        Ok(())
    }

    /// Makes one node safe: a file's content, a directory's names, the attributes of either. A
    /// symlink cannot be synced: it is safe with its directory.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Errno> {
        let node = self.node(number)?.clone();
        if let What::Dir(names) = &node.what {
            for child in names.values() {
                if let Some(Node { what: What::Symlink(_), .. }) = self.now.get(child) {
                    self.safe.insert(*child, self.now[child].clone());
                }
            }
        }
        self.safe.insert(number, node);
        Ok(())
    }

    /// Makes everything safe.
    pub(super) fn sync_all(&mut self) {
        self.safe = self.now.clone();
    }

    pub(super) fn save(&mut self) {
        self.saved = self.now.clone();
    }

    /// Everything is as it was when it was saved, and safe.
    pub(super) fn start_over(&mut self) {
        let saved = std::mem::take(&mut self.saved);
        self.replace_by(&saved);
        self.saved = saved;
    }

    /// Bytes of all files.
    pub(super) fn used(&self) -> u64 {
        self.now.values().map(Node::size).sum()
    }

    /// The power fails and comes back.
    pub(super) fn lose(&mut self, loss: Loss) {
        let old = match loss {
            Loss::Everything => std::mem::take(&mut self.safe),
            Loss::Content => {
                self.now.iter().map(|(id, node)| (*id, self.torn(*id, node))).collect()
            }
        };
        self.replace_by(&old);
    }

    /// All nodes get new numbers, so that nothing that the kernel remembers is taken for one of
    /// them.
    fn replace_by(&mut self, old: &HashMap<u64, Node>) {
        let mut new = HashMap::new();
        self.carry_over(ROOT, ROOT, old, &mut new);
        self.safe = new.clone();
        self.now = new;
    }

    /// A file with its name and size, whose content is only what was synced.
    fn torn(&self, number: u64, node: &Node) -> Node {
        let mut torn = node.clone();
        if let What::File(data) = &mut torn.what {
            let size = data.len();
            *data = match self.safe.get(&number) {
                Some(Node { what: What::File(safe), .. }) => safe.clone(),
                _ => Vec::new(),
            };
            data.resize(size, 0);
        }
        torn
    }

    fn carry_over(
        &mut self,
        from: u64,
        to: u64,
        old: &HashMap<u64, Node>,
        new: &mut HashMap<u64, Node>,
    ) {
        let mut node = old.get(&from).cloned().unwrap_or_else(|| self.never_synced(from));
        if let What::Dir(names) = &mut node.what {
            for number in names.values_mut() {
                let child = *number;
                *number = self.next;
                self.next += 1;
                self.carry_over(child, *number, old, new);
            }
        }
        new.insert(to, node);
    }

    /// A name that is safe, and nothing else.
    fn never_synced(&self, number: u64) -> Node {
        let what = match self.now.get(&number).map(|node| &node.what) {
            Some(What::Dir(_)) => What::Dir(BTreeMap::new()),
            Some(What::Symlink(target)) => What::Symlink(target.clone()),
            _ => What::File(Vec::new()),
        };
        Node::new(what, OsStr::new(""))
    }
}
