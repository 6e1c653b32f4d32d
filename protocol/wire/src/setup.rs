//! Compat flags, checksum and compression names: everything fixed between the arguments and the
//! first multiplexed byte (§3, §5).

use bytes::BytesMut;

use crate::args::{Capabilities, Direction, ServerCommand, may_recurse_incrementally};
use crate::decode::{Cursor, Stop};
use crate::error::WireError;
use crate::limits::MAX_VSTRING;
use crate::names::{ChecksumName, CompressName};
use crate::options::Options;
use crate::varint::PutWire as _;
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

/// The names that we offer, best first (§5). A stock peer passes over `blake3` as an unknown name;
/// being last, it is chosen by two Bascule ends only where the faster ones are not to be had, or
/// when the user asks for it.
const CHECKSUMS: [ChecksumName; 7] = [
    ChecksumName::Xxh128,
    ChecksumName::Xxh3,
    ChecksumName::Xxh64,
    ChecksumName::Md5,
    ChecksumName::Md4,
    ChecksumName::Sha1,
    ChecksumName::Blake3,
];

/// The compressions that we offer, best first.
const COMPRESSIONS: [CompressName; 4] =
    [CompressName::Zstd, CompressName::Lz4, CompressName::Zlibx, CompressName::Zlib];

/// What of the negotiation travels as text: the lists of names, where they are not fixed.
#[derive(Debug, Clone, Copy)]
struct Lists {
    checksums: bool,
    compressions: bool,
}

impl Lists {
    fn new(options: &Options, compat: CompatFlags) -> Self {
        let negotiates = compat.has(CompatFlags::VARINT_FLIST_FLAGS);
        Self {
            checksums: negotiates && options.checksum_choice.is_none(),
            compressions: negotiates && options.compress && options.compress_choice.is_none(),
        }
    }

    fn put(self, is_server: bool, out: &mut BytesMut) -> Result<(), WireError> {
        let list = |names: Vec<&str>| {
            let mut text = names.join(" ");
            if is_server {
                text.push_str(" none");
            }
            text
        };
        if self.checksums {
            out.put_vstring(list(CHECKSUMS.map(ChecksumName::as_str).to_vec()).as_bytes())?;
        }
        if self.compressions {
            out.put_vstring(list(COMPRESSIONS.map(CompressName::as_str).to_vec()).as_bytes())?;
        }
        Ok(())
    }

    fn read(self, cursor: &mut Cursor<'_>) -> Result<Answer, Stop> {
        let mut list = |wanted: bool| {
            if !wanted {
                return Ok(None);
            }
            let text = cursor.vstring(MAX_VSTRING)?;
            Ok::<_, Stop>(Some(String::from_utf8_lossy(text).into_owned()))
        };
        Ok(Answer { checksums: list(self.checksums)?, compressions: list(self.compressions)? })
    }
}

/// The lists of the peer, where they travel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    checksums: Option<String>,
    compressions: Option<String>,
}

/// The first of `preferred` that `list` names.
fn pick<T: Copy>(
    preferred: &[T],
    name: impl Fn(T) -> &'static str,
    list: &str,
    what: &str,
) -> Result<T, WireError> {
    preferred
        .iter()
        .copied()
        .find(|candidate| list.split(' ').any(|listed| listed == name(*candidate)))
        .ok_or_else(|| {
            WireError::Incompatible(format!("no {what} in common: the peer offers {list:?}"))
        })
}

/// The first name of the peer's `list` that is among `known`.
fn pick_theirs<T: Copy>(
    known: &[T],
    parse: impl Fn(&str) -> Option<T>,
    name: impl Fn(T) -> &'static str,
    list: &str,
    what: &str,
) -> Result<T, WireError> {
    list.split(' ')
        .filter_map(parse)
        .find(|candidate| known.iter().any(|known| name(*known) == name(*candidate)))
        .ok_or_else(|| {
            WireError::Incompatible(format!("no {what} in common: the peer offers {list:?}"))
        })
}

fn fixed_checksums(options: &Options) -> (ChecksumName, ChecksumName) {
    match options.checksum_choice {
        Some(choice) => (choice.transfer, choice.list),
        None => (ChecksumName::Md5, ChecksumName::Md5),
    }
}

fn fixed_compression(options: &Options) -> CompressName {
    match options.compress_choice {
        _ if !options.compress => CompressName::None,
        Some(choice) => choice,
        None => CompressName::Zlib,
    }
}

/// The client's part of the negotiation.
#[derive(Debug, Clone)]
pub struct ClientOffer {
    lists: Lists,
}

impl ClientOffer {
    /// What a client offers after it has read the compat flags.
    pub fn new(options: &Options, compat: CompatFlags) -> Self {
        Self { lists: Lists::new(options, compat) }
    }

    /// Appends the client's lists.
    ///
    /// # Errors
    /// Never for the names that this build knows.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        self.lists.put(false, out)
    }

    /// Reads the server's lists and the seed.
    ///
    /// # Errors
    /// [`Stop::More`] at the end.
    pub fn read_answer(&self, cursor: &mut Cursor<'_>) -> Result<(Answer, i32), Stop> {
        Ok((self.lists.read(cursor)?, cursor.int()?))
    }

    /// Chooses: our own most-preferred name that the server listed.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] without a common name.
    pub fn conclude(
        &self,
        options: &Options,
        version: Version,
        compat: CompatFlags,
        (answer, seed): &(Answer, i32),
    ) -> Result<Negotiated, WireError> {
        let (checksum, list_checksum) = match &answer.checksums {
            Some(list) => {
                let name = pick(&CHECKSUMS, ChecksumName::as_str, list, "checksum")?;
                (name, name)
            }
            None => fixed_checksums(options),
        };
        let compress = match &answer.compressions {
            Some(list) => pick(&COMPRESSIONS, CompressName::as_str, list, "compression")?,
            None => fixed_compression(options),
        };
        Ok(Negotiated { version, compat, checksum, list_checksum, compress, seed: *seed })
    }
}

/// The server's part of the negotiation.
#[derive(Debug, Clone)]
pub struct ServerOffer {
    version: Version,
    compat: CompatFlags,
    options: Options,
    lists: Lists,
    seed: i32,
}

impl ServerOffer {
    /// What a server answers to a client's command; `seed` is for the block sums.
    pub fn new(command: &ServerCommand, version: Version, seed: i32) -> Self {
        let compat = if version.has_varints() { compat_for(command) } else { CompatFlags(0) };
        let options = command.options.clone();
        Self { version, compat, lists: Lists::new(&options, compat), options, seed }
    }

    /// Appends the compat flags and the server's lists.
    ///
    /// # Errors
    /// Never for the names that this build knows.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        if self.version.has_varints() {
            out.put_varint(self.compat.0.cast_signed());
        }
        self.lists.put(true, out)
    }

    /// Reads the client's lists.
    ///
    /// # Errors
    /// [`Stop::More`] at the end.
    pub fn read_answer(&self, cursor: &mut Cursor<'_>) -> Result<Answer, Stop> {
        self.lists.read(cursor)
    }

    /// Appends the seed.
    pub fn encode_seed(&self, out: &mut BytesMut) {
        out.put_int(self.seed);
    }

    /// Chooses: the first name of the client's list that we know.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] without a common name.
    pub fn conclude(&self, answer: &Answer) -> Result<Negotiated, WireError> {
        let mut negotiated = self.plain();
        if let Some(list) = &answer.checksums {
            let (parse, name) = (ChecksumName::parse, ChecksumName::as_str);
            negotiated.checksum = pick_theirs(&CHECKSUMS, parse, name, list, "checksum")?;
            negotiated.list_checksum = negotiated.checksum;
        }
        if let Some(list) = &answer.compressions {
            let (parse, name) = (CompressName::parse, CompressName::as_str);
            negotiated.compress = pick_theirs(&COMPRESSIONS, parse, name, list, "compression")?;
        }
        Ok(negotiated)
    }

    /// What holds without any list.
    pub fn plain(&self) -> Negotiated {
        let (checksum, list_checksum) = fixed_checksums(&self.options);
        Negotiated {
            version: self.version,
            compat: self.compat,
            checksum,
            list_checksum,
            compress: fixed_compression(&self.options),
            seed: self.seed,
        }
    }
}

/// The compat flags that answer a client's capabilities (§3).
fn compat_for(command: &ServerCommand) -> CompatFlags {
    let letters = [
        (Capabilities::SAFE_FLIST, CompatFlags::SAFE_FLIST),
        (Capabilities::AVOID_XATTR_OPTIM, CompatFlags::AVOID_XATTR_OPTIM),
        (Capabilities::CHECKSUM_SEED_FIX, CompatFlags::CHECKSUM_SEED_FIX),
        (Capabilities::INPLACE_PARTIAL_DIR, CompatFlags::INPLACE_PARTIAL_DIR),
        (Capabilities::VARINT_FLIST_FLAGS, CompatFlags::VARINT_FLIST_FLAGS),
        (Capabilities::ID0_NAMES, CompatFlags::ID0_NAMES),
    ];
    let mut flags = if cfg!(unix) { CompatFlags::SYMLINK_TIMES } else { 0 };
    for (letter, flag) in letters {
        if command.capabilities.has(letter) {
            flags |= flag;
        }
    }
    let receives = command.direction == Direction::Push;
    if command.capabilities.has(Capabilities::INC_RECURSE)
        && may_recurse_incrementally(&command.options, receives)
    {
        flags |= CompatFlags::INC_RECURSE;
    }
    CompatFlags(flags)
}
