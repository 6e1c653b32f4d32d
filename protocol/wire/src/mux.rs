//! Frames of the multiplexed stream (§4): a data stream with messages between its pieces.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::decode::Decode;
use crate::error::WireError;
use crate::limits::MAX_MESSAGE;
use crate::message::Message;

/// What the first byte of a tag is counted from.
const TAG_BASE: u8 = 7;

/// A data frame of this length takes no more data, in bytes.
const FULL_FRAME: usize = 32 * 1024;
/// Longest data frame that we write, in bytes: more than one append of a careful caller.
const MAX_FRAME: usize = 128 * 1024;

/// One thing out of the multiplexed stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of the data stream, never empty. Frame borders mean nothing: a field may straddle
    /// them.
    Data(Bytes),
    /// A message between two data frames.
    Message(Message),
}

/// Takes data and messages apart.
///
/// It delivers in pieces: the bytes of a data frame come out as they arrive, and
/// `Ok(None)` may have consumed frame headers. Empty data frames are keep-alives and
/// produce nothing. A message comes out only when it is complete.
#[derive(Debug, Default)]
pub struct MuxDecoder {
    /// Bytes that the current data frame still owes.
    owed: usize,
}

impl MuxDecoder {
    /// Starts at a frame border.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the stream stands between two frames: only there may it switch to raw bytes.
    pub fn at_border(&self) -> bool {
        self.owed == 0
    }
}

impl Decode for MuxDecoder {
    type Item = Frame;

    fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        while self.owed == 0 {
            let Some(&header) = buf.first_chunk::<4>() else {
                return Ok(None);
            };
            let (tag, length) = parse_header(header)?;
            if tag != 0 {
                return decode_message(buf, tag, length);
            }
            buf.advance(4);
            self.owed = length;
        }
        let taken = self.owed.min(buf.len());
        if taken == 0 {
            return Ok(None);
        }
        self.owed -= taken;
        Ok(Some(Frame::Data(buf.split_to(taken).freeze())))
    }
}

/// Writes frames into a buffer of its own. Data are appended to an open frame, whose header is
/// filled in when something else follows: no byte is copied twice.
#[derive(Debug, Default)]
pub struct MuxEncoder {
    out: BytesMut,
    /// Where the header of the open data frame is.
    open: Option<usize>,
}

impl MuxEncoder {
    /// An empty data frame: it says that the sender of it is alive.
    pub const KEEP_ALIVE: [u8; 4] = [0, 0, 0, TAG_BASE];

    /// Starts with an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that wait, headers included.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Appends to the data stream what `append` appends to the buffer.
    pub fn data(&mut self, append: impl FnOnce(&mut BytesMut)) {
        let begun = self.open.is_some_and(|at| self.out.len() - at < 4 + FULL_FRAME);
        if !begun {
            self.close();
            self.open = Some(self.out.len());
            self.out.extend_from_slice(&[0; 4]);
        }
        append(&mut self.out);
    }

    /// Appends a message behind the data written so far.
    pub fn message(&mut self, message: &Message) {
        self.close();
        message.encode(&mut self.out);
    }

    /// Takes out everything that waits, as whole frames.
    pub fn take(&mut self) -> Bytes {
        self.close();
        self.out.split().freeze()
    }

    fn close(&mut self) {
        let Some(at) = self.open.take() else {
            return;
        };
        let length = self.out.len() - at - 4;
        if length == 0 {
            self.out.truncate(at);
        } else if length <= MAX_FRAME {
            self.out[at..at + 4].copy_from_slice(&frame_header(0, length));
        } else {
            let payload = self.out.split_off(at + 4);
            self.out.truncate(at);
            for piece in payload.chunks(MAX_FRAME) {
                self.out.extend_from_slice(&frame_header(0, piece.len()));
                self.out.extend_from_slice(piece);
            }
        }
    }
}

/// An empty data frame, [`MuxEncoder::KEEP_ALIVE`].
pub const KEEP_ALIVE: [u8; 4] = MuxEncoder::KEEP_ALIVE;

/// The header of a frame. `length` must be below 2^24; callers cut their payloads far below.
pub fn frame_header(tag: u8, length: usize) -> [u8; 4] {
    let [low, middle, high, ..] = length.to_le_bytes();
    [low, middle, high, TAG_BASE.wrapping_add(tag)]
}

fn parse_header([low, middle, high, tag]: [u8; 4]) -> Result<(u8, usize), WireError> {
    let Some(tag) = tag.checked_sub(TAG_BASE) else {
        let detail = format!("the frame starts with {tag:#04x}: not a multiplexed stream");
        return Err(WireError::malformed("frame header", detail));
    };
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    if tag != 0 && length > MAX_MESSAGE {
        let detail = format!("a message of {length} bytes (tag {tag}), at most {MAX_MESSAGE}");
        return Err(WireError::malformed("frame header", detail));
    }
    Ok((tag, length))
}

fn decode_message(buf: &mut BytesMut, tag: u8, length: usize) -> Result<Option<Frame>, WireError> {
    if buf.len() < 4 + length {
        return Ok(None);
    }
    buf.advance(4);
    let payload = buf.split_to(length).freeze();
    Message::decode(tag, payload).map(|message| Some(Frame::Message(message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::decode_in_steps;
    use proptest::prelude::*;

    /// Joins neighbouring pieces of data, whose borders mean nothing.
    fn joined(frames: Vec<Frame>) -> Vec<Frame> {
        let mut whole: Vec<Frame> = Vec::new();
        for frame in frames {
            match (whole.last_mut(), frame) {
                (Some(Frame::Data(before)), Frame::Data(piece)) => {
                    *before = [&before[..], &piece[..]].concat().into();
                }
                (_, frame) => whole.push(frame),
            }
        }
        whole
    }

    fn decoded(bytes: &[u8], step: usize) -> Vec<Frame> {
        let (frames, left) = decode_in_steps(&mut MuxDecoder::new(), bytes, step).expect("valid");
        assert!(left.is_empty());
        joined(frames)
    }

    #[test]
    fn keep_alives_vanish_and_data_joins() {
        let bytes = b"\0\0\0\x07\x02\0\0\x07ab\0\0\0\x07\x01\0\0\x07c\x03\0\0\x09hi\n";
        for step in [1, 3, bytes.len()] {
            assert_eq!(
                decoded(bytes, step),
                [
                    Frame::Data(Bytes::from_static(b"abc")),
                    Frame::Message(Message::Info(Bytes::from_static(b"hi\n"))),
                ]
            );
        }
    }

    #[test]
    fn rule_19_3_frame_headers_out_of_bounds_are_refused() {
        for bytes in [&b"\0\0\0\x06"[..], b"@RSYNCD", b"\0\0\x02\x09", b"\0\0\0\xff"] {
            let mut buf = BytesMut::from(bytes);
            assert!(MuxDecoder::new().decode(&mut buf).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn an_unfinished_message_is_left_in_the_buffer() {
        let mut buf = BytesMut::from(&b"\x03\0\0\x09hi"[..]);
        assert_eq!(MuxDecoder::new().decode(&mut buf), Ok(None));
        assert_eq!(buf.len(), 6);
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let text = || proptest::collection::vec(any::<u8>(), 1..200).prop_map(Bytes::from);
        let name = proptest::collection::vec(1_u8.., 1..50).prop_map(Bytes::from);
        prop_oneof![
            text().prop_map(Message::ErrorXfer),
            text().prop_map(Message::Info),
            text().prop_map(Message::Error),
            text().prop_map(Message::Warning),
            (0_u32..8).prop_map(Message::IoError),
            (0_u32..=86_400).prop_map(Message::IoTimeout),
            Just(Message::Noop),
            any::<Option<i32>>().prop_map(Message::ErrorExit),
            any::<i32>().prop_map(Message::Success),
            (name, any::<bool>())
                .prop_map(|(name, directory)| Message::Deleted { name, directory }),
            any::<i32>().prop_map(Message::NoSend),
        ]
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let data = proptest::collection::vec(any::<u8>(), 1..300).prop_map(Bytes::from);
        prop_oneof![data.prop_map(Frame::Data), any_message().prop_map(Frame::Message)]
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(
            frames in proptest::collection::vec(any_frame(), 0..8),
            step in 1_usize..50,
            keep_alives: bool,
        ) {
            let mut out = Vec::new();
            let mut encoder = MuxEncoder::new();
            for frame in &frames {
                match frame {
                    Frame::Data(data) => encoder.data(|out| out.extend_from_slice(data)),
                    Frame::Message(message) => encoder.message(message),
                }
                if keep_alives {
                    out.extend_from_slice(&encoder.take());
                    out.extend_from_slice(&KEEP_ALIVE);
                }
            }
            out.extend_from_slice(&encoder.take());
            let frames = joined(frames);
            prop_assert_eq!(&decoded(&out, step), &frames);
            prop_assert_eq!(&decoded(&out, 1), &frames);
        }

        #[test]
        fn long_data_are_cut_into_frames(
            appended in proptest::collection::vec(0_usize..400_000, 0..4),
        ) {
            let mut encoder = MuxEncoder::new();
            for length in &appended {
                encoder.data(|out| out.resize(out.len() + length, 7));
            }
            let out = encoder.take();
            prop_assert!(encoder.is_empty());
            let mut rest = &out[..];
            while let Some(header) = rest.first_chunk::<4>() {
                let (tag, length) = parse_header(*header).expect("a header");
                prop_assert_eq!(tag, 0);
                prop_assert!((1..=MAX_FRAME).contains(&length));
                rest = &rest[4 + length..];
            }
            let total: usize = decoded(&out, 10_000).iter().map(|frame| match frame {
                Frame::Data(data) => data.len(),
                Frame::Message(_) => 0,
            }).sum();
            prop_assert_eq!(total, appended.iter().sum::<usize>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            drop(decode_in_steps(&mut MuxDecoder::new(), &bytes, 3));
        }
    }
}
