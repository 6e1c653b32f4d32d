//! The in-band messages of the multiplexed stream (§4).

use bytes::{Bytes, BytesMut};

use crate::error::WireError;
use crate::mux::frame_header;

/// Longest text that goes into one message; older peers have small buffers. Bytes.
pub const MAX_TEXT: usize = 8000;

/// Longest timeout that a daemon may announce, in seconds.
const MAX_TIMEOUT: u32 = 86_400;

/// One in-band message. Texts are kept as the bytes that came; they normally end with a newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Tag 1: an error of one file, which makes the exit code 23. Before protocol 30 every error.
    ErrorXfer(Bytes),
    /// Tag 2: ordinary output.
    Info(Bytes),
    /// Tag 3: any other error (since 30).
    Error(Bytes),
    /// Tag 4: a warning (since 30).
    Warning(Bytes),
    /// Tag 22: error bits of the sender, reduced to the three known ones (since 30).
    IoError(u32),
    /// Tag 33: the daemon's timeout in seconds (since 31). 0 when the value sent is out of range
    /// and must be ignored.
    IoTimeout(u32),
    /// Tag 42: a keep-alive of protocol 30.
    Noop,
    /// Tag 86: a run ends early (since 31, §16); `None` answers the peer's.
    ErrorExit(Option<i32>),
    /// Tag 100: the receiver has the file of this index (`--remove-source-files`).
    Success(i32),
    /// Tag 101: a name that the server's receiving side has removed (since 29).
    Deleted {
        /// The name, relative to the transfer root.
        name: Bytes,
        /// Whether it was a directory.
        directory: bool,
    },
    /// Tag 102: the sender cannot send the file of this index (since 30).
    NoSend(i32),
}

impl Message {
    /// The tag of the frame.
    pub fn tag(&self) -> u8 {
        match self {
            Self::ErrorXfer(_) => 1,
            Self::Info(_) => 2,
            Self::Error(_) => 3,
            Self::Warning(_) => 4,
            Self::IoError(_) => 22,
            Self::IoTimeout(_) => 33,
            Self::Noop => 42,
            Self::ErrorExit(_) => 86,
            Self::Success(_) => 100,
            Self::Deleted { .. } => 101,
            Self::NoSend(_) => 102,
        }
    }

    /// Appends the message with its frame header. A text longer than [`MAX_TEXT`] becomes
    /// several messages of the same tag.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::ErrorXfer(text) | Self::Info(text) | Self::Error(text) | Self::Warning(text) => {
                self.encode_text(text, out);
            }
            Self::IoError(value) | Self::IoTimeout(value) => {
                self.encode_payload(&value.to_le_bytes(), out);
            }
            Self::Noop | Self::ErrorExit(None) => self.encode_payload(&[], out),
            Self::ErrorExit(Some(value)) | Self::Success(value) | Self::NoSend(value) => {
                self.encode_payload(&value.to_le_bytes(), out);
            }
            Self::Deleted { name, directory } => {
                let end: &[u8] = if *directory { b"\0" } else { b"" };
                out.extend_from_slice(&frame_header(self.tag(), name.len() + end.len()));
                out.extend_from_slice(name);
                out.extend_from_slice(end);
            }
        }
    }

    /// Makes a message of a frame's tag and whole payload.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for an unknown tag, a tag that may not travel between two hosts,
    /// or a payload that does not fit the tag.
    pub fn decode(tag: u8, payload: Bytes) -> Result<Self, WireError> {
        Ok(match tag {
            1 => Self::ErrorXfer(payload),
            2 => Self::Info(payload),
            3 => Self::Error(payload),
            4 => Self::Warning(payload),
            22 => Self::IoError(unsigned("IO_ERROR message", &payload)? & 7),
            33 => match unsigned("IO_TIMEOUT message", &payload)? {
                seconds @ 0..=MAX_TIMEOUT => Self::IoTimeout(seconds),
                _ => Self::IoTimeout(0),
            },
            42 if payload.is_empty() => Self::Noop,
            42 => return Err(bad_length("NOOP message", &payload)),
            86 if payload.is_empty() => Self::ErrorExit(None),
            86 => Self::ErrorExit(Some(signed("ERROR_EXIT message", &payload)?)),
            100 => Self::Success(signed("SUCCESS message", &payload)?),
            101 => deleted(payload)?,
            102 => Self::NoSend(signed("NO_SEND message", &payload)?),
            5..=10 => {
                let detail = format!("tag {tag} is internal to one host");
                return Err(WireError::malformed("message", detail));
            }
            _ => {
                return Err(WireError::malformed("message", format!("unknown tag {tag}")));
            }
        })
    }

    fn encode_text(&self, text: &[u8], out: &mut BytesMut) {
        for piece in text.chunks(MAX_TEXT) {
            self.encode_payload(piece, out);
        }
    }

    fn encode_payload(&self, payload: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(&frame_header(self.tag(), payload.len()));
        out.extend_from_slice(payload);
    }
}

/// Tells a directory (one trailing NUL) from any other name.
fn deleted(mut payload: Bytes) -> Result<Message, WireError> {
    let directory = payload.last() == Some(&0);
    if directory {
        payload.truncate(payload.len() - 1);
    }
    if payload.is_empty() || payload.contains(&0) {
        return Err(WireError::malformed("DELETED message", "not a name"));
    }
    Ok(Message::Deleted { name: payload, directory })
}

fn signed(what: &'static str, payload: &[u8]) -> Result<i32, WireError> {
    let bytes = payload.try_into().map_err(|_| bad_length(what, payload))?;
    Ok(i32::from_le_bytes(bytes))
}

fn unsigned(what: &'static str, payload: &[u8]) -> Result<u32, WireError> {
    let bytes = payload.try_into().map_err(|_| bad_length(what, payload))?;
    Ok(u32::from_le_bytes(bytes))
}

fn bad_length(what: &'static str, payload: &[u8]) -> WireError {
    WireError::malformed(what, format!("a payload of {} bytes", payload.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(message: &Message) -> Vec<u8> {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        out.to_vec()
    }

    fn decode(tag: u8, payload: &'static [u8]) -> Result<Message, WireError> {
        Message::decode(tag, Bytes::from_static(payload))
    }

    #[test]
    fn the_recorded_bytes_come_out() {
        let deleted = Message::Deleted { name: Bytes::from_static(b"olddir"), directory: true };
        assert_eq!(encoded(&deleted), b"\x07\0\0\x6colddir\0");
        assert_eq!(encoded(&Message::ErrorExit(Some(1))), b"\x04\0\0\x5d\x01\0\0\0");
        assert_eq!(encoded(&Message::ErrorExit(None)), b"\0\0\0\x5d");
    }

    #[test]
    fn rule_19_6_error_bits_and_timeouts_are_tamed() {
        assert_eq!(decode(22, b"\xff\0\0\0"), Ok(Message::IoError(7)));
        assert_eq!(decode(33, b"\x21\0\0\0"), Ok(Message::IoTimeout(33)));
        assert_eq!(decode(33, b"\xff\xff\xff\xff"), Ok(Message::IoTimeout(0)));
        assert_eq!(decode(33, b"\x81\x51\x01\0"), Ok(Message::IoTimeout(0)));
    }

    #[test]
    fn wrong_tags_and_payloads_are_refused() {
        for tag in [5, 6, 7, 8, 9, 10, 11, 0, 43, 99, 103, 255] {
            assert!(decode(tag, b"text").is_err(), "tag {tag}");
        }
        for (tag, payload) in [
            (22, &b"\x01"[..]),
            (33, b""),
            (42, b"x"),
            (86, b"\x01\0"),
            (100, b""),
            (101, b""),
            (101, b"\0"),
            (101, b"a\0b"),
            (102, b"\0\0\0\0\0"),
        ] {
            assert!(decode(tag, payload).is_err(), "tag {tag}");
        }
    }

    #[test]
    fn a_long_text_becomes_several_messages() {
        let text = vec![b'x'; MAX_TEXT + 1];
        let bytes = encoded(&Message::Info(text.into()));
        assert_eq!(bytes.len(), MAX_TEXT + 1 + 8);
    }
}
