//! What a client can do, as letters behind `-e` (since 30, §2.1).

use super::Direction;
use crate::options::{DeleteTiming, Options};

/// The letters in the order in which they are sent.
const LETTERS: [u8; 9] = *b"iLsfxCIvu";

/// A set of capability letters. Letters that are not known are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// Can do incremental recursion in this run.
    pub const INC_RECURSE: u8 = b'i';
    /// Can set the times of symlinks.
    pub const SYMLINK_TIMES: u8 = b'L';
    /// Knows symlink conversion.
    pub const SYMLINK_ICONV: u8 = b's';
    /// Reads error bits at the end of a list.
    pub const SAFE_FLIST: u8 = b'f';
    /// Does not want the xattr hard-link optimisation.
    pub const AVOID_XATTR_OPTIM: u8 = b'x';
    /// Knows the corrected order of seed and data in block sums.
    pub const CHECKSUM_SEED_FIX: u8 = b'C';
    /// Combines `--inplace` with a partial-dir.
    pub const INPLACE_PARTIAL_DIR: u8 = b'I';
    /// Reads varint file flags and negotiates names.
    pub const VARINT_FLIST_FLAGS: u8 = b'v';
    /// Sends the names of id 0.
    pub const ID0_NAMES: u8 = b'u';

    /// What this build announces as a client. `incremental` is whether the caller can do
    /// incremental recursion at all; the options of the run may still rule it out.
    pub fn ours(options: &Options, direction: Direction, incremental: bool) -> Self {
        let mut capabilities = Self::default();
        for letter in LETTERS {
            capabilities.insert(letter);
        }
        if !incremental || !may_recurse_incrementally(options, direction == Direction::Pull) {
            capabilities.remove(Self::INC_RECURSE);
        }
        capabilities
    }

    /// Reads the value of `-e`: `.` or a pre-release number, then letters. Anything else, such as
    /// a remote shell's name, has no letters.
    pub fn parse(value: &[u8]) -> Self {
        let mut capabilities = Self::default();
        let version = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if let Some((b'.', rest)) = value.get(version..).and_then(<[u8]>::split_first) {
            for &letter in rest {
                capabilities.insert(letter);
            }
        }
        capabilities
    }

    /// The value of `-e`.
    pub fn format(self) -> String {
        let letters = LETTERS.into_iter().filter(|&letter| self.has(letter));
        std::iter::once(b'.').chain(letters).map(char::from).collect()
    }

    /// Whether the letter is in the set.
    pub fn has(self, letter: u8) -> bool {
        self.0 & bit(letter) != 0
    }

    /// Adds a letter.
    pub fn insert(&mut self, letter: u8) {
        self.0 |= bit(letter);
    }

    /// Removes a letter.
    pub fn remove(&mut self, letter: u8) {
        self.0 &= !bit(letter);
    }
}

/// Whether the options allow incremental recursion; `receives` tells whether the end that asks
/// is the receiving side, which some of them bind.
pub(crate) fn may_recurse_incrementally(options: &Options, receives: bool) -> bool {
    let needs_whole_list = options.delay_updates
        || options.prune_empty_dirs
        || matches!(options.delete, Some(DeleteTiming::Before | DeleteTiming::After));
    options.recurse && !options.no_inc_recursive && !(receives && needs_whole_list)
}

fn bit(letter: u8) -> u16 {
    LETTERS.iter().position(|&known| known == letter).map_or(0, |at| 1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_every_age_are_read() {
        for (value, formatted) in [
            (&b".iLsfxCIvu"[..], ".iLsfxCIvu"),
            (b".iL", ".iL"),
            (b"31.14uvI?", ".Ivu"),
            (b"", "."),
            (b"ssh", "."),
        ] {
            assert_eq!(Capabilities::parse(value).format(), formatted);
        }
    }

    #[test]
    fn incremental_recursion_depends_on_the_run() {
        let ours = |options: &Options, direction, incremental| {
            Capabilities::ours(options, direction, incremental).has(Capabilities::INC_RECURSE)
        };
        let archive = Options::archive();
        let pruning = Options { prune_empty_dirs: true, ..Options::archive() };
        assert!(ours(&archive, Direction::Pull, true));
        assert!(!ours(&archive, Direction::Pull, false));
        assert!(!ours(&Options::default(), Direction::Pull, true));
        assert!(!ours(&pruning, Direction::Pull, true));
        assert!(ours(&pruning, Direction::Push, true));
    }
}
