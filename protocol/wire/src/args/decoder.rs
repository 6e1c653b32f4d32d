//! Takes an argument list off the raw stream (§2.7): NUL-separated since 30, lines before.

use bytes::{Buf as _, BytesMut};

use crate::decode::Decode;
use crate::error::WireError;
use crate::limits::{MAX_ARGS, MAX_ARGS_BYTES};
use crate::version::Version;

/// Collects arguments until the empty one that ends the list.
///
/// It keeps what has arrived: `Ok(None)` consumes bytes. After a list it is ready for the next.
#[derive(Debug, Clone)]
pub struct ArgsDecoder {
    separator: u8,
    arguments: Vec<Vec<u8>>,
    current: Vec<u8>,
    /// Bytes of the whole list so far.
    total: usize,
}

impl ArgsDecoder {
    /// Reads the list of a client that speaks `version`.
    pub fn new(version: Version) -> Self {
        Self::separated_by(if version.has_varints() { 0 } else { b'\n' })
    }

    /// Reads the second list of secluded arguments, which NULs separate with every version.
    pub fn secluded() -> Self {
        Self::separated_by(0)
    }

    fn separated_by(separator: u8) -> Self {
        Self { separator, arguments: Vec::new(), current: Vec::new(), total: 0 }
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), WireError> {
        self.total = self.total.saturating_add(piece.len());
        if self.total > MAX_ARGS_BYTES || self.arguments.len() >= MAX_ARGS {
            let detail = format!("more than {MAX_ARGS} arguments or {MAX_ARGS_BYTES} bytes");
            return Err(WireError::malformed("argument list", detail));
        }
        self.current.extend_from_slice(piece);
        Ok(())
    }
}

impl Decode for ArgsDecoder {
    type Item = Vec<Vec<u8>>;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Self::Item>, WireError> {
        while let Some(end) = buf.iter().position(|&byte| byte == self.separator) {
            let piece = buf.split_to(end);
            buf.advance(1);
            self.keep(&piece)?;
            let mut argument = std::mem::take(&mut self.current);
            if self.separator == b'\n' {
                argument.retain(|&byte| byte != b'\r');
                if argument.contains(&0) {
                    return Err(WireError::malformed("argument list", "a NUL byte in a line"));
                }
            }
            if argument.is_empty() {
                self.total = 0;
                return Ok(Some(std::mem::take(&mut self.arguments)));
            }
            self.arguments.push(argument);
        }
        let piece = buf.split();
        self.keep(&piece)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::{decode_both_ways, decode_in_steps};
    use proptest::prelude::*;

    #[test]
    fn both_separators_end_with_an_empty_argument() -> Result<(), WireError> {
        let new = || ArgsDecoder::new(Version::NEWEST);
        let lists = decode_both_ways(new, b"--server\0-r\0\0rsync\0.\0\0");
        let expected: [&[&[u8]]; 2] = [&[b"--server", b"-r"], &[b"rsync", b"."]];
        assert_eq!(lists, expected);
        let version = Version::new(29)?;
        let lists = decode_both_ways(|| ArgsDecoder::new(version), b"--server\r\n-r\n\n");
        assert_eq!(lists, [expected[0]]);
        Ok(())
    }

    #[test]
    fn bytes_after_the_list_are_left_alone() {
        let mut buf = BytesMut::from(&b".\0\0\x1exxh128"[..]);
        let list = ArgsDecoder::new(Version::NEWEST).decode(&mut buf);
        assert_eq!(list, Ok(Some(vec![b".".to_vec()])));
        assert_eq!(&buf[..], b"\x1exxh128");
    }

    #[test]
    fn rule_19_6_endless_arguments_are_refused() {
        let new = || ArgsDecoder::new(Version::NEWEST);
        let long = vec![b'x'; MAX_ARGS_BYTES + 1];
        assert!(decode_in_steps(&mut new(), &long, 4096).is_err());
        let many = b"x\0".repeat(MAX_ARGS + 1);
        assert!(decode_in_steps(&mut new(), &many, 4096).is_err());
    }

    proptest! {
        #[test]
        fn lists_survive_any_split(
            list in proptest::collection::vec(proptest::collection::vec(1_u8.., 1..20), 0..20),
        ) {
            let mut bytes = Vec::new();
            for argument in list.iter().map(Vec::as_slice).chain([&[][..]]) {
                bytes.extend_from_slice(argument);
                bytes.push(0);
            }
            prop_assert_eq!(
                decode_both_ways(|| ArgsDecoder::new(Version::NEWEST), &bytes),
                [list]
            );
        }
    }
}
