//! Protocol numbers and what each of them changed, as questions with names.

use crate::error::WireError;

/// A negotiated protocol number, 27 to 32. Comparisons by bare number stay in this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u8);

impl Version {
    /// The oldest number whose structure this crate knows.
    pub const OLDEST: Self = Self(27);
    /// The number that we announce.
    pub const NEWEST: Self = Self(32);
    /// The oldest number that this build completes a transfer with.
    pub const OLDEST_SUPPORTED: Self = Self(30);

    /// Takes a number from a peer or a command line.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] outside 27..=32.
    pub fn new(number: u8) -> Result<Self, WireError> {
        if (Self::OLDEST.0..=Self::NEWEST.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(WireError::Incompatible(format!(
                "protocol {number} is not supported (27 to 32 are)"
            )))
        }
    }

    /// Lets only a number through that this build completes a transfer with.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] below [`Version::OLDEST_SUPPORTED`].
    pub fn require_supported(self) -> Result<Self, WireError> {
        if self >= Self::OLDEST_SUPPORTED {
            return Ok(self);
        }
        Err(WireError::Incompatible(format!(
            "the peer speaks protocol {self}; transfers need {} (rsync 3.0.0) or newer",
            Self::OLDEST_SUPPORTED
        )))
    }

    /// The bare number, for texts and for the greeting.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Varints, ndx deltas, compat flags, NUL-separated arguments, both directions multiplexed,
    /// MD5 (since 30).
    pub fn has_varints(self) -> bool {
        self.0 >= 30
    }

    /// Records carry item flags (since 29).
    pub fn has_iflags(self) -> bool {
        self.0 >= 29
    }

    /// Sort order with directories after files (since 29).
    pub fn sorts_dirs_last(self) -> bool {
        self.0 >= 29
    }

    /// File flags may take two bytes (since 28).
    pub fn has_extended_flags(self) -> bool {
        self.0 >= 28
    }

    /// Modification times carry nanoseconds (since 31).
    pub fn has_nanoseconds(self) -> bool {
        self.0 >= 31
    }

    /// Specials (FIFOs, sockets) carry no device number (since 31).
    pub fn specials_have_no_rdev(self) -> bool {
        self.0 >= 31
    }

    /// The end of a list may carry the error bits without a compat flag (since 31).
    pub fn implies_safe_flist(self) -> bool {
        self.0 >= 31
    }

    /// Deletion statistics and the longer goodbye (since 31, §11).
    pub fn has_long_goodbye(self) -> bool {
        self.0 >= 31
    }

    /// `MSG_ERROR_EXIT` ends a failed run on both ends (since 31, §16).
    pub fn has_error_exit(self) -> bool {
        self.0 >= 31
    }

    /// `MSG_IO_TIMEOUT` tells the daemon's timeout (since 31).
    pub fn has_io_timeout(self) -> bool {
        self.0 >= 31
    }

    /// The names of `--files-from` travel inside the multiplexed stream (since 31).
    pub fn multiplexes_files_from(self) -> bool {
        self.0 >= 31
    }

    /// The greeting must list the digests for authentication (since 32).
    pub fn requires_digest_list(self) -> bool {
        self.0 >= 32
    }

    /// Long matches are fed to old zlib in the right order (since 31, §13.2).
    pub fn feeds_long_matches_in_order(self) -> bool {
        self.0 >= 31
    }

    /// The third phase for delayed updates, five statistics (since 29).
    pub fn has_third_phase(self) -> bool {
        self.0 >= 29
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
