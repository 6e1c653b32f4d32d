//! From the command line to the options and filter rules of a run.

use std::ffi::{OsStr, OsString};

use anyhow::{Context as _, bail};
use bascule_platform::text;
use bascule_wire::Options;
use bascule_wire::filter::{Rule, RuleKind};
use bascule_wire::names::{ChecksumName, CompressName};
use bascule_wire::options::{ChecksumChoice, DeleteGuard, DeleteTiming};
use clap::ArgMatches;

use crate::cli::{Connection, Guard, Names, RunOptions};
use crate::hours::Limits;
use crate::trash;

/// The bytes of an argument as they go to a peer.
pub fn bytes(text: &OsStr) -> Vec<u8> {
    text.as_encoded_bytes().to_vec()
}

/// The options of `bascule mirror`: rsync's `-a --delete --partial-dir=…`, nanosecond times, and
/// what was asked for.
///
/// # Errors
/// For a value that makes no sense.
pub fn options(cli: &RunOptions, connection: &Connection) -> anyhow::Result<Options> {
    let mut options = Options::archive();
    // Windows has no numbers for owners: those it would send mean nothing elsewhere.
    options.owner = !cli.no_owner && !cfg!(windows);
    options.group = !cli.no_group && !cfg!(windows);
    options.perms = !cli.no_perms;
    options.dry_run = cli.dry_run;
    options.itemize = cli.itemize_changes;
    options.verbose = cli.verbose;
    options.quiet = cli.quiet;
    options.stats = cli.stats;
    options.checksum = cli.checksum;
    options.compress = cli.compress || cli.compress_choice.is_some();
    if let Some(name) = &cli.compress_choice {
        let choice = CompressName::parse(name)
            .with_context(|| format!("--compress-choice={name}: no such compression"))?;
        options.compress = choice != CompressName::None;
        options.compress_choice = Some(choice).filter(|_| options.compress);
    }
    options.compress_level = cli.compress_level;
    options.checksum_choice = cli.checksum_choice.as_deref().map(checksum_choice).transpose()?;
    options.checksum_seed = cli.checksum_seed;
    options.hard_links = cli.hard_links.into();
    options.whole_file = match (cli.whole_file, cli.no_whole_file) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    options.inplace = cli.inplace;
    options.sparse = cli.sparse;
    options.block_size = cli.block_size;
    options.ignore_times = cli.ignore_times;
    options.size_only = cli.size_only;
    options.update = cli.update;
    options.existing = cli.existing;
    options.ignore_existing = cli.ignore_existing;
    options.max_size = cli.max_size;
    options.min_size = cli.min_size;
    options.modify_window = cli.modify_window;
    options.delete = delete_timing(cli)?;
    options.delete_excluded = cli.delete_excluded;
    options.max_delete = cli.max_delete;
    options.delete_guard = match cli.delete_guard {
        Guard::Beyond(guard) if options.deletes() => {
            Some(DeleteGuard { allowed: cli.allow_deletes, ..guard })
        }
        _ if cli.allow_deletes.is_some() => {
            bail!("--allow-deletes lifts the delete guard, and it is off")
        }
        _ => None,
    };
    options.delay_guarded_deletions();
    if let Some(days) = cli.trash {
        options.backup = true;
        options.backup_dir = Some(trash::of_this_run().into_bytes());
        options.trash_days = Some(days);
    }
    options.ignore_errors = cli.ignore_errors;
    options.force = cli.force;
    options.numeric_ids = cli.numeric_ids;
    options.omit_dir_times = cli.omit_dir_times;
    options.omit_link_times = cli.omit_link_times;
    options.safe_links = cli.safe_links;
    options.copy_links = cli.copy_links;
    options.one_file_system = cli.one_file_system;
    if !cli.no_partial_dir && !cli.inplace {
        options.partial = true;
        options.partial_dir = Some(bytes(&cli.partial_dir));
    }
    options.delay_updates = cli.delay_updates;
    options.temp_dir = cli.temp_dir.as_deref().map(bytes);
    options.mkpath = cli.mkpath;
    options.durable = cli.durable;
    options.no_inc_recursive = cli.no_inc_recursive;
    Limits::new(cli.bwlimit, &cli.bwlimit_hours)?;
    // The peer would keep to the first limit for all of the run.
    options.bwlimit = if cli.bwlimit_hours.is_empty() { cli.bwlimit } else { 0 };
    options.protocol = cli.protocol;
    options.secluded_args = cli.secluded_args;
    options.timeout = connection.timeout;
    Ok(options)
}

fn delete_timing(cli: &RunOptions) -> anyhow::Result<Option<DeleteTiming>> {
    let asked = [
        (cli.delete_before, DeleteTiming::Before),
        (cli.delete_during, DeleteTiming::During),
        (cli.delete_delay, DeleteTiming::Delay),
        (cli.delete_after, DeleteTiming::After),
    ];
    let mut asked = asked.iter().filter(|(set, _)| *set).map(|(_, timing)| *timing);
    let first = asked.next();
    if asked.next().is_some() {
        bail!("only one of --delete-before, -during, -delay and -after can be given");
    }
    if cli.no_delete && (first.is_some() || cli.delete_excluded) {
        bail!("--no-delete contradicts the other deletion options");
    }
    Ok(if cli.no_delete { None } else { Some(first.unwrap_or_default()) })
}

fn checksum_choice(text: &str) -> anyhow::Result<ChecksumChoice> {
    let parse = |name: &str| {
        ChecksumName::parse(name)
            .with_context(|| format!("--checksum-choice={text}: no such checksum"))
    };
    let (transfer, list) = text.split_once(',').unwrap_or((text, text));
    Ok(ChecksumChoice { transfer: parse(transfer)?, list: parse(list)? })
}

/// The filter rules in the order of the command line, and the rule that keeps the partial dir
/// out of both the list and the deletions.
///
/// # Errors
/// For a rule that is none, and for a file that cannot be read.
pub fn filters(
    cli: &Names,
    matches: &ArgMatches,
    partial_dir: Option<&[u8]>,
) -> anyhow::Result<Vec<Rule>> {
    let mut given: Vec<(usize, &str, &OsString)> = Vec::new();
    for (name, values) in [
        ("exclude", &cli.exclude),
        ("include", &cli.include),
        ("filter", &cli.filter),
        ("exclude_from", &cli.exclude_from),
        ("include_from", &cli.include_from),
    ] {
        let places = matches.indices_of(name).into_iter().flatten();
        given.extend(places.zip(values).map(|(place, value)| (place, name, value)));
    }
    given.sort_by_key(|(place, ..)| *place);
    let mut rules = Vec::new();
    for (_, name, value) in given {
        match name {
            "exclude" => rules.push(pattern(RuleKind::Exclude, &bytes(value))),
            "include" => rules.push(pattern(RuleKind::Include, &bytes(value))),
            "exclude_from" => from_file(RuleKind::Exclude, value, &mut rules)?,
            "include_from" => from_file(RuleKind::Include, value, &mut rules)?,
            _ => rule(&bytes(value), &mut rules, 0)?,
        }
    }
    for rule in &rules {
        bascule_engine::filter::check(rule).map_err(anyhow::Error::msg)?;
    }
    if let Some(dir) = partial_dir.filter(|dir| !dir.starts_with(b"/")) {
        let mut own = Rule::plain(RuleKind::Exclude, &[dir, b"/"].concat());
        own.perishable = true;
        rules.push(own);
    }
    Ok(trash::leave_alone(rules))
}

/// A pattern of `--exclude` or `--include`, which may bring its own `- ` or `+ `.
fn pattern(kind: RuleKind, text: &[u8]) -> Rule {
    match text {
        b"!" => Rule::plain(RuleKind::Clear, b""),
        [b'-', b' ', rest @ ..] => Rule::plain(RuleKind::Exclude, rest),
        [b'+', b' ', rest @ ..] => Rule::plain(RuleKind::Include, rest),
        _ => Rule::plain(kind, text),
    }
}

/// A file with rules, however an editor has saved it.
fn read(path: &OsStr) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    let content = std::fs::read(path).with_context(reading)?;
    Ok(text::unmarked(&content).with_context(reading)?.into_owned())
}

fn from_file(kind: RuleKind, path: &OsStr, rules: &mut Vec<Rule>) -> anyhow::Result<()> {
    let text = read(path)?;
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        if !line.is_empty() && !matches!(line[0], b'#' | b';') {
            rules.push(pattern(kind, line));
        }
    }
    Ok(())
}

/// A rule of `--filter`; merges are read now.
fn rule(text: &[u8], rules: &mut Vec<Rule>, depth: u32) -> anyhow::Result<()> {
    let parsed = Rule::parse(text)?;
    if parsed.kind != RuleKind::Merge {
        rules.push(parsed);
        return Ok(());
    }
    if depth > 16 {
        bail!("filter files merge each other without end");
    }
    let path = String::from_utf8(parsed.pattern.clone()).context("the name of a filter file")?;
    let content = read(path.as_ref())?;
    let words = parsed.word_split;
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r') || (words && byte.is_ascii_whitespace());
    let from = rules.len();
    for line in content.split(ends) {
        if line.is_empty() || (!words && matches!(line[0], b'#' | b';')) {
            continue;
        }
        match parsed.lines_are {
            Some(include) => rules
                .push(pattern(if include { RuleKind::Include } else { RuleKind::Exclude }, line)),
            None => rule(line, rules, depth + 1).with_context(|| path.clone())?,
        }
    }
    for merged in rules.iter_mut().skip(from) {
        merged.sender_side |= parsed.sender_side;
        merged.receiver_side |= parsed.receiver_side;
        merged.perishable |= parsed.perishable;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn files_with_rules_are_read_however_they_were_saved() {
        let dir = tempfile::tempdir().expect("a folder");
        let marked = dir.path().join("marked");
        std::fs::write(&marked, "\u{feff}*.tmp\r\n# a comment\r\né\r\n").expect("written");
        let utf_16 = dir.path().join("utf-16");
        std::fs::write(&utf_16, b"\xff\xfe-\0 \0\xe9\0\r\0\n\0").expect("written");
        let line = [
            "bascule".to_owned(),
            "mirror".to_owned(),
            format!("--exclude-from={}", marked.display()),
            format!("--filter=merge {}", utf_16.display()),
            "a/".to_owned(),
            "b/".to_owned(),
        ];
        let matches = Cli::command().try_get_matches_from(line).expect("a command line");
        let Command::Mirror(cli) = Cli::from_arg_matches(&matches).expect("a mirror").command
        else {
            unreachable!("a mirror was asked for")
        };
        let (_, matches) = matches.subcommand().expect("a mirror");
        let rules = filters(&cli.run.names, matches, None).expect("rules");
        let patterns: Vec<&[u8]> = rules.iter().map(|rule| &rule.pattern[..]).collect();
        // Behind those of the trash.
        assert!(patterns.ends_with(&[b"*.tmp", "é".as_bytes(), "é".as_bytes()]), "{patterns:?}");
    }
}
