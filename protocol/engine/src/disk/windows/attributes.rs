//! Kind, size, times and the read-only attribute, from and to what Unix has instead.

use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::os::windows::io::AsHandle;

use bascule_wire::flist::{Device, Kind};
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_ALL_INFORMATION, FILE_BASIC_INFORMATION, FILE_STANDARD_INFORMATION, FileAllInformation,
    FileAttributeTagInformation, FileBasicInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT,
};

use super::sys::{self, Status};
use crate::tree::{Attributes, Metadata};

/// Windows counts in ticks of 100 ns since the year 1601.
const TICKS_PER_SECOND: i64 = 10_000_000;
/// 1970 in seconds since 1601.
const UNIX_EPOCH: i64 = 11_644_473_600;
/// Set in the tags of reparse points that stand for another name: symlinks, junctions and the like.
const NAME_SURROGATE: u32 = 0x2000_0000;

/// What the disk tells of a file, before it is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) attributes: u32,
    /// The kind of a reparse point; 0 for all else.
    pub(super) tag: u32,
    pub(super) written: i64,
    pub(super) changed: i64,
    pub(super) size: u64,
    pub(super) links: u32,
    pub(super) index: u64,
}

impl Told {
    /// Asks about an open file.
    pub(super) fn of(file: impl AsHandle) -> Result<Self, Status> {
        const BASIC: usize = offset_of!(FILE_ALL_INFORMATION, BasicInformation);
        const STANDARD: usize = offset_of!(FILE_ALL_INFORMATION, StandardInformation);
        // Room for the fixed part; the file's path, which follows, is cut off.
        let mut all = [0; size_of::<FILE_ALL_INFORMATION>().div_ceil(8)];
        sys::query(&file, FileAllInformation, &mut all)?;
        let attributes = u32_at(&all, BASIC + offset_of!(FILE_BASIC_INFORMATION, FileAttributes));
        let at = |offset| u64_at(&all, offset);
        let mut told = Self {
            attributes,
            tag: 0,
            written: at(BASIC + offset_of!(FILE_BASIC_INFORMATION, LastWriteTime)).cast_signed(),
            changed: at(BASIC + offset_of!(FILE_BASIC_INFORMATION, ChangeTime)).cast_signed(),
            size: at(STANDARD + offset_of!(FILE_STANDARD_INFORMATION, EndOfFile)),
            links: u32_at(&all, STANDARD + offset_of!(FILE_STANDARD_INFORMATION, NumberOfLinks)),
            index: at(offset_of!(FILE_ALL_INFORMATION, InternalInformation)),
        };
        if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
            let mut attribute_and_tag = [0];
            sys::query(&file, FileAttributeTagInformation, &mut attribute_and_tag)?;
            told.tag = u32_at(&attribute_and_tag, 4);
        }
        Ok(told)
    }

    /// A symlink, a junction, or another name for something elsewhere.
    pub(super) fn is_link(&self) -> bool {
        self.attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 && self.tag & NAME_SURROGATE != 0
    }

    /// A reparse point that is nothing of the kind: a file that the system stores in some other
    /// way (deduplicated, compressed, in a cloud) and shows only to those who do not open it as a
    /// reparse point.
    pub(super) fn is_stored_otherwise(&self) -> bool {
        self.attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 && !self.is_link()
    }

    pub(super) fn is_dir(&self) -> bool {
        self.attributes & FILE_ATTRIBUTE_DIRECTORY != 0 && !self.is_link()
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.attributes & FILE_ATTRIBUTE_READONLY != 0
    }

    /// The same in the terms of this crate. The volume and the length of a symlink's target are not
    /// in it.
    pub(super) fn metadata(&self, volume: u64, target_length: u64) -> Metadata {
        let (kind, mode, size) = if self.is_link() {
            (Kind::Symlink, 0o120_777, target_length)
        } else if self.is_dir() {
            (Kind::Directory, 0o040_755, 0)
        } else if self.is_read_only() {
            (Kind::File, 0o100_444, self.size)
        } else {
            (Kind::File, 0o100_644, self.size)
        };
        let (mtime, nanos) = unix_time(self.written);
        Metadata {
            kind,
            mode,
            size,
            mtime,
            nanos,
            changed: unix_time(self.changed),
            uid: 0,
            gid: 0,
            device: Device { major: 0, minor: 0 },
            file_system: volume,
            inode: self.index,
            links: self.links.into(),
        }
    }
}

/// Sets attributes of an open file, which has to be open for writing attributes.
pub(super) fn apply(file: impl AsHandle, attributes: &Attributes) -> io::Result<()> {
    if attributes.owner.is_some() || attributes.group.is_some() {
        return Err(io::Error::new(ErrorKind::Unsupported, "Windows has no numbered owners"));
    }
    let ticks = attributes.mtime.map(ticks_of).transpose()?;
    let mut wanted = None;
    if let Some(mode) = attributes.mode {
        let told = Told::of(&file)?;
        // On directories the attribute means something else.
        if !told.is_dir() && (mode & 0o200 == 0) != told.is_read_only() {
            wanted = Some(told.attributes ^ FILE_ATTRIBUTE_READONLY);
        }
    }
    Ok(set_basic(file, ticks, wanted)?)
}

/// Sets or clears the read-only attribute of an open file; tells whether that changed it.
pub(super) fn set_read_only(file: impl AsHandle, read_only: bool) -> Result<bool, Status> {
    let told = Told::of(&file)?;
    if told.is_read_only() == read_only {
        return Ok(false);
    }
    set_basic(file, None, Some(told.attributes ^ FILE_ATTRIBUTE_READONLY))?;
    Ok(true)
}

fn set_basic(
    file: impl AsHandle,
    written: Option<i64>,
    attributes: Option<u32>,
) -> Result<(), Status> {
    if written.is_none() && attributes.is_none() {
        return Ok(());
    }
    // Zeros leave a time, and the attributes, as they are.
    let mut basic = [0; size_of::<FILE_BASIC_INFORMATION>().div_ceil(8)];
    if let Some(ticks) = written {
        basic[offset_of!(FILE_BASIC_INFORMATION, LastWriteTime) / 8] = ticks.cast_unsigned();
    }
    if let Some(attributes) = attributes {
        // Without any attribute it would be taken for "as they are".
        let attributes = if attributes == 0 { FILE_ATTRIBUTE_NORMAL } else { attributes };
        basic[offset_of!(FILE_BASIC_INFORMATION, FileAttributes) / 8] = attributes.into();
    }
    sys::set(file, FileBasicInformation, &basic, size_of::<FILE_BASIC_INFORMATION>())
}

/// Seconds since 1970 and nanoseconds.
fn unix_time(ticks: i64) -> (i64, u32) {
    let nanos = ticks.rem_euclid(TICKS_PER_SECOND) * 100;
    let seconds = ticks.div_euclid(TICKS_PER_SECOND) - UNIX_EPOCH;
    (seconds, u32::try_from(nanos).unwrap_or(0))
}

/// The tick in which a time is: what is finer is cut off.
fn ticks_of((seconds, nanos): (i64, u32)) -> io::Result<i64> {
    let ticks = seconds
        .checked_add(UNIX_EPOCH)
        .and_then(|seconds| seconds.checked_mul(TICKS_PER_SECOND))
        .and_then(|ticks| ticks.checked_add(i64::from(nanos / 100)))
        // Windows takes 0 and below for orders of another kind.
        .filter(|ticks| *ticks > 0);
    ticks.ok_or_else(|| {
        io::Error::new(ErrorKind::InvalidInput, "Windows has times from 1601 to 30828 only")
    })
}

/// A number of the kernel's at a place in an answer.
pub(super) fn u32_at(answer: &[u64], offset: usize) -> u32 {
    let word = answer.get(offset / 8).copied().unwrap_or(0).to_ne_bytes();
    let at = offset % 8;
    word.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// The same of eight bytes, which are never across two words.
pub(super) fn u64_at(answer: &[u64], offset: usize) -> u64 {
    answer.get(offset / 8).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_to_100_ns_both_ways() {
        for time in [(0, 0), (0, 100), (-1, 999_999_900), (1_700_000_000, 123_456_700), (-5, 0)] {
            assert_eq!(unix_time(ticks_of(time).expect("a time")), time);
        }
        // 1601 is not the first tick: Windows takes 0 for "leave it".
        assert_eq!(ticks_of((-UNIX_EPOCH, 100)).expect("the first"), 1);
        assert!(ticks_of((-UNIX_EPOCH, 99)).is_err());
        assert!(ticks_of((i64::MAX, 0)).is_err());
        assert_eq!(ticks_of((910_692_730_085, 477_580_700)).expect("the last"), i64::MAX);
        assert!(ticks_of((910_692_730_085, 477_580_800)).is_err());
    }

    #[test]
    fn finer_times_are_cut_off_downwards() {
        let stored = |time| unix_time(ticks_of(time).expect("a time"));
        assert_eq!(stored((7, 199)), (7, 100));
        assert_eq!(stored((-7, 199)), (-7, 100));
        assert_eq!(stored((7, 999_999_999)), (7, 999_999_900));
    }
}
