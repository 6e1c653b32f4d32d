//! Symlinks and junctions: read as symlinks, followed only by a source whose user wants that.

use std::io::{self, ErrorKind};
use std::os::windows::io::AsHandle;

use windows_sys::Win32::System::SystemServices::{
    IO_REPARSE_TAG_MOUNT_POINT, IO_REPARSE_TAG_SYMLINK,
};

use super::attributes::{Told, u32_at};
use super::listing::units_at;
use super::names::from_disk;
use super::sys;

/// The largest that a reparse point can be, in bytes.
const LARGEST: usize = 16 * 1024;

/// Where an open symlink or junction leads, with slashes as on Unix.
pub(super) fn target(link: impl AsHandle) -> io::Result<Vec<u8>> {
    let mut data = vec![0; LARGEST / 8];
    let length = sys::reparse_data(link, &mut data)?;
    let units = named(&data, length).ok_or_else(|| {
        io::Error::new(ErrorKind::Unsupported, "it is a reparse point of an unknown kind")
    })?;
    from_disk(&units).map_err(|_| {
        io::Error::new(ErrorKind::InvalidData, "what it points to is no valid Unicode")
    })
}

/// The length of the target in bytes; 0 for what is no link, and for one that cannot be read.
pub(super) fn target_length(file: impl AsHandle, told: &Told) -> u64 {
    if !told.is_link() {
        return 0;
    }
    target(file).map_or(0, |target| target.len() as u64)
}

/// The name in a `REPARSE_DATA_BUFFER` of `length` bytes: as it was written, if that was kept.
fn named(data: &[u64], length: usize) -> Option<Vec<u16>> {
    let half = |offset: usize| {
        let word = u32_at(data, offset / 4 * 4);
        let half = if offset.is_multiple_of(4) { word } else { word >> 16 };
        half as usize & 0xffff
    };
    let names = match u32_at(data, 0) {
        // A symlink has flags before its names.
        IO_REPARSE_TAG_SYMLINK => 20,
        IO_REPARSE_TAG_MOUNT_POINT => 16,
        _ => return None,
    };
    let name = |offset, bytes| {
        let start = names + offset;
        (offset % 2 == 0 && start + bytes <= length).then(|| units_at(data, start, bytes))
    };
    let (substitute, printed) = (name(half(8), half(10))?, name(half(12), half(14))?);
    let mut units = if printed.is_empty() { plain(substitute) } else { printed };
    for unit in &mut units {
        if *unit == u16::from(b'\\') {
            *unit = u16::from(b'/');
        }
    }
    Some(units)
}

/// A path of the kernel's as programs write it.
fn plain(substitute: Vec<u16>) -> Vec<u16> {
    let prefix: Vec<u16> = r"\??\".encode_utf16().collect();
    match substitute.strip_prefix(&prefix[..]) {
        Some(path) => path.to_vec(),
        None => substitute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer as Windows fills it.
    fn buffer(tag: u32, substitute: &str, printed: &str) -> (Vec<u64>, usize) {
        let bytes =
            |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let (substitute, printed) = (bytes(substitute), bytes(printed));
        let half = |number: usize| u16::try_from(number).expect("small").to_le_bytes();
        let mut data = tag.to_le_bytes().to_vec();
        data.extend([0; 4]);
        data.extend(half(0));
        data.extend(half(substitute.len()));
        data.extend(half(substitute.len()));
        data.extend(half(printed.len()));
        if tag == IO_REPARSE_TAG_SYMLINK {
            data.extend([1, 0, 0, 0]);
        }
        data.extend(substitute);
        data.extend(printed);
        let length = data.len();
        data.resize(length.next_multiple_of(8), 0);
        let words =
            data.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8")));
        (words.collect(), length)
    }

    #[test]
    fn reads_symlinks_and_junctions() {
        for (tag, substitute, printed, expected) in [
            (IO_REPARSE_TAG_SYMLINK, r"..\x\ä", r"..\x\ä", "../x/ä"),
            (IO_REPARSE_TAG_SYMLINK, r"\??\C:\x", "", "C:/x"),
            (IO_REPARSE_TAG_MOUNT_POINT, r"\??\C:\mail", r"C:\mail", "C:/mail"),
            (IO_REPARSE_TAG_MOUNT_POINT, r"\??\Volume{1}\", "", "Volume{1}/"),
        ] {
            let (data, length) = buffer(tag, substitute, printed);
            let units = named(&data, length).expect("a link");
            assert_eq!(String::from_utf16(&units).expect("text"), expected);
            assert_eq!(named(&data, length - 2), None, "cut off");
        }
        assert_eq!(named(&buffer(0x8000_0013, "x", "x").0, 40), None, "no link");
    }
}
