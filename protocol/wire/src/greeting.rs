//! The lines of the opening: greeting, module, listing, refusals (§2).

use bytes::{Buf as _, BytesMut};

use crate::auth;
use crate::decode::Decode;
use crate::error::WireError;
use crate::limits::MAX_LINE;
use crate::version::Version;

/// Most bytes of early input that a client may announce.
pub const MAX_EARLY_INPUT: usize = 8192;

/// The name in the list of digests that is none: the end of it is Bascule's.
const BASCULE: &str = "bascule";
/// Stands behind it when the daemon's disks keep times to 100 ns only, as those of Windows do.
const TICKS: &str = "bascule-100ns";
const GREETING: &[u8] = b"@RSYNCD: ";
const AUTH_REQUIRED: &[u8] = b"@RSYNCD: AUTHREQD ";
const EARLY_INPUT: &[u8] = b"#early_input=";

/// The line that both ends send first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The highest protocol number of this end.
    pub protocol: u8,
    /// Non-zero in pre-releases only.
    pub sub: u8,
    /// The digests for authentication, best first; `None` when the line had no list, which older
    /// peers do not send.
    pub digests: Option<Vec<String>>,
}

impl Greeting {
    /// The greeting of this build, offering `version` and all digests. The list goes out with
    /// every number, as modern clients do with `--protocol=29`.
    pub fn ours(version: Version) -> Self {
        Self {
            protocol: version.number(),
            sub: 0,
            digests: Some(auth::offered().split(' ').map(str::to_owned).collect()),
        }
    }

    /// The greeting of a daemon: behind the digests is a name that is none, and tells a Bascule client
    /// that it may send the options which only Bascule has; and another if times are kept to 100 ns
    /// only. Others skip names that they do not know.
    pub fn of_daemon(version: Version, keeps_ticks: bool) -> Self {
        let mut ours = Self::ours(version);
        let names = ours.digests.get_or_insert_default();
        names.push(BASCULE.to_owned());
        names.extend(keeps_ticks.then(|| TICKS.to_owned()));
        ours
    }

    /// Whether this is the greeting of a Bascule daemon.
    pub fn is_bascule(&self) -> bool {
        self.names(BASCULE)
    }

    /// Whether this is the greeting of a Bascule daemon whose disks keep times to 100 ns only.
    pub fn keeps_ticks(&self) -> bool {
        self.names(TICKS)
    }

    fn names(&self, wanted: &str) -> bool {
        self.digests.iter().flatten().any(|name| name == wanted)
    }

    /// Parses the peer's line, without its line end.
    ///
    /// # Errors
    /// [`WireError::OutOfOrder`] when it is no greeting at all, [`WireError::Malformed`] when the
    /// numbers are wrong or a part that its protocol demands is missing.
    pub fn parse(line: &[u8]) -> Result<Self, WireError> {
        let Some(rest) = line.strip_prefix(GREETING) else {
            return Err(WireError::OutOfOrder {
                expected: "an rsync daemon's greeting (@RSYNCD: …)",
                got: format!("\"{}\"", excerpt(line)),
            });
        };
        let text = std::str::from_utf8(rest).map_err(|_| bad(line, "it is not plain text"))?;
        let mut words = text.split_ascii_whitespace();
        let numbers = words.next().unwrap_or_default();
        let (protocol, sub) = match numbers.split_once('.') {
            Some((protocol, sub)) => (protocol, Some(sub)),
            None => (numbers, None),
        };
        let protocol = number(protocol).ok_or_else(|| bad(line, "no protocol number"))?;
        let sub = match sub {
            Some(sub) => number(sub).ok_or_else(|| bad(line, "a wrong sub-protocol number"))?,
            None if protocol >= 30 => return Err(bad(line, "the sub-protocol number is missing")),
            None => 0,
        };
        let digests: Vec<String> = words.map(str::to_owned).collect();
        if digests.is_empty() && protocol >= 32 {
            return Err(bad(line, "the list of digests is missing"));
        }
        Ok(Self { protocol, sub, digests: (!digests.is_empty()).then_some(digests) })
    }

    /// The line to send, with its line end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = format!("@RSYNCD: {}.{}", self.protocol, self.sub);
        for digest in self.digests.iter().flatten() {
            line.push(' ');
            line.push_str(digest);
        }
        line.push('\n');
        line.into_bytes()
    }

    /// The number that both ends go on with (§2.1).
    ///
    /// It may be lower than [`Version::OLDEST_SUPPORTED`]: such a peer can still be given a
    /// listing or a readable refusal. A transfer needs [`Version::require_supported`].
    ///
    /// # Errors
    /// [`WireError::Incompatible`] when no common number is known.
    pub fn negotiate(ours: &Self, theirs: &Self) -> Result<Version, WireError> {
        let lower = if ours.protocol < theirs.protocol { ours } else { theirs };
        let step_back = if ours.protocol == theirs.protocol {
            ours.sub != theirs.sub
        } else {
            // A pre-release speaks its own number with nobody but itself.
            lower.sub != 0
        };
        Version::new(lower.protocol.saturating_sub(u8::from(step_back))).map_err(|_| {
            WireError::Incompatible(format!(
                "the peer speaks protocol {}.{}, this end {} to {}",
                theirs.protocol,
                theirs.sub,
                Version::OLDEST,
                ours.protocol
            ))
        })
    }
}

/// A line of the server after its greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerLine {
    /// The module is open; arguments may follow.
    Ok,
    /// The listing is complete.
    Exit,
    /// A login is needed.
    AuthRequired {
        /// The challenge, printable and without spaces.
        challenge: String,
    },
    /// A refusal; the text without `@ERROR: `, control characters escaped.
    Error(String),
    /// Message of the day or a line of the listing; they cannot be told apart.
    Text(Vec<u8>),
}

impl ServerLine {
    /// Parses a line, without its line end.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a challenge that is not one printable word.
    pub fn parse(line: &[u8]) -> Result<Self, WireError> {
        if line == b"@RSYNCD: OK" {
            return Ok(Self::Ok);
        }
        if line == b"@RSYNCD: EXIT" {
            return Ok(Self::Exit);
        }
        if let Some(challenge) = line.strip_prefix(AUTH_REQUIRED) {
            if challenge.is_empty() || !challenge.iter().all(u8::is_ascii_graphic) {
                return Err(WireError::malformed("challenge", "not one printable word"));
            }
            let challenge = String::from_utf8_lossy(challenge).into_owned();
            return Ok(Self::AuthRequired { challenge });
        }
        if let Some(text) = line.strip_prefix(b"@ERROR") {
            let text = text.strip_prefix(b":").unwrap_or(text);
            return Ok(Self::Error(printable(text.trim_ascii())));
        }
        Ok(Self::Text(line.to_vec()))
    }

    /// One line of the listing; the name is padded to 15 columns.
    pub fn module(name: &str, comment: &str) -> Self {
        Self::Text(format!("{name:<15}\t{comment}").into_bytes())
    }

    /// The line to send, with its line end. An error text is put on one line.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = match self {
            Self::Ok => b"@RSYNCD: OK".to_vec(),
            Self::Exit => b"@RSYNCD: EXIT".to_vec(),
            Self::AuthRequired { challenge } => [AUTH_REQUIRED, challenge.as_bytes()].concat(),
            Self::Error(text) => {
                let text = printable(text.trim_ascii().as_bytes());
                [b"@ERROR: ", text.as_bytes()].concat()
            }
            Self::Text(text) => text.clone(),
        };
        line.push(b'\n');
        line
    }
}

/// The client's request after its greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientLine {
    /// The listing of modules.
    List,
    /// A module by name.
    Module(Vec<u8>),
    /// That many bytes of early input follow, at most [`MAX_EARLY_INPUT`]; then another line.
    EarlyInput(usize),
    /// A command that is not known, to be answered by an error.
    Unknown(Vec<u8>),
}

impl ClientLine {
    /// Parses a line, without its line end.
    pub fn parse(line: &[u8]) -> Self {
        if line.is_empty() || line == b"#list" {
            return Self::List;
        }
        if !line.starts_with(b"#") {
            return Self::Module(line.to_vec());
        }
        line.strip_prefix(EARLY_INPUT)
            .and_then(|length| std::str::from_utf8(length).ok())
            .and_then(|length| length.parse().ok())
            .filter(|&length| length <= MAX_EARLY_INPUT)
            .map_or_else(|| Self::Unknown(line.to_vec()), Self::EarlyInput)
    }

    /// The line to send, with its line end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = match self {
            Self::List => b"#list".to_vec(),
            Self::Module(name) | Self::Unknown(name) => name.clone(),
            Self::EarlyInput(length) => [EARLY_INPUT, length.to_string().as_bytes()].concat(),
        };
        line.push(b'\n');
        line
    }
}

/// Takes single lines off the raw stream, without their line ends. Carriage returns are dropped.
#[derive(Debug, Clone)]
pub struct LineDecoder {
    max: usize,
}

impl LineDecoder {
    /// Allows lines of up to `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { max }
    }
}

impl Default for LineDecoder {
    fn default() -> Self {
        Self::new(MAX_LINE)
    }
}

impl Decode for LineDecoder {
    type Item = Vec<u8>;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Vec<u8>>, WireError> {
        let end = buf.iter().position(|&byte| byte == b'\n');
        let line = buf.get(..end.unwrap_or(buf.len())).unwrap_or_default();
        if line.contains(&0) {
            return Err(WireError::malformed("line", "it contains a NUL byte"));
        }
        if line.len() > self.max {
            let detail = format!("longer than {} bytes", self.max);
            return Err(WireError::malformed("line", detail));
        }
        let Some(end) = end else {
            return Ok(None);
        };
        let line = line.iter().copied().filter(|&byte| byte != b'\r').collect();
        buf.advance(end + 1);
        Ok(Some(line))
    }
}

/// Untrusted text for a human: not UTF-8 and control characters are replaced.
fn printable(text: &[u8]) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in String::from_utf8_lossy(text).chars() {
        if c.is_control() && c != '\t' {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// The start of a line, printable, for an error text.
fn excerpt(line: &[u8]) -> String {
    printable(line.get(..80).unwrap_or(line))
}

fn number(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn bad(line: &[u8], why: &str) -> WireError {
    WireError::malformed("greeting", format!("{why} in \"{}\"", excerpt(line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::{decode_both_ways, decode_in_steps};
    use proptest::prelude::*;

    fn greeting(protocol: u8, sub: u8, digests: Option<&str>) -> Greeting {
        Greeting {
            protocol,
            sub,
            digests: digests.map(|list| list.split(' ').map(str::to_owned).collect()),
        }
    }

    #[test]
    fn ours_is_what_a_current_peer_sends() {
        let line = Greeting::ours(Version::NEWEST).to_line();
        assert_eq!(line, b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n");
        let daemon = Greeting::of_daemon(Version::NEWEST, false);
        assert_eq!(daemon.to_line(), b"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4 bascule\n");
        assert!(daemon.is_bascule() && !Greeting::ours(Version::NEWEST).is_bascule());
        let windows = Greeting::of_daemon(Version::NEWEST, true);
        assert!(windows.to_line().ends_with(b" md4 bascule bascule-100ns\n"));
        assert!(windows.is_bascule() && windows.keeps_ticks() && !daemon.keeps_ticks());
    }

    #[test]
    fn greetings_of_every_age_are_read() {
        let cases: [(&[u8], Greeting); 4] = [
            (b"@RSYNCD: 27", greeting(27, 0, None)),
            (b"@RSYNCD: 31.0", greeting(31, 0, None)),
            (b"@RSYNCD: 29.0 sha512 md5", greeting(29, 0, Some("sha512 md5"))),
            (b"@RSYNCD: 32.14 md5", greeting(32, 14, Some("md5"))),
        ];
        for (line, expected) in cases {
            assert_eq!(Greeting::parse(line), Ok(expected));
        }
    }

    #[test]
    fn incomplete_greetings_are_refused() {
        for line in [
            &b"@RSYNCD: 30"[..],
            b"@RSYNCD: 32.0",
            b"@RSYNCD: 40.1",
            b"@RSYNCD: ",
            b"@RSYNCD: +27",
            b"@RSYNCD: 31.",
            b"@RSYNCD: 256.0",
            b"@RSYNCD: 31.0 \xff",
        ] {
            let error = Greeting::parse(line).expect_err("wrong");
            assert!(matches!(error, WireError::Malformed { .. }), "{error}");
        }
        let error = Greeting::parse(b"HTTP/1.1 400 Bad\x1b[2J").expect_err("no greeting");
        assert!(!error.to_string().contains('\x1b'), "{error}");
    }

    #[test]
    fn the_lower_number_wins_and_pre_releases_step_back() {
        let ours = Greeting::ours(Version::NEWEST);
        let with = |protocol, sub| {
            Greeting::negotiate(&ours, &greeting(protocol, sub, Some("md5")))
                .map(Version::number)
                .ok()
        };
        assert_eq!(with(32, 0), Some(32));
        assert_eq!(with(33, 0), Some(32));
        assert_eq!(with(33, 5), Some(32));
        assert_eq!(with(31, 0), Some(31));
        assert_eq!(with(31, 14), Some(30));
        assert_eq!(with(32, 1), Some(31));
        assert_eq!(with(27, 0), Some(27));
        assert_eq!(with(26, 0), None);
        assert_eq!(with(0, 1), None);
    }

    #[test]
    fn server_lines_survive() {
        for line in [
            ServerLine::Ok,
            ServerLine::Exit,
            ServerLine::AuthRequired { challenge: "YFAHN6DR7b8/+".to_owned() },
            ServerLine::Error("Unknown module 'x'".to_owned()),
            ServerLine::module("mod", "plain read-write module"),
        ] {
            let bytes = line.to_line();
            let lines = decode_both_ways(LineDecoder::default, &bytes);
            assert_eq!(ServerLine::parse(&lines.concat()), Ok(line));
        }
        assert_eq!(ServerLine::module("mod", "x").to_line(), b"mod            \tx\n");
        assert!(ServerLine::parse(b"@RSYNCD: AUTHREQD ").is_err());
        assert!(ServerLine::parse(b"@RSYNCD: AUTHREQD a b").is_err());
    }

    #[test]
    fn an_error_text_stays_on_one_line() {
        let line = ServerLine::Error("no\n@RSYNCD: OK".to_owned()).to_line();
        assert_eq!(line, b"@ERROR: no\\n@RSYNCD: OK\n");
        assert_eq!(
            ServerLine::parse(b"@ERROR: \x1b[31mred"),
            Ok(ServerLine::Error("\\u{1b}[31mred".to_owned()))
        );
    }

    #[test]
    fn client_lines_are_told_apart() {
        for (line, expected) in [
            (&b""[..], ClientLine::List),
            (b"#list", ClientLine::List),
            (b"mod", ClientLine::Module(b"mod".to_vec())),
            (b"#early_input=12", ClientLine::EarlyInput(12)),
            (b"#early_input=8193", ClientLine::Unknown(b"#early_input=8193".to_vec())),
            (b"#what", ClientLine::Unknown(b"#what".to_vec())),
        ] {
            assert_eq!(ClientLine::parse(line), expected);
            if !line.is_empty() {
                assert_eq!(expected.to_line(), [line, b"\n"].concat());
            }
        }
    }

    #[test]
    fn lines_are_bounded_and_free_of_nul() {
        let mut decoder = LineDecoder::new(4);
        assert!(decode_in_steps(&mut decoder, b"abcd\r", 9).is_err());
        assert!(decode_in_steps(&mut decoder, b"a\0", 9).is_err());
        let mut buf = BytesMut::from(&b"ab\r\n\0binary"[..]);
        assert_eq!(decoder.decode(&mut buf), Ok(Some(b"ab".to_vec())));
        assert_eq!(&buf[..], b"\0binary");
    }

    proptest! {
        #[test]
        fn lines_survive_any_split(lines: Vec<String>) {
            let lines: Vec<Vec<u8>> = lines
                .iter()
                .map(|line| line.replace(['\n', '\r', '\0'], "").into_bytes())
                .collect();
            let bytes: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
            prop_assert_eq!(decode_both_ways(LineDecoder::default, &bytes), lines);
        }

        #[test]
        fn arbitrary_lines_never_panic(line: Vec<u8>) {
            drop(Greeting::parse(&line));
            drop(Greeting::parse(&[GREETING, &line].concat()));
            drop(ServerLine::parse(&line));
            drop(ClientLine::parse(&line));
        }
    }
}
