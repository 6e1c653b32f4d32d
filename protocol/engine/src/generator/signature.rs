//! Block sums of a basis, sent as they are computed.

use std::io;

use bascule_wire::rolling;
use bascule_wire::strong::StrongSum;
use bascule_wire::sums::SumHead;
use bytes::BufMut as _;

use crate::link::WireWriter;
use crate::outcome::Fatal;
use crate::tree::ReadAt;

/// How much of the basis is read at once, in bytes; at least one block.
const READ: usize = 256 * 1024;

/// Sends the sums of all blocks of `basis` behind a head that was sent already.
///
/// A basis that cannot be read to its end gets zero sums for the rest: they match nothing, so the
/// sender sends that part as data.
///
/// # Errors
/// The outer error when the connection broke; the inner one when the basis could not be read.
pub fn send_sums(
    basis: &dyn ReadAt,
    head: &SumHead,
    strong: &StrongSum,
    writer: &WireWriter,
) -> Result<io::Result<()>, Fatal> {
    let block_len = head.block_len as usize;
    let strong_len = head.strong_len as usize;
    let per_read = (READ / block_len.max(1)).max(1);
    let mut buffer = vec![0; per_read * block_len];
    let mut outcome = Ok(());
    let mut block = 0;
    while block < head.count {
        let blocks = per_read.min((head.count - block) as usize);
        let last = block + blocks as u32;
        let (start, _) = head.block(block);
        let (end_start, end_len) = head.block(last - 1);
        let wanted = (end_start + u64::from(end_len) - start) as usize;
        let chunk = &mut buffer[..wanted];
        let read = if outcome.is_ok() { read_full(basis, start, chunk) } else { Ok(0) };
        let got = read.unwrap_or_else(|error| {
            outcome = Err(error);
            0
        });
        if got < wanted && outcome.is_ok() {
            outcome = Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it shrank while it was being read",
            ));
        }
        writer.data(|out| {
            out.reserve(blocks * (4 + strong_len));
            for index in block..last {
                let (offset, len) = head.block(index);
                let from = (offset - start) as usize;
                let to = from + len as usize;
                if to > got {
                    out.put_bytes(0, 4 + strong_len);
                    continue;
                }
                let data = &chunk[from..to];
                out.put_u32_le(rolling::checksum(data));
                out.put_slice(&strong.block(data).as_ref()[..strong_len]);
            }
        })?;
        block = last;
    }
    Ok(outcome)
}

/// Reads until `buffer` is full or the file ends; tells how much was read.
///
/// # Errors
/// What the file system says.
pub fn read_full(file: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
