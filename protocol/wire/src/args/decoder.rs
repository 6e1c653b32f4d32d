//! Takes an argument list off the raw stream (§2.7).

use bytes::BytesMut;

use crate::decode::Decode;
use crate::error::WireError;
use crate::limits::{MAX_ARGS, MAX_ARGS_BYTES};
use crate::version::Version;

/// Decodes a list of arguments, ended by an empty one.
#[derive(Debug, Clone)]
pub struct ArgsDecoder {
    end: u8,
    args: Vec<Vec<u8>>,
    bytes: usize,
}

impl ArgsDecoder {
    /// A decoder for the first list of a connection.
    pub fn new(version: Version) -> Self {
        let end = if version.has_varints() { 0 } else { b'\n' };
        Self { end, args: Vec::new(), bytes: 0 }
    }

    /// A decoder for the second list of secluded args.
    pub fn secluded() -> Self {
        Self { end: 0, args: Vec::new(), bytes: 0 }
    }
}

impl Decode for ArgsDecoder {
    type Item = Vec<Vec<u8>>;

    /// Consumes arguments one by one.
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Vec<Vec<u8>>>, WireError> {
        loop {
            let Some(length) = buf.iter().position(|byte| *byte == self.end) else {
                if self.bytes + buf.len() > MAX_ARGS_BYTES {
                    return Err(WireError::malformed("argument list", "it is too long"));
                }
                return Ok(None);
            };
            let arg = buf.split_to(length + 1);
            if length == 0 {
                return Ok(Some(std::mem::take(&mut self.args)));
            }
            self.bytes += length + 1;
            if self.args.len() >= MAX_ARGS || self.bytes > MAX_ARGS_BYTES {
                return Err(WireError::malformed("argument list", "it is too long"));
            }
            self.args.push(arg[..length].to_vec());
        }
    }
}
