//! Builds the argument list that a client sends.

use super::{Capabilities, Direction};
use crate::error::WireError;
use crate::options::{DeleteTiming, Options};
use crate::version::Version;

/// The arguments in the order of the stock client: `--server`, the short options, the long ones,
/// `.`, the paths (already with their module).
pub fn server_args(
    options: &Options,
    direction: Direction,
    capabilities: Capabilities,
    paths: &[Vec<u8>],
) -> Vec<Vec<u8>> {
    let push = direction == Direction::Push;
    let mut args: Vec<Vec<u8>> = vec![b"--server".to_vec()];
    if !push {
        args.push(b"--sender".to_vec());
    }
    args.push(short_options(options, push, capabilities).into_bytes());
    let mut long = |text: String| args.push(escape(text.as_bytes()));
    if options.list_only && !push {
        long("--list-only".into());
    }
    if options.itemize > 0 && push {
        long(if options.itemize > 1 { "--log-format=%i%I" } else { "--log-format=%i" }.into());
    }
    if let Some(size) = options.block_size {
        long(format!("-B{size}"));
    }
    if options.timeout > 0 {
        long(format!("--timeout={}", options.timeout));
    }
    if options.bwlimit > 0 {
        long(format!("--bwlimit={}", options.bwlimit));
    }
    if let Some(choice) = options.checksum_choice {
        let transfer = choice.transfer.as_str();
        long(if choice.transfer == choice.list {
            format!("--checksum-choice={transfer}")
        } else {
            format!("--checksum-choice={transfer},{}", choice.list.as_str())
        });
    }
    if let Some(choice) = options.compress_choice.filter(|_| options.compress) {
        long(format!("--compress-choice={}", choice.as_str()));
    }
    if let Some(level) = options.compress_level.filter(|_| options.compress) {
        long(format!("--compress-level={level}"));
    }
    if let Some(seed) = options.checksum_seed {
        long(format!("--checksum-seed={seed}"));
    }
    if push {
        if let Some(limit) = options.max_delete {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            long(format!("--max-delete={}", if limit == 0 { -1 } else { limit }));
        }
        if let Some(size) = options.min_size {
            long(format!("--min-size={size}"));
        }
        if let Some(size) = options.max_size {
            long(format!("--max-size={size}"));
        }
        match options.delete {
            Some(DeleteTiming::Before) => long("--delete-before".into()),
            Some(DeleteTiming::During) => long("--delete-during".into()),
            Some(DeleteTiming::Delay) => long("--delete-delay".into()),
            Some(DeleteTiming::After) => long("--delete-after".into()),
            None => {}
        }
        let flags = [
            (options.delete_excluded, "--delete-excluded"),
            (options.force, "--force"),
            (options.size_only, "--size-only"),
            (options.stats, "--stats"),
        ];
        for (_, flag) in flags.iter().filter(|(set, _)| *set) {
            long((*flag).into());
        }
        if options.modify_window != 0 {
            long(format!("--modify-window={}", options.modify_window));
        }
        if options.partial && options.partial_dir.is_none() {
            long("--partial".into());
        }
        if let Some(dir) = options.partial_dir.as_deref().filter(|_| !options.delay_updates) {
            args.push(b"--partial-dir".to_vec());
            args.push(dir.to_vec());
        }
        let mut long = |text: &str| args.push(text.as_bytes().to_vec());
        let flags = [
            (options.delay_updates, "--delay-updates"),
            (options.ignore_existing, "--ignore-existing"),
            (options.existing, "--existing"),
            (options.fsync, "--fsync"),
            (options.mkpath, "--mkpath"),
        ];
        for (_, flag) in flags.iter().filter(|(set, _)| *set) {
            long(flag);
        }
        if let Some(dir) = options.temp_dir.as_deref() {
            args.push(b"--temp-dir".to_vec());
            args.push(dir.to_vec());
        }
    }
    let mut long = |text: &str| args.push(text.as_bytes().to_vec());
    let flags = [
        (options.ignore_errors, "--ignore-errors"),
        (options.safe_links, "--safe-links"),
        (options.numeric_ids, "--numeric-ids"),
        (options.inplace, "--inplace"),
        (options.whole_file == Some(false), "--no-W"),
        (options.dirs && !options.recurse, "--no-r"),
    ];
    for (_, flag) in flags.iter().filter(|(set, _)| *set) {
        long(flag);
    }
    args.push(b".".to_vec());
    for path in paths {
        let begins_like_an_option = path.first() == Some(&b'-');
        args.push(if begins_like_an_option { [b"./", &path[..]].concat() } else { path.clone() });
    }
    args
}

/// The list as it travels; with secluded args as two lists.
///
/// # Errors
/// [`WireError::Malformed`] when an argument contains the separator.
pub fn encode_client_args(
    options: &Options,
    direction: Direction,
    paths: &[Vec<u8>],
    capabilities: Capabilities,
    version: Version,
) -> Result<Vec<u8>, WireError> {
    let args = server_args(options, direction, capabilities, paths);
    let end = if version.has_varints() { 0 } else { b'\n' };
    if !options.secluded_args {
        return join(&args, end);
    }
    let shorts = if direction == Direction::Push { 2 } else { 3 };
    let (first, rest) = args.split_at(shorts.min(args.len()));
    let mut second = vec![b"rsync".to_vec()];
    second.extend(rest.iter().map(|arg| if arg.is_empty() { b".".to_vec() } else { arg.clone() }));
    Ok([join(first, end)?, join(&second, 0)?].concat())
}

fn join(args: &[Vec<u8>], end: u8) -> Result<Vec<u8>, WireError> {
    let mut list = Vec::new();
    for arg in args {
        if arg.contains(&end) || arg.is_empty() {
            return Err(WireError::malformed("argument", "empty, or with a NUL or line end"));
        }
        list.extend_from_slice(arg);
        list.push(end);
    }
    list.push(end);
    Ok(list)
}

fn short_options(options: &Options, push: bool, capabilities: Capabilities) -> String {
    let mut text = String::from("-");
    let mut add = |set: bool, letter: char| {
        if set {
            text.push(letter);
        }
    };
    add(options.secluded_args, 's');
    for _ in 0..options.verbose {
        add(true, 'v');
    }
    add(options.quiet, 'q');
    add(options.update, 'u');
    add(options.dry_run, 'n');
    add(options.links, 'l');
    add(options.dirs && !options.recurse, 'd');
    if push {
        add(options.keep_dirlinks, 'K');
        add(options.prune_empty_dirs, 'm');
        add(options.omit_dir_times, 'O');
        add(options.omit_link_times, 'J');
    } else {
        add(options.copy_links, 'L');
        add(options.copy_dirlinks, 'k');
    }
    add(options.whole_file == Some(true), 'W');
    for _ in 0..options.hard_links {
        add(true, 'H');
    }
    add(options.owner, 'o');
    add(options.group, 'g');
    add(options.devices && options.specials, 'D');
    add(options.times, 't');
    add(options.perms, 'p');
    add(options.executability && push && !options.perms, 'E');
    add(options.recurse, 'r');
    add(options.checksum, 'c');
    add(options.ignore_times, 'I');
    add(options.relative, 'R');
    for _ in 0..options.one_file_system {
        add(true, 'x');
    }
    add(options.sparse, 'S');
    add(options.compress && options.compress_choice.is_none(), 'z');
    text.push('e');
    text.push_str(&capabilities.format());
    text
}

/// Puts a backslash before what a shell would take for something else.
fn escape(arg: &[u8]) -> Vec<u8> {
    const ACTIVE: &[u8] = b" \t\n\"'`$&|;<>()[]{}*?!#~\\";
    let mut escaped = Vec::with_capacity(arg.len());
    for byte in arg {
        if ACTIVE.contains(byte) {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}
