//! Builds the argument list that a client sends (§2.7, §2.1): the stock client's, byte for byte.

use super::quote::escape_option;
use super::table::{self, Sent, Sides};
use super::{Capabilities, Direction};
use crate::error::WireError;
use crate::options::Options;
use crate::shown;
use crate::version::Version;

/// The arguments to send, in a stock client's order. `paths` are written with their module:
/// `mod/dir`. With secluded arguments this is only the first of the two lists that
/// [`encode_client_args`] makes.
pub fn server_args(
    options: &Options,
    direction: Direction,
    capabilities: Capabilities,
    paths: &[Vec<u8>],
) -> Vec<Vec<u8>> {
    let mut arguments = vec![b"--server".to_vec()];
    if direction == Direction::Pull {
        arguments.push(b"--sender".to_vec());
    }
    let letters = letters(options, direction, capabilities);
    if letters.len() > 1 {
        arguments.push(letters);
    }
    if !options.secluded_args {
        arguments.extend(long_options(options, direction, escape_option));
        arguments.extend(dot_and_paths(paths));
    }
    arguments
}

/// The argument list as it travels; with secluded arguments both lists.
///
/// # Errors
/// [`WireError::Incompatible`] for an argument that holds the separator, which would inject
/// further arguments.
pub fn encode_client_args(
    options: &Options,
    direction: Direction,
    paths: &[Vec<u8>],
    capabilities: Capabilities,
    version: Version,
) -> Result<Vec<u8>, WireError> {
    let first = server_args(options, direction, capabilities, paths);
    let separator = if version.has_varints() { 0 } else { b'\n' };
    let mut bytes = join(&first, separator)?;
    if options.secluded_args {
        // NULs separate it with every version.
        bytes.extend(join(&secluded_args(options, direction, paths), 0)?);
    }
    Ok(bytes)
}

/// The second list of secluded arguments: everything after the letters, without escapes.
fn secluded_args(options: &Options, direction: Direction, paths: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut arguments = vec![b"rsync".to_vec()];
    arguments.extend(long_options(options, direction, <[u8]>::to_vec));
    arguments.extend(dot_and_paths(paths));
    arguments
}

/// Each argument and the separator, ended by an empty one.
fn join(arguments: &[Vec<u8>], separator: u8) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    for argument in arguments {
        if argument.iter().any(|&byte| byte == separator || byte == 0) {
            return Err(WireError::Incompatible(format!(
                "the argument \"{}\" cannot be sent to this server",
                shown(argument)
            )));
        }
        // An empty argument would end the list.
        let argument: &[u8] = if argument.is_empty() { b"." } else { argument };
        bytes.extend_from_slice(argument);
        bytes.push(separator);
    }
    bytes.push(separator);
    Ok(bytes)
}

/// The short-option string: the letters in the order of the table, then the capabilities.
fn letters(options: &Options, direction: Direction, capabilities: Capabilities) -> Vec<u8> {
    let mut letters = vec![b'-'];
    for row in rows(direction) {
        if let (Some(letter), Sent::Letter(times)) = (row.short, (row.send)(options)) {
            letters.extend(std::iter::repeat_n(letter, usize::from(times)));
        }
    }
    // Peers before protocol 30 would take the letters for options.
    if options.protocol.is_none_or(|protocol| protocol >= 30) {
        letters.push(b'e');
        letters.extend_from_slice(capabilities.format().as_bytes());
    }
    letters
}

fn long_options(
    options: &Options,
    direction: Direction,
    escape: fn(&[u8]) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let mut arguments = Vec::new();
    for row in rows(direction) {
        match (row.send)(options) {
            Sent::Nothing | Sent::Letter(_) => {}
            Sent::Flag => arguments.push(format!("--{}", row.long).into_bytes()),
            Sent::Joined(value) => {
                arguments.push(escape(format!("--{}={value}", row.long).as_bytes()));
            }
            Sent::Separate(value) => {
                arguments.push(format!("--{}", row.long).into_bytes());
                arguments.push(escape(&value));
            }
            Sent::Verbatim(argument) => arguments.push(argument.into_bytes()),
        }
    }
    arguments
}

fn rows(direction: Direction) -> impl Iterator<Item = &'static table::OptionRow> {
    table::options().iter().filter(move |row| match row.sides {
        Sides::Both => true,
        Sides::Push => direction == Direction::Push,
        Sides::Pull => direction == Direction::Pull,
    })
}

/// `.` and the paths; one that begins with a dash is kept from being taken for an option.
fn dot_and_paths(paths: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    let guarded = |path: &Vec<u8>| match path.first() {
        Some(b'-') => [b"./", &path[..]].concat(),
        _ => path.clone(),
    };
    std::iter::once(b".".to_vec()).chain(paths.iter().map(guarded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ChecksumName, CompressName};
    use crate::options::{ChecksumChoice, DeleteTiming};

    /// The whole list as one line, for a run on the module's root.
    fn sent(direction: Direction, options: &Options) -> String {
        let capabilities = Capabilities::ours(options, direction, true);
        let list = server_args(options, direction, capabilities, &[b"mod/".to_vec()]);
        String::from_utf8_lossy(&list.join(&b' ')).into_owned()
    }

    fn rt() -> Options {
        Options { recurse: true, times: true, ..Options::default() }
    }

    /// `-a` with changes.
    fn a(change: impl FnOnce(&mut Options)) -> Options {
        let mut options = Options::archive();
        change(&mut options);
        options
    }

    #[test]
    fn pushes_match_the_recordings_of_3_5_0() {
        let cc = |name| Some(ChecksumChoice { transfer: name, list: name });
        for (options, expected) in [
            (rt(), "--server -tre.iLsfxCIvu . mod/"),
            (a(|_| ()), "--server -logDtpre.iLsfxCIvu . mod/"),
            (
                a(|o| {
                    o.checksum = true;
                    o.no_inc_recursive = true;
                    o.checksum_choice = cc(ChecksumName::Md4);
                    o.checksum_seed = Some(77);
                }),
                "--server -logDtprce.LsfxCIvu --checksum-choice=md4 --checksum-seed=77 . mod/",
            ),
            (
                a(|o| o.delete = Some(DeleteTiming::During)),
                "--server -logDtpre.iLsfxCIvu --delete . mod/",
            ),
            (
                a(|o| o.delete = Some(DeleteTiming::After)),
                "--server -logDtpre.iLsfxCIvu --delete-after . mod/",
            ),
            (
                a(|o| o.delete = Some(DeleteTiming::Before)),
                "--server -logDtpre.iLsfxCIvu --delete-before . mod/",
            ),
            (
                a(|o| {
                    o.delete = Some(DeleteTiming::Delay);
                    o.delay_updates = true;
                }),
                "--server -logDtpre.iLsfxCIvu --delete-delay --delay-updates . mod/",
            ),
            (
                a(|o| {
                    o.delete = Some(DeleteTiming::During);
                    o.delete_excluded = true;
                }),
                "--server -logDtpre.iLsfxCIvu --delete-excluded . mod/",
            ),
            (
                a(|o| {
                    o.delete = Some(DeleteTiming::During);
                    o.max_delete = Some(1);
                }),
                "--server -logDtpre.iLsfxCIvu --max-delete=1 --delete . mod/",
            ),
            (
                a(|o| {
                    o.delete = Some(DeleteTiming::During);
                    o.dry_run = true;
                    o.itemize = 1;
                }),
                "--server -nlogDtpre.iLsfxCIvu --log-format=%i --delete . mod/",
            ),
            (
                a(|o| {
                    o.delete = Some(DeleteTiming::During);
                    o.itemize = 2;
                }),
                "--server -logDtpre.iLsfxCIvu --log-format=%i%I --delete . mod/",
            ),
            (
                a(|o| {
                    o.delete = Some(DeleteTiming::During);
                    o.verbose = 2;
                    o.stats = true;
                }),
                "--server -vvlogDtpre.iLsfxCIvu --delete --stats . mod/",
            ),
            (a(|o| o.hard_links = 1), "--server -lHogDtpre.iLsfxCIvu . mod/"),
            (a(|o| o.prune_empty_dirs = true), "--server -lmogDtpre.iLsfxCIvu . mod/"),
            (a(|o| o.whole_file = Some(true)), "--server -lWogDtpre.iLsfxCIvu . mod/"),
            (a(|o| o.inplace = true), "--server -logDtpre.iLsfxCIvu --inplace . mod/"),
            (a(|o| o.compress = true), "--server -logDtprze.iLsfxCIvu . mod/"),
            (Options { timeout: 33, ..rt() }, "--server -tre.iLsfxCIvu --timeout=33 . mod/"),
            (a(|o| o.protocol = Some(29)), "--server -logDtpr . mod/"),
        ] {
            assert_eq!(sent(Direction::Push, &options), expected);
        }
    }

    #[test]
    fn pulls_match_the_recordings_of_3_5_0() {
        let zc = |name| {
            a(|o| {
                o.compress = true;
                o.compress_choice = Some(name);
                o.checksum_seed = Some(1);
            })
        };
        for (options, expected) in [
            (rt(), "-tre.iLsfxCIvu . mod/"),
            (Options { dirs: true, ..Options::default() }, "-de.LsfxCIvu . mod/"),
            (Options { times: true, ..Options::default() }, "-te.LsfxCIvu . mod/"),
            (
                zc(CompressName::Zlib),
                "-logDtprze.iLsfxCIvu --old-compress --checksum-seed=1 . mod/",
            ),
            (
                zc(CompressName::Zlibx),
                "-logDtpre.iLsfxCIvu --new-compress --checksum-seed=1 . mod/",
            ),
            (
                zc(CompressName::Lz4),
                "-logDtpre.iLsfxCIvu --compress-choice=lz4 --checksum-seed=1 . mod/",
            ),
            (a(|o| o.delete = Some(DeleteTiming::After)), "-logDtpre.LsfxCIvu . mod/"),
            (
                a(|o| {
                    o.delete = Some(DeleteTiming::During);
                    o.delete_excluded = true;
                    o.max_delete = Some(1);
                    o.itemize = 2;
                    o.verbose = 2;
                }),
                "-vvlogDtpre.iLsfxCIvu . mod/",
            ),
            (a(|o| o.prune_empty_dirs = true), "-logDtpre.LsfxCIvu . mod/"),
        ] {
            let expected = format!("--server --sender {expected}");
            assert_eq!(sent(Direction::Pull, &options), expected);
        }
    }

    #[test]
    fn everything_at_once_has_the_stock_order() {
        // Taken from what rsync 3.5.0 sent to a recording listener.
        let mut options = a(|o| {
            o.compress = true;
            o.compress_choice = Some(CompressName::Lz4);
            o.block_size = Some(800);
            o.modify_window = 2;
            o.checksum_seed = Some(9);
            o.partial = true;
            o.partial_dir = Some(b"a b*c".to_vec());
            o.delay_updates = true;
            o.ignore_errors = true;
            o.safe_links = true;
            o.numeric_ids = true;
            o.ignore_existing = true;
            o.existing = true;
            o.temp_dir = Some(b"tt".to_vec());
            o.fsync = true;
            o.mkpath = true;
            o.delete = Some(DeleteTiming::During);
            o.compress_level = Some(2);
            o.specials = false;
            o.itemize = 1;
            o.timeout = 4;
            o.bwlimit = 3;
            o.max_delete = Some(0);
            o.stats = true;
            o.min_size = Some(1);
            o.max_size = Some(5000);
            o.force = true;
            o.size_only = true;
        });
        assert_eq!(
            sent(Direction::Push, &options),
            "--server -logDtpre.iLsfxCIvu --compress-level=2 --no-specials --log-format=%i -B800 \
             --timeout=4 --bwlimit=3 --compress-choice=lz4 --max-delete=-1 --min-size=1 \
             --max-size=5000 --delete --force --size-only --stats --modify-window=2 \
             --checksum-seed=9 --partial-dir a\\ b\\*c --delay-updates --ignore-errors \
             --safe-links --numeric-ids --ignore-existing --existing --temp-dir tt --fsync \
             --mkpath . mod/"
        );
        options.delay_updates = false;
        options.temp_dir = None;
        assert_eq!(
            sent(Direction::Pull, &options),
            "--server --sender -logDtpre.iLsfxCIvu --compress-level=2 --no-specials -B800 \
             --timeout=4 --bwlimit=3 --compress-choice=lz4 --checksum-seed=9 --ignore-errors \
             --safe-links --numeric-ids . mod/"
        );
    }

    #[test]
    fn letters_have_the_stock_order() {
        let options = a(|o| {
            o.verbose = 2;
            o.update = true;
            o.dry_run = true;
            o.copy_links = true;
            o.prune_empty_dirs = true;
            o.omit_dir_times = true;
            o.omit_link_times = true;
            o.whole_file = Some(true);
            o.hard_links = 2;
            o.sparse = true;
            o.one_file_system = 1;
            o.ignore_times = true;
            o.checksum = true;
            o.executability = true;
            o.modify_window = -1;
        });
        assert_eq!(
            sent(Direction::Pull, &options),
            "--server --sender -vvunlLWHHogDtprcIxSe.LsfxCIvu . mod/"
        );
        assert_eq!(
            sent(Direction::Push, &options),
            "--server -vvunlmOJWHHogDtprcIxSe.iLsfxCIvu -@-1 . mod/"
        );
    }

    #[test]
    fn secluded_arguments_are_two_lists() {
        let options = Options { secluded_args: true, temp_dir: Some(b"a b".to_vec()), ..rt() };
        let paths = [b"-odd".to_vec(), b"mod/".to_vec()];
        let capabilities = Capabilities::ours(&options, Direction::Push, true);
        let version = Version::NEWEST;
        let sent = encode_client_args(&options, Direction::Push, &paths, capabilities, version);
        let expected = "--server|-stre.iLsfxCIvu||rsync|--temp-dir|a b|.|./-odd|mod/||";
        assert_eq!(sent, Ok(expected.replace('|', "\0").into_bytes()));
        assert_eq!(join(&[b"rsync".to_vec(), Vec::new()], 0), Ok(b"rsync\0.\0\0".to_vec()));
    }

    #[test]
    fn separators_cannot_be_smuggled_in() {
        let line = [b"a\nb".to_vec()];
        assert!(join(&line, 0).is_ok());
        assert!(join(&line, b'\n').is_err());
        assert!(join(&[b"a\0b".to_vec()], 0).is_err());
        assert!(join(&[b"a\0b".to_vec()], b'\n').is_err());
    }
}
