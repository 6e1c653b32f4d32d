//! The closing statistics (§14) and the deletion statistics (§11).

use bytes::BytesMut;

use crate::decode::{Cursor, Stop};
use crate::error::WireError;
use crate::limits::MAX_DELETE_STAT;
use crate::varint::PutWire as _;
use crate::version::Version;

/// What a server that sends writes after the last phase. Its "read" is the client's "written".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransferStats {
    /// Bytes that the server read from the connection.
    pub total_read: u64,
    /// Bytes that the server wrote to the connection.
    pub total_written: u64,
    /// Bytes of all files in the list.
    pub total_size: u64,
    /// Milliseconds that building the list took (since 29).
    pub list_build_ms: u64,
    /// Milliseconds that sending the list took (since 29).
    pub list_transfer_ms: u64,
}

impl TransferStats {
    /// Appends the statistics.
    pub fn put(&self, version: Version, out: &mut BytesMut) {
        for value in [self.total_read, self.total_written, self.total_size] {
            out.put_varlong30(version, value.cast_signed(), 3);
        }
        if version.has_third_phase() {
            for value in [self.list_build_ms, self.list_transfer_ms] {
                out.put_varlong30(version, value.cast_signed(), 3);
            }
        }
    }

    /// Reads the statistics.
    ///
    /// # Errors
    /// [`Stop::More`] at the end.
    pub fn read(cursor: &mut Cursor<'_>, version: Version) -> Result<Self, Stop> {
        let mut next = || Ok::<_, Stop>(cursor.varlong30(version, 3)?.cast_unsigned());
        let mut stats = Self {
            total_read: next()?,
            total_written: next()?,
            total_size: next()?,
            ..Self::default()
        };
        if version.has_third_phase() {
            stats.list_build_ms = next()?;
            stats.list_transfer_ms = next()?;
        }
        Ok(stats)
    }
}

/// How many names of each kind were deleted (since 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteStats {
    /// Regular files.
    pub files: u32,
    /// Directories.
    pub dirs: u32,
    /// Symlinks.
    pub symlinks: u32,
    /// Devices.
    pub devices: u32,
    /// FIFOs and sockets.
    pub specials: u32,
}

impl DeleteStats {
    /// Names of all kinds together.
    pub fn total(&self) -> u64 {
        [self.files, self.dirs, self.symlinks, self.devices, self.specials]
            .map(u64::from)
            .iter()
            .sum()
    }

    /// Appends the five counts.
    pub fn put(&self, out: &mut BytesMut) {
        for count in [self.files, self.dirs, self.symlinks, self.devices, self.specials] {
            out.put_varint(count.min(MAX_DELETE_STAT).cast_signed());
        }
    }

    /// Reads the five counts.
    ///
    /// # Errors
    /// [`Stop::More`] at the end; [`Stop::Bad`] for a count beyond 2^28.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let mut next = || {
            let count = cursor.varint()?;
            u32::try_from(count).ok().filter(|count| *count <= MAX_DELETE_STAT).ok_or_else(|| {
                Stop::Bad(WireError::malformed("deletion statistics", format!("{count}")))
            })
        };
        Ok(Self {
            files: next()?,
            dirs: next()?,
            symlinks: next()?,
            devices: next()?,
            specials: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn statistics_survive_and_cuts_ask_for_more(
            values in any::<[u64; 5]>(),
            counts in any::<[u32; 5]>(),
            number in 27_u8..=32,
        ) {
            let version = Version::new(number).expect("a known protocol");
            let phases = version.has_third_phase();
            let [total_read, total_written, total_size, build, transfer] = values;
            let stats = TransferStats {
                total_read,
                total_written,
                total_size,
                list_build_ms: if phases { build } else { 0 },
                list_transfer_ms: if phases { transfer } else { 0 },
            };
            let mut out = BytesMut::new();
            stats.put(version, &mut out);
            for cut in 0..out.len() {
                let mut cursor = Cursor::new(&out[..cut]);
                prop_assert_eq!(TransferStats::read(&mut cursor, version), Err(Stop::More));
            }
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(TransferStats::read(&mut cursor, version), Ok(stats));
            prop_assert_eq!(cursor.remaining(), 0);

            let [files, dirs, symlinks, devices, specials] =
                counts.map(|count| count % (MAX_DELETE_STAT + 1));
            let stats = DeleteStats { files, dirs, symlinks, devices, specials };
            let mut out = BytesMut::new();
            stats.put(&mut out);
            for cut in 0..out.len() {
                prop_assert_eq!(DeleteStats::read(&mut Cursor::new(&out[..cut])), Err(Stop::More));
            }
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(DeleteStats::read(&mut cursor), Ok(stats));
            prop_assert_eq!(cursor.remaining(), 0);
        }
    }

    #[test]
    fn rule_19_3_deletion_counts_out_of_bounds_are_refused() {
        for count in [-1, i32::MAX, (1 << 28) + 1] {
            let mut out = BytesMut::new();
            out.put_varint(count);
            let read = DeleteStats::read(&mut Cursor::new(&out));
            assert!(matches!(read, Err(Stop::Bad(_))), "{count}");
        }
    }
}
