//! Challenge and response of the daemon's authentication (§2.6).

/// A digest of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthDigest {
    /// SHA-512.
    Sha512,
    /// SHA-256.
    Sha256,
    /// SHA-1.
    Sha1,
    /// MD5.
    Md5,
    /// MD4 named in a list.
    Md4,
    /// MD4 over four zero bytes first: peers without a list, before protocol 30.
    OldMd4,
}
