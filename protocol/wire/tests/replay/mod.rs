//! Replays a recorded conversation through the codecs, in both directions to the last byte, and
//! makes it again (§17).

mod files;
mod list;
mod opening;
mod records;
mod stream;

use std::collections::HashSet;
use std::path::Path;

use bascule_wire::args::Direction;
use bascule_wire::filter::{FilterListDecoder, Rule};
use bascule_wire::record::Record;
use bascule_wire::stats::TransferStats;
use bascule_wire::varint::PutWire as _;

use list::ListReader;
use opening::Opening;
use records::{Answers, Requests};
use stream::Stream;

/// Ends of the names of recordings whose options (`-R`, `--append`, `--remove-source-files`) this
/// build does not carry out.
const REFUSED: [&str; 4] = ["append", "files-from", "relative", "remove-source"];

/// What a replay came across, so that a test can tell that it checked something.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) entries: usize,
    pub(crate) segments: usize,
    /// Files whose data were rebuilt and checked against their sums.
    pub(crate) files: usize,
    /// Files that were sent as differences to a basis.
    pub(crate) differences: usize,
    pub(crate) block_sums: usize,
    pub(crate) messages: usize,
    /// Whether the conversation went to its regular end.
    pub(crate) complete: bool,
}

/// Replays the recording in `folder`, `step` bytes at a time.
pub(crate) fn replay(folder: &Path, step: usize) -> Seen {
    let recorded = |name: &str| std::fs::read(folder.join(name)).expect("a recording");
    let (from_client, from_server) = (recorded("c2s.bin"), recorded("s2c.bin"));
    let mut client = Stream::new(&from_client, step);
    let mut server = Stream::new(&from_server, step);
    let mut seen = Seen::default();
    if let Some(opening) = opening::read(&mut client, &mut server) {
        let name = folder.to_string_lossy();
        let refused = REFUSED.iter().any(|what| name.ends_with(what));
        assert_eq!(opening.refused, refused, "whether its arguments are refused");
        seen.complete = transfer(&opening, &mut client, &mut server, &mut seen).is_some();
    }
    client.finish();
    server.finish();
    seen.messages = client.messages.len() + server.messages.len();
    seen
}

/// Reads what follows the opening; `None` when it breaks off.
fn transfer<'r>(
    opening: &Opening,
    client: &mut Stream<'r>,
    server: &mut Stream<'r>,
    seen: &mut Seen,
) -> Option<()> {
    let pull = opening.direction == Direction::Pull;
    if sends_filter_list(opening) && !(client.is_at_end() && server.is_at_end()) {
        read_filter_list(opening, client);
    }
    if pull && opening.args.iter().any(|arg| arg == b"--files-from=-") {
        read_names(opening, client);
    }
    let (sender, generator) = if pull { (server, client) } else { (client, server) };
    if sender.is_at_end() {
        return None;
    }
    let mut lists = ListReader::new(opening);
    lists.read_segment(sender, None, seen);
    let mut answers = Answers::new(opening);
    let mut ended = 0;
    while ended < lists.segments - 1 + 3 {
        if sender.is_at_end() {
            return None;
        }
        match answers.next(sender) {
            Record::Done => ended += 1,
            Record::ListEof => lists.check_complete(),
            Record::DelStats(stats) => panic!("statistics in the middle: {stats:?}"),
            Record::Segment(directory) => lists.read_segment(sender, Some(directory), seen),
            Record::File(head) => answers.file(&head, &lists, sender, seen),
        }
    }
    let version = opening.negotiated.version;
    if pull {
        let stats = sender.read(|cursor| TransferStats::read(cursor, version));
        stats.put(version, &mut sender.again);
        assert_eq!(stats.total_size, lists.total_size());
    }
    while version.has_long_goodbye() && !sender.is_at_end() {
        let record = answers.next(sender);
        assert!(matches!(record, Record::Done | Record::DelStats(_)), "{record:?}");
    }

    let phases = if version.has_long_goodbye() { 4 } else { 3 };
    let mut requests = Requests::new(opening, answers.appended);
    let mut ended = 0;
    while ended < lists.segments + phases {
        match requests.next(generator) {
            Record::Done => ended += 1,
            Record::DelStats(_) => {}
            Record::File(head) => requests.file(&head, &lists, generator, seen),
            record => panic!("a generator sent {record:?}"),
        }
    }
    Some(())
}

/// The rule of §7. Deletion shows in the arguments alone.
fn sends_filter_list(opening: &Opening) -> bool {
    let deletes = opening.args.iter().any(|arg| arg.starts_with(b"--delete"));
    opening.direction == Direction::Pull || opening.options.prune_empty_dirs || deletes
}

/// The rules are written one by one as they are: which of them are sent is not the text's matter.
fn read_filter_list(opening: &Opening, client: &mut Stream<'_>) {
    let rules: Vec<Rule> = client.next(&mut FilterListDecoder::new());
    for rule in &rules {
        let text = rule.to_wire(opening.negotiated.version).expect("it came over the wire");
        client.again.put_int(i32::try_from(text.len()).expect("short"));
        client.again.extend_from_slice(&text);
    }
    client.again.put_int(0);
}

/// Names for `--files-from`: raw before 31.
fn read_names(opening: &Opening, client: &mut Stream<'_>) {
    let framed = opening.negotiated.version.multiplexes_files_from();
    client.multiplex(framed);
    let mut names = HashSet::new();
    loop {
        let name = client.read(|cursor| {
            let mut name = Vec::new();
            while let byte @ 1.. = cursor.byte()? {
                name.push(byte);
            }
            Ok(name)
        });
        client.again.extend_from_slice(&name);
        client.again.put_byte(0);
        if name.is_empty() {
            break;
        }
        assert!(names.insert(name));
    }
    if !framed {
        client.multiplex(true);
    }
}
