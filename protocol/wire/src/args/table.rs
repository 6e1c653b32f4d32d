//! The one table of options: how each is written, read, sent and refused (§2.1, §2.2).
//!
//! The rows stand in the order in which a stock client sends them: first the letters of the
//! short-option string, then the long options. Adding an option means adding a row.

use super::server::ServerCommand;
use super::size::parse_size;
use crate::limits::MAX_BLOCK;
use crate::names::{ChecksumName, CompressName};
use crate::options::{ChecksumChoice, DeleteTiming, Options};

/// One option.
pub struct OptionRow {
    /// The long name without dashes, in rsync's spelling.
    pub long: &'static str,
    /// Other long names for it.
    pub aliases: &'static [&'static str],
    /// The letter.
    pub short: Option<u8>,
    /// Which direction a client sends it in; a server accepts it in both.
    pub sides: Sides,
    /// Whether this build carries it out; otherwise it is refused by name.
    pub supported: bool,
    /// Whether a wildcard of `refuse options` may match it.
    pub wild: bool,
    /// Long names of options that it turns on as well; refusing one of them refuses this one.
    pub implies: &'static [&'static str],
    /// What reading it does.
    pub action: Action,
    /// How a client sends it.
    pub(super) send: fn(&Options) -> Sent,
}

/// Which direction a client sends an option in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Both.
    Both,
    /// To a receiving server only.
    Push,
    /// To a sending server only.
    Pull,
}

/// What reading an option does.
#[derive(Clone, Copy)]
pub enum Action {
    /// It takes no value.
    Flag(fn(&mut ServerCommand)),
    /// It takes a value; `Err` says what is wrong with it.
    Value(fn(&mut ServerCommand, &[u8]) -> Result<(), &'static str>),
}

/// What a client writes for an option.
pub(super) enum Sent {
    /// Nothing.
    Nothing,
    /// The letter, this many times.
    Letter(u8),
    /// `--long`.
    Flag,
    /// `--long=value`.
    Joined(String),
    /// `--long` and the value as an argument of its own, escaped.
    Separate(Vec<u8>),
    /// An argument spelled in full.
    Verbatim(String),
}

impl OptionRow {
    /// The name for texts: `--checksum (-c)`.
    pub fn display(&self) -> String {
        match self.short.map(char::from) {
            Some(short) if self.long.is_empty() => format!("-{short}"),
            Some(short) => format!("--{} (-{short})", self.long),
            None => format!("--{}", self.long),
        }
    }

    const fn flag(long: &'static str, set: fn(&mut ServerCommand)) -> Self {
        Self::new(long, Action::Flag(set))
    }

    const fn value(
        long: &'static str,
        set: fn(&mut ServerCommand, &[u8]) -> Result<(), &'static str>,
    ) -> Self {
        Self::new(long, Action::Value(set))
    }

    /// An option of rsync's that this build does not carry out.
    const fn refused(long: &'static str) -> Self {
        let mut row = Self::flag(long, |_| ());
        row.supported = false;
        row
    }

    /// The same with a value.
    const fn refused_value(long: &'static str) -> Self {
        let mut row = Self::value(long, |_, _| Ok(()));
        row.supported = false;
        row
    }

    const fn new(long: &'static str, action: Action) -> Self {
        Self {
            long,
            aliases: &[],
            short: None,
            sides: Sides::Both,
            supported: true,
            wild: true,
            implies: &[],
            action,
            send: |_| Sent::Nothing,
        }
    }

    const fn short(mut self, letter: u8) -> Self {
        self.short = Some(letter);
        self
    }

    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn implies(mut self, implies: &'static [&'static str]) -> Self {
        self.implies = implies;
        self
    }

    const fn push(mut self) -> Self {
        self.sides = Sides::Push;
        self
    }

    const fn pull(mut self) -> Self {
        self.sides = Sides::Pull;
        self
    }

    const fn vital(mut self) -> Self {
        self.wild = false;
        self
    }

    const fn send(mut self, send: fn(&Options) -> Sent) -> Self {
        self.send = send;
        self
    }
}

/// All options, in the order in which a client sends them.
pub fn options() -> &'static [OptionRow] {
    OPTIONS
}

/// Finds an option by its long name or an alias.
pub(super) fn by_long(name: &str) -> Option<&'static OptionRow> {
    let named = |row: &&OptionRow| row.long == name || row.aliases.contains(&name);
    OPTIONS.iter().find(named).filter(|_| !name.is_empty())
}

/// Finds an option by its letter.
pub(super) fn by_short(letter: u8) -> Option<&'static OptionRow> {
    OPTIONS.iter().find(|row| row.short == Some(letter))
}

static OPTIONS: &[OptionRow] = &[
    // Handled by the parser itself; here for their names.
    OptionRow::flag("server", |_| ()).vital(),
    OptionRow::flag("sender", |_| ()).vital(),
    // The letters.
    OptionRow::flag("secluded-args", |c| c.options.secluded_args = true)
        .short(b's')
        .alias(&["protect-args", "seclude-args"])
        .vital()
        .send(|o| letter(o.secluded_args)),
    OptionRow::flag("verbose", |c| count(&mut c.options.verbose))
        .short(b'v')
        .send(|o| Sent::Letter(o.verbose)),
    OptionRow::flag("quiet", |c| c.options.quiet = true).short(b'q').send(|o| letter(o.quiet)),
    OptionRow::flag("backup", |c| c.options.backup = true).short(b'b').send(|o| letter(o.backup)),
    OptionRow::flag("update", |c| c.options.update = true).short(b'u').send(|o| letter(o.update)),
    OptionRow::flag("dry-run", |c| c.options.dry_run = true)
        .short(b'n')
        .vital()
        .send(|o| letter(o.dry_run)),
    OptionRow::flag("links", |c| c.options.links = true).short(b'l').send(|o| letter(o.links)),
    OptionRow::flag("dirs", |c| c.options.dirs = true)
        .short(b'd')
        .send(|o| letter((o.dirs || o.list_only) && !o.recurse)),
    OptionRow::refused("keep-dirlinks").short(b'K'),
    OptionRow::flag("prune-empty-dirs", |c| c.options.prune_empty_dirs = true)
        .short(b'm')
        .push()
        .send(|o| letter(o.prune_empty_dirs)),
    OptionRow::flag("omit-dir-times", |c| c.options.omit_dir_times = true)
        .short(b'O')
        .push()
        .send(|o| letter(o.omit_dir_times)),
    OptionRow::flag("omit-link-times", |c| c.options.omit_link_times = true)
        .short(b'J')
        .push()
        .send(|o| letter(o.omit_link_times)),
    OptionRow::refused("fuzzy").short(b'y'),
    OptionRow::flag("copy-links", |c| c.options.copy_links = true)
        .short(b'L')
        .pull()
        .send(|o| letter(o.copy_links)),
    OptionRow::refused("copy-dirlinks").short(b'k'),
    OptionRow::flag("whole-file", |c| c.options.whole_file = Some(true))
        .short(b'W')
        .send(|o| letter(o.whole_file == Some(true))),
    OptionRow::flag("hard-links", |c| count(&mut c.options.hard_links))
        .short(b'H')
        .send(|o| Sent::Letter(o.hard_links.min(2))),
    OptionRow::flag("owner", |c| c.options.owner = true).short(b'o').send(|o| letter(o.owner)),
    OptionRow::flag("group", |c| c.options.group = true).short(b'g').send(|o| letter(o.group)),
    OptionRow::flag("", |c| {
        c.options.devices = true;
        c.options.specials = true;
    })
    .short(b'D')
    .implies(&["devices", "specials"])
    .send(|o| letter(o.devices)),
    OptionRow::flag("times", |c| c.options.times = true).short(b't').send(|o| letter(o.times)),
    OptionRow::refused("atimes").short(b'U'),
    OptionRow::refused("crtimes").short(b'N'),
    OptionRow::flag("perms", |c| c.options.perms = true).short(b'p').send(|o| letter(o.perms)),
    OptionRow::flag("executability", |c| c.options.executability = true)
        .short(b'E')
        .push()
        .send(|o| letter(o.executability && !o.perms)),
    OptionRow::refused("acls").short(b'A'),
    OptionRow::refused("xattrs").short(b'X'),
    OptionRow::flag("recursive", |c| c.options.recurse = true)
        .short(b'r')
        .send(|o| letter(o.recurse)),
    OptionRow::flag("checksum", |c| c.options.checksum = true)
        .short(b'c')
        .send(|o| letter(o.checksum)),
    OptionRow::refused("cvs-exclude").short(b'C'),
    OptionRow::flag("ignore-times", |c| c.options.ignore_times = true)
        .short(b'I')
        .send(|o| letter(o.ignore_times)),
    OptionRow::refused("relative").short(b'R'),
    OptionRow::flag("one-file-system", |c| count(&mut c.options.one_file_system))
        .short(b'x')
        .send(|o| Sent::Letter(o.one_file_system.min(2))),
    OptionRow::flag("sparse", |c| c.options.sparse = true).short(b'S').send(|o| letter(o.sparse)),
    OptionRow::flag("compress", |c| c.options.compress = true).short(b'z').send(|o| {
        let old = matches!(o.compress_choice, None | Some(CompressName::Zlib));
        letter(o.compress && old)
    }),
    // The capability carrier; the builder appends it to the letters itself.
    OptionRow::value("rsh", ServerCommand::set_capabilities).short(b'e').vital(),
    // The long options.
    OptionRow::flag("list-only", |c| c.options.list_only = true).send(|o| flag(o.list_only)),
    OptionRow::flag("no-recursive", |c| c.options.recurse = false)
        .alias(&["no-r"])
        .push()
        .send(|o| flag(o.dirs && !o.recurse && o.deletes())),
    OptionRow::value("compress-level", |c, text| {
        c.options.compress_level = Some(number(text)?);
        Ok(())
    })
    .send(|o| joined(o.compress_level)),
    OptionRow::flag("devices", |c| c.options.devices = true),
    OptionRow::flag("no-devices", |c| c.options.devices = false),
    OptionRow::flag("no-specials", |c| c.options.specials = false)
        .send(|o| flag(o.devices && !o.specials)),
    OptionRow::flag("specials", |c| c.options.specials = true)
        .send(|o| flag(o.specials && !o.devices)),
    OptionRow::flag("msgs2stderr", |_| ()),
    OptionRow::flag("no-msgs2stderr", |_| ()),
    OptionRow::value("info", |_, _| Ok(())),
    OptionRow::value("debug", |_, _| Ok(())),
    OptionRow::value("outbuf", |_, _| Ok(())),
    OptionRow::value("out-format", ServerCommand::set_log_format)
        .alias(&["log-format"])
        .vital()
        .push()
        .send(|o| match o.itemize {
            0 => Sent::Nothing,
            1 => Sent::Verbatim("--log-format=%i".to_owned()),
            _ => Sent::Verbatim("--log-format=%i%I".to_owned()),
        }),
    OptionRow::value("block-size", |c, text| {
        let size = size(text, b'b')?;
        let fits = u32::try_from(size).ok().filter(|&size| size <= MAX_BLOCK);
        let size = fits.ok_or("a block may have at most 131072 bytes")?;
        c.options.block_size = (size > 0).then_some(size);
        Ok(())
    })
    .short(b'B')
    .send(|o| verbatim(o.block_size.map(|size| format!("-B{size}")))),
    OptionRow::value("timeout", |c, text| {
        c.options.timeout = number(text)?;
        Ok(())
    })
    .send(|o| joined(Some(o.timeout).filter(|&seconds| seconds > 0))),
    OptionRow::value("bwlimit", |c, text| {
        // Rounded to KiB, but a limit never becomes none.
        let bytes = size(text, b'k')?;
        c.options.bwlimit = (bytes / 1024).max(u64::from(bytes > 0));
        Ok(())
    })
    .send(|o| joined(Some(o.bwlimit).filter(|&rate| rate > 0))),
    OptionRow::value("backup-dir", |c, text| {
        c.options.backup = true;
        c.options.backup_dir = Some(path(text)?);
        Ok(())
    })
    .send(|o| separate(o.backup_dir.as_ref())),
    OptionRow::value("suffix", |c, text| {
        c.options.suffix = utf8(text)?;
        if c.options.suffix.contains('/') { Err("a suffix has no slash") } else { Ok(()) }
    })
    .send(|o| joined(Some(&o.suffix).filter(|suffix| !suffix.is_empty()))),
    OptionRow::value("checksum-choice", |c, text| {
        c.options.checksum_choice = checksum_choice(text)?;
        Ok(())
    })
    .alias(&["cc"])
    .send(|o| {
        let dictated = o.checksum_choice.filter(|choice| !choice.is_ours_only());
        joined(dictated.map(checksum_argument))
    }),
    OptionRow::flag("old-compress", |c| compress(c, CompressName::Zlib))
        .implies(&["compress"])
        .send(|o| flag(o.compress && o.compress_choice == Some(CompressName::Zlib))),
    OptionRow::flag("new-compress", |c| compress(c, CompressName::Zlibx))
        .implies(&["compress"])
        .send(|o| flag(o.compress && o.compress_choice == Some(CompressName::Zlibx))),
    OptionRow::value("compress-choice", |c, text| {
        if text == b"auto" {
            c.options.compress = true;
            c.options.compress_choice = None;
        } else {
            let name = CompressName::parse(&utf8(text)?).ok_or("no such compression")?;
            compress(c, name);
        }
        Ok(())
    })
    .alias(&["zc"])
    .implies(&["compress"])
    .send(|o| match o.compress_choice {
        Some(name @ (CompressName::Zstd | CompressName::Lz4)) if o.compress => {
            Sent::Joined(name.as_str().to_owned())
        }
        Some(CompressName::None) => Sent::Joined("none".to_owned()),
        _ => Sent::Nothing,
    }),
    OptionRow::value("max-alloc", |_, _| Ok(())),
    OptionRow::refused("delete-missing-args"),
    OptionRow::refused("ignore-missing-args"),
    OptionRow::value("max-delete", |c, text| {
        // A client sends 0 as -1, because old servers took 0 for no limit.
        let limit: i64 = number(text)?;
        c.options.max_delete = Some(u64::try_from(limit).unwrap_or(0));
        Ok(())
    })
    .push()
    .send(|o| match o.max_delete {
        Some(0) => Sent::Joined("-1".to_owned()),
        limit => joined(limit),
    }),
    OptionRow::value("min-size", |c, text| {
        c.options.min_size = Some(size(text, b'b')?);
        Ok(())
    })
    .push()
    .send(|o| joined(o.min_size)),
    OptionRow::value("max-size", |c, text| {
        c.options.max_size = Some(size(text, b'b')?);
        Ok(())
    })
    .push()
    .send(|o| joined(o.max_size)),
    OptionRow::flag("delete-before", |c| c.delete_at(DeleteTiming::Before))
        .implies(&["delete"])
        .push()
        .send(|o| flag(o.delete == Some(DeleteTiming::Before))),
    OptionRow::flag("delete-during", |c| c.delete_at(DeleteTiming::During))
        .alias(&["del"])
        .implies(&["delete"]),
    OptionRow::flag("delete-delay", |c| c.delete_at(DeleteTiming::Delay))
        .implies(&["delete"])
        .push()
        .send(|o| flag(o.delete == Some(DeleteTiming::Delay))),
    OptionRow::flag("delete-after", |c| c.delete_at(DeleteTiming::After))
        .implies(&["delete"])
        .push()
        .send(|o| flag(o.delete == Some(DeleteTiming::After))),
    OptionRow::flag("delete", ServerCommand::delete)
        .push()
        .send(|o| flag(o.delete == Some(DeleteTiming::During) && !o.delete_excluded)),
    OptionRow::flag("delete-excluded", |c| {
        c.delete();
        c.options.delete_excluded = true;
    })
    .implies(&["delete"])
    .push()
    .send(|o| flag(o.delete_excluded)),
    OptionRow::flag("force", |c| c.options.force = true).push().send(|o| flag(o.force)),
    OptionRow::refused("super"),
    OptionRow::refused("fake-super"),
    OptionRow::flag("size-only", |c| c.options.size_only = true).push().send(|o| flag(o.size_only)),
    OptionRow::flag("stats", |c| c.options.stats = true).push().send(|o| flag(o.stats)),
    OptionRow::value("skip-compress", |_, _| Ok(())),
    OptionRow::refused_value("write-batch"),
    OptionRow::refused_value("only-write-batch"),
    OptionRow::value("modify-window", |c, text| {
        c.options.modify_window = number(text)?;
        Ok(())
    })
    .short(b'@')
    .push()
    .send(|o| match o.modify_window {
        0 => Sent::Nothing,
        // The long form of older servers takes no negative number.
        window if window < 0 => Sent::Verbatim(format!("-@{window}")),
        window => Sent::Joined(window.to_string()),
    }),
    OptionRow::value("checksum-seed", |c, text| {
        c.options.checksum_seed = Some(number(text)?);
        Ok(())
    })
    .vital()
    .send(|o| joined(o.checksum_seed)),
    OptionRow::value("partial-dir", |c, text| {
        c.options.partial = true;
        c.options.partial_dir = Some(path(text)?);
        Ok(())
    })
    .push()
    .send(|o| separate(o.partial_dir.as_ref())),
    OptionRow::flag("delay-updates", |c| {
        // Waiting files live in a partial-dir.
        c.options.partial = true;
        c.options.delay_updates = true;
    })
    .push()
    .send(|o| flag(o.delay_updates)),
    OptionRow::flag("partial", |c| c.options.partial = true).push().send(|o| {
        let implied = o.partial_dir.is_some() || o.delay_updates || o.inplace;
        flag(o.partial && !implied)
    }),
    OptionRow::flag("ignore-errors", |c| c.options.ignore_errors = true)
        .send(|o| flag(o.ignore_errors)),
    OptionRow::refused("copy-unsafe-links"),
    OptionRow::flag("safe-links", |c| c.options.safe_links = true).send(|o| flag(o.safe_links)),
    OptionRow::flag("numeric-ids", |c| c.options.numeric_ids = true).send(|o| flag(o.numeric_ids)),
    OptionRow::flag("use-qsort", |_| ()),
    OptionRow::refused_value("usermap"),
    OptionRow::refused_value("groupmap"),
    OptionRow::refused_value("chown"),
    OptionRow::flag("ignore-existing", |c| c.options.ignore_existing = true)
        .push()
        .send(|o| flag(o.ignore_existing)),
    OptionRow::flag("existing", |c| c.options.existing = true)
        .alias(&["ignore-non-existing"])
        .push()
        .send(|o| flag(o.existing)),
    OptionRow::value("temp-dir", |c, text| {
        c.options.temp_dir = Some(path(text)?);
        Ok(())
    })
    .short(b'T')
    .push()
    .send(|o| separate(o.temp_dir.as_ref())),
    OptionRow::refused_value("compare-dest"),
    OptionRow::refused_value("copy-dest"),
    OptionRow::refused_value("link-dest"),
    OptionRow::refused("append"),
    OptionRow::refused("append-verify"),
    OptionRow::flag("fsync", |c| c.options.fsync = true).push().send(|o| flag(o.fsync)),
    OptionRow::flag("inplace", |c| c.options.inplace = true).send(|o| flag(o.inplace)),
    OptionRow::flag("no-whole-file", |c| c.options.whole_file = Some(false)).alias(&["no-W"]),
    OptionRow::refused_value("files-from"),
    OptionRow::refused("from0").short(b'0').vital(),
    OptionRow::flag("no-relative", |_| ()).alias(&["no-R"]),
    OptionRow::refused("no-implied-dirs"),
    OptionRow::flag("no-inc-recursive", |c| c.options.no_inc_recursive = true).alias(&["no-i-r"]),
    OptionRow::refused("remove-source-files").alias(&["remove-sent-files"]),
    OptionRow::flag("open-noatime", |_| ()),
    OptionRow::refused("copy-devices"),
    OptionRow::refused("write-devices").vital(),
    OptionRow::refused("preallocate"),
    OptionRow::flag("mkpath", |c| c.options.mkpath = true).push().send(|o| flag(o.mkpath)),
    OptionRow::refused_value("iconv").vital(),
    OptionRow::flag("no-iconv", |_| ()).vital(),
    OptionRow::refused_value("stop-after").alias(&["time-limit"]),
    OptionRow::refused_value("stop-at"),
    OptionRow::refused_value("log-file"),
    OptionRow::refused_value("log-file-format"),
    // Between Bascule ends only; a server says in its greeting that it is one.
    OptionRow::value("bascule-delete-guard", |c, text| {
        c.options.delete_guard = Some(utf8(text)?.parse()?);
        Ok(())
    })
    .vital()
    .push()
    .send(|o| joined(o.delete_guard)),
    OptionRow::value("bascule-trash-days", |c, text| {
        c.options.trash_days = Some(number(text)?);
        Ok(())
    })
    .vital()
    .push()
    .send(|o| joined(o.trash_days)),
    OptionRow::flag("bascule-durable", |c| c.options.durable = true)
        .vital()
        .push()
        .send(|o| flag(o.durable)),
    // No client sends it, but `refuse options` may name it.
    OptionRow::flag("archive", |c| {
        let archive = &mut c.options;
        archive.recurse = true;
        archive.links = true;
        archive.perms = true;
        archive.times = true;
        archive.group = true;
        archive.owner = true;
        archive.devices = true;
        archive.specials = true;
    })
    .short(b'a')
    .implies(ARCHIVE),
];

/// What `--archive` stands for; refusing it by its own name refuses all of these.
pub(super) const ARCHIVE: &[&str] =
    &["recursive", "dirs", "links", "perms", "times", "group", "owner", "devices", "specials"];

fn letter(on: bool) -> Sent {
    Sent::Letter(u8::from(on))
}

fn flag(on: bool) -> Sent {
    if on { Sent::Flag } else { Sent::Nothing }
}

fn joined(value: Option<impl ToString>) -> Sent {
    value.map_or(Sent::Nothing, |value| Sent::Joined(value.to_string()))
}

fn separate(value: Option<&Vec<u8>>) -> Sent {
    value.map_or(Sent::Nothing, |value| Sent::Separate(value.clone()))
}

fn verbatim(value: Option<String>) -> Sent {
    value.map_or(Sent::Nothing, Sent::Verbatim)
}

fn count(field: &mut u8) {
    *field = field.saturating_add(1);
}

fn compress(command: &mut ServerCommand, name: CompressName) {
    command.options.compress = name != CompressName::None;
    command.options.compress_choice = Some(name);
}

fn utf8(text: &[u8]) -> Result<String, &'static str> {
    String::from_utf8(text.to_vec()).map_err(|_| "not plain text")
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, &'static str> {
    utf8(text)?.parse().map_err(|_| "not a number in range")
}

fn size(text: &[u8], default_unit: u8) -> Result<u64, &'static str> {
    parse_size(&utf8(text)?, default_unit).ok_or("not a size")
}

fn path(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    if text.is_empty() || text.contains(&0) {
        return Err("not a path");
    }
    Ok(text.to_vec())
}

/// Reads `NAME` or `TRANSFER,LIST`; `None` for `auto`.
fn checksum_choice(text: &[u8]) -> Result<Option<ChecksumChoice>, &'static str> {
    const UNKNOWN: &str = "no such checksum";
    let text = utf8(text)?;
    if text == "auto" {
        return Ok(None);
    }
    let (transfer, list) = text.split_once(',').unwrap_or((&text, &text));
    Ok(Some(ChecksumChoice {
        transfer: ChecksumName::parse(transfer).ok_or(UNKNOWN)?,
        list: ChecksumName::parse(list).ok_or(UNKNOWN)?,
    }))
}

/// The value of `--checksum-choice`: one name when both are the same.
fn checksum_argument(choice: ChecksumChoice) -> String {
    let (transfer, list) = (choice.transfer.as_str(), choice.list.as_str());
    if transfer == list { transfer.to_owned() } else { format!("{transfer},{list}") }
}
