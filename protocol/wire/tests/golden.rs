//! Every recorded conversation of protocols 30 to 32, through all codecs and back.

mod replay;

use std::collections::BTreeSet;
use std::path::PathBuf;

use replay::{Seen, replay};

/// Names and what an independent reader counted in them.
const EXPECTED: &str = include_str!("captures/counts.txt");

fn captures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

fn expected() -> impl Iterator<Item = (&'static str, Seen)> {
    EXPECTED.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, numbers @ .., end] = &fields[..] else { panic!("a row of counts: {line}") };
        let numbers: Vec<usize> =
            numbers.iter().map(|number| number.parse().expect("a number")).collect();
        let &[entries, segments, files, differences, block_sums, messages] = &numbers[..] else {
            panic!("six counts: {line}");
        };
        let complete = *end == "complete";
        let seen = Seen { entries, segments, files, differences, block_sums, messages, complete };
        (*name, seen)
    })
}

/// Replays all recordings whose names begin with one of `prefixes`, whole and byte by byte.
fn replay_all(prefixes: &[&str]) {
    let mut failed = Vec::new();
    let mut replayed = 0;
    for (name, expected) in expected() {
        if !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for step in [usize::MAX, 1] {
            let folder = captures().join(name);
            match std::panic::catch_unwind(|| replay(&folder, step)) {
                Ok(seen) if seen == expected => {}
                Ok(seen) => failed.push(format!("{name}: saw {seen:?}, expected {expected:?}")),
                Err(_) => failed.push(format!("{name}, {step} bytes at a time: see above")),
            }
        }
        replayed += 1;
    }
    assert!(replayed > 0, "nothing was replayed");
    assert!(failed.is_empty(), "{} of {replayed} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_recording_is_in_the_table() {
    let listed: BTreeSet<String> = expected().map(|(name, _)| name.to_owned()).collect();
    let folders: BTreeSet<String> = std::fs::read_dir(captures())
        .expect("the recordings")
        .map(|found| found.expect("a recording").file_name().into_string().expect("ASCII"))
        .filter(|name| name != "counts.txt")
        .collect();
    assert_eq!(listed, folders);
    let all = |count: fn(&Seen) -> usize| expected().map(|(_, seen)| count(&seen)).sum::<usize>();
    assert!(all(|seen| seen.entries) > 1000);
    assert!(all(|seen| seen.differences) > 50);
    assert!(all(|seen| seen.messages) > 50);
    assert!(all(|seen| usize::from(seen.complete)) > 90);
}

#[test]
fn protocol_30() {
    replay_all(&["p30-", "v3.0.0-"]);
}

#[test]
fn protocol_31() {
    replay_all(&["p31-", "v3.1.3-"]);
}

#[test]
fn protocol_32_pulls() {
    replay_all(&["p32-pull-"]);
}

#[test]
fn protocol_32_pushes() {
    replay_all(&["p32-push-"]);
}

#[test]
fn protocol_32_others() {
    let rest = ["p32-auth-", "p32-l", "p32-max-", "p32-r", "p32-s", "p32-u", "v3.4.1-"];
    replay_all(&rest);
    let groups = ["p30-", "v3.0.0-", "p31-", "v3.1.3-", "p32-pull-", "p32-push-"];
    for (name, _) in expected() {
        let in_a_group = groups.iter().chain(&rest).any(|prefix| name.starts_with(prefix));
        assert!(in_a_group, "{name} is replayed by no test");
    }
}
