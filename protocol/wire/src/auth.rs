//! Challenge and response of the daemon's authentication (§2.6).
//!
//! The response is the unpadded base64 of a digest over the password and the challenge's text.

use md4::Md4;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use crate::error::WireError;
use crate::shown;
use crate::version::Version;

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

impl AuthDigest {
    /// Those that can be named in a greeting, strongest first.
    const NAMED: [Self; 5] = [Self::Sha512, Self::Sha256, Self::Sha1, Self::Md5, Self::Md4];

    /// Parses a name of a greeting or of a configuration; `None` when unknown.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|digest| digest.as_str().eq_ignore_ascii_case(name))
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha512 => "sha512",
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
            Self::Md4 | Self::OldMd4 => "md4",
        }
    }

    /// Whether this one is as strong as `floor` or stronger, for a daemon's `auth digest`.
    pub fn is_at_least(self, floor: Self) -> bool {
        self.rank() <= floor.rank()
    }

    fn rank(self) -> u8 {
        match self {
            Self::Sha512 => 0,
            Self::Sha256 => 1,
            Self::Sha1 => 2,
            Self::Md5 => 3,
            Self::Md4 => 4,
            Self::OldMd4 => 5,
        }
    }

    /// Hashes the concatenation of `parts`.
    fn hash(self, parts: &[&[u8]]) -> Vec<u8> {
        fn run<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hasher = D::new();
            for part in parts {
                hasher.update(part);
            }
            hasher.finalize().to_vec()
        }
        match self {
            Self::Sha512 => run::<Sha512>(parts),
            Self::Sha256 => run::<Sha256>(parts),
            Self::Sha1 => run::<Sha1>(parts),
            Self::Md5 => run::<Md5>(parts),
            Self::Md4 => run::<Md4>(parts),
            Self::OldMd4 => run::<Md4>(&[&[&[0; 4][..]], parts].concat()),
        }
    }
}

/// The list of our greeting, strongest first.
pub fn offered() -> &'static str {
    "sha512 sha256 sha1 md5 md4"
}

/// The client's choice: the strongest that the server's greeting lists.
///
/// # Errors
/// [`WireError::Incompatible`] when the list has none that we know.
pub fn choose_client(
    server_list: Option<&[String]>,
    version: Version,
) -> Result<AuthDigest, WireError> {
    let Some(list) = server_list else {
        return Ok(without_list(version));
    };
    AuthDigest::NAMED
        .into_iter()
        .find(|digest| list.iter().any(|name| name == digest.as_str()))
        .ok_or_else(|| no_common(list))
}

/// The server's choice: the first of the client's list that we know.
///
/// # Errors
/// [`WireError::Incompatible`] when the list has none that we know.
pub fn choose_server(
    client_list: Option<&[String]>,
    version: Version,
) -> Result<AuthDigest, WireError> {
    let Some(list) = client_list else {
        return Ok(without_list(version));
    };
    list.iter().find_map(|name| AuthDigest::parse(name)).ok_or_else(|| no_common(list))
}

/// The response to a challenge.
pub fn response(digest: AuthDigest, password: &[u8], challenge: &str) -> String {
    base64(&digest.hash(&[password, challenge.as_bytes()]))
}

/// Whether a response is the right one; takes the same time wherever it differs.
pub fn verify(digest: AuthDigest, password: &[u8], challenge: &str, response: &[u8]) -> bool {
    let expected = self::response(digest, password, challenge);
    expected.as_bytes().ct_eq(response).into()
}

/// Makes the challenge of one login from fresh random bytes.
pub fn challenge(digest: AuthDigest, random: &[u8; 32]) -> String {
    base64(&digest.hash(&[random]))
}

/// The client's answer to a challenge. Its `Debug` form hides the response, from which a weak
/// password could be guessed.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The user, as given.
    pub user: Vec<u8>,
    /// The response; empty when the line had none, which never verifies.
    pub response: Vec<u8>,
}

impl Response {
    /// Parses the client's line, without its line end: the first word is the user.
    pub fn parse(line: &[u8]) -> Self {
        let border = line.iter().position(u8::is_ascii_whitespace);
        let (user, response) = line.split_at(border.unwrap_or(line.len()));
        Self { user: user.to_vec(), response: response.trim_ascii_start().to_vec() }
    }

    /// The line to send, with its line end.
    ///
    /// # Errors
    /// [`WireError::Incompatible`] for a user name that the line cannot carry: empty, or with
    /// whitespace or control characters.
    pub fn to_line(&self) -> Result<Vec<u8>, WireError> {
        let unfit = |byte: &u8| byte.is_ascii_whitespace() || byte.is_ascii_control();
        if self.user.is_empty() || self.user.iter().any(unfit) {
            return Err(WireError::Incompatible(format!(
                "the user name \"{}\" cannot be sent: it must be one word",
                shown(&self.user)
            )));
        }
        Ok([&self.user[..], b" ", &self.response, b"\n"].concat())
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("user", &String::from_utf8_lossy(&self.user))
            .finish_non_exhaustive()
    }
}

/// What ends without a list agree on.
fn without_list(version: Version) -> AuthDigest {
    if version.has_varints() { AuthDigest::Md5 } else { AuthDigest::OldMd4 }
}

fn no_common(list: &[String]) -> WireError {
    let theirs = list.join(" ");
    WireError::Incompatible(format!(
        "no common digest for the login: the peer offers \"{}\", this end {}",
        theirs.escape_default(),
        offered()
    ))
}

/// Standard alphabet, no padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = [0; 4];
        for (to, from) in bits.iter_mut().skip(1).zip(group) {
            *to = *from;
        }
        let bits = u32::from_be_bytes(bits);
        let sextets = [18, 12, 6, 0].map(|shift| (bits >> shift) & 0x3f);
        // One byte makes two characters, two make three.
        for sextet in sextets.into_iter().take(group.len() + 1) {
            let letter = ALPHABET.get(sextet as usize).copied().unwrap_or(b'A');
            text.push(char::from(letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn recorded_logins_verify() {
        // Password "wonderland"; clients 3.5.0, 3.0.0 (no list) and 2.6.0 (old MD4).
        for (digest, challenge, expected) in [
            (
                AuthDigest::Sha512,
                "YFAHN6DR7b8GaE5cGr2aamaBvRoLiUyPoHCNI537j1C+E2EdrNl/Ht8kspNZA5DICn5jI/hauGdd39czVVgiog",
                "/EshpJd1tyT7Xp3y6PUH2Jb1H5ogpI4RUlJMpWv4FVALmveL/K0vw1mbe8irZAoZE76rUta4LzhOt8bUoV3fQQ",
            ),
            (AuthDigest::Md5, "MzBmypXGesfXhkK7AoscnA", "5AeK8Wiymon1JZuVN48DXg"),
            (AuthDigest::OldMd4, "u4F//kOIZx1czjEYPhIP5Q", "iGJ/HAm+NxCr7NjYPiCoMg"),
        ] {
            assert_eq!(response(digest, b"wonderland", challenge), expected);
            assert!(verify(digest, b"wonderland", challenge, expected.as_bytes()));
            assert!(!verify(digest, b"wonderlanD", challenge, expected.as_bytes()));
            assert!(!verify(digest, b"wonderland", challenge, b""));
        }
    }

    #[test]
    fn both_ends_choose_the_same_digest() -> Result<(), WireError> {
        let new = Version::NEWEST;
        let all = list(offered());
        assert_eq!(choose_client(Some(&all), new)?, AuthDigest::Sha512);
        assert_eq!(choose_server(Some(&all), new)?, AuthDigest::Sha512);
        let reversed = list("sha3 md4 sha256");
        assert_eq!(choose_client(Some(&reversed), new)?, AuthDigest::Sha256);
        assert_eq!(choose_server(Some(&reversed), new)?, AuthDigest::Md4);
        assert!(choose_client(Some(&list("sha3")), new).is_err());
        assert!(choose_server(Some(&[]), new).is_err());
        let old = Version::new(29)?;
        for choose in [choose_client, choose_server] {
            assert_eq!(choose(None, Version::new(30)?)?, AuthDigest::Md5);
            assert_eq!(choose(None, old)?, AuthDigest::OldMd4);
        }
        assert!(AuthDigest::Sha256.is_at_least(AuthDigest::Sha1));
        assert!(!AuthDigest::OldMd4.is_at_least(AuthDigest::Md4));
        Ok(())
    }

    #[test]
    fn base64_has_no_padding() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"\xfb\xff", "+/8")]
        {
            assert_eq!(base64(bytes), text);
        }
        assert_eq!(challenge(AuthDigest::Sha512, &[7; 32]).len(), 86);
        assert_eq!(challenge(AuthDigest::OldMd4, &[7; 32]).len(), 22);
    }

    #[test]
    fn answers_are_one_line() {
        let answer = Response::parse(b"alice  abc+/");
        assert_eq!((&answer.user[..], &answer.response[..]), (&b"alice"[..], &b"abc+/"[..]));
        assert_eq!(answer.to_line(), Ok(b"alice abc+/\n".to_vec()));
        assert!(!format!("{answer:?}").contains("abc"));
        assert!(Response::parse(b"alice").response.is_empty());
        for user in [&b""[..], b"a b", b"a\nb"] {
            let answer = Response { user: user.to_vec(), response: Vec::new() };
            assert!(answer.to_line().is_err());
        }
    }

    proptest! {
        #[test]
        fn answers_survive(user in "[!-~]{1,40}", response in "[A-Za-z0-9+/]{0,90}") {
            let answer = Response {
                user: user.into_bytes(),
                response: response.into_bytes(),
            };
            let line = answer.to_line().expect("one word");
            prop_assert_eq!(Response::parse(line.trim_ascii_end()), answer);
        }
    }
}
