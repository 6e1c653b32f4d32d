//! Random trees and random edits, mirrored again and again: the target always equals the plain
//! model, whoever is at the two ends.
#![cfg(unix)]

use std::fs;

use bascule_tests::model::{Edit, Model, Node, any_edit};
use bascule_tests::peer::{Daemon, Ran, Whose, mirror};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Who stands where.
#[derive(Debug, Clone, Copy)]
enum Ends {
    Local,
    Push(Whose, Whose),
    Pull(Whose, Whose),
}

const ENDS: [Ends; 7] = [
    Ends::Local,
    Ends::Push(Whose::Ours, Whose::Ours),
    Ends::Pull(Whose::Ours, Whose::Ours),
    Ends::Push(Whose::Ours, Whose::Rsync),
    Ends::Push(Whose::Rsync, Whose::Ours),
    Ends::Pull(Whose::Ours, Whose::Rsync),
    Ends::Pull(Whose::Rsync, Whose::Ours),
];

const OPTIONS: [&[&str]; 9] = [
    &[],
    &["--delete-before"],
    &["--delete-delay"],
    &["--delete-after", "-z"],
    &["--no-inc-recursive"],
    &["-c"],
    &["--delay-updates"],
    &["--inplace"],
    &["-S", "--no-inc-recursive", "--delete-delay"],
];

/// A scratch folder served by a daemon of each kind.
struct World {
    scratch: tempfile::TempDir,
    ours: Daemon,
    rsync: Daemon,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let config = format!(
            "use chroot = no\nuid = 0\ngid = 0\nreverse lookup = no\nmunge symlinks = no\n\
             [m]\npath = {}\nread only = no\n",
            scratch.path().display()
        );
        let ours = Daemon::start(Whose::Ours, scratch.path(), &config);
        let rsync = Daemon::start(Whose::Rsync, scratch.path(), &config);
        Self { scratch, ours, rsync }
    }

    fn url(&self, daemon: Whose, name: &str) -> String {
        let port = if daemon == Whose::Ours { self.ours.port } else { self.rsync.port };
        format!("rsync://127.0.0.1:{port}/m/{name}/")
    }

    /// Mirrors `from` to `to`, both beneath the scratch folder.
    fn mirror(&self, ends: Ends, options: &[String], from: &str, to: &str) -> Ran {
        let here = |name: &str| format!("{}/", self.scratch.path().join(name).display());
        let mut options = options.to_vec();
        if !matches!(ends, Ends::Push(Whose::Rsync, _) | Ends::Pull(Whose::Rsync, _)) {
            // An empty source is a case here, not a mistake.
            options.push("--allow-deletes=1000000".to_owned());
        }
        let options = &options;
        match ends {
            Ends::Local => mirror(Whose::Ours, options, None, [&here(from), &here(to)]),
            Ends::Push(client, daemon) => {
                mirror(client, options, None, [&here(from), &self.url(daemon, to)])
            }
            Ends::Pull(client, daemon) => {
                mirror(client, options, None, [&self.url(daemon, from), &here(to)])
            }
        }
    }

    /// Runs one case: edits, a mirror, a comparison, several times.
    fn run(
        &self,
        ends: Ends,
        options: &[String],
        rounds: &[Vec<Edit>],
    ) -> Result<(), TestCaseError> {
        let root = self.scratch.path();
        for name in ["from", "to"] {
            let _ = fs::remove_dir_all(root.join(name));
            fs::create_dir(root.join(name)).expect("a folder");
        }
        let mut model = Model::default();
        model.write(&Model::default(), &root.join("from")).expect("the source can be written");
        for (number, edits) in rounds.iter().enumerate() {
            let before = model.clone();
            edits.iter().for_each(|edit| model.apply(edit));
            model.write(&before, &root.join("from")).expect("the source can be written");
            let Ran { code, said, .. } = self.mirror(ends, options, "from", "to");
            prop_assert_eq!(code, 0, "round {}: {}", number, said);
            let target = Model::read(&root.join("to")).expect("the target can be read");
            let mut expected = model.nodes().clone();
            if options[0] == "--protocol=30" {
                // Nanoseconds travel since 31.
                expected.values_mut().for_each(|node| node.mtime.1 = 0);
            }
            let faults = differences(&expected, &target);
            prop_assert!(faults.is_empty(), "round {}:\n{}\n{}", number, faults, said);
            // And once more: there is nothing left to do.
            let again = [&["-i".to_owned()], options].concat();
            let Ran { code, items, said } = self.mirror(ends, &again, "from", "to");
            prop_assert_eq!(code, 0, "again after round {}: {}", number, said);
            prop_assert!(items.is_empty(), "again after round {}: {}", number, said);
        }
        Ok(())
    }
}

fn differences(
    expected: &std::collections::BTreeMap<String, Node>,
    found: &std::collections::BTreeMap<String, Node>,
) -> String {
    let mut faults = Vec::new();
    for path in expected.keys().chain(found.keys().filter(|path| !expected.contains_key(*path))) {
        let (wanted, got) = (expected.get(path), found.get(path));
        if wanted != got {
            faults.push(format!("{path:?}: {} instead of {}", shown(got), shown(wanted)));
        }
    }
    faults.join("\n")
}

fn shown(node: Option<&Node>) -> String {
    let text = format!("{node:?}");
    text.chars().take(160).collect()
}

#[test]
fn the_target_always_equals_the_model() {
    let world = World::new();
    let cases = std::env::var("BASCULE_MODEL_CASES").ok().and_then(|text| text.parse().ok());
    let config =
        Config { cases: cases.unwrap_or(63), failure_persistence: None, ..Config::default() };
    let rounds = proptest::collection::vec(proptest::collection::vec(any_edit(), 0..25), 1..4);
    let strategy = (0..ENDS.len(), 0..OPTIONS.len(), 30_u8..=32, rounds);
    let ran = TestRunner::new(config).run(&strategy, |(ends, set, protocol, rounds)| {
        let ends = ENDS[ends];
        let mut options = vec![format!("--protocol={protocol}")];
        options.extend(OPTIONS[set].iter().map(ToString::to_string));
        world.run(ends, &options, &rounds).map_err(|error| match error {
            TestCaseError::Fail(why) => TestCaseError::fail(format!("{ends:?} {options:?}: {why}")),
            other => other,
        })
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}
