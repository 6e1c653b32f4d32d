//! A daemon's `refuse options`: which options of a client a module turns down (rsyncd.conf).

use super::Direction;
use super::server::ServerCommand;
use super::table::{self, ARCHIVE, OptionRow};

/// The words of a `refuse options` line.
///
/// A word is a long name, a letter or a wildcard; `!` in front of it accepts again. Later words
/// override earlier ones. Options without which no transfer works are out of a wildcard's reach.
/// `a` or `archive`, spelled out, stands for everything that it implies, and `delete` also
/// refuses `remove-source-files` of a client that pulls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefuseList {
    words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    accept: bool,
    pattern: String,
    wild: bool,
}

/// The first option of `command` that the words of `refuse options` refuse, as
/// [`RefuseList::refused`] names it.
pub fn refused_option(words: &[String], command: &ServerCommand) -> Option<String> {
    RefuseList::parse(&words.join(" ")).refused(command)
}

impl RefuseList {
    /// Reads the value of the parameter; whitespace separates the words.
    pub fn parse(text: &str) -> Self {
        let word = |text: &str| {
            let pattern = text.strip_prefix('!').unwrap_or(text);
            Word {
                accept: pattern.len() < text.len(),
                pattern: pattern.to_owned(),
                wild: pattern.contains(['*', '?', '[']),
            }
        };
        Self { words: text.split_whitespace().map(word).collect() }
    }

    /// Words that match no option, which a configuration check should report.
    pub fn unmatched(&self) -> Vec<&str> {
        let matches = |word: &&Word| {
            let hit = |row| word.matches(row, Direction::Pull);
            !table::options().iter().any(hit)
        };
        self.words.iter().filter(matches).map(|word| word.pattern.as_str()).collect()
    }

    /// The first option of the command that is refused, as `--checksum (-c)`.
    pub fn refused(&self, command: &ServerCommand) -> Option<String> {
        command
            .used
            .iter()
            .filter_map(|name| table::by_long(name))
            .find(|row| self.refuses(row, command.direction))
            .map(OptionRow::display)
    }

    fn refuses(&self, row: &OptionRow, direction: Direction) -> bool {
        let last = self.words.iter().rfind(|word| word.matches(row, direction));
        last.is_some_and(|word| !word.accept)
    }
}

impl Word {
    fn matches(&self, row: &OptionRow, direction: Direction) -> bool {
        let letter = row.short.map(|letter| char::from(letter).to_string());
        if self.wild {
            let names = std::iter::once(row.long).chain(letter.as_deref());
            return row.wild
                && names.into_iter().any(|name| {
                    !name.is_empty() && glob(self.pattern.as_bytes(), name.as_bytes())
                });
        }
        let pattern = self.pattern.as_str();
        let named = pattern == row.long
            || letter.as_deref() == Some(pattern)
            || row.aliases.contains(&pattern);
        let through_archive = matches!(pattern, "a" | "archive") && ARCHIVE.contains(&row.long);
        // The letter D has no long name; its two parts have.
        let through_d = pattern == "D" && matches!(row.long, "devices" | "specials");
        let through_delete = pattern == "delete"
            && row.long == "remove-source-files"
            && direction == Direction::Pull;
        named || through_archive || through_d || through_delete
    }
}

/// Matches `*`, `?` and `[set]` (with `!` or `^` and ranges) against a whole name.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on after the last `*`: its rest, and the name from where it takes one more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    let (mut pattern, mut name) = (pattern, name);
    loop {
        if let [b'*', rest @ ..] = pattern {
            retry = Some((rest, name));
            pattern = rest;
            continue;
        }
        match (one(pattern, name.first().copied()), name) {
            (Some(rest), [_, after @ ..]) => (pattern, name) = (rest, after),
            (None, []) if pattern.is_empty() => return true,
            _ => match retry {
                Some((rest, [_, after @ ..])) => {
                    retry = Some((rest, after));
                    (pattern, name) = (rest, after);
                }
                _ => return false,
            },
        }
    }
}

/// Matches the first element of a pattern against one byte; the rest of the pattern on success.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', set @ ..] => {
            let (negated, set) = match set {
                [b'!' | b'^', set @ ..] => (true, set),
                _ => (false, set),
            };
            // A bracket in the first place is a member.
            let end = set.iter().skip(1).position(|&byte| byte == b']')? + 1;
            let (members, rest) = set.split_at_checked(end)?;
            let ranged = members
                .windows(3)
                .any(|window| matches!(window, [from, b'-', to] if (from..=to).contains(&&byte)));
            let found = members.contains(&byte) || ranged;
            (found != negated).then_some(rest.get(1..).unwrap_or_default())
        }
        [literal, rest @ ..] if *literal == byte => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse_server_args;
    use proptest::prelude::*;

    fn refused(list: &str, arguments: &str) -> Option<String> {
        let line = format!("--server {arguments} . mod/");
        let arguments: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
        let command = parse_server_args(&arguments).expect("valid arguments");
        RefuseList::parse(list).refused(&command)
    }

    #[test]
    fn names_letters_and_implied_options_are_refused() {
        for (list, arguments, expected) in [
            ("", "-r --delete", None),
            ("delete", "-r --delete", Some("--delete")),
            ("delete", "-r --delete-before", Some("--delete")),
            ("delete", "-r --delete-excluded", Some("--delete")),
            ("delete-before", "-r --delete", None),
            ("delete-*", "-r --delete-after", Some("--delete-after")),
            ("delete-* !delete-during", "-r --delete-during", None),
            ("c delete", "-rc", Some("--checksum (-c)")),
            ("checksum", "-rc", Some("--checksum (-c)")),
            ("compress", "-r --new-compress", Some("--compress (-z)")),
            ("specials", "-rD", Some("--specials")),
            ("D", "-r --specials", Some("--specials")),
            ("log-format", "-r --log-format=%i", Some("--out-format")),
        ] {
            assert_eq!(refused(list, arguments).as_deref(), expected, "{list}: {arguments}");
        }
    }

    #[test]
    fn an_accept_list_starts_with_a_star() {
        let list = "* !a !v !compress* !delete !delete-during";
        for (arguments, expected) in [
            ("-logDtpre.iLsfxCIvu", None),
            ("-vnsrz --checksum-seed=4 --log-format=%i", None),
            ("-r --delete-during", None),
            ("-rH", Some("--hard-links (-H)")),
            ("-r --delete-after", Some("--delete-after")),
            ("-r --timeout=4", Some("--timeout")),
        ] {
            assert_eq!(refused(list, arguments).as_deref(), expected, "{arguments}");
        }
        // A wildcard does not take along what archive implies.
        assert_eq!(refused("* !archive*", "-r").as_deref(), Some("--recursive (-r)"));
    }

    #[test]
    fn words_without_an_option_are_named() {
        let list = RefuseList::parse("delete !nosuch z* [xyz] remove-sent-files qq*");
        assert_eq!(list.unmatched(), ["nosuch", "qq*"]);
    }

    #[test]
    fn wildcards_match_whole_names() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("d*e", "delete", true),
            ("d*x", "delete", false),
            ("*le*e", "delete", true),
            ("d?lete", "delete", true),
            ("[a-d]elete", "delete", true),
            ("[!a-d]elete", "delete", false),
            ("[]d]elete", "delete", true),
            ("[d", "d", false),
            ("delete", "delete-after", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), matches, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_patterns_end(pattern in "[a*?!^\\[\\]-]{0,12}", name in "[ab-]{0,12}") {
            glob(pattern.as_bytes(), name.as_bytes());
        }
    }
}
