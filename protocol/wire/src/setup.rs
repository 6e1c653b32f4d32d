//! Compat flags, checksum and compression names: everything fixed between the arguments and the
//! first multiplexed byte (§3, §5).

use bytes::BytesMut;

use crate::args::{Capabilities, Direction};
use crate::decode::{Decode, Stop, decode_with};
use crate::error::WireError;
use crate::limits::MAX_VSTRING;
use crate::names::{ChecksumName, CompressName};
use crate::negotiate;
use crate::options::Options;
use crate::varint::PutWire;
use crate::version::Version;

/// The compat flags of §3, as the server sends them in one varint (since 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompatFlags(pub u32);

impl CompatFlags {
    /// Incremental recursion (§10).
    pub const INC_RECURSE: u32 = 0x001;
    /// The server can set the times of symlinks.
    pub const SYMLINK_TIMES: u32 = 0x002;
    /// Symlink contents are converted by iconv.
    pub const SYMLINK_ICONV: u32 = 0x004;
    /// The end of a list may carry the error bits.
    pub const SAFE_FLIST: u32 = 0x008;
    /// The xattr hard-link optimisation is off.
    pub const AVOID_XATTR_OPTIM: u32 = 0x010;
    /// Block sums put the seed first.
    pub const CHECKSUM_SEED_FIX: u32 = 0x020;
    /// `--inplace` works together with a partial-dir.
    pub const INPLACE_PARTIAL_DIR: u32 = 0x040;
    /// File flags are varints, and names are negotiated.
    pub const VARINT_FLIST_FLAGS: u32 = 0x080;
    /// Id 0 carries its name.
    pub const ID0_NAMES: u32 = 0x100;

    /// Whether all bits of `flag` are set.
    pub fn has(self, flag: u32) -> bool {
        self.0 & flag == flag
    }

    /// What a server answers with: what the client can do, the options and this host allow. All
    /// zero before protocol 30.
    pub fn of_server(
        version: Version,
        client: &Capabilities,
        options: &Options,
        direction: Direction,
        host: HostAbilities,
    ) -> Self {
        if !version.has_varints() {
            return Self(0);
        }
        let receives = direction == Direction::Push;
        let incremental =
            host.incremental && crate::args::may_recurse_incrementally(options, receives);
        let by_letter = [
            (Capabilities::INC_RECURSE, Self::INC_RECURSE, incremental),
            (Capabilities::SAFE_FLIST, Self::SAFE_FLIST, true),
            (
                Capabilities::AVOID_XATTR_OPTIM,
                Self::AVOID_XATTR_OPTIM,
                true,
            ),
            (
                Capabilities::CHECKSUM_SEED_FIX,
                Self::CHECKSUM_SEED_FIX,
                true,
            ),
            (
                Capabilities::INPLACE_PARTIAL_DIR,
                Self::INPLACE_PARTIAL_DIR,
                true,
            ),
            (
                Capabilities::VARINT_FLIST_FLAGS,
                Self::VARINT_FLIST_FLAGS,
                true,
            ),
            (Capabilities::ID0_NAMES, Self::ID0_NAMES, true),
        ];
        let mut flags = if host.symlink_times {
            Self::SYMLINK_TIMES
        } else {
            0
        };
        for (letter, flag, allowed) in by_letter {
            if allowed && client.has(letter) {
                flags |= flag;
            }
        }
        Self(flags)
    }

    /// Whether both ends now send their lists of names (§5).
    pub fn wants_names(self) -> bool {
        self.has(Self::VARINT_FLIST_FLAGS)
    }

    /// Checks, on the client, that the server turned on only what was announced to it.
    ///
    /// # Errors
    /// [`WireError::Misbehaved`] otherwise: the stream could not be read.
    pub fn check_answer(self, announced: &Capabilities) -> Result<(), WireError> {
        for (letter, flag, name) in [
            (
                Capabilities::INC_RECURSE,
                Self::INC_RECURSE,
                "incremental recursion",
            ),
            (
                Capabilities::VARINT_FLIST_FLAGS,
                Self::VARINT_FLIST_FLAGS,
                "varint file flags",
            ),
        ] {
            if self.has(flag) && !announced.has(letter) {
                return Err(WireError::misbehaved(format!(
                    "the server turned on {name}, which this end did not offer"
                )));
            }
        }
        Ok(())
    }

    /// Appends the flags as the server sends them.
    pub fn encode(self, out: &mut BytesMut) {
        out.put_varint(i32::from_le_bytes(self.0.to_le_bytes()));
    }
}

/// What a serving host and its session can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostAbilities {
    /// The session implements incremental recursion.
    pub incremental: bool,
    /// The host can set the times of symlinks.
    pub symlink_times: bool,
}

/// Reads the server's compat flags. Used by a client since 30.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompatDecoder;

impl Decode for CompatDecoder {
    type Item = CompatFlags;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<CompatFlags>, WireError> {
        decode_with(buf, |cursor| {
            Ok(CompatFlags(u32::from_le_bytes(
                cursor.varint()?.to_le_bytes(),
            )))
        })
    }
}

/// Reads the checksum seed, the last thing before the multiplexed stream. Used by a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeedDecoder;

impl Decode for SeedDecoder {
    type Item = i32;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<i32>, WireError> {
        decode_with(buf, |cursor| cursor.int())
    }
}

/// The lists of names of one end (§5). A list is absent when an option has fixed the choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameLists {
    /// Checksums, best first, separated by spaces.
    pub checksums: Option<String>,
    /// Compressions, best first, separated by spaces.
    pub compressions: Option<String>,
}

impl NameLists {
    /// What this end sends; nothing without [`CompatFlags::wants_names`].
    pub fn ours(compat: CompatFlags, options: &Options, as_server: bool) -> Self {
        if !compat.wants_names() {
            return Self::default();
        }
        Self {
            checksums: negotiate::negotiates_checksum(options)
                .then(|| negotiate::checksum_list(options, as_server)),
            compressions: negotiate::negotiates_compression(options)
                .then(|| negotiate::compression_list(as_server)),
        }
    }

    /// Appends the lists that are present.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a list beyond 32767 bytes.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        for list in [&self.checksums, &self.compressions].into_iter().flatten() {
            out.put_vstring(list.as_bytes())?;
        }
        Ok(())
    }
}

/// Reads the peer's lists: the peer sends those that this end sends. When that is none, the item
/// comes without a byte.
#[derive(Debug, Clone, Copy)]
pub struct NameListsDecoder {
    checksums: bool,
    compressions: bool,
}

impl NameListsDecoder {
    /// Expects what answers to `ours`.
    pub fn new(ours: &NameLists) -> Self {
        Self {
            checksums: ours.checksums.is_some(),
            compressions: ours.compressions.is_some(),
        }
    }
}

impl Decode for NameListsDecoder {
    type Item = NameLists;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<NameLists>, WireError> {
        decode_with(buf, |cursor| {
            let mut list = |wanted: bool| -> Result<Option<String>, Stop> {
                let bytes = if wanted {
                    Some(cursor.vstring(MAX_VSTRING)?)
                } else {
                    None
                };
                Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
            };
            Ok(NameLists {
                checksums: list(self.checksums)?,
                compressions: list(self.compressions)?,
            })
        })
    }
}

/// What both ends agreed on before the transfer: made once, then shared by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The protocol number in use.
    pub version: Version,
    /// The server's compat flags; all zero before protocol 30.
    pub compat: CompatFlags,
    /// The digest of blocks and whole files.
    pub checksum: ChecksumName,
    /// The digest in the file list under `-c`.
    pub list_checksum: ChecksumName,
    /// The compression of token data; `None` when the data travel plain.
    pub compress: CompressName,
    /// The seed of block sums; 0 means unseeded.
    pub seed: i32,
}

impl Negotiated {
    /// Settles everything from what both ends sent. `ours` and `theirs` are the lists; both are
    /// empty without negotiation.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] when there is no common name, or when the options ask for
    /// something that only negotiation could have agreed on.
    pub fn resolve(
        version: Version,
        compat: CompatFlags,
        options: &Options,
        ours: &NameLists,
        theirs: &NameLists,
        seed: i32,
        as_server: bool,
    ) -> Result<Self, WireError> {
        let (client, server) = if as_server {
            (theirs, ours)
        } else {
            (ours, theirs)
        };
        let (checksum, list_checksum) =
            negotiate::settle_checksums(version, options, client, server)?;
        let compress = negotiate::settle_compression(options, client, server)?;
        Ok(Self {
            version,
            compat,
            checksum,
            list_checksum,
            compress,
            seed,
        })
    }

    /// Whether lists come one directory at a time (§10).
    pub fn incremental(&self) -> bool {
        self.compat.has(CompatFlags::INC_RECURSE)
    }

    /// Whether file flags are varints (§9.1).
    pub fn varint_flags(&self) -> bool {
        self.compat.has(CompatFlags::VARINT_FLIST_FLAGS)
    }

    /// Whether the end of a list may carry the error bits (§9.3).
    pub fn safe_flist(&self) -> bool {
        self.compat.has(CompatFlags::SAFE_FLIST) || self.version.implies_safe_flist()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::decode_both_ways;
    use crate::options::DeleteTiming;
    use proptest::prelude::*;

    const HOST: HostAbilities = HostAbilities {
        incremental: true,
        symlink_times: true,
    };

    fn answered(letters: &[u8], options: &Options, direction: Direction) -> u32 {
        let client = Capabilities::parse(letters);
        CompatFlags::of_server(Version::NEWEST, &client, options, direction, HOST).0
    }

    #[test]
    fn flags_follow_the_letters_and_the_run() -> Result<(), WireError> {
        let archive = Options::archive();
        // Without symlink conversion, otherwise the 511 of two stock ends.
        assert_eq!(answered(b".iLsfxCIvu", &archive, Direction::Push), 511 & !4);
        assert_eq!(answered(b".iL", &archive, Direction::Push), 3);
        assert_eq!(answered(b".LsfxCIvu", &archive, Direction::Push), 510 & !4);
        let after = Options {
            delete: Some(DeleteTiming::After),
            ..Options::archive()
        };
        assert_eq!(answered(b".i", &after, Direction::Push), 2);
        assert_eq!(answered(b".i", &after, Direction::Pull), 3);
        let client = Capabilities::parse(b".iLsfxCIvu");
        let old = Version::new(29)?;
        let flags = CompatFlags::of_server(old, &client, &archive, Direction::Push, HOST);
        assert_eq!(flags, CompatFlags(0));
        Ok(())
    }

    #[test]
    fn an_answer_beyond_the_offer_is_refused() {
        let offered = Capabilities::parse(b".LsfxCI");
        assert!(CompatFlags(0x17e & !0x080).check_answer(&offered).is_ok());
        assert!(CompatFlags(0x001).check_answer(&offered).is_err());
        assert!(CompatFlags(0x080).check_answer(&offered).is_err());
    }

    #[test]
    fn the_recorded_setup_is_read() -> Result<(), WireError> {
        let options = Options::archive();
        let mut buf = BytesMut::from(&b"\x81\xff\x23xxh128 xxh3 xxh64 md5 md4 sha1 none"[..]);
        buf.extend_from_slice(b"\x61\xbb\x05\x6b\x16\0\0\x07");
        let compat = CompatDecoder.decode(&mut buf)?;
        assert_eq!(compat, Some(CompatFlags(511)));
        let ours = NameLists::ours(compat.unwrap_or_default(), &options, false);
        let theirs = NameListsDecoder::new(&ours)
            .decode(&mut buf)?
            .unwrap_or_default();
        let seed = SeedDecoder.decode(&mut buf)?.unwrap_or_default();
        assert_eq!(&buf[..], b"\x16\0\0\x07");
        let compat = CompatFlags(511);
        let agreed = Negotiated::resolve(
            Version::NEWEST,
            compat,
            &options,
            &ours,
            &theirs,
            seed,
            false,
        )?;
        assert_eq!(agreed.checksum, ChecksumName::Xxh128);
        assert_eq!(agreed.compress, CompressName::None);
        assert_eq!(agreed.seed, 0x6b05_bb61);
        let mut out = BytesMut::new();
        compat.encode(&mut out);
        assert_eq!(&out[..], b"\x81\xff");
        Ok(())
    }

    proptest! {
        #[test]
        fn lists_survive_any_split(
            checksums in proptest::option::of("[a-z0-9 ]{0,200}"),
            compressions in proptest::option::of("[a-z0-9 ]{0,200}"),
        ) {
            let lists = NameLists { checksums, compressions };
            let mut out = BytesMut::new();
            lists.encode(&mut out).expect("short");
            if out.is_empty() {
                return Ok(());
            }
            let decoder = NameListsDecoder::new(&lists);
            prop_assert_eq!(decode_both_ways(|| decoder, &out), [lists]);
        }

        #[test]
        fn flags_survive(flags: u32) {
            let mut out = BytesMut::new();
            CompatFlags(flags).encode(&mut out);
            prop_assert_eq!(decode_both_ways(|| CompatDecoder, &out), [CompatFlags(flags)]);
        }
    }
}
