//! One end of a multiplexed conversation, on a blocking socket.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bascule_wire::decode::decode_with;
use bascule_wire::filter::FilterListDecoder;
use bascule_wire::flist::{Entry, EntryEncoder, IdList, IdListDecoder, ListItem};
use bascule_wire::message::Message;
use bascule_wire::mux::{Frame, MuxDecoder, MuxEncoder};
use bascule_wire::record::{ItemFlags, Record, RecordDecoder, RecordEncoder, RecordHead};
use bascule_wire::strong::StrongSum;
use bascule_wire::sums::{BlockSumsDecoder, SumHead};
use bascule_wire::token::TokenEncoder;
use bascule_wire::varint::PutWire as _;
use bascule_wire::{Decode, Negotiated, Options, WireError};
use bytes::BytesMut;

/// How long the other end may take for anything: longer, and the test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a peer does once the conversation is set up. It ends with an error when the other end has
/// had enough.
pub type Lie = fn(&mut Talk) -> io::Result<()>;

/// One end of a conversation.
pub struct Talk {
    stream: TcpStream,
    raw: BytesMut,
    data: BytesMut,
    demux: MuxDecoder,
    mux: MuxEncoder,
    verdict: Verdict,
    /// What both ends agreed on.
    pub negotiated: Negotiated,
    /// What the client asked for.
    pub options: Options,
    /// Whether this end is the daemon.
    pub is_server: bool,
    /// Encodes list entries.
    pub entries: EntryEncoder,
    /// Encodes tokens.
    pub tokens: TokenEncoder,
    out: RecordEncoder,
    requests: RecordDecoder,
}

/// What the other end said in messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Its exit code, if it told one.
    pub code: Option<i32>,
    /// Its texts.
    pub text: String,
    /// How many of them are about one file, which makes the exit code 23.
    pub about_files: usize,
}

impl Talk {
    /// Goes on where the opening has ended; `raw` is what that read too far.
    ///
    /// # Errors
    /// When the encoders cannot be made.
    pub fn new(
        stream: TcpStream,
        raw: BytesMut,
        negotiated: Negotiated,
        options: Options,
        is_server: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            entries: EntryEncoder::new(&negotiated, &options),
            tokens: TokenEncoder::new(&negotiated, None).map_err(wrong)?,
            out: RecordEncoder::new(negotiated.version),
            requests: RecordDecoder::new(negotiated.version),
            stream,
            raw,
            data: BytesMut::new(),
            demux: MuxDecoder::new(),
            mux: MuxEncoder::new(),
            verdict: Verdict::default(),
            negotiated,
            options,
            is_server,
        })
    }

    /// The first index of a list.
    pub fn first_index(&self) -> u32 {
        u32::from(self.negotiated.incremental())
    }

    /// Appends data.
    pub fn put(&mut self, bytes: &[u8]) {
        self.mux.data(|out| out.extend_from_slice(bytes));
    }

    /// Appends a record.
    pub fn record(&mut self, record: &Record) {
        let out = &mut self.out;
        self.mux.data(|buffer| out.put(record, buffer));
    }

    /// Appends the head of an answer or request about data.
    pub fn head(&mut self, index: u32, sums: SumHead) {
        let flags = ItemFlags::TRANSFER;
        self.record(&Record::File(RecordHead { index, flags, basis: None, xname: None }));
        self.mux.data(|out| sums.put(out));
    }

    /// Appends such a head with four numbers that may be anything.
    pub fn head_by_hand(&mut self, index: u32, sums: [i32; 4]) {
        let flags = ItemFlags::TRANSFER;
        self.record(&Record::File(RecordHead { index, flags, basis: None, xname: None }));
        self.mux.data(|out| sums.into_iter().for_each(|value| out.put_int(value)));
    }

    /// Appends a message.
    pub fn message(&mut self, message: &Message) {
        self.mux.message(message);
    }

    /// Appends tokens.
    ///
    /// # Errors
    /// When the compressor fails.
    pub fn token(
        &mut self,
        put: impl FnOnce(&mut TokenEncoder, &mut BytesMut) -> Result<(), WireError>,
    ) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        put(&mut self.tokens, &mut bytes).map_err(wrong)?;
        self.put(&bytes);
        Ok(())
    }

    /// Appends entries, without an end.
    ///
    /// # Errors
    /// When an entry cannot be expressed.
    pub fn list_entries(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        for entry in entries {
            self.entries.entry(entry, &mut bytes).map_err(wrong)?;
        }
        self.put(&bytes);
        Ok(())
    }

    /// Sends a whole first list with what follows it.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn list(&mut self, entries: &[Entry]) -> io::Result<()> {
        self.list_with_errors(entries, 0)
    }

    /// The same of a sender that could not read everything.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn list_with_errors(&mut self, entries: &[Entry], io_error: u32) -> io::Result<()> {
        self.entries.start_segment(self.first_index());
        self.list_entries(entries)?;
        self.end_list(io_error);
        if !self.negotiated.incremental() {
            let mut ids = BytesMut::new();
            IdList::default().encode(&self.negotiated, &self.options, &mut ids);
            self.put(&ids);
        }
        self.flush()
    }

    /// Appends the end of a list with its error bits.
    pub fn end_list(&mut self, io_error: u32) {
        let mut end = BytesMut::new();
        self.entries.end(io_error, &mut end);
        self.put(&end);
    }

    /// Reads the filter rules.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn read_filters(&mut self) -> io::Result<()> {
        self.next(&mut FilterListDecoder::new()).map(drop)
    }

    /// Reads the first list of a sender: the number of its entries.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn read_list(&mut self) -> io::Result<u32> {
        let mut decoder = bascule_wire::flist::EntryDecoder::new(&self.negotiated, &self.options);
        decoder.start_segment(self.first_index());
        let mut count = 0;
        while let ListItem::Entry(_) = self.next(&mut decoder)? {
            count += 1;
        }
        if !self.negotiated.incremental() {
            self.next(&mut IdListDecoder::new(&self.negotiated, &self.options))?;
        }
        Ok(count)
    }

    /// Waits for the next request for data; other records are passed over.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn request(&mut self) -> io::Result<(u32, SumHead)> {
        loop {
            let record = self.next_record()?;
            let Record::File(head) = record else { continue };
            if !head.flags.is_transfer() {
                continue;
            }
            return Ok((head.index, self.read_sums()?));
        }
    }

    /// Reads the sums behind a request.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn read_sums(&mut self) -> io::Result<SumHead> {
        let head = self.read_head()?;
        self.next(&mut BlockSumsDecoder::new(head))?;
        Ok(head)
    }

    /// Reads how a basis is cut.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn read_head(&mut self) -> io::Result<SumHead> {
        let (version, digest_len) = (self.negotiated.version, self.strong().digest_len());
        self.next_with(|buffer| {
            decode_with(buffer, |cursor| SumHead::read(cursor, version, digest_len))
        })
    }

    /// The next record.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn next_record(&mut self) -> io::Result<Record> {
        let mut requests = self.requests.clone();
        let record = self.next(&mut requests)?;
        self.requests = requests;
        Ok(record)
    }

    /// The digests in use.
    pub fn strong(&self) -> StrongSum {
        StrongSum::new(&self.negotiated)
    }

    /// Waits for an item of the data stream.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn next<D: Decode>(&mut self, decoder: &mut D) -> io::Result<D::Item> {
        self.next_with(|buffer| decoder.decode(buffer))
    }

    /// Waits for an item that a closure decodes.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn next_with<T>(
        &mut self,
        mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, WireError>,
    ) -> io::Result<T> {
        self.flush()?;
        loop {
            if let Some(item) = decode(&mut self.data).map_err(wrong)? {
                return Ok(item);
            }
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends what waits. What the other end has said so far is heard first: it may have ended.
    ///
    /// # Errors
    /// When it has.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let heard = self.fill();
        self.stream.set_nonblocking(false)?;
        match heard {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(true) => {}
            Ok(false) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error),
        }
        if self.verdict.code.is_some() {
            return Err(io::Error::other("the other end has given up"));
        }
        let frames = self.mux.take();
        self.stream.write_all(&frames)
    }

    /// From now on a write that has to wait longer than `limit` fails.
    ///
    /// # Errors
    /// What the system says.
    pub fn give_up_writing_after(&mut self, limit: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(limit))
    }

    /// Sends what waits, and does not listen.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn flush_deaf(&mut self) -> io::Result<()> {
        let frames = self.mux.take();
        self.stream.write_all(&frames)
    }

    /// Sends bytes as they are, without a frame.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says goodbye and listens to the other end's last words.
    pub fn last_words(mut self) -> Verdict {
        // It may have closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
        while matches!(self.fill(), Ok(true)) {
            self.data.clear();
        }
        self.verdict
    }

    /// Reads on; `false` at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            match self.demux.decode(&mut self.raw).map_err(wrong)? {
                Some(Frame::Data(data)) => {
                    self.data.extend_from_slice(&data);
                    return Ok(true);
                }
                Some(Frame::Message(message)) => self.hear(message),
                None => {
                    let mut piece = [0; 32 * 1024];
                    let read = self.stream.read(&mut piece)?;
                    if read == 0 {
                        return Ok(false);
                    }
                    self.raw.extend_from_slice(&piece[..read]);
                }
            }
        }
    }

    fn hear(&mut self, message: Message) {
        let is_about_a_file = matches!(message, Message::ErrorXfer(_));
        match message {
            Message::Error(text) | Message::ErrorXfer(text) | Message::Warning(text) => {
                self.verdict.about_files += usize::from(is_about_a_file);
                self.verdict.text.push_str(&String::from_utf8_lossy(&text));
            }
            Message::ErrorExit(code) => self.verdict.code = code.or(Some(0)),
            _ => {}
        }
    }
}

/// A fault of this end's own encoding or reading.
pub(super) fn wrong(error: WireError) -> io::Error {
    io::Error::other(error)
}
