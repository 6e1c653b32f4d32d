//! Compat flags, checksum and compression names: everything fixed between the arguments and the
//! first multiplexed byte (§3, §5).

use bytes::BytesMut;

use crate::args::{Capabilities, Direction, ServerCommand, may_recurse_incrementally};
use crate::decode::{Cursor, Stop};
use crate::error::WireError;
use crate::limits::MAX_VSTRING;
use crate::names::{ChecksumName, CompressName};
use crate::options::{ChecksumChoice, Options};
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

    /// Checks, on the client, that the server turned on only what was announced to it.
    ///
    /// # Errors
    /// [`WireError::Misbehaved`] otherwise.
    pub fn check_answer(self, announced: Capabilities) -> Result<(), WireError> {
        for (letter, flag, name) in [
            (Capabilities::INC_RECURSE, Self::INC_RECURSE, "incremental recursion"),
            (Capabilities::VARINT_FLIST_FLAGS, Self::VARINT_FLIST_FLAGS, "varint file flags"),
        ] {
            if self.has(flag) && !announced.has(letter) {
                return Err(WireError::misbehaved(format!(
                    "the server turned on {name}, which this end did not offer"
                )));
            }
        }
        Ok(())
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

    fn put(
        self,
        checksums: &[ChecksumName],
        is_server: bool,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        let list = |names: Vec<&str>| {
            let mut text = names.join(" ");
            if is_server {
                text.push_str(" none");
            }
            text
        };
        if self.checksums {
            out.put_vstring(list(checksums.iter().map(|name| name.as_str()).collect()).as_bytes())?;
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

/// The first of our `preferred` names that the peer's `list` has. Names are compared by their
/// meaning: `xxhash` and `xxh64` are the same.
fn pick<T: Copy + PartialEq>(
    preferred: &[T],
    parse: impl Fn(&str) -> Option<T>,
    list: &str,
    what: &str,
) -> Result<T, WireError> {
    let listed: Vec<T> = list.split_ascii_whitespace().filter_map(parse).collect();
    let chosen = preferred.iter().copied().find(|candidate| listed.contains(candidate));
    chosen.ok_or_else(|| no_common(list, what))
}

/// The first name of the peer's `list` that we offer as a server: one of `known`, or `none`.
fn pick_theirs<T: Copy + PartialEq>(
    known: &[T],
    none: T,
    parse: impl Fn(&str) -> Option<T>,
    list: &str,
    what: &str,
) -> Result<T, WireError> {
    list.split_ascii_whitespace()
        .filter_map(parse)
        .find(|candidate| *candidate == none || known.contains(candidate))
        .ok_or_else(|| no_common(list, what))
}

fn no_common(list: &str, what: &str) -> WireError {
    WireError::Incompatible(format!("no {what} in common: the peer offers \"{}\"", shown(list)))
}

/// The start of a peer's list, fit for a message.
fn shown(list: &str) -> String {
    list.escape_default().take(200).collect()
}

/// Refuses a choice that leaves `--checksum` without a sum in the list.
fn check_list_checksum(options: &Options, negotiated: Negotiated) -> Result<Negotiated, WireError> {
    if options.checksum && negotiated.list_checksum == ChecksumName::None {
        return Err(WireError::Incompatible(
            "--checksum needs a checksum in the list, but the choice is \"none\"".into(),
        ));
    }
    Ok(negotiated)
}

/// The checksums of the transfer and of the list, without lists of names.
fn fixed_checksums(options: &Options, version: Version) -> (ChecksumName, ChecksumName) {
    match options.checksum_choice {
        Some(choice) => (choice.transfer, choice.list),
        None if version.has_varints() => (ChecksumName::Md5, ChecksumName::Md5),
        None => (ChecksumName::Md4, ChecksumName::Md4),
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
    /// The checksums to offer, best first.
    checksums: &'static [ChecksumName],
}

impl ClientOffer {
    /// What a client offers after it has read the compat flags.
    pub fn new(options: &Options, compat: CompatFlags) -> Self {
        let mut lists = Lists::new(options, compat);
        let ours_only = options.checksum_choice.is_some_and(ChecksumChoice::is_ours_only);
        lists.checksums |= ours_only && compat.has(CompatFlags::VARINT_FLIST_FLAGS);
        Self { lists, checksums: if ours_only { &[ChecksumName::Blake3] } else { &CHECKSUMS } }
    }

    /// Appends the client's lists.
    ///
    /// # Errors
    /// Never for the names that this build knows.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        self.lists.put(self.checksums, false, out)
    }

    /// Reads the server's lists. The seed (an int) follows them, unless the server cannot agree.
    ///
    /// # Errors
    /// [`Stop::More`] at the end.
    pub fn read_answer(&self, cursor: &mut Cursor<'_>) -> Result<Answer, Stop> {
        self.lists.read(cursor)
    }

    /// Chooses: our own most-preferred name that the server listed. The seed is still 0.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] without a common name, and for `--checksum` with a list sum of
    /// `none`.
    pub fn conclude(
        &self,
        options: &Options,
        version: Version,
        compat: CompatFlags,
        answer: &Answer,
    ) -> Result<Negotiated, WireError> {
        let (checksum, list_checksum) = match &answer.checksums {
            Some(list) => {
                let parse = ChecksumName::parse;
                let name =
                    pick(self.checksums, parse, list, "checksum").map_err(|error| match options
                        .checksum_choice
                    {
                        Some(choice) => WireError::Incompatible(format!(
                            "the peer has no checksum {}; it offers \"{}\"",
                            choice.transfer.as_str(),
                            shown(list)
                        )),
                        None => error,
                    })?;
                (name, name)
            }
            None if options.checksum_choice.is_some_and(ChecksumChoice::is_ours_only) => {
                return Err(WireError::Incompatible(
                    "the server is too old to be asked for the checksum blake3".into(),
                ));
            }
            None => fixed_checksums(options, version),
        };
        let compress = match &answer.compressions {
            Some(list) => pick(&COMPRESSIONS, CompressName::parse, list, "compression")?,
            None => fixed_compression(options),
        };
        let negotiated = Negotiated { version, compat, checksum, list_checksum, compress, seed: 0 };
        check_list_checksum(options, negotiated)
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
        self.lists.put(&CHECKSUMS, true, out)
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
    /// [`WireError::Incompatible`] without a common name, and for `--checksum` with a list sum of
    /// `none`.
    pub fn conclude(&self, answer: &Answer) -> Result<Negotiated, WireError> {
        let mut negotiated = self.plain();
        if let Some(list) = &answer.checksums {
            let (none, parse) = (ChecksumName::None, ChecksumName::parse);
            negotiated.checksum = pick_theirs(&CHECKSUMS, none, parse, list, "checksum")?;
            negotiated.list_checksum = negotiated.checksum;
        }
        if let Some(list) = &answer.compressions {
            let (none, parse) = (CompressName::None, CompressName::parse);
            negotiated.compress = pick_theirs(&COMPRESSIONS, none, parse, list, "compression")?;
        }
        check_list_checksum(&self.options, negotiated)
    }

    /// What holds without any list.
    pub fn plain(&self) -> Negotiated {
        let (checksum, list_checksum) = fixed_checksums(&self.options, self.version);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode_with;
    use crate::options::DeleteTiming;
    use proptest::prelude::*;

    fn command(letters: &[u8], options: &Options, direction: Direction) -> ServerCommand {
        let mut command = ServerCommand::unusable(&[]);
        command.capabilities = Capabilities::parse(letters);
        command.options = options.clone();
        command.direction = direction;
        command
    }

    /// Settles a run between two ends of this build.
    fn between_ours(options: &Options, letters: &[u8]) -> Result<Negotiated, WireError> {
        let version = Version::NEWEST;
        let mut command = command(letters, options, Direction::Push);
        command.options.checksum_choice =
            options.checksum_choice.filter(|choice| !choice.is_ours_only());
        let server = ServerOffer::new(&command, version, 77);
        let mut to_client = BytesMut::new();
        server.encode(&mut to_client)?;
        server.encode_seed(&mut to_client);
        let flags = decode_with(&mut to_client, |cursor| cursor.varint())?.expect("flags");
        let compat = CompatFlags(flags.cast_unsigned());
        let client = ClientOffer::new(options, compat);
        let mut to_server = BytesMut::new();
        client.encode(&mut to_server)?;
        let from_server = decode_with(&mut to_client, |cursor| client.read_answer(cursor))?;
        let from_client = decode_with(&mut to_server, |cursor| server.read_answer(cursor))?;
        let mut on_client =
            client.conclude(options, version, compat, &from_server.expect("complete"))?;
        on_client.seed = decode_with(&mut to_client, |cursor| cursor.int())?.expect("a seed");
        assert!(to_client.is_empty() && to_server.is_empty());
        assert_eq!(server.conclude(&from_client.expect("complete")), Ok(on_client.clone()));
        Ok(on_client)
    }

    fn choice(transfer: ChecksumName) -> Option<ChecksumChoice> {
        Some(ChecksumChoice { transfer, list: transfer })
    }

    #[test]
    fn two_of_our_ends_agree() -> Result<(), WireError> {
        let mut options = Options::archive();
        let agreed = between_ours(&options, b".LsfxCIvu")?;
        assert_eq!(agreed.checksum, ChecksumName::Xxh128);
        assert_eq!((agreed.compress, agreed.seed), (CompressName::None, 77));
        options.compress = true;
        options.checksum_choice = choice(ChecksumName::Blake3);
        let agreed = between_ours(&options, b".LsfxCIvu")?;
        assert_eq!(agreed.list_checksum, ChecksumName::Blake3);
        assert_eq!(agreed.compress, CompressName::Zstd);
        options.compress_choice = Some(CompressName::Lz4);
        assert_eq!(between_ours(&options, b".v")?.compress, CompressName::Lz4);
        Ok(())
    }

    #[test]
    fn without_negotiation_the_protocol_decides() -> Result<(), WireError> {
        let mut options = Options::archive();
        options.compress = true;
        let agreed = between_ours(&options, b".LsfxC")?;
        assert_eq!((agreed.checksum, agreed.compress), (ChecksumName::Md5, CompressName::Zlib));
        let old = command(b"", &options, Direction::Push);
        let plain = ServerOffer::new(&old, Version::new(29)?, 1).plain();
        assert_eq!((plain.checksum, plain.compat), (ChecksumName::Md4, CompatFlags(0)));
        Ok(())
    }

    #[test]
    fn a_list_sum_of_none_is_refused() {
        let mut options = Options::archive();
        options.checksum_choice = choice(ChecksumName::None);
        assert!(between_ours(&options, b".v").is_ok());
        options.checksum = true;
        assert!(between_ours(&options, b".v").is_err());
    }

    #[test]
    fn each_side_picks_as_the_reference_says() -> Result<(), WireError> {
        let theirs = |list| {
            pick_theirs(&CHECKSUMS, ChecksumName::None, ChecksumName::parse, list, "checksum")
        };
        let ours = |list| pick(&CHECKSUMS, ChecksumName::parse, list, "checksum");
        assert_eq!(theirs("sha512 md5 xxh3")?, ChecksumName::Md5);
        assert_eq!(theirs("none md5")?, ChecksumName::None);
        assert_eq!(ours("md5 xxh3 none")?, ChecksumName::Xxh3);
        assert_eq!(ours("none md4 xxhash")?, ChecksumName::Xxh64);
        assert!(ours("none").is_err() && theirs("sha512").is_err() && theirs("").is_err());
        Ok(())
    }

    #[test]
    fn flags_follow_the_letters_and_the_run() {
        let flags = |letters: &[u8], options: &Options, direction| {
            compat_for(&command(letters, options, direction)).0 & !CompatFlags::SYMLINK_TIMES
        };
        let archive = Options::archive();
        let after = Options { delete: Some(DeleteTiming::After), ..Options::archive() };
        // Without symlink conversion, otherwise the 511 of two stock ends.
        assert_eq!(flags(b".iLsfxCIvu", &archive, Direction::Push), 511 & !0x006);
        assert_eq!(flags(b".iL", &archive, Direction::Push), 1);
        assert_eq!(flags(b".LsfxC", &archive, Direction::Push), 0x038);
        assert_eq!(flags(b".i", &after, Direction::Push), 0);
        assert_eq!(flags(b".i", &after, Direction::Pull), 1);
        assert_eq!(flags(b".i", &Options::default(), Direction::Pull), 0);
    }

    #[test]
    fn an_answer_beyond_the_offer_is_refused() {
        let offered = Capabilities::parse(b".LsfxCI");
        assert!(CompatFlags(0x17e & !0x080).check_answer(offered).is_ok());
        assert!(CompatFlags(0x001).check_answer(offered).is_err());
        assert!(CompatFlags(0x080).check_answer(offered).is_err());
    }

    #[test]
    fn the_recorded_setup_is_read() {
        // What a 3.5.0 server sent for a push, up to the first frame.
        let sent = b"\x81\xff\x23xxh128 xxh3 xxh64 md5 md4 sha1 none\x61\xbb\x05\x6b\x16\0\0\x07";
        let options = Options::archive();
        let offer = ClientOffer::new(&options, CompatFlags(511));
        for cut in 2..sent.len() {
            let mut cursor = Cursor::new(sent.get(..cut).unwrap_or_default());
            assert_eq!(cursor.varint(), Ok(511));
            let read = offer.read_answer(&mut cursor);
            if cut < sent.len() - 8 {
                assert_eq!(read, Err(Stop::More), "{cut}");
            } else {
                let agreed = read
                    .map(|read| offer.conclude(&options, Version::NEWEST, CompatFlags(511), &read));
                let agreed = agreed.expect("complete").expect("a common name");
                assert_eq!(agreed.checksum, ChecksumName::Xxh128);
                assert_eq!(cursor.position(), sent.len() - 8);
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes: Vec<u8>, list: String) {
            let options = Options { compress: true, ..Options::archive() };
            let offer = ClientOffer::new(&options, CompatFlags(511));
            if let Ok(answer) = offer.read_answer(&mut Cursor::new(&bytes)) {
                drop(offer.conclude(&options, Version::NEWEST, CompatFlags(511), &answer));
            }
            let server = ServerOffer::new(&command(b".v", &options, Direction::Pull), Version::NEWEST, 0);
            drop(server.conclude(&Answer { checksums: Some(list.clone()), compressions: Some(list) }));
        }
    }
}
