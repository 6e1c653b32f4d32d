//! A daemon's own filter: what a module hides from every client, whatever the client asks for.

use std::sync::Arc;

use bascule_wire::filter::Rule;

use super::{FilterSet, FilterSide};
use crate::path::RelPath;
use crate::tree::Source;

/// The rules of a module. All paths are relative to the module's root, wherever in it a transfer
/// takes place (§7, §19.6).
#[derive(Clone)]
pub struct ModuleFilter {
    rules: Arc<FilterSet>,
    /// The whole module, for its per-directory files.
    tree: Arc<dyn Source>,
}

impl ModuleFilter {
    /// The filter of a module; `None` when it has no rules.
    pub fn new(rules: &[Rule], side: FilterSide, tree: Arc<dyn Source>) -> Option<Self> {
        if rules.is_empty() {
            return None;
        }
        // What is protected is hidden as well, whichever way the data go (as in rsyncd).
        let mut rules = rules.to_vec();
        for rule in &mut rules {
            rule.receiver_side &= rule.sender_side;
        }
        // What a module hides is also protected, so that `--delete-excluded` means nothing here.
        Some(Self { rules: Arc::new(FilterSet::build(&rules, side, false)), tree })
    }

    /// Whether the module hides `path` itself. The root is never hidden. A directory whose rules
    /// cannot be read hides everything in it.
    pub fn hides(&self, path: &RelPath, is_dir: bool) -> bool {
        let Some(parent) = path.parent() else {
            return false;
        };
        match self.rules.rules_of((0, &*self.tree), &parent, None) {
            Ok(rules) => self.rules.excludes(&rules, path.as_bytes(), is_dir),
            Err(_) => true,
        }
    }

    /// Whether the module hides `path` or a directory on the way to it.
    pub fn hides_on_the_way(&self, path: &RelPath, is_dir: bool) -> bool {
        let mut above = path.parent();
        while let Some(dir) = above {
            if self.hides(&dir, true) {
                return true;
            }
            above = dir.parent();
        }
        self.hides(path, is_dir)
    }
}

/// A module's filter as seen from the directory of a transfer.
#[derive(Clone)]
pub struct ModuleView {
    /// The filter.
    pub filter: ModuleFilter,
    /// The directory, relative to the module's root.
    pub base: RelPath,
}

impl ModuleView {
    /// Whether the module hides `path`, which is relative to the directory of the transfer. A path
    /// that is too long to be one is hidden.
    pub fn hides(&self, path: &RelPath, is_dir: bool) -> bool {
        self.base.join(path.as_bytes()).map_or(true, |path| self.filter.hides(&path, is_dir))
    }

    /// The same for `path` and every directory on the way to it.
    pub fn hides_on_the_way(&self, path: &RelPath, is_dir: bool) -> bool {
        let whole = self.base.join(path.as_bytes());
        whole.map_or(true, |path| self.filter.hides_on_the_way(&path, is_dir))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::disk::Disk;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a legal path")
    }

    #[test]
    fn rule_19_6_patterns_are_anchored_to_the_module() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("folders");
        std::fs::write(dir.path().join("a/.rules"), "- local\n").expect("a file");
        let rules: Vec<Rule> = ["- /a/b", "- *.key", "- secret/", ": .rules"]
            .iter()
            .map(|text| Rule::parse(text.as_bytes()).expect("a rule"))
            .collect();
        let tree = Arc::new(Disk::open(dir.path()).expect("a tree"));
        let filter = ModuleFilter::new(&rules, FilterSide::Sender, tree).expect("rules");
        assert!(filter.hides(&path("a/b"), true));
        assert!(!filter.hides(&path("b"), true));
        assert!(filter.hides(&path("x/y.key"), false));
        assert!(filter.hides(&path("a/local"), false) && !filter.hides(&path("local"), false));
        assert!(!filter.hides(&path("a/b/c"), false));
        assert!(filter.hides_on_the_way(&path("a/b/c"), false));
        assert!(filter.hides_on_the_way(&path("secret/x"), false));
        assert!(!filter.hides(&RelPath::root(), true));
        let view = ModuleView { filter, base: path("a") };
        assert!(view.hides(&path("b"), true) && !view.hides(&path("c"), true));
    }
}
