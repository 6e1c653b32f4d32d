//! Which names take part: rules, per-directory merge files, protection from deletion (§7).

mod matcher;
mod merge;
mod module;
mod pattern;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bascule_wire::Options;
use bascule_wire::filter::{Rule, RuleKind};
use bascule_wire::limits::{MAX_MERGES, MAX_RULES_BYTES};

use crate::outcome::{ExitCode, Fatal};
use crate::path::RelPath;
use crate::tree::Source;

use bascule_wire::shown;
use matcher::Matcher;
use merge::Merged;
pub use module::{ModuleFilter, ModuleView};
pub use pattern::wildmatch;

/// Which side asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterSide {
    /// What is listed.
    Sender,
    /// What deletions leave alone.
    Receiver,
}

/// Directories whose merged rules are remembered.
const REMEMBERED: usize = 256;

/// The rules of one side of a run. The first rule that matches decides; no match includes.
pub struct FilterSet {
    rules: Vec<Step>,
    side: FilterSide,
    delete_excluded: bool,
    merges: usize,
    known: Mutex<Known>,
}

/// What is remembered of directories, and what their rules weigh in bytes.
#[derive(Default)]
struct Known {
    /// With the number of the source argument: several may have a directory of one name.
    dirs: HashMap<RelPath, (usize, Arc<DirFilters>)>,
    weight: usize,
}

enum Step {
    Match(Matcher),
    /// The rules of a per-directory file, by its number.
    Merge(usize, Rule),
}

/// What the merge files say in one directory.
#[derive(Debug, Default, Clone)]
pub struct DirFilters {
    merged: Vec<Option<Arc<Merged>>>,
    /// Everything is protected: the rules could not be read.
    protect_all: bool,
}

/// Refuses what would otherwise be ignored without a word.
///
/// # Errors
/// The reason, for a rule that is not carried out.
pub fn check(rule: &Rule) -> Result<(), String> {
    if rule.absolute {
        let pattern = shown(&rule.pattern);
        return Err(format!(
            "filter rule {pattern}: patterns held against absolute paths (the modifier '/') are \
             not supported yet"
        ));
    }
    Ok(())
}

impl FilterSet {
    /// The rules of a user for one side.
    ///
    /// # Errors
    /// [`ExitCode::Unsupported`] for a rule that [`check`] refuses, or more than [`MAX_MERGES`] merge
    /// files: each costs a look into every directory.
    pub fn new(rules: &[Rule], side: FilterSide, options: &Options) -> Result<Self, Fatal> {
        for rule in rules {
            check(rule).map_err(|reason| Fatal::new(ExitCode::Unsupported, reason))?;
        }
        let set = Self::build(rules, side, options.delete_excluded);
        if set.merges > MAX_MERGES {
            return Err(Fatal::new(
                ExitCode::Unsupported,
                format!("more than {MAX_MERGES} per-directory filter files"),
            ));
        }
        Ok(set)
    }

    fn build(rules: &[Rule], side: FilterSide, delete_excluded: bool) -> Self {
        let mut steps = Vec::new();
        let mut merges = 0;
        for rule in rules {
            match rule.kind {
                RuleKind::Clear => steps.clear(),
                // A file that is merged already is not merged again, whatever its modifiers.
                RuleKind::DirMerge if is_merged(&steps, &rule.pattern) => {}
                RuleKind::DirMerge => {
                    if rule.exclude_self {
                        let own = Rule::plain(RuleKind::Exclude, base_of(&rule.pattern));
                        steps.push(Step::Match(Matcher::new(&own, b"")));
                    }
                    steps.push(Step::Merge(merges, rule.clone()));
                    merges += 1;
                }
                RuleKind::Exclude | RuleKind::Include => {
                    steps.push(Step::Match(Matcher::new(rule, b"")));
                }
                // Expanded by whoever read the command line or the configuration.
                RuleKind::Merge => {}
            }
        }
        Self { rules: steps, side, delete_excluded, merges, known: Mutex::default() }
    }

    /// What the merge files say in `dir` of the source argument number `source`, read from its `tree`
    /// if it is not known yet. A file that the `module` hides is none: a peer could find out line by line what it holds.
    ///
    /// # Errors
    /// When a merge file is there and cannot be read.
    pub fn rules_of(
        &self,
        (source, tree): (usize, &dyn Source),
        dir: &RelPath,
        module: Option<&ModuleView>,
    ) -> io::Result<Arc<DirFilters>> {
        if self.merges == 0 {
            return Ok(Arc::new(DirFilters::default()));
        }
        if let Some((_, known)) = self.lock().dirs.get(dir).filter(|(of, _)| *of == source) {
            return Ok(Arc::clone(known));
        }
        let above = match dir.parent() {
            Some(parent) => Some(self.rules_of((source, tree), &parent, module)?),
            None => None,
        };
        let mut merged = vec![None; self.merges];
        for step in &self.rules {
            let Step::Merge(number, rule) = step else {
                continue;
            };
            let inherited = above.as_ref().and_then(|above| above.merged.get(*number)?.clone());
            if let Some(slot) = merged.get_mut(*number) {
                *slot = merge::read(tree, dir, rule, module, inherited)?;
            }
        }
        let found = Arc::new(DirFilters { merged, protect_all: false });
        let weight: usize = found.merged.iter().flatten().map(|merged| merged.own_weight).sum();
        let mut known = self.lock();
        if known.dirs.len() >= REMEMBERED || known.weight + weight > MAX_RULES_BYTES {
            *known = Known::default();
        }
        known.weight += weight;
        known.dirs.insert(dir.clone(), (source, Arc::clone(&found)));
        Ok(found)
    }

    /// Rules for a directory whose own could not be read: nothing in it is deleted.
    pub fn protect_everything(&self) -> Arc<DirFilters> {
        Arc::new(DirFilters { merged: Vec::new(), protect_all: true })
    }

    /// Whether the sender leaves `path` out. `rules` are those of its directory.
    pub fn excludes(&self, rules: &DirFilters, path: &[u8], is_dir: bool) -> bool {
        self.decide(rules, path, is_dir, false)
    }

    /// Whether the receiver leaves `path` alone though the sender does not have it.
    pub fn protects(&self, rules: &DirFilters, path: &[u8], is_dir: bool) -> bool {
        rules.protect_all || self.decide(rules, path, is_dir, false)
    }

    /// The same inside a directory that is being removed: perishable rules do not count.
    pub fn protects_in_removed_dir(&self, rules: &DirFilters, path: &[u8], is_dir: bool) -> bool {
        rules.protect_all || self.decide(rules, path, is_dir, true)
    }

    fn decide(&self, rules: &DirFilters, path: &[u8], is_dir: bool, removing: bool) -> bool {
        for step in &self.rules {
            let verdict = match step {
                Step::Match(matcher) => self.apply(matcher, path, is_dir, removing),
                Step::Merge(number, _) => {
                    let mut level = rules.merged.get(*number).and_then(Option::as_ref);
                    let mut verdict = None;
                    while let Some(merged) = level {
                        verdict = merged
                            .rules
                            .iter()
                            .find_map(|matcher| self.apply(matcher, path, is_dir, removing));
                        if verdict.is_some() {
                            break;
                        }
                        level = merged.above.as_ref();
                    }
                    verdict
                }
            };
            if let Some(excluded) = verdict {
                return excluded;
            }
        }
        false
    }

    /// `Some(true)` when the rule excludes, `Some(false)` when it includes.
    fn apply(&self, matcher: &Matcher, path: &[u8], is_dir: bool, removing: bool) -> Option<bool> {
        let concerns = match self.side {
            FilterSide::Sender => matcher.rule.concerns_sender(),
            FilterSide::Receiver => matcher.rule.concerns_receiver(self.delete_excluded),
        };
        let counts = concerns && !(removing && matcher.rule.perishable);
        (counts && matcher.matches(path, is_dir)).then_some(matcher.rule.kind == RuleKind::Exclude)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_merged(steps: &[Step], file: &[u8]) -> bool {
    steps.iter().any(|step| match step {
        Step::Merge(_, known) => base_of(&known.pattern) == base_of(file),
        Step::Match(_) => false,
    })
}

fn base_of(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[&str], side: FilterSide, delete_excluded: bool) -> FilterSet {
        let rules: Vec<Rule> =
            rules.iter().map(|text| Rule::parse(text.as_bytes()).expect("a rule")).collect();
        FilterSet::new(&rules, side, &Options { delete_excluded, ..Options::default() })
            .expect("rules that are carried out")
    }

    fn excluded(rules: &[&str], path: &str) -> bool {
        let is_dir = path.ends_with('/');
        let path = path.trim_end_matches('/').as_bytes();
        set(rules, FilterSide::Sender, false).excludes(&DirFilters::default(), path, is_dir)
    }

    #[test]
    fn the_first_match_decides() {
        assert!(excluded(&["- *.tmp"], "a/x.tmp"));
        assert!(!excluded(&["+ keep.tmp", "- *.tmp"], "keep.tmp"));
        assert!(excluded(&["- *.tmp", "+ keep.tmp"], "keep.tmp"));
        assert!(!excluded(&["- x", "!"], "x"));
    }

    #[test]
    fn anchors_and_slashes() {
        assert!(excluded(&["- /a"], "a"));
        assert!(!excluded(&["- /a"], "b/a"));
        assert!(excluded(&["- a/b"], "a/b"));
        assert!(excluded(&["- a/b"], "x/a/b"));
        assert!(!excluded(&["- a/b"], "xa/b"));
        assert!(excluded(&["- d/"], "d/"));
        assert!(!excluded(&["- d/"], "d"));
        assert!(excluded(&["- /d/***"], "d/"));
        assert!(excluded(&["- /d/***"], "d/e/f"));
        assert!(!excluded(&["- /d/**"], "d/"));
        assert!(excluded(&["- /d/**"], "d/e/f"));
        assert!(excluded(&["- **/x"], "x"));
        assert!(excluded(&["- **/x"], "a/b/x"));
        assert!(excluded(&["- ***/*"], "x"));
        assert!(excluded(&["- /**/x"], "a/x") && !excluded(&["- /**/x"], "x"));
        assert!(excluded(&["- *b/c"], "xb/c") && !excluded(&["- /*/c"], "c"));
        assert!(excluded(&["- a\\b"], "a\\b") && !excluded(&["- a\\b"], "ab"));
        assert!(excluded(&["- a\\b*"], "ab"));
        assert!(excluded(&["-! d/"], "x") && !excluded(&["-! d/"], "d/"));
        assert!(excluded(&["-! *.imap"], "x.tmp"));
    }

    #[test]
    fn sides_are_kept_apart() {
        let rules = ["P kept", "H hidden", "- both"];
        let none = DirFilters::default();
        let sender = set(&rules, FilterSide::Sender, false);
        let receiver = set(&rules, FilterSide::Receiver, false);
        assert!(
            !sender.excludes(&none, b"kept", false) && receiver.protects(&none, b"kept", false)
        );
        assert!(sender.excludes(&none, b"hidden", false));
        assert!(!receiver.protects(&none, b"hidden", false));
        assert!(sender.excludes(&none, b"both", false) && receiver.protects(&none, b"both", false));
        let receiver = set(&rules, FilterSide::Receiver, true);
        assert!(receiver.protects(&none, b"kept", false));
        assert!(!receiver.protects(&none, b"both", false));
    }

    #[test]
    fn rule_19_3_merge_files_are_bounded_in_number_and_size() {
        let rules: Vec<Rule> = (0..=MAX_MERGES)
            .map(|number| Rule::parse(format!(": .f{number}").as_bytes()).expect("a rule"))
            .collect();
        let options = Options::default();
        let set = |rules: &[Rule]| FilterSet::new(rules, FilterSide::Sender, &options);
        assert!(set(&rules[1..]).is_ok());
        assert!(set(&rules).is_err());
        // Whoever pushes can put a file into each directory, and each inherits those above it.
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let file = b"- x\n".repeat(40_000);
        let mut dir = RelPath::root();
        for _ in 0..4 {
            dir = dir.join(b"d").expect("a legal path");
            let folder = scratch.path().join(dir.to_string());
            std::fs::create_dir(&folder).expect("a folder");
            std::fs::write(folder.join(".f"), &file).expect("a file");
        }
        let disk = crate::disk::Disk::open(scratch.path()).expect("it is there");
        let set = set(&[Rule::parse(b": .f").expect("a rule")]).expect("one file");
        assert!(set.rules_of((0, &disk), &RelPath::parse(b"d/d/d").expect("legal"), None).is_ok());
        let error = set.rules_of((0, &disk), &dir, None).expect_err("too much is in force");
        assert!(error.to_string().contains("8 MiB"), "{error}");
        assert!(set.lock().weight <= MAX_RULES_BYTES);
    }

    #[test]
    fn perishable_rules_perish() {
        let receiver = set(&["-p cache"], FilterSide::Receiver, false);
        let none = DirFilters::default();
        assert!(receiver.protects(&none, b"cache", true));
        assert!(!receiver.protects_in_removed_dir(&none, b"cache", true));
    }

    #[test]
    fn each_source_has_its_own_rules_in_a_folder_of_one_name() {
        let set = FilterSet::new(
            &[Rule { kind: RuleKind::DirMerge, ..Rule::plain(RuleKind::Include, b".rules") }],
            FilterSide::Sender,
            &Options::default(),
        );
        let set = set.expect("sound");
        let sources = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        for source in &sources {
            std::fs::create_dir(source.path().join("d")).expect("a folder");
        }
        std::fs::write(sources[0].path().join("d/.rules"), "- mail\n").expect("a file");
        let dir = RelPath::parse(b"d").expect("legal");
        // As when the walker goes back and forth.
        for _ in 0..2 {
            for (number, source) in sources.iter().enumerate() {
                let disk = crate::disk::Disk::open(source.path()).expect("a folder");
                let rules = set.rules_of((number, &disk), &dir, None).expect("read");
                assert_eq!(set.excludes(&rules, b"d/mail", false), number == 0, "{number}");
            }
        }
    }
}
