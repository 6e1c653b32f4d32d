//! The lies of a sender: a client that pushes, a daemon that is pulled from. Each is well behaved up
//! to its lie.

use std::io;

use bascule_wire::flist::Entry;
use bascule_wire::message::Message;
use bascule_wire::record::{BasisType, ItemFlags, Record, RecordHead};
use bascule_wire::sums::SumHead;
use bascule_wire::varint::PutWire as _;
use bytes::{Bytes, BytesMut};

use super::entries::{directory, file, hard_link, root, symlink};
use super::talk::{Lie, Talk};

/// A lie, and what the other end has to say of it.
pub struct Told {
    /// Its name, for messages.
    pub name: &'static str,
    /// The lie.
    pub lie: Lie,
    /// The exit code that the other end has to tell; 0 for a run that goes on to its end.
    pub code: i32,
    /// What its texts have to contain.
    pub says: &'static str,
}

const fn told(name: &'static str, lie: Lie, code: i32, says: &'static str) -> Told {
    Told { name, lie, code, says }
}

/// Lies about hard links, to be told where these are asked for.
pub const ABOUT_LINKS: &[Told] = &[
    told("a link to what comes later", |talk| link_to(talk, 1000), 2, "comes later"),
    told("a link to what begins no group", |talk| link_to(talk, 1), 2, "begins no group"),
    told("a link below zero", |talk| link_to(talk, u32::MAX), 2, "comes later"),
];

/// Lies in names.
pub const NAMES: &[Told] = &[
    told("a name that climbs", |talk| names(talk, "../evil"), 2, "'..'"),
    told("a name that climbs out of a folder", |talk| names(talk, "old/../../evil"), 2, "'..'"),
    told("an absolute name", |talk| names(talk, "/tmp/evil"), 2, "absolute"),
    told("an empty component", |talk| names(talk, "old//evil"), 2, "empty component"),
    told("a dot as a component", |talk| names(talk, "./evil"), 2, "'.'"),
    told("a NUL in a name", |talk| names(talk, "e\0vil"), 2, "NUL"),
    told("no name at all", no_name, 2, "empty"),
    told("a root that is a file", |talk| list_of(talk, &[file(".", 3)]), 2, "root"),
    told("a file in a folder that is not listed", |talk| names(talk, "nowhere/x"), 2, "without"),
    told("a file below a symlink", below_symlink, 2, "without"),
];

/// Lies in other fields of the list.
pub const LENGTHS: &[Told] = &[
    told("a name longer than the last by nothing", borrowed_name, 2, "previous name"),
    told("a negative length of a name", negative_name, 2, "name"),
    told("a negative size", negative_size, 2, "size"),
    told("a negative length of a target", negative_target, 2, "symlink target"),
    told("too many nanoseconds", nanoseconds, 2, "nanoseconds"),
    told("a mode of no kind", no_kind, 2, "no kind"),
    told("a hard link that nobody asked for", unasked_link, 2, "hard link"),
];

/// Lies in the numbers that come with the data, and about what was asked for.
pub const NUMBERS: &[Told] = &[
    told("an index that is not in the list", |talk| answers(talk, 77_777), 2, "not in the list"),
    told("an index that was not asked for", |talk| answers(talk, 2), 2, "not asked for"),
    told("an answer given twice", twice, 2, "not asked for"),
    told("a refusal of what was not asked for", no_send, 2, "not asked for"),
    told("a refusal below zero", no_send_below_zero, 2, "not asked for"),
    told("a huge count of blocks", |talk| sums(talk, [i32::MAX, 700, 2, 0]), 2, "block count"),
    told("a negative count of blocks", |talk| sums(talk, [-1, 700, 2, 0]), 2, "block count"),
    told("a huge block", |talk| sums(talk, [1, i32::MAX, 2, 0]), 2, "block length"),
    told("blocks of no length", |talk| sums(talk, [1, 0, 2, 0]), 2, "block length"),
    told("a sum longer than the digest", |talk| sums(talk, [1, 700, 99, 0]), 2, "strong sum"),
    told("a last block that is too long", |talk| sums(talk, [1, 700, 2, 701]), 2, "last block"),
    told("a block beyond the basis", beyond_basis, 2, "refers to block 9 of 1"),
    told("a token below every number", |talk| token(talk, i32::MIN), 2, "refers to block"),
    told("a huge literal", |talk| token(talk, i32::MAX), 2, "literal"),
    told("deletions beyond counting", deletions, 2, "deletion"),
    told("a message that is too long", long_message, 2, "a message of"),
];

/// Lies of other kinds.
pub const OTHERS: &[Told] = &[
    told("a basis that was not offered", foreign_basis, 2, "basis"),
    told("a sum that never agrees", wrong_sum, 23, "did not match its checksum twice"),
    told("the list a second time", list_twice, 2, ""),
    told("a message of an unknown kind", unknown_message, 2, "unknown tag"),
    told("bytes that are no frame", |talk| talk.raw(b"\0\0\0\0"), 2, "frame"),
];

/// All lies that need no option.
pub fn all() -> impl Iterator<Item = &'static Told> {
    [NAMES, LENGTHS, NUMBERS, OTHERS].into_iter().flatten()
}

fn list_of(talk: &mut Talk, entries: &[Entry]) -> io::Result<()> {
    talk.list(entries)
}

fn link_to(talk: &mut Talk, group: u32) -> io::Result<()> {
    list_of(talk, &[root(), file("good", 4), hard_link("twin", group, false)])
}

/// A list with a good file in it, the two being in order.
fn names(talk: &mut Talk, name: &str) -> io::Result<()> {
    talk.list(&[root(), file("good", 4), file(name, 4)])
}

/// What the entries of [`honest_list`] are.
const GOOD: u32 = 1;
const OLD: u32 = 2;

/// A list that is in order: the root, a file that the target does not have, and one that it has.
/// Gives the index of the first entry.
fn honest_list(talk: &mut Talk) -> io::Result<u32> {
    talk.list(&[root(), file("good", 4), file("old", 4000)])?;
    Ok(talk.first_index())
}

/// Answers a request with `data` and a digest of its own.
fn answer(talk: &mut Talk, index: u32, data: &[u8], right: bool) -> io::Result<()> {
    talk.head(index, SumHead::EMPTY);
    talk.token(|tokens, out| {
        tokens.literal(data, out)?;
        tokens.end(out)
    })?;
    let mut hasher = talk.strong().file();
    hasher.update(data);
    let mut digest = hasher.finish().as_ref().to_vec();
    if !right {
        digest[0] ^= 1;
    }
    talk.put(&digest);
    talk.flush()
}

/// Appends the flags of an entry and its name.
fn named(out: &mut BytesMut, talk: &Talk, flags: i32, name: &[u8]) {
    assert!(talk.negotiated.varint_flags(), "both ends are new");
    out.put_varint(flags);
    out.put_byte(u8::try_from(name.len()).expect("a short name"));
    out.extend_from_slice(name);
}

/// Begins a list with an entry that is written by hand.
fn by_hand(talk: &mut Talk, write: impl FnOnce(&mut BytesMut, &Talk)) -> io::Result<()> {
    let mut out = BytesMut::new();
    write(&mut out, talk);
    talk.put(&out);
    talk.flush()
}

fn no_name(talk: &mut Talk) -> io::Result<()> {
    by_hand(talk, |out, talk| named(out, talk, 0x04, b""))
}

fn borrowed_name(talk: &mut Talk) -> io::Result<()> {
    by_hand(talk, |out, _| {
        out.put_varint(0x20);
        out.extend_from_slice(&[200, 1, b'x']);
    })
}

fn negative_name(talk: &mut Talk) -> io::Result<()> {
    by_hand(talk, |out, _| {
        out.put_varint(0x40);
        out.put_varint(-5);
    })
}

fn negative_size(talk: &mut Talk) -> io::Result<()> {
    by_hand(talk, |out, talk| {
        named(out, talk, 0x04, b"good");
        out.put_varlong(-1, 3);
    })
}

fn negative_target(talk: &mut Talk) -> io::Result<()> {
    by_hand(talk, |out, talk| {
        // Same owner, group and time as before.
        named(out, talk, 0x98, b"link");
        out.put_varlong(1, 3);
        out.put_int(0o120_777);
        out.put_varint(-1);
    })
}

fn nanoseconds(talk: &mut Talk) -> io::Result<()> {
    by_hand(talk, |out, talk| {
        named(out, talk, 0x2000, b"good");
        out.put_varlong(1, 3);
        out.put_varlong(1, 4);
        out.put_varint(1_000_000_000);
    })
}

fn no_kind(talk: &mut Talk) -> io::Result<()> {
    list_of(talk, &[root(), Entry { mode: 0o170_644, ..file("good", 4) }])
}

fn unasked_link(talk: &mut Talk) -> io::Result<()> {
    by_hand(talk, |out, talk| named(out, talk, 0x0200, b"good"))
}

fn below_symlink(talk: &mut Talk) -> io::Result<()> {
    list_of(talk, &[root(), symlink("way", "../outside"), file("way/evil", 4)])
}

fn answers(talk: &mut Talk, index: u32) -> io::Result<()> {
    let first = honest_list(talk)?;
    talk.request()?;
    // The entry before the good ones is the root, which nobody asks for.
    answer(talk, if index == OLD { first } else { index }, b"evil", true)
}

fn twice(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    let (index, _) = talk.request()?;
    answer(talk, index, b"good", true)?;
    answer(talk, index, b"evil", true)
}

fn no_send(talk: &mut Talk) -> io::Result<()> {
    let first = honest_list(talk)?;
    talk.message(&Message::NoSend((first + 100).cast_signed()));
    talk.flush()
}

fn no_send_below_zero(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    talk.message(&Message::NoSend(-1));
    talk.flush()
}

fn sums(talk: &mut Talk, head: [i32; 4]) -> io::Result<()> {
    honest_list(talk)?;
    let (index, _) = talk.request()?;
    talk.head_by_hand(index, head);
    talk.flush()
}

fn beyond_basis(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    let (index, _) = talk.request()?;
    talk.head(index, SumHead { count: 1, block_len: 700, strong_len: 2, remainder: 0 });
    talk.token(|tokens, out| tokens.matched(9, b"", out))?;
    talk.flush()
}

fn token(talk: &mut Talk, token: i32) -> io::Result<()> {
    honest_list(talk)?;
    let (index, _) = talk.request()?;
    talk.head(index, SumHead::EMPTY);
    let mut out = BytesMut::new();
    out.put_int(token);
    talk.put(&out);
    talk.flush()
}

/// Names a basis that nobody has offered.
///
/// # Errors
/// When the other end has had enough.
pub fn foreign_basis(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    let (index, _) = talk.request()?;
    let flags = ItemFlags::TRANSFER | ItemFlags::BASIS_TYPE_FOLLOWS | ItemFlags::XNAME_FOLLOWS;
    let xname = Some(b"../../outside/secret".to_vec());
    talk.record(&Record::File(RecordHead { index, flags, basis: Some(BasisType::FUZZY), xname }));
    let mut out = BytesMut::new();
    SumHead::EMPTY.put(&mut out);
    talk.put(&out);
    talk.flush()
}

/// Sends wrong digests for as long as it is asked, and ends the run properly.
///
/// # Errors
/// When the other end has had enough.
pub fn wrong_sum(talk: &mut Talk) -> io::Result<()> {
    let first = honest_list(talk)?;
    finish(talk, |talk, index| {
        let right = index == first + GOOD;
        answer(talk, index, if right { b"good" } else { b"evil, and not what is announced" }, right)
    })
}

fn list_twice(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    honest_list(talk).map(drop)
}

fn deletions(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    let mut out = BytesMut::new();
    // NDX_DEL_STATS, and five counts.
    out.extend_from_slice(&[0xff, 2]);
    out.put_varint(i32::MAX);
    talk.put(&out);
    talk.flush()
}

fn unknown_message(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    talk.raw(&[1, 0, 0, 7 + 77, b'x'])
}

fn long_message(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    talk.raw(&[0xff, 0xff, 0xff, 7 + 2])
}

/// Answers each request by `answer` and ends the run as the protocol wants it.
///
/// # Errors
/// When the other end has hung up.
pub fn finish(
    talk: &mut Talk,
    mut answer: impl FnMut(&mut Talk, u32) -> io::Result<()>,
) -> io::Result<()> {
    if talk.negotiated.incremental() {
        talk.record(&Record::ListEof);
    }
    let mut done = 0;
    // Each of the three phases, and with incremental recursion the one segment.
    let phases = 3 + u32::from(talk.negotiated.incremental());
    while done < phases {
        talk.flush()?;
        match talk.next_record()? {
            Record::Done => {
                done += 1;
                if done < phases {
                    talk.record(&Record::Done);
                }
            }
            Record::File(head) if head.flags.is_transfer() => {
                talk.read_sums()?;
                answer(talk, head.index)?;
            }
            _ => {}
        }
    }
    talk.record(&Record::Done);
    if talk.is_server {
        let mut stats = BytesMut::new();
        bascule_wire::stats::TransferStats::default().put(talk.negotiated.version, &mut stats);
        talk.put(&stats);
    }
    talk.flush()?;
    while talk.next_record()? != Record::Done {}
    talk.record(&Record::Done);
    talk.flush()?;
    while talk.next_record()? != Record::Done {}
    Ok(())
}

/// Lists less than the target has, and says that not everything could be read.
///
/// # Errors
/// When the other end has had enough.
pub fn less_with_errors(talk: &mut Talk) -> io::Result<()> {
    talk.list_with_errors(&[root()], 1)?;
    finish(talk, |_, _| Ok(()))
}

/// Lists the folder `kept` without its contents, and says that these are not part of the list.
///
/// # Errors
/// When the other end has had enough.
pub fn folder_without_contents(talk: &mut Talk) -> io::Result<()> {
    let kept = Entry { content_dir: false, ..directory("kept") };
    talk.list(&[root(), file("old", 5000), kept, directory("way")])?;
    finish(talk, |talk, index| answer(talk, index, b"evil", false))
}

/// A list of `name` alone, below the root if there is to be one.
///
/// # Errors
/// When the other end has had enough.
pub fn only(talk: &mut Talk, name: &str, with_root: bool) -> io::Result<()> {
    let entries = [root(), file(name, 4)];
    talk.list(if with_root { &entries } else { &entries[1..] })?;
    finish(talk, |talk, index| answer(talk, index, b"good", true))
}

/// Lists a symlink that leads out.
///
/// # Errors
/// When the other end has had enough.
pub fn a_way_out(talk: &mut Talk) -> io::Result<()> {
    talk.list(&[root(), symlink("out", "../outside")])?;
    finish(talk, |_, _| Ok(()))
}

/// Lists a folder where the target has a symlink, and a file in it; and sends that file.
///
/// # Errors
/// When the other end has had enough.
pub fn through_a_symlink(talk: &mut Talk) -> io::Result<()> {
    if talk.negotiated.incremental() {
        return Err(io::Error::other("to be told of a whole list"));
    }
    talk.list(&[root(), directory("way"), file("way/below", 4)])?;
    finish(talk, |talk, index| answer(talk, index, b"good", true))
}

/// Lists files and folders without end.
///
/// # Errors
/// When the other end has had enough.
pub fn endless_list(talk: &mut Talk) -> io::Result<()> {
    talk.entries.start_segment(talk.first_index());
    talk.list_entries(&[root()])?;
    for number in 0_u64.. {
        talk.list_entries(&[file(&format!("{number:012}"), 4)])?;
        if number.is_multiple_of(1000) {
            talk.flush()?;
        }
    }
    Ok(())
}

/// The same with names as long as they can be, each in a folder of its own.
///
/// # Errors
/// When the other end has had enough.
pub fn endless_names(talk: &mut Talk) -> io::Result<()> {
    talk.entries.start_segment(talk.first_index());
    talk.list_entries(&[root()])?;
    let long = format!("/{}", "x".repeat(200)).repeat(20);
    for number in 0_u64.. {
        talk.list_entries(&[directory(&format!("{number:012}{long}/y"))])?;
        if number.is_multiple_of(100) {
            talk.flush()?;
        }
    }
    Ok(())
}

/// Sends a small file as data that decompress to more than a program may hold, once; then other
/// wrong data.
///
/// # Errors
/// When the other end has had enough.
pub fn bomb(talk: &mut Talk) -> io::Result<()> {
    const PIECES: u64 = super::scene::MOST_MEMORY / ZEROS.len() as u64 + 1024;
    static ZEROS: [u8; 32 * 1024] = [0; 32 * 1024];
    honest_list(talk)?;
    let mut told = false;
    finish(talk, |talk, index| {
        if std::mem::replace(&mut told, true) {
            return answer(talk, index, b"evil", false);
        }
        talk.head(index, SumHead::EMPTY);
        for _ in 0..PIECES {
            talk.token(|tokens, out| tokens.literal(&ZEROS, out))?;
            talk.flush()?;
        }
        talk.token(|tokens, out| tokens.end(out))?;
        let digest_len = talk.strong().digest_len();
        talk.put(&vec![0; digest_len]);
        talk.flush()
    })
}

/// Talks without end.
///
/// # Errors
/// When the other end has had enough.
pub fn endless_talk(talk: &mut Talk) -> io::Result<()> {
    honest_list(talk)?;
    let text = Bytes::from(vec![b'x'; 8000]);
    loop {
        for kind in [Message::ErrorXfer, Message::Info] {
            talk.message(&kind(text.clone()));
        }
        talk.flush()?;
    }
}

/// Refuses one file without end, which no receiver may queue up.
///
/// # Errors
/// When the other end has had enough.
pub fn endless_refusals(talk: &mut Talk) -> io::Result<()> {
    let first = honest_list(talk)?;
    talk.request()?;
    loop {
        for _ in 0..1000 {
            talk.message(&Message::NoSend((first + GOOD).cast_signed()));
        }
        talk.flush()?;
    }
}

/// Names of owners without end, where they follow the list.
///
/// # Errors
/// When the other end has had enough.
pub fn endless_owners(talk: &mut Talk) -> io::Result<()> {
    talk.entries.start_segment(talk.first_index());
    talk.list_entries(&[root()])?;
    talk.end_list(0);
    for uid in 1.. {
        let mut out = BytesMut::new();
        out.put_varint(uid);
        out.put_byte(255);
        out.extend_from_slice(&[b'n'; 255]);
        talk.put(&out);
        if uid % 100 == 0 {
            talk.flush()?;
        }
    }
    Ok(())
}
