//! `bascule diff JOB`: what a run would change, by account and folder. Changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use bascule_engine::observe::{Event, Observer};
use bascule_wire::flist::Kind;
use bascule_wire::record::ItemFlags;

use crate::history::{Ended, Verdict, account_length};
use crate::itemize::shown;

/// Collects what a dry run would do. A new attempt tells the same again, and nothing counts twice.
#[derive(Debug, Default)]
pub struct Differences(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    new: BTreeSet<Vec<u8>>,
    changed: BTreeSet<Vec<u8>>,
    deleted: BTreeSet<Vec<u8>>,
}

/// How many files of a folder differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Not at the target.
    pub new: u64,
    /// Other at the target.
    pub changed: u64,
    /// At the target under the same name in another folder.
    pub moved: u64,
    /// At the target alone.
    pub deleted: u64,
}

impl Observer for Differences {
    fn on(&self, event: &Event<'_>) {
        let (path, kind, flags) = match event {
            Event::Itemized { item } => (item.path, item.kind, Some(item.flags)),
            Event::Deleted { path, kind } => (*path, *kind, None),
            _ => return,
        };
        if kind == Kind::Directory {
            return;
        }
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match flags {
            None => found.deleted.insert(path.to_vec()),
            Some(flags) if flags.contains(ItemFlags::IS_NEW) => found.new.insert(path.to_vec()),
            Some(flags) if flags.is_significant() => found.changed.insert(path.to_vec()),
            Some(_) => false,
        };
    }
}

impl Differences {
    /// The differences by folder, of the folders that have any.
    ///
    /// A new file and one to delete that have the same last component count as one that was moved,
    /// in the folder where it is now: mail servers give each message a name of its own.
    pub fn by_folder(&self) -> BTreeMap<String, Counts> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
        for path in &found.deleted {
            left.entry(split(path).1).or_default().push(path);
        }
        let mut folders: BTreeMap<String, Counts> = BTreeMap::new();
        let mut of = |path: &[u8], change: fn(&mut Counts)| {
            change(folders.entry(shown(split(path).0)).or_default());
        };
        for path in &found.new {
            match left.get_mut(split(path).1).and_then(Vec::pop) {
                Some(_) => of(path, |counts| counts.moved += 1),
                None => of(path, |counts| counts.new += 1),
            }
        }
        for path in &found.changed {
            of(path, |counts| counts.changed += 1);
        }
        for path in left.values().flatten() {
            of(path, |counts| counts.deleted += 1);
        }
        folders
    }

    /// The same as a table, by account and folder.
    pub fn table(&self, depth: usize) -> String {
        let folders = self.by_folder();
        let mut accounts: BTreeMap<&str, Counts> = BTreeMap::new();
        for (folder, counts) in &folders {
            accounts.entry(account(folder, depth)).or_default().add(counts);
        }
        let mut text = format!("{:>9} {:>9} {:>9} {:>9}\n", "new", "changed", "moved", "deleted");
        let mut all = Counts::default();
        for (account_name, counts) in &accounts {
            let shown = if account_name.is_empty() { "(no account)" } else { account_name };
            row(&mut text, counts, shown);
            all.add(counts);
            for (folder, counts) in &folders {
                if account(folder, depth) == *account_name && folder != account_name {
                    row(&mut text, counts, &format!("  {folder}"));
                }
            }
        }
        row(&mut text, &all, "in all");
        text
    }

    /// The same as a JSON document, with how the dry run has `ended`; without figures if that was early.
    pub fn document(&self, ended: &Ended) -> serde_json::Value {
        let (exit_code, error) = (ended.exit.code(), &ended.error);
        if !Verdict::of(ended.exit).went_through() {
            let none = serde_json::Value::Null;
            return serde_json::json!({
                "exit_code": exit_code, "error": error, "in_all": none, "folders": none,
            });
        }
        let folders = self.by_folder();
        let of = |counts: &Counts| {
            serde_json::json!({
                "new": counts.new,
                "changed": counts.changed,
                "moved": counts.moved,
                "deleted": counts.deleted,
            })
        };
        let mut all = Counts::default();
        folders.values().for_each(|counts| all.add(counts));
        let folders: serde_json::Map<_, _> =
            folders.iter().map(|(name, counts)| (name.clone(), of(counts))).collect();
        serde_json::json!({
            "exit_code": exit_code, "error": error, "in_all": of(&all), "folders": folders,
        })
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.new += other.new;
        self.changed += other.changed;
        self.moved += other.moved;
        self.deleted += other.deleted;
    }
}

fn row(text: &mut String, counts: &Counts, name: &str) {
    let Counts { new, changed, moved, deleted } = counts;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{new:>9} {changed:>9} {moved:>9} {deleted:>9}  {name}");
}

/// The folder and the last component of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// The first `depth` components of a folder; nothing if it has fewer.
fn account(folder: &str, depth: usize) -> &str {
    // It ends at a slash or at the end: between characters.
    &folder[..account_length(folder.as_bytes(), depth)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_engine::observe::Item;

    fn itemized(differences: &Differences, path: &str, flags: ItemFlags) {
        differences.on(&Event::Itemized {
            item: Item {
                flags,
                kind: Kind::File,
                path: path.as_bytes(),
                link: None,
                linked_to: None,
                sent: true,
            },
        });
    }

    #[test]
    fn a_folder_has_one_line_whatever_its_name() {
        let differences = Differences::default();
        itemized(&differences, "a\nb\tc\u{1b}[2J/1", ItemFlags::IS_NEW);
        let table = differences.table(1);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.contains("a\\#012b\\#011c\\#033[2J"), "{table}");
    }

    #[test]
    fn a_message_in_another_folder_was_moved() {
        let differences = Differences::default();
        for _attempt in 0..2 {
            itemized(&differences, "joe/inbox/1.imap", ItemFlags::IS_NEW | ItemFlags::TRANSFER);
            itemized(&differences, "joe/done/2.imap", ItemFlags::IS_NEW | ItemFlags::TRANSFER);
            itemized(&differences, "ann/flags.dat", ItemFlags::TRANSFER);
            for path in [&b"joe/inbox/2.imap"[..], b"joe/inbox/3.imap"] {
                differences.on(&Event::Deleted { path, kind: Kind::File });
            }
            differences.on(&Event::Deleted { path: b"joe/old", kind: Kind::Directory });
        }
        let folders = differences.by_folder();
        let counts = |new, changed, moved, deleted| Counts { new, changed, moved, deleted };
        let expected = [
            ("ann", counts(0, 1, 0, 0)),
            ("joe/done", counts(0, 0, 1, 0)),
            ("joe/inbox", counts(1, 0, 0, 1)),
        ];
        let expected = expected.map(|(name, counts)| (name.to_owned(), counts));
        assert_eq!(folders, BTreeMap::from(expected));
        let table = differences.table(1);
        let lines: Vec<&str> = table.lines().map(str::trim).collect();
        assert_eq!(
            lines[1..],
            [
                "0         1         0         0  ann",
                "1         0         1         1  joe",
                "0         0         1         0    joe/done",
                "1         0         0         1    joe/inbox",
                "1         1         1         1  in all",
            ]
        );
    }
}
