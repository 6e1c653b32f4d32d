//! The names in a directory.

use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::os::windows::io::AsHandle;

use windows_sys::Wdk::Storage::FileSystem::FILE_ID_BOTH_DIR_INFORMATION;
use windows_sys::Win32::Foundation::STATUS_DELETE_PENDING;

use super::attributes::{Told, u32_at, u64_at};
use super::links;
use super::names::from_disk;
use super::place::{EXISTING, is_missing};
use super::sys;
use crate::tree::{DirEntry, Listing, Metadata};

/// Bytes of directory entries read at once.
const BUFFER: usize = 64 * 1024;

/// A name with what the directory knows of it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) units: Vec<u16>,
    pub(super) told: Told,
}

/// The names of an open directory, with `only` those that Windows takes for that one.
pub(super) fn records(
    dir: impl AsHandle,
    only: Option<&[u16]>,
) -> impl Iterator<Item = io::Result<Record>> {
    let mut buffer = vec![0; if only.is_some() { 256 } else { BUFFER / 8 }];
    let mut next = None;
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        if next.is_none() {
            match sys::read_dir(&dir, only, &mut buffer) {
                Ok(true) => next = Some(0),
                end => {
                    is_over = true;
                    return end.err().map(|status| Err(status.into()));
                }
            }
        }
        let at = next.take()?;
        let to_next = u32_at(&buffer, at) as usize;
        next = (to_next > 0).then_some(at + to_next);
        Some(Ok(record(&buffer, at)))
    })
}

fn record(buffer: &[u64], at: usize) -> Record {
    let long = |offset| u64_at(buffer, at + offset);
    let short = |offset| u32_at(buffer, at + offset);
    let bytes = short(offset_of!(FILE_ID_BOTH_DIR_INFORMATION, FileNameLength)) as usize;
    let start = at + offset_of!(FILE_ID_BOTH_DIR_INFORMATION, FileName);
    Record {
        units: units_at(buffer, start, bytes),
        told: Told {
            attributes: short(offset_of!(FILE_ID_BOTH_DIR_INFORMATION, FileAttributes)),
            // Of a reparse point its tag, of all else the size of extended attributes.
            tag: short(offset_of!(FILE_ID_BOTH_DIR_INFORMATION, EaSize)),
            written: long(offset_of!(FILE_ID_BOTH_DIR_INFORMATION, LastWriteTime)).cast_signed(),
            changed: long(offset_of!(FILE_ID_BOTH_DIR_INFORMATION, ChangeTime)).cast_signed(),
            size: long(offset_of!(FILE_ID_BOTH_DIR_INFORMATION, EndOfFile)),
            links: 1,
            index: long(offset_of!(FILE_ID_BOTH_DIR_INFORMATION, FileId)),
        },
    }
}

/// Text of `bytes` bytes at a place in an answer.
pub(super) fn units_at(answer: &[u64], start: usize, bytes: usize) -> Vec<u16> {
    let unit = |at: usize| {
        let word = answer.get(at / 8).copied().unwrap_or(0).to_ne_bytes();
        u16::from_ne_bytes([word[at % 8], word[at % 8 + 1]])
    };
    (start..start + bytes).step_by(2).map(unit).collect()
}

/// Lists an open directory.
pub(super) fn list(dir: impl AsHandle, volume: u64) -> Listing {
    let mut listing = Listing::default();
    for record in records(&dir, None) {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                listing.error = Some(error);
                break;
            }
        };
        if matches!(record.units[..], [46] | [46, 46]) {
            continue;
        }
        listing.entries.push(match from_disk(&record.units) {
            Ok(name) => DirEntry { name: name.into(), metadata: seen(&dir, &record, volume) },
            Err(shown) => DirEntry {
                name: shown.into(),
                metadata: Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "its name is no valid Unicode and cannot be sent",
                )),
            },
        });
    }
    listing
}

/// What a listed file is. The directory itself knows sizes and times only as they were when the
/// file was last closed, or not at all for a second name of it; so the file is asked.
fn seen(dir: impl AsHandle, record: &Record, volume: u64) -> io::Result<Metadata> {
    let file = match sys::open_at(&dir, &record.units, &EXISTING) {
        Ok(file) => file,
        Err(status) if is_missing(status) || status.0 == STATUS_DELETE_PENDING => {
            return Err(ErrorKind::NotFound.into());
        }
        // Who may list a directory may also know what it knows.
        Err(_) => return Ok(record.told.metadata(volume, 0)),
    };
    let told = Told::of(&file)?;
    Ok(told.metadata(volume, links::target_length(&file, &told)))
}
