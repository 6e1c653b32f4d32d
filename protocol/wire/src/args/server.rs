//! Reads the argument list of a client.

use super::{Capabilities, Direction};
use crate::names::{ChecksumName, CompressName};
use crate::options::{ChecksumChoice, DeleteTiming, Options};

/// What a client asks a server for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand {
    /// Which way the files go.
    pub direction: Direction,
    /// The options.
    pub options: Options,
    /// What the client can do.
    pub capabilities: Capabilities,
    /// The paths behind the `.`.
    pub paths: Vec<Vec<u8>>,
    /// The long names of all options used, for `refuse options`.
    pub used: Vec<&'static str>,
}

impl ServerCommand {
    /// What can be said of a list that is not understood: enough to answer it in-band.
    pub fn unusable(args: &[Vec<u8>]) -> Self {
        let mut command = Self::empty();
        for arg in args {
            if arg == b"--sender" {
                command.direction = Direction::Pull;
            }
            if let Some(letters) = arg.strip_prefix(b"-").filter(|rest| !rest.starts_with(b"-"))
                && let Some(at) = letters.iter().position(|letter| *letter == b'e')
            {
                command.capabilities = Capabilities::parse(&letters[at + 1..]);
            }
        }
        command
    }

    fn empty() -> Self {
        Self {
            direction: Direction::Push,
            options: Options::default(),
            capabilities: Capabilities::default(),
            paths: Vec::new(),
            used: Vec::new(),
        }
    }
}

/// Why an argument list cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// No rsync knows the option.
    #[error("{0}: unknown option")]
    Unknown(String),
    /// Rsync knows the option; this build does not carry it out.
    #[error("{0}: this server does not support the option")]
    Unsupported(String),
    /// The option's value makes no sense.
    #[error("{0}: invalid value")]
    Invalid(String),
}

impl ArgError {
    /// Rsync's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unsupported(_) => 4,
            Self::Unknown(_) | Self::Invalid(_) => 1,
        }
    }
}

/// Whether the list is only the first of two (`-s`).
pub fn is_secluded(args: &[Vec<u8>]) -> bool {
    args.iter().any(|arg| {
        arg.strip_prefix(b"-").filter(|rest| !rest.starts_with(b"-")).is_some_and(|letters| {
            letters.split(|letter| *letter == b'e').next().is_some_and(|own| own.contains(&b's'))
        })
    })
}

/// Puts the two lists of secluded args together.
pub fn join_secluded(mut first: Vec<Vec<u8>>, second: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    first.extend(second.into_iter().skip(1));
    first
}

/// Takes one level of backslashes off the arguments before the `.` (§2.7).
pub fn unescape_options(args: &mut [Vec<u8>]) {
    for arg in args.iter_mut().take_while(|arg| **arg != b".") {
        let mut plain = Vec::with_capacity(arg.len());
        let mut bytes = arg.iter();
        while let Some(byte) = bytes.next() {
            plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
        }
        *arg = plain;
    }
}

/// Takes the module's name off the paths.
pub fn strip_module(paths: &mut [Vec<u8>], module: &[u8]) {
    for path in paths {
        if let Some(rest) = path.strip_prefix(module)
            && matches!(rest.first(), None | Some(b'/'))
        {
            *path = rest.strip_prefix(b"/").unwrap_or(rest).to_vec();
        }
    }
}

/// Parses an argument list.
///
/// # Errors
/// [`ArgError`] for the first option that cannot be carried out.
pub fn parse_server_args(args: &[Vec<u8>]) -> Result<ServerCommand, ArgError> {
    let mut command = ServerCommand::empty();
    let mut rest = args.iter();
    let mut after_dot = false;
    while let Some(arg) = rest.next() {
        if after_dot {
            command.paths.push(arg.clone());
        } else if arg == b"." {
            after_dot = true;
        } else if let Some(long) = arg.strip_prefix(b"--") {
            long_option(&mut command, long, &mut rest)?;
        } else if let Some(letters) = arg.strip_prefix(b"-") {
            short_options(&mut command, letters)?;
        } else {
            return Err(ArgError::Unknown(text(arg)));
        }
    }
    let options = &mut command.options;
    options.partial |= options.partial_dir.is_some() || options.delay_updates;
    Ok(command)
}

fn short_options(command: &mut ServerCommand, letters: &[u8]) -> Result<(), ArgError> {
    let options = &mut command.options;
    for (at, letter) in letters.iter().enumerate() {
        let used = match letter {
            b'e' => {
                command.capabilities = Capabilities::parse(&letters[at + 1..]);
                return Ok(());
            }
            b'B' | b'@' => {
                let invalid = || ArgError::Invalid(format!("-{}", text(letters)));
                let value = std::str::from_utf8(&letters[at + 1..]).map_err(|_| invalid())?;
                if *letter == b'B' {
                    options.block_size = Some(value.parse().map_err(|_| invalid())?);
                    command.used.push("block-size");
                } else {
                    options.modify_window = value.parse().map_err(|_| invalid())?;
                    command.used.push("modify-window");
                }
                return Ok(());
            }
            b's' => {
                options.secluded_args = true;
                "secluded-args"
            }
            b'v' => {
                options.verbose = options.verbose.saturating_add(1);
                "verbose"
            }
            b'q' => {
                options.quiet = true;
                "quiet"
            }
            b'u' => {
                options.update = true;
                "update"
            }
            b'n' => {
                options.dry_run = true;
                "dry-run"
            }
            b'l' => {
                options.links = true;
                "links"
            }
            b'd' => {
                options.dirs = true;
                "dirs"
            }
            b'm' => {
                options.prune_empty_dirs = true;
                "prune-empty-dirs"
            }
            b'O' => {
                options.omit_dir_times = true;
                "omit-dir-times"
            }
            b'J' => {
                options.omit_link_times = true;
                "omit-link-times"
            }
            b'L' => {
                options.copy_links = true;
                "copy-links"
            }
            b'W' => {
                options.whole_file = Some(true);
                "whole-file"
            }
            b'H' => {
                options.hard_links = options.hard_links.saturating_add(1);
                "hard-links"
            }
            b'o' => {
                options.owner = true;
                "owner"
            }
            b'g' => {
                options.group = true;
                "group"
            }
            b'D' => {
                options.devices = true;
                options.specials = true;
                "devices"
            }
            b't' => {
                options.times = true;
                "times"
            }
            b'p' => {
                options.perms = true;
                "perms"
            }
            b'E' => {
                options.executability = true;
                "executability"
            }
            b'r' => {
                options.recurse = true;
                "recursive"
            }
            b'c' => {
                options.checksum = true;
                "checksum"
            }
            b'I' => {
                options.ignore_times = true;
                "ignore-times"
            }
            b'x' => {
                options.one_file_system = options.one_file_system.saturating_add(1);
                "one-file-system"
            }
            b'S' => {
                options.sparse = true;
                "sparse"
            }
            b'z' => {
                options.compress = true;
                "compress"
            }
            b'b' | b'K' | b'k' | b'y' | b'U' | b'N' | b'A' | b'X' | b'C' | b'R' => {
                return Err(ArgError::Unsupported(format!("-{}", char::from(*letter))));
            }
            other => {
                return Err(ArgError::Unknown(format!("-{}", char::from(*other).escape_default())));
            }
        };
        command.used.push(used);
    }
    Ok(())
}

fn long_option<'a>(
    command: &mut ServerCommand,
    long: &[u8],
    rest: &mut impl Iterator<Item = &'a Vec<u8>>,
) -> Result<(), ArgError> {
    let (name, given) = match long.iter().position(|byte| *byte == b'=') {
        Some(at) => (&long[..at], Some(long[at + 1..].to_vec())),
        None => (long, None),
    };
    let shown = format!("--{}", text(name));
    let invalid = || ArgError::Invalid(shown.clone());
    let mut bytes = || given.clone().or_else(|| rest.next().cloned()).ok_or_else(invalid);
    let mut word = || String::from_utf8(bytes()?).map_err(|_| invalid());
    let options = &mut command.options;
    let used = match name {
        b"server" => return Ok(()),
        b"sender" => {
            command.direction = Direction::Pull;
            return Ok(());
        }
        b"list-only" => {
            options.list_only = true;
            "list-only"
        }
        b"log-format" => {
            let format = word()?;
            options.itemize = match (format.contains("%i"), format.contains("%I")) {
                (_, true) => 2,
                (true, _) => 1,
                _ => 0,
            };
            "log-format"
        }
        b"timeout" => {
            options.timeout = word()?.parse().map_err(|_| invalid())?;
            "timeout"
        }
        b"bwlimit" => {
            options.bwlimit = word()?.parse().map_err(|_| invalid())?;
            "bwlimit"
        }
        b"block-size" => {
            options.block_size = Some(word()?.parse().map_err(|_| invalid())?);
            "block-size"
        }
        b"checksum-choice" => {
            let value = word()?;
            let (transfer, list) = value.split_once(',').unwrap_or((&value, &value));
            let parse = |name| ChecksumName::parse(name).ok_or_else(invalid);
            options.checksum_choice =
                Some(ChecksumChoice { transfer: parse(transfer)?, list: parse(list)? });
            "checksum-choice"
        }
        b"compress-choice" => {
            options.compress = true;
            options.compress_choice = Some(CompressName::parse(&word()?).ok_or_else(invalid)?);
            "compress-choice"
        }
        b"new-compress" => {
            options.compress = true;
            options.compress_choice = Some(CompressName::Zlibx);
            "new-compress"
        }
        b"old-compress" => {
            options.compress = true;
            options.compress_choice = Some(CompressName::Zlib);
            "old-compress"
        }
        b"compress-level" => {
            options.compress_level = Some(word()?.parse().map_err(|_| invalid())?);
            "compress-level"
        }
        b"checksum-seed" => {
            options.checksum_seed = Some(word()?.parse().map_err(|_| invalid())?);
            "checksum-seed"
        }
        b"max-delete" => {
            let limit: i64 = word()?.parse().map_err(|_| invalid())?;
            options.max_delete = Some(u64::try_from(limit).unwrap_or(0));
            "max-delete"
        }
        b"min-size" => {
            options.min_size = Some(word()?.parse().map_err(|_| invalid())?);
            "min-size"
        }
        b"max-size" => {
            options.max_size = Some(word()?.parse().map_err(|_| invalid())?);
            "max-size"
        }
        b"delete" => {
            options.delete.get_or_insert(DeleteTiming::During);
            "delete"
        }
        b"delete-before" => {
            options.delete = Some(DeleteTiming::Before);
            "delete-before"
        }
        b"delete-during" => {
            options.delete = Some(DeleteTiming::During);
            "delete-during"
        }
        b"delete-delay" => {
            options.delete = Some(DeleteTiming::Delay);
            "delete-delay"
        }
        b"delete-after" => {
            options.delete = Some(DeleteTiming::After);
            "delete-after"
        }
        b"delete-excluded" => {
            options.delete.get_or_insert(DeleteTiming::During);
            options.delete_excluded = true;
            "delete-excluded"
        }
        b"modify-window" => {
            options.modify_window = word()?.parse().map_err(|_| invalid())?;
            "modify-window"
        }
        b"partial-dir" => {
            options.partial_dir = Some(bytes()?);
            "partial-dir"
        }
        b"temp-dir" => {
            options.temp_dir = Some(bytes()?);
            "temp-dir"
        }
        b"no-W" | b"no-whole-file" => {
            options.whole_file = Some(false);
            "no-whole-file"
        }
        b"no-r" => {
            options.recurse = false;
            "no-recursive"
        }
        b"specials" => {
            options.specials = true;
            "specials"
        }
        b"no-specials" => {
            options.specials = false;
            "no-specials"
        }
        b"info" | b"debug" | b"max-alloc" | b"skip-compress" | b"outbuf" => {
            word()?;
            return Ok(());
        }
        b"msgs2stderr" | b"no-msgs2stderr" | b"use-qsort" | b"open-noatime" | b"super" => {
            return Ok(());
        }
        _ => {
            let flag = FLAGS.iter().find(|(known, _)| known.as_bytes() == name);
            let Some((known, set)) = flag else {
                let is_known = UNSUPPORTED.iter().any(|known| known.as_bytes() == name);
                return Err(if is_known {
                    ArgError::Unsupported(shown)
                } else {
                    ArgError::Unknown(shown)
                });
            };
            set(options);
            known
        }
    };
    command.used.push(used);
    Ok(())
}

type Flag = (&'static str, fn(&mut Options));

/// Long options without a value.
const FLAGS: [Flag; 13] = [
    ("force", |options| options.force = true),
    ("size-only", |options| options.size_only = true),
    ("stats", |options| options.stats = true),
    ("partial", |options| options.partial = true),
    ("delay-updates", |options| options.delay_updates = true),
    ("ignore-existing", |options| options.ignore_existing = true),
    ("existing", |options| options.existing = true),
    ("fsync", |options| options.fsync = true),
    ("mkpath", |options| options.mkpath = true),
    ("ignore-errors", |options| options.ignore_errors = true),
    ("safe-links", |options| options.safe_links = true),
    ("numeric-ids", |options| options.numeric_ids = true),
    ("inplace", |options| options.inplace = true),
];

/// What rsync knows and this build does not carry out.
const UNSUPPORTED: [&str; 27] = [
    "append",
    "backup-dir",
    "suffix",
    "compare-dest",
    "copy-dest",
    "link-dest",
    "copy-devices",
    "write-devices",
    "copy-unsafe-links",
    "files-from",
    "from0",
    "fake-super",
    "groupmap",
    "usermap",
    "iconv",
    "no-relative",
    "no-implied-dirs",
    "only-write-batch",
    "preallocate",
    "remove-source-files",
    "remove-sent-files",
    "delete-missing-args",
    "ignore-missing-args",
    "stop-at",
    "stop-after",
    "copy-as",
    "read-batch",
];

fn text(arg: &[u8]) -> String {
    arg.escape_ascii().to_string()
}
