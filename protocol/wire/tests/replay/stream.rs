//! One direction of a recorded connection, handed over in steps of a chosen size.

use bascule_wire::decode::{Stop, decode_with};
use bascule_wire::message::Message;
use bascule_wire::mux::{Frame, MuxDecoder};
use bascule_wire::{Cursor, Decode};
use bytes::{Bytes, BytesMut};

/// Feeds decoders with recorded bytes, and compares what encoders make again with them.
pub(crate) struct Stream<'r> {
    /// Bytes not handed over yet.
    rest: &'r [u8],
    step: usize,
    /// Handed over, but not taken out of their frames.
    raw: BytesMut,
    mux: Option<MuxDecoder>,
    /// Handed over, in front of the next decoder.
    data: BytesMut,
    /// All data so far, without frames.
    payload: Vec<u8>,
    /// What our encoders made of the items so far; must become `payload`.
    pub(crate) again: BytesMut,
    pub(crate) messages: Vec<Message>,
}

impl<'r> Stream<'r> {
    pub(crate) fn new(recorded: &'r [u8], step: usize) -> Self {
        Self {
            rest: recorded,
            step,
            raw: BytesMut::new(),
            mux: None,
            data: BytesMut::new(),
            payload: Vec::new(),
            again: BytesMut::new(),
            messages: Vec::new(),
        }
    }

    /// Goes on in frames, or in raw bytes.
    pub(crate) fn multiplex(&mut self, on: bool) {
        assert!(
            self.mux.as_ref().is_none_or(MuxDecoder::at_border),
            "the mode changes at a border"
        );
        if on {
            // What was handed over ahead is in frames too.
            let ahead = self.data.split();
            self.payload.truncate(self.payload.len() - ahead.len());
            self.raw = [&ahead[..], &self.raw[..]].concat().as_slice().into();
            self.mux = Some(MuxDecoder::new());
        } else {
            assert!(self.data.is_empty(), "the mode changes between fields");
            self.mux = None;
            self.data = self.raw.split();
            self.payload.extend_from_slice(&self.data);
        }
    }

    /// Makes more data available; false at the end of the recording.
    fn more(&mut self) -> bool {
        loop {
            if let Some(mux) = &mut self.mux {
                let recorded = mux.at_border().then(|| message_frame(&self.raw)).flatten();
                match mux.decode(&mut self.raw).expect("frames") {
                    Some(Frame::Data(data)) => return self.keep(&data),
                    Some(Frame::Message(message)) => {
                        let mut again = BytesMut::new();
                        message.encode(&mut again);
                        assert_eq!(Some(again.freeze()), recorded, "{message:?}");
                        self.messages.push(message);
                        continue;
                    }
                    None => {}
                }
            }
            if self.rest.is_empty() {
                return false;
            }
            let (chunk, rest) = self.rest.split_at(self.step.min(self.rest.len()));
            self.rest = rest;
            if self.mux.is_none() {
                return self.keep(chunk);
            }
            self.raw.extend_from_slice(chunk);
        }
    }

    fn keep(&mut self, data: &[u8]) -> bool {
        self.data.extend_from_slice(data);
        self.payload.extend_from_slice(data);
        true
    }

    /// The next item, which must come.
    pub(crate) fn next<D: Decode>(&mut self, decoder: &mut D) -> D::Item {
        loop {
            let before = self.data.len();
            match decoder.decode(&mut self.data) {
                Ok(Some(item)) => return item,
                Ok(None) => {
                    assert!(self.more(), "{before} bytes are left of an unfinished item");
                }
                Err(error) => panic!("{error}; before {:02x?}", self.data.get(..20)),
            }
        }
    }

    /// What `read` reads, which must come.
    pub(crate) fn read<T>(&mut self, read: impl Fn(&mut Cursor<'_>) -> Result<T, Stop>) -> T {
        loop {
            if let Some(value) = decode_with(&mut self.data, &read).expect("valid") {
                return value;
            }
            assert!(self.more(), "an unfinished field");
        }
    }

    /// Bytes of data that were taken so far.
    pub(crate) fn taken(&self) -> usize {
        self.payload.len() - self.data.len()
    }

    /// The data from `from` up to here.
    pub(crate) fn since(&self, from: usize) -> &[u8] {
        &self.payload[from..self.taken()]
    }

    /// Takes the data from `from` up to here as they are, where encoders cannot make them again.
    pub(crate) fn keep_since(&mut self, from: usize) {
        let taken = self.taken();
        self.again.extend_from_slice(&self.payload[from..taken]);
    }

    /// Whether no data are left; takes in the messages at the end.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.data.is_empty() && !self.more()
    }

    /// Checks that every byte was read, and that all of them were made again.
    pub(crate) fn finish(&mut self) {
        assert!(self.is_at_end(), "unread data: {:02x?}", self.data);
        assert!(self.raw.is_empty(), "an unfinished frame: {:02x?}", self.raw);
        for (at, (again, recorded)) in self.again.iter().zip(&self.payload).enumerate() {
            if again != recorded {
                let around = at.saturating_sub(12)..at + 12;
                let show = |bytes: &[u8]| format!("{:02x?}", bytes.get(around.clone()));
                panic!(
                    "byte {at} differs: made {}, recorded {}",
                    show(&self.again),
                    show(&self.payload)
                );
            }
        }
        assert_eq!(self.again.len(), self.payload.len(), "bytes made again and recorded");
    }
}

/// The whole frame of the message that comes next, behind any keep-alives.
fn message_frame(raw: &[u8]) -> Option<Bytes> {
    let mut rest = raw;
    while let Some(after) = rest.strip_prefix(&[0, 0, 0, 7]) {
        rest = after;
    }
    let &[low, middle, high, _] = rest.first_chunk()?;
    let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
    rest.get(..4 + length).map(Bytes::copy_from_slice)
}
