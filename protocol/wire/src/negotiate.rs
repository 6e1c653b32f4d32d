//! The choice of checksum and compression (§5, since 30 with capability `v`).
//!
//! Both ends send a list, best first, and both take the first name of the **client's** list that
//! the server's list has. A client offers a part of the canonical order, so that servers that
//! prefer their own order come to the same result.
//!
//! BLAKE3 is ours alone. A server always lists it, last; a client offers it only when
//! `--checksum-choice=blake3` asks for it, and then offers nothing else. Two Bascule ends thus use
//! xxh128 by default, and a server without BLAKE3 is told apart instead of failing on an unknown
//! argument.

use crate::error::WireError;
use crate::names::{ChecksumName, CompressName};
use crate::options::{ChecksumChoice, Options};
use crate::setup::NameLists;
use crate::version::Version;

const CHECKSUMS: &str = "xxh128 xxh3 xxh64 md5 md4 sha1";
const CHECKSUMS_OF_SERVER: &str = "xxh128 xxh3 xxh64 md5 md4 sha1 none blake3";
const COMPRESSIONS: &str = "zstd lz4 zlibx zlib";
const COMPRESSIONS_OF_SERVER: &str = "zstd lz4 zlibx zlib none";

const BLAKE3: ChecksumChoice = ChecksumChoice {
    transfer: ChecksumName::Blake3,
    list: ChecksumName::Blake3,
};

/// Whether the checksum is negotiated: no option has fixed it. BLAKE3 is never fixed by an
/// argument, only offered.
pub fn negotiates_checksum(options: &Options) -> bool {
    options
        .checksum_choice
        .is_none_or(|choice| choice == BLAKE3)
}

/// Whether the compression is negotiated: `-z` is on and no option has fixed it.
pub fn negotiates_compression(options: &Options) -> bool {
    options.compress && options.compress_choice.is_none()
}

/// The checksums that this end offers.
pub fn checksum_list(options: &Options, as_server: bool) -> String {
    let list = match options.checksum_choice {
        _ if as_server => CHECKSUMS_OF_SERVER,
        Some(BLAKE3) => ChecksumName::Blake3.as_str(),
        _ => CHECKSUMS,
    };
    list.to_owned()
}

/// The compressions that this end offers.
pub fn compression_list(as_server: bool) -> String {
    let list = if as_server {
        COMPRESSIONS_OF_SERVER
    } else {
        COMPRESSIONS
    };
    list.to_owned()
}

/// Chooses a checksum from the two lists; the result is the same on both ends.
///
/// # Errors
/// [`WireError::Incompatible`] when they have no name in common that this build knows.
pub fn choose_checksum(client: &str, server: &str) -> Result<ChecksumName, WireError> {
    choose(client, server, ChecksumName::parse).ok_or_else(|| no_common("checksum", client, server))
}

/// Chooses a compression from the two lists; the result is the same on both ends.
///
/// # Errors
/// [`WireError::Incompatible`] when they have no name in common that this build knows.
pub fn choose_compression(client: &str, server: &str) -> Result<CompressName, WireError> {
    choose(client, server, CompressName::parse)
        .ok_or_else(|| no_common("compression", client, server))
}

/// The checksums for the transfer and for the list.
pub(crate) fn settle_checksums(
    version: Version,
    options: &Options,
    client: &NameLists,
    server: &NameLists,
) -> Result<(ChecksumName, ChecksumName), WireError> {
    let (transfer, list) = match (&client.checksums, &server.checksums) {
        (Some(client), Some(server)) => {
            let name = choose_checksum(client, server)?;
            (name, name)
        }
        _ => match options.checksum_choice {
            Some(BLAKE3) => {
                return Err(WireError::Incompatible(
                    "the peer is too old to negotiate a checksum; leave out \
                     --checksum-choice=blake3"
                        .to_owned(),
                ));
            }
            Some(choice) => (choice.transfer, choice.list),
            None if version.has_varints() => (ChecksumName::Md5, ChecksumName::Md5),
            None => (ChecksumName::Md4, ChecksumName::Md4),
        },
    };
    if options.checksum && list == ChecksumName::None {
        return Err(WireError::Incompatible(
            "--checksum needs a checksum for the list, but the choice is \"none\"".to_owned(),
        ));
    }
    Ok((transfer, list))
}

/// The compression of token data.
pub(crate) fn settle_compression(
    options: &Options,
    client: &NameLists,
    server: &NameLists,
) -> Result<CompressName, WireError> {
    if !options.compress {
        return Ok(CompressName::None);
    }
    match (
        options.compress_choice,
        &client.compressions,
        &server.compressions,
    ) {
        (Some(name), _, _) => Ok(name),
        (None, Some(client), Some(server)) => choose_compression(client, server),
        (None, _, _) => Ok(CompressName::Zlib),
    }
}

/// The first of the client's names that the server has. Names are compared by their meaning:
/// `xxhash` and `xxh64` are the same.
fn choose<N: PartialEq>(client: &str, server: &str, parse: fn(&str) -> Option<N>) -> Option<N> {
    client
        .split_ascii_whitespace()
        .filter_map(parse)
        .find(|name| {
            server
                .split_ascii_whitespace()
                .filter_map(parse)
                .any(|other| other == *name)
        })
}

fn no_common(what: &str, client: &str, server: &str) -> WireError {
    let shown = |list: &str| -> String {
        let printable: String = list.escape_default().collect();
        printable.chars().take(200).collect()
    };
    WireError::Incompatible(format!(
        "no common {what}: the client offers \"{}\", the server \"{}\"",
        shown(client),
        shown(server)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{CompatFlags, Negotiated};

    fn choice(name: ChecksumName) -> Option<ChecksumChoice> {
        Some(ChecksumChoice {
            transfer: name,
            list: name,
        })
    }

    /// Settles a run between two ends of this build.
    fn between_ours(options: &Options, compat: u32) -> Result<Negotiated, WireError> {
        let compat = CompatFlags(compat);
        let client = NameLists::ours(compat, options, false);
        // BLAKE3 is not in the arguments, so the server's options do not know of it.
        let mut options_of_server = options.clone();
        if options.checksum_choice == Some(BLAKE3) {
            options_of_server.checksum_choice = None;
        }
        let server = NameLists::ours(compat, &options_of_server, true);
        let resolve = |options: &Options, ours, theirs, as_server| {
            Negotiated::resolve(Version::NEWEST, compat, options, ours, theirs, 1, as_server)
        };
        let on_client = resolve(options, &client, &server, false)?;
        let on_server = resolve(&options_of_server, &server, &client, true)?;
        assert_eq!(on_client, on_server);
        Ok(on_client)
    }

    #[test]
    fn two_of_our_ends_agree() -> Result<(), WireError> {
        let mut options = Options::archive();
        let agreed = between_ours(&options, 0x180)?;
        assert_eq!(agreed.checksum, ChecksumName::Xxh128);
        assert_eq!(agreed.compress, CompressName::None);
        options.compress = true;
        options.checksum_choice = choice(ChecksumName::Blake3);
        let agreed = between_ours(&options, 0x180)?;
        assert_eq!(agreed.checksum, ChecksumName::Blake3);
        assert_eq!(agreed.compress, CompressName::Zstd);
        options.checksum_choice = choice(ChecksumName::Sha1);
        options.compress_choice = Some(CompressName::Lz4);
        let agreed = between_ours(&options, 0x180)?;
        assert_eq!(agreed.list_checksum, ChecksumName::Sha1);
        assert_eq!(agreed.compress, CompressName::Lz4);
        Ok(())
    }

    #[test]
    fn without_negotiation_the_protocol_decides() -> Result<(), WireError> {
        let mut options = Options::archive();
        options.compress = true;
        let agreed = between_ours(&options, 0)?;
        assert_eq!(
            (agreed.checksum, agreed.compress),
            (ChecksumName::Md5, CompressName::Zlib)
        );
        let none = NameLists::default();
        let old = Version::new(29)?;
        let agreed = settle_checksums(old, &options, &none, &none)?;
        assert_eq!(agreed, (ChecksumName::Md4, ChecksumName::Md4));
        options.checksum_choice = choice(ChecksumName::Blake3);
        assert!(between_ours(&options, 0).is_err());
        Ok(())
    }

    #[test]
    fn the_clients_order_decides() -> Result<(), WireError> {
        let stock = "xxh128 xxh3 xxh64 md5 md4 sha1 none";
        assert_eq!(
            choose_checksum("sha512 md5 xxh3", stock)?,
            ChecksumName::Md5
        );
        assert_eq!(choose_checksum("xxhash", "xxh64")?, ChecksumName::Xxh64);
        assert!(choose_checksum("blake3", stock).is_err());
        assert!(choose_checksum("", stock).is_err());
        assert_eq!(
            choose_compression("brotli zlib zstd", "zstd zlib")?,
            CompressName::Zlib
        );
        Ok(())
    }

    #[test]
    fn a_list_sum_of_none_is_refused() {
        let mut options = Options::archive();
        options.checksum_choice = choice(ChecksumName::None);
        assert!(between_ours(&options, 0x180).is_ok());
        options.checksum = true;
        assert!(between_ours(&options, 0x180).is_err());
    }
}
