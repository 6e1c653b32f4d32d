//! What a client has asked for: a daemon must not bring anything else (§19.4).

use bascule_wire::Options;
use bascule_wire::filter::{Rule, RuleKind};
use bascule_wire::flist::Entry;

use crate::filter::{DirFilters, FilterSet, FilterSide, wildmatch};
use crate::outcome::{ExitCode, Fatal};
use bascule_wire::shown;

/// The paths and the filter rules of a pull.
pub struct Asked {
    /// What the first component of a name may look like; `None` when the contents of a directory
    /// are wanted, which may have any name.
    tops: Option<Vec<Vec<u8>>>,
    filters: FilterSet,
}

impl Asked {
    /// `paths` as they were sent, `rules` as the user gave them.
    ///
    /// # Errors
    /// [`ExitCode::Unsupported`] for a rule that is not carried out.
    pub fn new(paths: &[Vec<u8>], rules: &[Rule], options: &Options) -> Result<Self, Fatal> {
        let last = |path: &Vec<u8>| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
        let tops: Vec<_> = paths.iter().filter_map(last).collect();
        let any = tops.iter().any(|top| matches!(&top[..], b"" | b"." | b".."));
        // What a merge file over there says is not known here, and it comes before what follows.
        let known = rules.iter().take_while(|rule| rule.kind != RuleKind::DirMerge);
        let known: Vec<Rule> = known.cloned().collect();
        let filters = FilterSet::new(&known, FilterSide::Sender, options)?;
        Ok(Self { tops: (!any).then_some(tops), filters })
    }

    /// Whether `entry` is part of it.
    ///
    /// # Errors
    /// [`ExitCode::Protocol`] when it is not.
    pub(super) fn check(&self, entry: &Entry) -> Result<(), Fatal> {
        if entry.is_root() {
            return Ok(());
        }
        let path = entry.path();
        let refused = |why: &str| {
            let name = shown(&path);
            Err(Fatal::new(ExitCode::Protocol, format!("the daemon listed \"{name}\", {why}")))
        };
        if let Some(tops) = &self.tops {
            let first = path.split(|byte| *byte == b'/').next().unwrap_or(&path);
            if !tops.iter().any(|top| top == first || wildmatch(top, first)) {
                return refused("which it was not asked for");
            }
        }
        if self.filters.excludes(&DirFilters::default(), &path, entry.is_dir()) {
            return refused("which the filter rules leave out");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bascule_wire::flist::Kind;

    use super::*;

    fn allows(paths: &[&str], rules: &[&str], name: &str) -> bool {
        let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let rules: Vec<Rule> =
            rules.iter().map(|rule| Rule::parse(rule.as_bytes()).expect("a rule")).collect();
        let asked = Asked::new(&paths, &rules, &Options::archive()).expect("carried out");
        let (name, kind) = match name.strip_suffix('/') {
            Some(name) => (name, Kind::Directory),
            None => (name, Kind::File),
        };
        let (dir, base) = name.rsplit_once('/').unwrap_or(("", name));
        let entry = Entry {
            dir: dir.as_bytes().into(),
            base: base.as_bytes().into(),
            mode: kind.bits() | 0o755,
            size: 0,
            mtime: 0,
            nanos: 0,
            uid: 0,
            gid: 0,
            top_dir: false,
            content_dir: false,
            extra: None,
        };
        asked.check(&entry).is_ok()
    }

    #[test]
    fn rule_19_4_only_named_paths_may_come() {
        for contents in ["", "a/", "a/.", ".", "a/..", "*/"] {
            assert!(allows(&[contents], &[], "x") && allows(&[contents], &[], "./"), "{contents}");
        }
        assert!(allows(&["a/b"], &[], "b") && allows(&["a/b"], &[], "b/c"));
        assert!(!allows(&["a/b"], &[], "a") && !allows(&["a/b"], &[], "c"));
        assert!(allows(&["a", "b"], &[], "b/") && !allows(&["a", "b"], &[], ".ssh/"));
        assert!(allows(&["a/*.txt"], &[], "x.txt") && !allows(&["a/*.txt"], &[], "x"));
        assert!(allows(&["[x"], &[], "[x") && allows(&["a\\*"], &[], "a*"));
    }

    #[test]
    fn rule_19_4_what_the_rules_leave_out_may_not_come() {
        let rules = ["- *.tmp", ": .filter", "- *.log"];
        assert!(!allows(&[""], &rules, "d/x.tmp"));
        // The daemon's merge file may take it in.
        assert!(allows(&[""], &rules, "d/x.log"));
        assert!(allows(&[""], &["P x", "- d/"], "x") && !allows(&[""], &["- d/"], "d/"));
    }
}
