//! The lies of a receiver: a client that pulls, a daemon that is pushed to. Each is well behaved up to
//! its lie; it wants the list at once, not by segments.

use std::io;
use std::time::Duration;

use bascule_wire::limits::MAX_KEPT_BLOCKS;
use bascule_wire::message::Message;
use bascule_wire::record::Record;
use bascule_wire::sums::SumHead;
use bascule_wire::token::{Token, TokenDecoder};
use bascule_wire::varint::PutWire as _;
use bytes::{Buf as _, Bytes, BytesMut};

use super::senders::Told;
use super::talk::{Lie, Talk, wrong};

const fn told(name: &'static str, lie: Lie, code: i32, says: &'static str) -> Told {
    Told { name, lie, code, says }
}

/// Lies in numbers. The source has its root, `big`, `small` and nothing else.
pub const NUMBERS: &[Told] = &[
    told("an index that is not in the list", |talk| wants(talk, 77_777), 2, "not in the list"),
    told("the data of a folder", |talk| wants(talk, 0), 2, "no regular file"),
    told("a huge count of blocks", |talk| sums(talk, [i32::MAX, 700, 2, 0]), 2, "block count"),
    told("a negative count of blocks", |talk| sums(talk, [-1, 700, 2, 0]), 2, "block count"),
    told("a huge block", |talk| sums(talk, [1, i32::MAX, 2, 0]), 2, "block length"),
    told("blocks of no length", |talk| sums(talk, [1, 0, 2, 0]), 2, "block length"),
    told("a sum longer than the digest", |talk| sums(talk, [1, 700, 99, 0]), 2, "strong sum"),
    told("a last block that is too long", |talk| sums(talk, [1, 700, 2, 701]), 2, "last block"),
    told("a request after the last phase", too_late, 2, "after the last phase"),
    told("deletions beyond counting", deletions, 2, "deletion"),
    told("a message that is too long", long_message, 2, "a message of"),
];

/// Lies of other kinds.
pub const OTHERS: &[Told] = &[
    told("a list of its own", own_list, 2, "a list of its own"),
    told("a message of an unknown kind", unknown_message, 2, "unknown tag"),
    told("bytes that are no frame", no_frame, 2, "frame"),
    told("talk without end", endless_talk, 13, "without end"),
];

/// All lies.
pub fn all() -> impl Iterator<Item = &'static Told> {
    [NUMBERS, OTHERS].into_iter().flatten()
}

fn wants(talk: &mut Talk, index: u32) -> io::Result<()> {
    talk.read_list()?;
    talk.head(index, SumHead::EMPTY);
    talk.flush()
}

fn sums(talk: &mut Talk, head: [i32; 4]) -> io::Result<()> {
    talk.read_list()?;
    talk.head(1, SumHead::EMPTY);
    // The head once more, for the second file.
    talk.head_by_hand(2, head);
    talk.flush()
}

fn too_late(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    talk.record(&Record::Done);
    talk.record(&Record::Done);
    talk.head(1, SumHead::EMPTY);
    talk.flush()
}

fn own_list(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    talk.record(&Record::ListEof);
    talk.flush()
}

fn deletions(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    let mut out = BytesMut::new();
    // NDX_DEL_STATS, and the first of five counts.
    out.extend_from_slice(&[0xff, 2]);
    out.put_varint(i32::MAX);
    talk.put(&out);
    talk.flush()
}

fn unknown_message(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    talk.raw(&[1, 0, 0, 7 + 77, b'x'])
}

fn long_message(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    talk.raw(&[0xff, 0xff, 0xff, 7 + 2])
}

fn no_frame(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    talk.raw(b"\0\0\0\0")
}

fn endless_talk(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    let text = Bytes::from(vec![b'x'; 8000]);
    loop {
        for kind in [Message::ErrorXfer, Message::Info] {
            talk.message(&kind(text.clone()));
        }
        talk.flush()?;
    }
}

/// Asks for the first file again and again, and reads nothing of it. Ends when the other end reads
/// no more of that either.
///
/// # Errors
/// When the other end has hung up.
pub fn endless_requests(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    talk.give_up_writing_after(Duration::from_secs(2))?;
    loop {
        for _ in 0..1000 {
            talk.head(1, SumHead::EMPTY);
        }
        if talk.flush_deaf().is_err() {
            return Ok(());
        }
    }
}

/// Sends more sums of a basis than anybody keeps; then the file has to come as data all the same.
///
/// # Errors
/// When it does not.
pub fn many_sums(talk: &mut Talk) -> io::Result<()> {
    talk.read_list()?;
    let count = MAX_KEPT_BLOCKS + 1;
    let head = SumHead { count, block_len: 700, strong_len: 2, remainder: 0 };
    talk.head(1, head);
    let piece = vec![7; 6 * 1024];
    for _ in 0..count / 1024 {
        talk.put(&piece);
        talk.flush()?;
    }
    talk.put(&piece[..6 * (count as usize % 1024)]);
    talk.flush()?;
    let Record::File(answer) = talk.next_record()? else {
        return Err(io::Error::other("no answer"));
    };
    talk.read_head()?;
    let mut decoder = TokenDecoder::new(&talk.negotiated).map_err(wrong)?;
    let mut hasher = talk.strong().file();
    loop {
        match talk.next(&mut decoder)? {
            Token::Literal(data) => hasher.update(&data),
            Token::Match(block) => return Err(io::Error::other(format!("block {block}"))),
            Token::End => break,
        }
    }
    let wanted = hasher.finish().as_ref().to_vec();
    let digest = talk.next_with(|buffer| {
        Ok((buffer.len() >= wanted.len()).then(|| {
            let digest = buffer[..wanted.len()].to_vec();
            buffer.advance(wanted.len());
            digest
        }))
    })?;
    if answer.index == 1 && digest == wanted {
        return Ok(());
    }
    Err(io::Error::other("another file, or its digest is wrong"))
}
