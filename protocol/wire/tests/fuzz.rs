//! The bodies of the fuzz targets over their corpora, and over spoiled copies of those.

mod fuzz_bodies;

use std::path::PathBuf;

use fuzz_bodies::TARGETS;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let found = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut seeds: Vec<_> = found
        .map(|seed| {
            let path = seed.expect("a seed").path();
            let bytes = std::fs::read(&path).expect("a seed");
            (path, bytes)
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{folder:?} has no seeds");
    seeds
}

#[test]
fn every_seed_passes() {
    for (target, body) in TARGETS {
        for (path, bytes) in corpus(target) {
            if std::panic::catch_unwind(|| body(&bytes)).is_err() {
                panic!("{target} fails with {path:?}, see above");
            }
        }
    }
}

#[test]
fn every_target_is_built() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let listed = manifest.lines().filter(|line| line.starts_with("path = \"fuzz_targets/")).count();
    assert_eq!(listed, TARGETS.len());
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target}");
    }
}

/// A seed that was cut, overwritten in places, or joined with noise.
fn spoiled(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let noise = || proptest::collection::vec(any::<u8>(), 0..60);
    let spots = proptest::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    let of_seed = (any::<Index>(), spots, any::<Index>(), noise(), any::<[u8; 2]>()).prop_map(
        move |(which, spots, cut, tail, head)| {
            let mut bytes = which.get(&seeds).clone();
            bytes.truncate(4096);
            for (at, byte) in spots {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            // Mostly whole: what is cut early reaches little.
            if tail.len() % 3 == 0 {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            if tail.len() % 2 == 0 {
                bytes.extend(tail);
            }
            for (to, from) in bytes.iter_mut().skip(usize::from(head[0] & 1)).zip(head) {
                *to = from;
            }
            bytes
        },
    );
    prop_oneof![5 => of_seed, 1 => noise()]
}

#[test]
fn spoiled_seeds_pass() {
    for (target, body) in TARGETS {
        let seeds = corpus(target).into_iter().map(|(_, bytes)| bytes).collect();
        let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&spoiled(seeds), |bytes| {
                body(&bytes);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{target}: {error}"));
    }
}
