//! Watches a run for the history: the accounts and the phases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::Problem;
use bascule_wire::record::ItemFlags;

use super::{Account, Phases, account_length};
use crate::itemize::shown;

/// So many names that something is wrong with are told apart; beyond them one may count twice.
const MAX_NAMES: usize = 1000;

/// Takes note of what happens in a run.
#[derive(Debug)]
pub struct Recorder {
    /// Components of a path that name an account.
    depth: usize,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    agreed: Option<Instant>,
    listed: Option<Instant>,
    /// When the last file arrived whole.
    transferred: Option<Instant>,
    /// The largest file that did.
    largest: Option<(String, u64)>,
    /// Names that something is wrong with: both ends may tell of one.
    wrong: BTreeSet<String>,
}

/// What was seen of a run.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What it did to each account.
    pub accounts: BTreeMap<String, Account>,
    /// How long its phases took.
    pub phases: Phases,
    /// The largest file whose data travelled, and its bytes.
    pub largest: Option<(String, u64)>,
}

impl Recorder {
    /// Watches a run that begins now.
    pub fn new(depth: usize) -> Self {
        Self { depth, began: Instant::now(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not hide what is being recorded.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new attempt lists everything again, and tells again about what is wrong.
    pub fn start_over(&self) {
        let mut state = self.state();
        state.wrong.clear();
        for account in state.accounts.values_mut() {
            (account.files_listed, account.bytes_listed, account.failed) = (0, 0, 0);
        }
    }

    /// What was seen until now, at the end of the run.
    pub fn ended(&self) -> Seen {
        let now = Instant::now();
        let mut state = self.state();
        let agreed = state.agreed.unwrap_or(now);
        let listed = state.listed.unwrap_or(now).max(agreed);
        let transferred = state.transferred.unwrap_or(listed).max(listed);
        let phases = Phases {
            connect: agreed.duration_since(self.began).as_secs_f64(),
            list: listed.duration_since(agreed).as_secs_f64(),
            transfer: transferred.duration_since(listed).as_secs_f64(),
            finish: now.duration_since(transferred).as_secs_f64(),
        };
        let State { accounts, largest, .. } = std::mem::take(&mut *state);
        Seen { accounts, phases, largest }
    }

    /// Counts a name that something is wrong with.
    fn problem(&self, problem: &Problem) {
        if !problem.path.is_empty() {
            let told = bascule_wire::shown(&problem.path).to_string();
            if is_news(&mut self.state().wrong, &told) {
                self.of_path(&problem.path, |account| account.failed += 1);
            }
        } else if let Some(told) = name_told(&problem.text).filter(|_| problem.remote) {
            self.problem_there(told);
        }
    }

    /// The same for a name that the other end has told, if an account that is known has it.
    fn problem_there(&self, told: &str) {
        let folder = told.rsplit_once('/').map_or(told, |(folder, _)| folder);
        let name = &folder[..account_length(folder.as_bytes(), self.depth)];
        let mut state = self.state();
        let State { accounts, wrong, .. } = &mut *state;
        let account = if name.contains('\\') {
            let is_it = |known: &str| bascule_wire::shown(known.as_bytes()).to_string() == name;
            accounts.iter_mut().find(|(known, _)| is_it(known)).map(|(_, account)| account)
        } else {
            accounts.get_mut(name).filter(|_| !name.is_empty())
        };
        if let Some(account) = account
            && is_news(wrong, told)
        {
            account.failed += 1;
        }
    }

    fn of_path(&self, path: &[u8], change: impl FnOnce(&mut Account)) {
        let folder = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
        self.of_folder(folder, change);
    }

    /// Changes the account that a folder belongs to; what is above all accounts has an empty name.
    fn of_folder(&self, folder: &[u8], change: impl FnOnce(&mut Account)) {
        let folder = folder.strip_prefix(b"./").unwrap_or(folder);
        let name = &folder[..account_length(folder, self.depth)];
        let mut state = self.state();
        match std::str::from_utf8(name).ok().and_then(|name| state.accounts.get_mut(name)) {
            Some(account) => change(account),
            None => {
                let name = String::from_utf8_lossy(name).into_owned();
                change(state.accounts.entry(name).or_default());
            }
        }
    }
}

impl Observer for Recorder {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Agreed(_) => {
                self.state().agreed.get_or_insert_with(Instant::now);
            }
            Event::ListedIn { folder, files, bytes } => self.of_folder(folder, |account| {
                account.files_listed += files;
                account.bytes_listed += bytes;
            }),
            Event::ListComplete => self.state().listed = Some(Instant::now()),
            Event::Itemized { item } if item.flags.contains(ItemFlags::IS_NEW) => {
                self.of_path(item.path, |account| account.created += 1);
            }
            Event::TransferDone { path, size, .. } => {
                self.of_path(path, |account| {
                    account.files_transferred += 1;
                    account.bytes_transferred += size;
                });
                let mut state = self.state();
                state.transferred = Some(Instant::now());
                if state.largest.as_ref().is_none_or(|(_, largest)| size > largest) {
                    state.largest = Some((shown(path), *size));
                }
            }
            Event::Deleted { path, .. } => self.of_path(path, |account| account.deleted += 1),
            Event::Problem(problem) => self.problem(problem),
            _ => {}
        }
    }
}

/// The name in what another end said, as texts show it: Bascule writes it before a colon. A stock
/// rsync's are not those of the transfer.
pub fn name_told(text: &str) -> Option<&str> {
    text.strip_prefix("bascule: ")?.split_once(": ").map(|(name, _)| name)
}

/// Whether nothing was known to be wrong with a name.
fn is_news(wrong: &mut BTreeSet<String>, name: &str) -> bool {
    !wrong.contains(name) && (wrong.len() >= MAX_NAMES || wrong.insert(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_engine::outcome::Severity;
    use bascule_wire::flist::Kind;

    #[test]
    fn accounts_are_the_first_components() {
        for (depth, folder, account) in [
            (1, "joe/inbox", "joe"),
            (1, "joe", "joe"),
            (1, "", ""),
            (2, "example.com/joe/inbox/sub", "example.com/joe"),
            (2, "example.com/joe", "example.com/joe"),
            (2, "example.com", ""),
            (0, "joe", ""),
        ] {
            let recorder = Recorder::new(depth);
            recorder.on(&Event::ListedIn { folder: folder.as_bytes(), files: 3, bytes: 30 });
            let path = [folder, "1.imap"].join(if folder.is_empty() { "" } else { "/" });
            recorder.on(&Event::Deleted { path: path.as_bytes(), kind: Kind::File });
            recorder.on(&Event::TransferDone {
                path: path.as_bytes(),
                size: 7,
                literal: 7,
                matched: 0,
            });
            let expected = Account {
                files_listed: 3,
                bytes_listed: 30,
                files_transferred: 1,
                bytes_transferred: 7,
                deleted: 1,
                ..Account::default()
            };
            let Seen { accounts, largest, .. } = recorder.ended();
            assert_eq!(largest, Some((path, 7)));
            assert_eq!(accounts, BTreeMap::from([(account.to_owned(), expected)]), "{folder}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_name_counts_once_whoever_tells_it() {
        let recorder = Recorder::new(1);
        for folder in ["joe/inbox", "j\u{f6}\u{1b}", ""] {
            recorder.on(&Event::ListedIn { folder: folder.as_bytes(), files: 1, bytes: 1 });
        }
        let tell = |path: &str, text: &str| {
            recorder.on(&Event::Problem(&Problem {
                path: path.into(),
                remote: path.is_empty(),
                ..Problem::of_run(Severity::Partial, text)
            }));
        };
        tell("joe/inbox/1", "it is in motion");
        tell("", "bascule: joe/inbox/1: its content did not match");
        tell("", "bascule: joe/inbox/2: it could not be written: no");
        tell("", "bascule: jö\\x1b/3: it could not be written");
        tell("", "bascule: nothing is deleted: the source has no files");
        tell("", "bascule: unknown/1: no");
        tell("", "rsync: [receiver] mkstemp \"/joe/inbox/.4.x\" failed: no");
        let accounts = recorder.ended().accounts;
        let failed: Vec<u64> = accounts.values().map(|account| account.failed).collect();
        assert_eq!((accounts.len(), &failed[..]), (3, &[0, 2, 1][..]), "{accounts:?}");
    }

    #[test]
    fn a_new_attempt_lists_again() {
        let recorder = Recorder::new(1);
        let listed = Event::ListedIn { folder: b"joe", files: 3, bytes: 30 };
        recorder.on(&listed);
        recorder.on(&Event::Deleted { path: b"joe/1", kind: Kind::File });
        recorder.start_over();
        recorder.on(&listed);
        let accounts = recorder.ended().accounts;
        assert_eq!((accounts["joe"].files_listed, accounts["joe"].deleted), (3, 1));
    }
}
