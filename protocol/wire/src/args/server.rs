//! Reads the argument list of a client (§2.2), in any order and in both forms of a value.

use super::table::{self, Action, OptionRow};
use super::{Capabilities, Direction};
use crate::options::{DeleteTiming, Options};
use crate::shown;

/// What a client asks a server for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand {
    /// Which way the files go.
    pub direction: Direction,
    /// The options.
    pub options: Options,
    /// What the client can do; empty before protocol 30.
    pub capabilities: Capabilities,
    /// The arguments after `.`, as sent: with the module's name and the user's wildcards.
    pub paths: Vec<Vec<u8>>,
    /// Whether a delete option named its time. Otherwise deletion is during the transfer since
    /// protocol 30 and before it with older clients (§15.1).
    pub delete_timing_explicit: bool,
    /// How much the client wants itemized: 1 for `--log-format=%i`, 2 for `%i%I`, else 0.
    pub log_format_itemize: u8,
    /// The value of `--log-format`.
    pub log_format: Option<Vec<u8>>,
    /// The options used or implied, by rsync's long names, for `refuse options`.
    pub used: Vec<&'static str>,
}

impl ServerCommand {
    fn new() -> Self {
        Self {
            direction: Direction::Push,
            options: Options::default(),
            capabilities: Capabilities::default(),
            paths: Vec::new(),
            delete_timing_explicit: false,
            log_format_itemize: 0,
            log_format: None,
            used: Vec::new(),
        }
    }

    /// What can be said of a list that is refused: everything in it that is understood. The rest
    /// of the setup depends on it, and the refusal travels in-band after that.
    pub fn unusable(arguments: &[Vec<u8>]) -> Self {
        let mut parser = Parser::new();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            // What is wrong has been said already; the rest still counts.
            drop(parser.argument(argument, &mut || arguments.next()));
        }
        parser.command
    }

    /// Turns deletion on at a time that the client named.
    pub(super) fn delete_at(&mut self, timing: DeleteTiming) {
        self.options.delete = Some(timing);
        self.delete_timing_explicit = true;
    }

    /// Turns deletion on; a time already named stays.
    pub(super) fn delete(&mut self) {
        self.options.delete.get_or_insert_default();
    }

    pub(super) fn set_capabilities(&mut self, value: &[u8]) -> Result<(), &'static str> {
        self.capabilities = Capabilities::parse(value);
        Ok(())
    }

    pub(super) fn set_log_format(&mut self, value: &[u8]) -> Result<(), &'static str> {
        let has = |code: &[u8]| value.windows(2).any(|window| window == code);
        self.log_format_itemize = match (has(b"%i"), has(b"%I")) {
            (true, true) => 2,
            (true, false) => 1,
            (false, _) => 0,
        };
        self.options.itemize = self.log_format_itemize;
        self.log_format = Some(value.to_vec());
        Ok(())
    }

    fn note(&mut self, row: &'static OptionRow) {
        for name in std::iter::once(&row.long).chain(row.implies) {
            if !name.is_empty() && !self.used.contains(name) {
                self.used.push(name);
            }
        }
    }
}

/// Why an argument list is refused. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// No version of rsync has this option, as far as this build knows.
    #[error("unknown option {0}")]
    Unknown(String),
    /// An option of rsync's that this build does not carry out.
    #[error("this server does not support {0}")]
    Unsupported(String),
    /// An option with a wrong value, or a list of the wrong shape.
    #[error("wrong argument {argument}: {detail}")]
    Invalid {
        /// The argument, printable.
        argument: String,
        /// What is wrong with it.
        detail: &'static str,
    },
}

impl ArgError {
    /// The exit code of a run that is refused for it (§16).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unsupported(_) => 4,
            Self::Unknown(_) | Self::Invalid { .. } => 1,
        }
    }
}

/// Whether this first list announces secluded arguments: a second list follows (§2.7).
pub fn is_secluded(arguments: &[Vec<u8>]) -> bool {
    let options = arguments.iter().take_while(|argument| argument != &b".");
    options.into_iter().any(|argument| match argument.as_slice() {
        [b'-', b'-', name @ ..] => std::str::from_utf8(name)
            .ok()
            .and_then(table::by_long)
            .is_some_and(|row| row.short == Some(b's')),
        [b'-', letters @ ..] => {
            letters.iter().take_while(|&&letter| letter != b'e').any(|&letter| letter == b's')
        }
        _ => false,
    })
}

/// Puts the two lists of secluded arguments together; the second begins with a program's name.
pub fn join_secluded(mut first: Vec<Vec<u8>>, second: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    first.extend(second.into_iter().skip(1));
    first
}

/// Reads a list whose backslashes are already removed (`unescape_options`).
///
/// # Errors
/// [`ArgError`]; the first argument that is wrong decides.
pub fn parse_server_args(arguments: &[Vec<u8>]) -> Result<ServerCommand, ArgError> {
    let mut parser = Parser::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        parser.argument(argument, &mut || arguments.next())?;
    }
    parser.finish()
}

/// Takes the argument after the current one.
type Next<'f, 'a> = dyn FnMut() -> Option<&'a Vec<u8>> + 'f;

struct Parser {
    command: ServerCommand,
    is_server: bool,
    seen_dot: bool,
}

impl Parser {
    fn new() -> Self {
        Self { command: ServerCommand::new(), is_server: false, seen_dot: false }
    }

    fn argument(&mut self, argument: &[u8], next: &mut Next<'_, '_>) -> Result<(), ArgError> {
        match argument {
            path if self.seen_dot => self.command.paths.push(path.to_vec()),
            b"." => self.seen_dot = true,
            [b'-', b'-', long @ ..] => self.long(long, next)?,
            [b'-', letters @ ..] if !letters.is_empty() => self.letters(letters, next)?,
            _ => return Err(invalid(argument, "an option or \".\" belongs here")),
        }
        Ok(())
    }

    fn long(&mut self, argument: &[u8], next: &mut Next<'_, '_>) -> Result<(), ArgError> {
        let border = argument.iter().position(|&byte| byte == b'=');
        let (name, value) = match border.and_then(|at| argument.split_at_checked(at)) {
            Some((name, value)) => (name, value.get(1..)),
            None => (argument, None),
        };
        let row = std::str::from_utf8(name)
            .ok()
            .and_then(table::by_long)
            .ok_or_else(|| ArgError::Unknown(format!("--{}", shown(name))))?;
        self.apply(row, value.map(<[u8]>::to_vec), next)
    }

    fn letters(&mut self, letters: &[u8], next: &mut Next<'_, '_>) -> Result<(), ArgError> {
        let mut rest = letters;
        // The letters after a wrong one still count for `ServerCommand::unusable`.
        let mut result = Ok(());
        while let Some((&letter, after)) = rest.split_first() {
            rest = after;
            let Some(row) = table::by_short(letter) else {
                let name = format!("-{}", letter.escape_ascii());
                result = result.and(Err(ArgError::Unknown(name)));
                continue;
            };
            let mut value = None;
            if matches!(row.action, Action::Value(_)) && !after.is_empty() {
                // The rest of the string is the value.
                value = Some(std::mem::take(&mut rest).to_vec());
            }
            result = result.and(self.apply(row, value, next));
        }
        result
    }

    fn apply(
        &mut self,
        row: &'static OptionRow,
        value: Option<Vec<u8>>,
        next: &mut Next<'_, '_>,
    ) -> Result<(), ArgError> {
        if !row.supported {
            if let (Action::Value(_), None) = (row.action, &value) {
                next();
            }
            return Err(ArgError::Unsupported(row.display()));
        }
        match row.long {
            "server" => self.is_server = true,
            "sender" => self.command.direction = Direction::Pull,
            _ => {}
        }
        self.command.note(row);
        match (row.action, value) {
            (Action::Flag(set), None) => set(&mut self.command),
            (Action::Flag(_), Some(_)) => {
                return Err(invalid(row.display().as_bytes(), "it takes no value"));
            }
            (Action::Value(set), value) => {
                let missing = || invalid(row.display().as_bytes(), "its value is missing");
                let value = value.or_else(|| next().cloned()).ok_or_else(missing)?;
                set(&mut self.command, &value).map_err(|detail| {
                    let text = [row.display().as_bytes(), b" ", &value].concat();
                    invalid(&text, detail)
                })?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<ServerCommand, ArgError> {
        if !self.is_server {
            return Err(invalid(b"list", "--server is missing"));
        }
        if self.command.paths.is_empty() {
            return Err(invalid(b"list", "\".\" and a path are missing"));
        }
        let mut command = self.command;
        let options = &mut command.options;
        if options.backup && options.backup_dir.is_none() {
            return Err(ArgError::Unsupported("--backup (-b) without --backup-dir".to_owned()));
        }
        options.delay_guarded_deletions();
        Ok(command)
    }
}

fn invalid(argument: &[u8], detail: &'static str) -> ArgError {
    ArgError::Invalid { argument: shown(argument).to_string(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{ArgsDecoder, encode_client_args, unescape_options};
    use crate::decode::testing::decode_both_ways;
    use crate::names::{ChecksumName, CompressName};
    use crate::options::DeleteGuard;
    use crate::version::Version;
    use proptest::prelude::*;

    fn list(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.into()).collect()
    }

    fn parsed(line: &str) -> Result<ServerCommand, ArgError> {
        parse_server_args(&list(line))
    }

    #[test]
    fn recorded_lists_are_understood() -> Result<(), ArgError> {
        let command =
            parsed("--server --sender -vvlogDtprze.iLsfxCIvu --timeout=33 . mod/./a mod/b")?;
        assert_eq!(command.direction, Direction::Pull);
        assert_eq!(command.paths, [&b"mod/./a"[..], b"mod/b"]);
        assert_eq!(command.capabilities.format(), ".iLsfxCIvu");
        let expected = Options { verbose: 2, compress: true, timeout: 33, ..Options::archive() };
        assert_eq!(command.options, expected);

        let command = parsed("--server -ltpr --delete . mod/")?;
        assert_eq!(command.direction, Direction::Push);
        assert_eq!(command.capabilities, Capabilities::default());
        assert!(command.options.deletes() && !command.delete_timing_explicit);
        assert_eq!(command.used, ["server", "links", "times", "perms", "recursive", "delete"]);
        Ok(())
    }

    #[test]
    fn values_come_in_every_form() -> Result<(), ArgError> {
        for line in [
            "--server --temp-dir=x_y -B800 -@-1 . m/",
            "--server --temp-dir x_y --block-size 800 --modify-window=-1 . m/",
            "--server -T x_y -B 800 -@ -1 . m/",
        ] {
            let options = parsed(line)?.options;
            assert_eq!(options.temp_dir.as_deref(), Some(&b"x_y"[..]));
            assert_eq!(options.block_size, Some(800));
            assert_eq!(options.modify_window, -1);
        }
        let command = parsed("--server --partial-dir . -r . .")?;
        assert_eq!(command.options.partial_dir.as_deref(), Some(&b"."[..]));
        assert_eq!(command.paths, [b"."]);
        Ok(())
    }

    #[test]
    fn single_options_mean_what_they_say() -> Result<(), ArgError> {
        let options = |text: &str| parsed(&format!("--server {text} . m/")).map(|c| c.options);
        assert_eq!(options("--max-delete=-1")?.max_delete, Some(0));
        assert_eq!(options("--max-size=1.5k")?.max_size, Some(1536));
        assert_eq!(options("--bwlimit=5")?.bwlimit, 5);
        assert_eq!(options("--bwlimit=10b")?.bwlimit, 1);
        assert_eq!(options("--new-compress")?.compress_choice, Some(CompressName::Zlibx));
        assert!(!options("-z --compress-choice=none")?.compress);
        assert!(!options("-D --no-specials")?.specials);
        let choice = options("--checksum-choice=xxhash,md5")?.checksum_choice;
        let names = choice.map(|choice| (choice.transfer, choice.list));
        assert_eq!(names, Some((ChecksumName::Xxh64, ChecksumName::Md5)));
        assert_eq!(options("--checksum-choice=auto")?.checksum_choice, None);
        let both = options("--delete-after --delete")?;
        assert_eq!(both.delete, Some(DeleteTiming::After));
        let guarded = options("--delete --bascule-delete-guard=10,100,2000")?;
        let guard = DeleteGuard { percent: 10, names: 100, allowed: Some(2000) };
        assert_eq!(
            (guarded.delete_guard, guarded.delete),
            (Some(guard), Some(DeleteTiming::Delay))
        );
        for text in [
            "--msgs2stderr",
            "--no-msgs2stderr",
            "--info=progress2",
            "--debug=all",
            "--use-qsort",
            "--max-alloc=2g",
            "--skip-compress=gz",
            "--outbuf=L",
            "--open-noatime",
            "--no-W",
            "--no-r",
            "--no-relative",
            "--log-format=X",
        ] {
            assert!(options(text).is_ok(), "{text}");
        }
        let format = |value: &str| parsed(&format!("--server --log-format={value} . m/"));
        assert_eq!(format("%i")?.log_format_itemize, 1);
        assert_eq!(format("%i%I")?.options.itemize, 2);
        assert_eq!(format("%o")?.log_format_itemize, 0);
        Ok(())
    }

    #[test]
    fn what_is_not_carried_out_is_refused_by_name() {
        for option in [
            "-b",
            "--suffix=x -b",
            "-y",
            "-A",
            "-X",
            "-U",
            "-N",
            "-R",
            "-C",
            "-k",
            "-K",
            "--append",
            "--compare-dest=x",
            "--copy-dest",
            "--link-dest=x",
            "--iconv=utf8",
            "--files-from=-",
            "--from0",
            "--remove-source-files",
            "--remove-sent-files",
            "--usermap=a:b",
            "--super",
            "--groupmap=a:b",
            "--chown=a",
            "--copy-devices",
            "--write-devices",
            "--fake-super",
            "--only-write-batch=x",
            "--copy-unsafe-links",
            "--no-implied-dirs",
            "--preallocate",
            "--stop-at=1",
            "--delete-missing-args",
            "--ignore-missing-args",
        ] {
            let error = parsed(&format!("--server {option} . m/")).expect_err(option);
            assert!(matches!(error, ArgError::Unsupported(_)), "{option}: {error}");
        }
        assert_eq!(
            parsed("--server -rb . m/"),
            Err(ArgError::Unsupported("--backup (-b) without --backup-dir".to_owned()))
        );
    }

    #[test]
    fn wrong_lists_are_refused() {
        for line in [
            "--server --nosuch . m/",
            "--server --compress-threads=256 . m/",
            "--server -rw . m/",
            "--server --delete=x . m/",
            "--server --timeout",
            "--server --timeout=-1 . m/",
            "--server --timeout=x . m/",
            "--server --block-size=131073 . m/",
            "--server --checksum-choice=crc . m/",
            "--server --temp-dir= . m/",
            "--server --backup-dir=x --suffix=a/b . m/",
            "--server --bascule-delete-guard=101,5 . m/",
            "--server --bascule-delete-guard=5 . m/",
            "--server --bascule-delete-guard=5,6,7,8 . m/",
            "--server stray . m/",
            "--server - . m/",
            "--server -r .",
            "-r . m/",
            "",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        let error = parse_server_args(&[b"--server".to_vec(), b"--\x1b[2J".to_vec()]);
        assert!(!error.expect_err("unknown").to_string().contains('\x1b'));
    }

    #[test]
    fn a_refused_list_still_tells_what_the_setup_needs() {
        for line in [
            "--server --sender -ryze.iLsfxCIvu --checksum-choice=md5 . m/",
            "--server --sender -r9ze.iLsfxCIvu --link-dest -x --checksum-choice=md5 . m/",
            "--server --sender --nosuch=1 --timeout=x -ze.iLsfxCIvu --checksum-choice=md5",
        ] {
            assert!(parsed(line).is_err());
            let command = ServerCommand::unusable(&list(line));
            assert_eq!(command.direction, Direction::Pull);
            assert!(command.options.compress && command.options.checksum_choice.is_some());
            assert_eq!(command.capabilities.format(), ".iLsfxCIvu", "{line}");
        }
    }

    #[test]
    fn secluded_lists_are_joined() -> Result<(), ArgError> {
        let first = list("--server --sender -stre.iLsfxCIvu");
        assert!(is_secluded(&first));
        assert!(!is_secluded(&list("--server -tre.iLsfxCIvu . s")));
        assert!(!is_secluded(&list("--server --sender -r . -s")));
        let second = [&b"rsync"[..], b"--safe-links", b".", b"mod/a\\b"].map(<[u8]>::to_vec);
        let command = parse_server_args(&join_secluded(first, second.to_vec()))?;
        assert!(command.options.safe_links && command.options.recurse);
        assert_eq!(command.paths, [b"mod/a\\b"]);
        Ok(())
    }

    /// Options that a push carries over completely.
    fn any_options() -> impl Strategy<Value = Options> {
        let flags = any::<[bool; 24]>();
        let numbers = (any::<u32>(), 0_u64..1 << 40, any::<i32>(), 0_u8..4, 0_usize..4);
        let path = proptest::option::of(proptest::collection::vec(1_u8.., 1..20));
        (flags, numbers, path).prop_map(|(flags, numbers, path)| {
            let mut flags = flags.into_iter();
            let mut next = || flags.next().unwrap_or_default();
            let (small, large, signed, few, timing) = numbers;
            let mut options = Options {
                recurse: next(),
                prune_empty_dirs: next(),
                links: next(),
                owner: next(),
                group: next(),
                devices: next(),
                specials: next(),
                times: next(),
                omit_dir_times: next(),
                perms: next(),
                numeric_ids: next(),
                checksum: next(),
                ignore_times: next(),
                size_only: next(),
                update: next(),
                compress: next(),
                sparse: next(),
                inplace: next(),
                delay_updates: next(),
                mkpath: next(),
                force: next(),
                dry_run: next(),
                quiet: next(),
                stats: next(),
                ..Options::default()
            };
            options.hard_links = few.min(2);
            options.verbose = few;
            options.timeout = small;
            options.max_size = Some(large);
            options.max_delete = Some(large / 2);
            options.bwlimit = large / 4;
            options.modify_window = signed;
            options.checksum_seed = Some(signed);
            options.partial = path.is_some() || options.delay_updates;
            options.partial_dir.clone_from(&path);
            options.backup = path.is_some();
            options.backup_dir.clone_from(&path);
            if path.is_some() {
                options.suffix = format!(".{small}");
            }
            options.trash_days = Some(small);
            options.temp_dir = path;
            let percent = few * 30;
            options.delete_guard =
                Some(DeleteGuard { percent, names: large, allowed: Some(large) })
                    .filter(|_| options.force);
            let timings = [DeleteTiming::Before, DeleteTiming::Delay, DeleteTiming::After];
            options.delete = timings.get(timing).copied();
            options
        })
    }

    proptest! {
        #[test]
        fn what_a_client_sends_is_read_back(options in any_options(), secluded: bool) {
            let options = Options { secluded_args: secluded, ..options };
            let paths = [b"mod/".to_vec()];
            let capabilities = Capabilities::ours(&options, Direction::Push, true);
            let version = Version::NEWEST;
            let sent = encode_client_args(&options, Direction::Push, &paths, capabilities, version)
                .expect("no separators");
            let mut lists = decode_both_ways(|| ArgsDecoder::new(version), &sent).into_iter();
            let mut list = lists.next().expect("a list");
            prop_assert_eq!(is_secluded(&list), secluded);
            match lists.next() {
                Some(second) => list = join_secluded(list, second),
                None => unescape_options(&mut list),
            }
            let command = parse_server_args(&list).expect("our own list");
            prop_assert_eq!(command.options, options);
            prop_assert_eq!(command.capabilities, capabilities);
        }

        #[test]
        fn arbitrary_lists_never_panic(list: Vec<Vec<u8>>) {
            let _ = parse_server_args(&list);
            let mut list = [vec![b"--server".to_vec()], list].concat();
            is_secluded(&list);
            unescape_options(&mut list);
            let _ = parse_server_args(&list);
            ServerCommand::unusable(&list);
        }
    }
}
