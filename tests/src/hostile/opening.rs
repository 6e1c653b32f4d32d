//! The opening of a conversation, as a client and as a daemon.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use bascule_wire::args::{self, ArgsDecoder, Capabilities, Direction};
use bascule_wire::decode::decode_with;
use bascule_wire::filter::{encode_filter_list, sends_filter_list};
use bascule_wire::greeting::{ClientLine, Greeting, LineDecoder, ServerLine};
use bascule_wire::limits::MAX_LINE;
use bascule_wire::setup::{ClientOffer, CompatFlags, ServerOffer};
use bascule_wire::{Decode, Options, Version, WireError};
use bytes::BytesMut;

use super::talk::{PATIENCE, Talk, wrong};

/// A connection before multiplexing.
pub struct Opening {
    /// The socket.
    pub stream: TcpStream,
    buffer: BytesMut,
}

impl Opening {
    /// Begins on a socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    /// Connects to a daemon on this machine.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn to(port: u16) -> io::Result<Self> {
        Self::on(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// Waits for a client.
    ///
    /// # Errors
    /// What the system says.
    pub fn from(listener: &TcpListener) -> io::Result<Self> {
        Self::on(listener.accept()?.0)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for a line, without its end.
    ///
    /// # Errors
    /// When the other end has hung up.
    pub fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut lines = LineDecoder::new(MAX_LINE);
        self.receive(|buffer| lines.decode(buffer))
    }

    fn receive<T>(
        &mut self,
        mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, WireError>,
    ) -> io::Result<T> {
        loop {
            if let Some(item) = decode(&mut self.buffer).map_err(wrong)? {
                return Ok(item);
            }
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&piece[..read]);
        }
    }

    /// A client's greeting, and the module's name; ends when the daemon has let it in.
    ///
    /// # Errors
    /// When it is refused: the daemon's line.
    pub fn enter(&mut self, module: &str) -> io::Result<()> {
        self.send(&Greeting::ours(Version::NEWEST).to_line())?;
        self.line()?;
        self.send(&ClientLine::Module(module.as_bytes().to_vec()).to_line())?;
        loop {
            match ServerLine::parse(&self.line()?).map_err(wrong)? {
                ServerLine::Ok => return Ok(()),
                ServerLine::Text(_) => {}
                other => return Err(io::Error::other(format!("{other:?}"))),
            }
        }
    }

    /// The rest of a client's opening, with an empty filter list.
    ///
    /// # Errors
    /// When it is refused.
    pub fn ask(self, direction: Direction, paths: &[&str], options: Options) -> io::Result<Talk> {
        let mut talk = self.negotiate(direction, paths, options)?;
        let version = Version::NEWEST;
        if sends_filter_list(&talk.options, direction, version) {
            let mut list = BytesMut::new();
            encode_filter_list(&[], direction, &talk.options, version, &mut list).map_err(wrong)?;
            talk.put(&list);
        }
        Ok(talk)
    }

    /// Arguments and negotiation of a client; a filter list comes next.
    ///
    /// # Errors
    /// When it is refused.
    pub fn negotiate(
        mut self,
        direction: Direction,
        paths: &[&str],
        options: Options,
    ) -> io::Result<Talk> {
        let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let announced = Capabilities::ours(&options, direction, true);
        let version = Version::NEWEST;
        let list = args::encode_client_args(&options, direction, &paths, announced, version);
        self.send(&list.map_err(wrong)?)?;
        self.negotiated(options)
    }

    /// The same for a client that has sent its arguments already, and wants what `options` say.
    ///
    /// # Errors
    /// When it is refused.
    pub fn negotiated(mut self, options: Options) -> io::Result<Talk> {
        let version = Version::NEWEST;
        let flags = self.receive(|buffer| decode_with(buffer, |cursor| cursor.varint()))?;
        let compat = CompatFlags(flags.cast_unsigned());
        let offer = ClientOffer::new(&options, compat);
        let mut names = BytesMut::new();
        offer.encode(&mut names).map_err(wrong)?;
        self.send(&names)?;
        let answer =
            self.receive(|buffer| decode_with(buffer, |cursor| offer.read_answer(cursor)))?;
        let mut agreed = offer.conclude(&options, version, compat, &answer).map_err(wrong)?;
        agreed.seed = self.receive(|buffer| decode_with(buffer, |cursor| cursor.int()))?;
        Talk::new(self.stream, self.buffer, agreed, options, false)
    }

    /// A daemon's greeting; ends when the client has named a module.
    ///
    /// # Errors
    /// When the client has hung up.
    pub fn greet(&mut self) -> io::Result<()> {
        self.send(&Greeting::of_daemon(Version::NEWEST, false).to_line())?;
        self.line()?;
        self.line().map(drop)
    }

    /// The rest of a daemon's opening: lets the client in, and negotiates what it asks for. Its
    /// filter list is read.
    ///
    /// # Errors
    /// When the client has hung up.
    pub fn serve(mut self) -> io::Result<Talk> {
        self.send(&ServerLine::Ok.to_line())?;
        let mut decoder = ArgsDecoder::new(Version::NEWEST);
        let mut list = self.receive(|buffer| decoder.decode(buffer))?;
        args::unescape_options(&mut list);
        let command = args::parse_server_args(&list).map_err(io::Error::other)?;
        let offer = ServerOffer::new(&command, Version::NEWEST, 7);
        let mut sent = BytesMut::new();
        offer.encode(&mut sent).map_err(wrong)?;
        self.send(&sent)?;
        let answer =
            self.receive(|buffer| decode_with(buffer, |cursor| offer.read_answer(cursor)))?;
        let agreed = offer.conclude(&answer).map_err(wrong)?;
        let mut seed = BytesMut::new();
        offer.encode_seed(&mut seed);
        self.send(&seed)?;
        let direction = command.direction;
        let mut talk = Talk::new(self.stream, self.buffer, agreed, command.options, true)?;
        if sends_filter_list(&talk.options, direction, Version::NEWEST) {
            talk.read_filters()?;
        }
        Ok(talk)
    }
}
