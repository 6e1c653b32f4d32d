//! A conversation from its first byte to the first multiplexed one (§2, §3, §5).

use bascule_wire::args::{
    ArgsDecoder, Direction, is_secluded, join_secluded, parse_server_args, unescape_options,
};
use bascule_wire::auth::Response;
use bascule_wire::greeting::{ClientLine, Greeting, LineDecoder, ServerLine};
use bascule_wire::limits::MAX_LINE;
use bascule_wire::names::{ChecksumName, CompressName};
use bascule_wire::setup::{CompatFlags, Negotiated};
use bascule_wire::varint::PutWire as _;
use bascule_wire::{Options, Version};

use super::stream::Stream;

/// What was agreed on.
pub(crate) struct Opening {
    pub(crate) negotiated: Negotiated,
    pub(crate) direction: Direction,
    /// The options that shape the conversation.
    pub(crate) options: Options,
    pub(crate) args: Vec<Vec<u8>>,
    /// `--append`, which this build does not carry out, shapes the recording.
    pub(crate) append: bool,
    /// Whether this build's own parser refuses the arguments.
    pub(crate) refused: bool,
}

/// Reads the opening; `None` when the conversation ends in it.
pub(crate) fn read<'r>(client: &mut Stream<'r>, server: &mut Stream<'r>) -> Option<Opening> {
    let version = greet(client, server)?;
    let args = read_args(client, version);
    let letters = letters(&args);
    let options = options(&args, &letters);
    let refused = check_parser(&args, &options).is_none();
    let negotiated = negotiate(client, server, version, &args, &letters);
    let direction = match args.iter().any(|arg| arg == b"--sender") {
        true => Direction::Pull,
        false => Direction::Push,
    };
    client.multiplex(true);
    server.multiplex(true);
    let append = args.iter().any(|arg| arg == b"--append");
    Some(Opening { negotiated, direction, options, args, append, refused })
}

fn greet<'r>(client: &mut Stream<'r>, server: &mut Stream<'r>) -> Option<Version> {
    let mut lines = LineDecoder::new(MAX_LINE);
    let [ours, theirs] = [&mut *client, &mut *server].map(|side| {
        let greeting = Greeting::parse(&side.next(&mut lines)).expect("a greeting");
        side.again.extend_from_slice(&greeting.to_line());
        greeting
    });
    let request = client.next(&mut lines);
    client.again.extend_from_slice(&request);
    client.again.extend_from_slice(b"\n");
    let parsed = ClientLine::parse(&request);
    if let ClientLine::Module(_) = parsed {
        assert_eq!(parsed.to_line(), [&request[..], b"\n"].concat());
    }
    loop {
        if server.is_at_end() {
            return None;
        }
        let line = ServerLine::parse(&server.next(&mut lines)).expect("a line of a server");
        server.again.extend_from_slice(&line.to_line());
        match line {
            ServerLine::Ok => break,
            ServerLine::Exit | ServerLine::Error(_) => return None,
            ServerLine::Text(_) => {}
            ServerLine::AuthRequired { .. } => {
                let response = Response::parse(&client.next(&mut lines));
                client.again.extend_from_slice(&response.to_line().expect("a login"));
            }
        }
    }
    Some(Greeting::negotiate(&ours, &theirs).expect("a common version"))
}

fn read_args(client: &mut Stream<'_>, version: Version) -> Vec<Vec<u8>> {
    let mut decoder = ArgsDecoder::new(version);
    let first = client.next(&mut decoder);
    put_args(client, &first);
    if !is_secluded(&first) {
        return first;
    }
    let second = client.next(&mut ArgsDecoder::secluded());
    put_args(client, &second);
    join_secluded(first, second)
}

fn put_args(client: &mut Stream<'_>, args: &[Vec<u8>]) {
    for arg in args.iter().map(Vec::as_slice).chain([&b""[..]]) {
        client.again.extend_from_slice(arg);
        client.again.put_byte(0);
    }
}

/// The single letters, without those behind `e`.
fn letters(args: &[Vec<u8>]) -> Vec<u8> {
    let short = args.iter().filter(|arg| arg.starts_with(b"-") && !arg.starts_with(b"--"));
    short.flat_map(|arg| arg[1..].iter().copied().take_while(|&letter| letter != b'e')).collect()
}

/// Compares the crate's own parser with what is read here; `None` when it refuses the options.
fn check_parser(args: &[Vec<u8>], options: &Options) -> Option<()> {
    let mut args = args.to_vec();
    unescape_options(&mut args);
    let parsed = parse_server_args(&args).ok()?.options;
    let shaping = |it: &Options| {
        let kinds = [it.owner, it.group, it.links, it.devices, it.specials, it.numeric_ids];
        let run = [it.checksum, it.dry_run, it.prune_empty_dirs];
        (kinds, run, it.hard_links)
    };
    assert_eq!(shaping(&parsed), shaping(options), "{args:?}");
    Some(())
}

/// The options that shape lists and records. The build refuses some options of the recordings
/// (`-R`, `--append`), so this cannot be its own parser.
fn options(args: &[Vec<u8>], letters: &[u8]) -> Options {
    let has = |letter| letters.contains(&letter);
    let devices = has(b'D');
    Options {
        owner: has(b'o'),
        group: has(b'g'),
        links: has(b'l'),
        devices,
        specials: devices,
        hard_links: u8::from(has(b'H')),
        checksum: has(b'c'),
        dry_run: has(b'n'),
        prune_empty_dirs: has(b'm'),
        numeric_ids: args.iter().any(|arg| arg == b"--numeric-ids"),
        ..Options::default()
    }
}

fn negotiate(
    client: &mut Stream<'_>,
    server: &mut Stream<'_>,
    version: Version,
    args: &[Vec<u8>],
    letters: &[u8],
) -> Negotiated {
    let bits = server.read(|cursor| cursor.varint());
    server.again.put_varint(bits);
    let compat = CompatFlags(bits.cast_unsigned());
    let listed = compat.has(CompatFlags::VARINT_FLIST_FLAGS);
    let value = |option: &str| {
        let mut values = args.iter().filter_map(|arg| arg.strip_prefix(option.as_bytes()));
        values.next_back().map(|value| String::from_utf8(value.to_vec()).expect("a name"))
    };
    let has = |option: &[u8]| args.iter().any(|arg| arg == option);

    let mut checksum = value("--checksum-choice=");
    let mut compress = match () {
        () if has(b"--new-compress") => Some("zlibx".to_owned()),
        () if has(b"--old-compress") => Some("zlib".to_owned()),
        () => value("--compress-choice="),
    };
    let lists = [
        (listed && checksum.is_none(), &mut checksum),
        (listed && compress.is_none() && letters.contains(&b'z'), &mut compress),
    ];
    // Each end writes all its lists before it reads one.
    let mut wanted = Vec::new();
    for (_, choice) in lists.into_iter().filter(|(travels, _)| *travels) {
        let ours = read_list(client);
        wanted.push((ours, choice));
    }
    for (ours, choice) in wanted {
        let theirs = read_list(server);
        let common = ours.split(' ').find(|name| theirs.split(' ').any(|other| other == *name));
        *choice = Some(common.expect("a common name").to_owned());
    }
    if letters.contains(&b'z') && compress.is_none() {
        compress = Some("zlib".to_owned());
    }
    let checksum = checksum
        .map_or(ChecksumName::Md5, |name| ChecksumName::parse(&name).expect("a known checksum"));
    let seed = server.read(|cursor| cursor.int());
    server.again.put_int(seed);
    Negotiated {
        version,
        compat,
        checksum,
        list_checksum: checksum,
        compress: compress.map_or(CompressName::None, |name| {
            CompressName::parse(&name).expect("a known compression")
        }),
        seed,
    }
}

fn read_list(side: &mut Stream<'_>) -> String {
    let list = side.read(|cursor| cursor.vstring(MAX_LINE).map(<[u8]>::to_vec));
    side.again.put_vstring(&list).expect("it was one");
    String::from_utf8(list).expect("names")
}
