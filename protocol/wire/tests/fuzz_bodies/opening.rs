//! The opening: lines, login, arguments, setup.

use bascule_wire::args::{
    ArgsDecoder, Capabilities, Direction, RefuseList, ServerCommand, is_secluded, join_secluded,
    parse_server_args, parse_size, server_args, strip_module, unescape_options,
};
use bascule_wire::auth::{self, AuthDigest, Response};
use bascule_wire::greeting::{ClientLine, Greeting, LineDecoder, ServerLine};
use bascule_wire::limits::{MAX_ARGS, MAX_ARGS_BYTES, MAX_LINE};
use bascule_wire::names::{ChecksumName, CompressName};
use bascule_wire::setup::{ClientOffer, CompatFlags, ServerOffer};
use bascule_wire::{Options, Version};

use super::{Input, again, both_cuts, read_both_cuts};

fn lines(input: Input<'_>) -> Vec<Vec<u8>> {
    let lines = both_cuts(input, LineDecoder::default);
    assert!(lines.iter().all(|line| line.len() <= MAX_LINE && !line.contains(&b'\n')));
    lines
}

fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").expect("a line ends")
}

pub(super) fn greeting(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    for line in lines(input) {
        if let Ok(greeting) = Greeting::parse(&line) {
            assert_eq!(Greeting::parse(without_end(&greeting.to_line())), Ok(greeting.clone()));
            let ours = Greeting::ours(Version::NEWEST);
            let version = Greeting::negotiate(&ours, &greeting);
            assert_eq!(version.is_ok(), Greeting::negotiate(&greeting, &ours).is_ok());
            assert!(version.is_err() || version.is_ok_and(|it| it.number() <= greeting.protocol));
        }
        if let Ok(parsed) = ServerLine::parse(&line) {
            assert_eq!(ServerLine::parse(without_end(&parsed.to_line())), Ok(parsed));
        }
        let parsed = ClientLine::parse(&line);
        assert_eq!(ClientLine::parse(without_end(&parsed.to_line())), parsed);
    }
}

pub(super) fn auth(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    for line in lines(input) {
        let response = Response::parse(&line);
        if let Ok(line) = response.to_line() {
            assert_eq!(Response::parse(without_end(&line)), response);
        }
        assert!(!auth::verify(AuthDigest::Sha512, b"secret", "challenge", &response.response));
        let list: Vec<String> =
            String::from_utf8_lossy(&line).split(' ').map(str::to_owned).collect();
        let version = input.version(27);
        let client = auth::choose_client(Some(&list), version);
        let server = auth::choose_server(Some(&list), version);
        assert!(client.is_err() || server.is_ok());
    }
}

pub(super) fn args(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let version = input.version(27);
    let separator = if version.has_varints() { 0 } else { b'\n' };
    let lists = both_cuts(input, || ArgsDecoder::new(version));
    for list in &lists {
        assert!(list.len() <= MAX_ARGS);
        assert!(list.iter().map(Vec::len).sum::<usize>() <= MAX_ARGS_BYTES);
        let mut out = list.join(&separator);
        out.extend([separator].repeat(if list.is_empty() { 1 } else { 2 }));
        assert_eq!(again(&mut ArgsDecoder::new(version), &out), std::slice::from_ref(list));
    }
    let mut lists = lists.into_iter();
    let Some(mut list) = lists.next() else { return };
    if is_secluded(&list) {
        list = join_secluded(list, lists.next().unwrap_or_default());
    }
    drop(ServerCommand::unusable(&list));
    unescape_options(&mut list);
    let Ok(mut command) = parse_server_args(&list) else { return };
    strip_module(&mut command.paths, b"mod");
    drop(RefuseList::parse("delete* !a c").refused(&command));
    let paths = &command.paths;
    drop(server_args(&command.options, command.direction, command.capabilities, paths));
}

pub(super) fn setup(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let mut options = Options { compress: input.bit(3), ..Options::archive() };
    options.compress_choice = input.bit(4).then_some(CompressName::Zlibx);
    let version = input.version(30);
    let Some((flags, read)) = read_both_cuts(input, |cursor| cursor.varint()) else { return };
    let compat = CompatFlags(flags.cast_unsigned());
    drop(compat.check_answer(Capabilities::parse(b".LsfxCIvu")));
    let input = Input { cut: input.cut.saturating_sub(read), bytes: &input.bytes[read..], ..input };

    let offer = ClientOffer::new(&options, compat);
    if let Some((answer, _)) = read_both_cuts(input, |cursor| offer.read_answer(cursor))
        && let Ok(agreed) = offer.conclude(&options, version, compat, &answer)
    {
        assert!(options.compress || agreed.compress == CompressName::None);
    }
    let mut command = ServerCommand::unusable(&[]);
    command.capabilities = Capabilities::parse(b".iLsfxCIvu");
    command.direction = if input.bit(5) { Direction::Push } else { Direction::Pull };
    command.options = options;
    let offer = ServerOffer::new(&command, version, 5);
    if let Some((answer, _)) = read_both_cuts(input, |cursor| offer.read_answer(cursor))
        && let Ok(agreed) = offer.conclude(&answer)
    {
        assert_eq!((agreed.version, agreed.seed), (version, 5));
    }
}

pub(super) fn names(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let text = String::from_utf8_lossy(input.bytes);
    for name in text.split_ascii_whitespace() {
        if let Some(parsed) = ChecksumName::parse(name) {
            assert_eq!(ChecksumName::parse(parsed.as_str()), Some(parsed));
        }
        if let Some(parsed) = CompressName::parse(name) {
            assert_eq!(CompressName::parse(parsed.as_str()), Some(parsed));
        }
        if let Some(parsed) = AuthDigest::parse(name) {
            assert_eq!(AuthDigest::parse(parsed.as_str()), Some(parsed));
        }
        let letters = Capabilities::parse(name.as_bytes());
        // It is written as it stands in the options: with the letter in front.
        let written = letters.format();
        let value = written.strip_prefix('e').unwrap_or(&written);
        assert_eq!(Capabilities::parse(value.as_bytes()), letters);
        let _size: Option<u64> = parse_size(name, input.mode);
    }
    drop(RefuseList::parse(&text).unmatched());
}
