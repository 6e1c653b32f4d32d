//! The connecting side: greeting, login, arguments, then one role of the engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bascule_engine::filter::{FilterSet, FilterSide};
use bascule_engine::ledger::ListLimits;
use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::{ExitCode, Report};
use bascule_engine::receiver::{self, Asked, Destination};
use bascule_engine::run::{Side, interrupted};
use bascule_engine::sender;
use bascule_engine::stop::Stop;
use bascule_engine::symlinks::SymlinkTargets;
use bascule_engine::walk::SourceArg;
use bascule_wire::args::{self, Capabilities, Direction};
use bascule_wire::auth;
use bascule_wire::filter::{Rule, encode_filter_list, sends_filter_list};
use bascule_wire::greeting::{ClientLine, Greeting, ServerLine};
use bascule_wire::limits::MAX_LINES_BYTES;
use bascule_wire::setup::{ClientOffer, CompatFlags};
use bascule_wire::{Negotiated, Options, Version};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::error::SessionError;
use crate::opening::Opening;
use crate::pace::Pace;
use crate::role::{Conversation, Work};
use crate::tcp;

/// The longest that a daemon may take for each answer of the opening.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where and how to log in. The password is never printed.
#[derive(Clone, Default)]
pub struct Login {
    /// The user; empty means `nobody`.
    pub user: String,
    /// The password, wiped from memory after use; `None` when none was given.
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// Asks the user when the daemon wants a password and none was given; it may block.
    pub ask: Option<AskPassword>,
}

/// Asks the user for a password.
pub type AskPassword = fn() -> std::io::Result<Zeroizing<Vec<u8>>>;

/// What this end brings to the transfer.
#[derive(Clone)]
pub enum LocalEnd {
    /// A push: what to send, in order.
    Source(Vec<SourceArg>),
    /// A pull: where to put it.
    Target(Destination),
}

/// A transfer to ask a daemon for.
#[derive(Clone)]
pub struct Request {
    /// The module.
    pub module: Vec<u8>,
    /// Paths within the module, as typed (globs and trailing slashes kept); one for a push.
    pub paths: Vec<Vec<u8>>,
    /// The options.
    pub options: Options,
    /// The filter rules, in the order in which they match.
    pub filters: Vec<Rule>,
    /// The login.
    pub login: Login,
    /// This end.
    pub local: LocalEnd,
    /// How fast it may be, instead of the options' `bwlimit`, of which the daemon is told.
    pub pace: Option<Pace>,
    /// How long the daemon's list may become, of a pull.
    pub list_limits: ListLimits,
    /// The file mode creation mask of this process.
    pub umask: u32,
}

/// Connects to a daemon: its addresses are tried in turn, each for `timeout` at most.
///
/// # Errors
/// [`ExitCode::Socket`] when no address accepts, [`ExitCode::ConnectTimeout`] when the last one
/// did not answer in time.
pub async fn connect(
    host: &str,
    port: u16,
    timeout: Option<Duration>,
) -> Result<TcpStream, SessionError> {
    let failed = |error: &dyn std::fmt::Display| {
        SessionError::new(
            ExitCode::Socket,
            format!(
                "no connection to {host} port {port}: {error}; \
                 check the name, the firewall and that the daemon runs"
            ),
        )
    };
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| failed(&error))?;
    let mut last = failed(&"the name has no address");
    for address in addresses {
        match connect_to(address, timeout).await {
            Ok(Ok(stream)) => {
                // A socket that refuses these still works.
                let _ = tcp::prepare(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => last = failed(&error),
            Err(limit) => {
                last = SessionError::new(
                    ExitCode::ConnectTimeout,
                    format!("{host} port {port} did not answer within {} seconds", limit.as_secs()),
                );
            }
        }
    }
    Err(last)
}

/// Connects to one address; the outer error is the time that has passed in vain.
async fn connect_to(
    address: SocketAddr,
    timeout: Option<Duration>,
) -> Result<std::io::Result<TcpStream>, Duration> {
    let connecting = TcpStream::connect(address);
    match timeout {
        None => Ok(connecting.await),
        Some(limit) => tokio::time::timeout(limit, connecting).await.map_err(|_| limit),
    }
}

/// Asks for the modules: the lines that the daemon sends, message of the day included.
///
/// # Errors
/// When the daemon refuses or the connection breaks.
pub async fn list_modules<S>(stream: S, options: &Options) -> Result<Vec<u8>, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut opening = greeted(stream, options).await?.opening;
    opening.send(&ClientLine::List.to_line()).await?;
    let mut lines = Vec::new();
    loop {
        match ServerLine::parse(&opening.line().await?)? {
            ServerLine::Text(text) => {
                check_lines(lines.len() + text.len())?;
                lines.extend_from_slice(&text);
                lines.push(b'\n');
            }
            ServerLine::Exit | ServerLine::Ok => break,
            ServerLine::AuthRequired { .. } => {
                return Err(SessionError::new(
                    ExitCode::Protocol,
                    "the daemon asks for a login to list its modules",
                ));
            }
            ServerLine::Error(text) => return Err(refused(text)),
        }
    }
    opening.close().await;
    Ok(lines)
}

/// A daemon that has said its greeting and waits for the module's name.
pub struct Greeted<S> {
    opening: Opening<S>,
    version: Version,
    theirs: Greeting,
}

impl<S> Greeted<S> {
    /// Whether the daemon is Bascule's, which takes the options that only Bascule has.
    pub fn is_bascule(&self) -> bool {
        self.theirs.is_bascule()
    }

    /// Whether the daemon is Bascule's and keeps times to 100 ns only: one on Windows.
    pub fn keeps_ticks(&self) -> bool {
        self.theirs.keeps_ticks()
    }
}

/// Exchanges greetings with the daemon at the other end of `stream`.
///
/// # Errors
/// When it is no daemon, speaks no common protocol or the connection breaks.
pub async fn greet<S>(stream: S, options: &Options, stop: &Stop) -> Result<Greeted<S>, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        greeted = greeted(stream, options) => greeted,
        () = stopped(stop) => Err(interrupted()),
    }
}

/// Runs one transfer with a daemon at the other end of `stream`.
///
/// The report tells what was done even when the run ended early.
pub async fn transfer<S>(
    stream: S,
    request: Request,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> (Report, Result<(), SessionError>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match greet(stream, &request.options, &stop).await {
        Ok(greeted) => transfer_with(greeted, request, observer, stop).await,
        Err(error) => (Report::default(), Err(error)),
    }
}

/// Runs one transfer with a daemon that waits for the module's name. A stock receiver does not
/// hear of the options that only Bascule has: guarding the deletions is then the caller's.
///
/// The report tells what was done even when the run ended early.
pub async fn transfer_with<S>(
    greeted: Greeted<S>,
    mut request: Request,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> (Report, Result<(), SessionError>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if matches!(request.local, LocalEnd::Source(_)) && !greeted.is_bascule() {
        request.options.delete_guard = None;
        request.options.trash_days = None;
        // The nearest that a stock receiver has.
        request.options.fsync |= std::mem::take(&mut request.options.durable);
    }
    let opened = tokio::select! {
        opened = open(greeted, &request, &*observer) => opened,
        () = stopped(&stop) => Err(interrupted()),
    };
    let (opening, negotiated) = match opened {
        Ok(opened) => opened,
        Err(error) => return (Report::default(), Err(error)),
    };
    let Request { options, filters, local, umask, paths, pace, .. } = request;
    let list_limits = match local {
        LocalEnd::Source(_) => ListLimits::NONE,
        LocalEnd::Target(_) => request.list_limits,
    };
    let counts = (opening.read, opening.written);
    let (stream, leftover) = opening.into_parts();
    let pace = pace.unwrap_or_else(|| Pace::of_writing(options.bwlimit));
    let conversation = Conversation {
        pace,
        stream,
        leftover,
        opening: counts,
        negotiated,
        options,
        side: Side::Client,
        list_limits,
        observer,
        stop,
        enter_thread: None,
    };
    conversation.run(work(local, paths, filters, umask)).await
}

/// The engine's part of a client.
fn work(local: LocalEnd, paths: Vec<Vec<u8>>, rules: Vec<Rule>, umask: u32) -> Work {
    Box::new(move |run, reader| {
        let direction = match &local {
            LocalEnd::Source(_) => Direction::Push,
            LocalEnd::Target(_) => Direction::Pull,
        };
        let side = match direction {
            Direction::Push => FilterSide::Sender,
            Direction::Pull => FilterSide::Receiver,
        };
        let filters = Arc::new(FilterSet::new(&rules, side, &run.options)?);
        let version = run.negotiated.version;
        if sends_filter_list(&run.options, direction, version) {
            let mut list = BytesMut::new();
            encode_filter_list(&rules, direction, &run.options, version, &mut list)?;
            run.writer.data(|out| out.extend_from_slice(&list))?;
        }
        match local {
            LocalEnd::Source(args) => {
                let job = sender::Job {
                    args,
                    filters,
                    module: None,
                    chmod: None,
                    symlink_targets: SymlinkTargets::Verbatim,
                    numeric_ids: false,
                };
                sender::run(run, reader, job)
            }
            LocalEnd::Target(destination) => {
                let job = receiver::Job {
                    asked: Some(Asked::new(&paths, &rules, &run.options)?),
                    destination,
                    filters,
                    module: None,
                    chmod: None,
                    symlink_targets: SymlinkTargets::Verbatim,
                    numeric_ids: false,
                    umask,
                };
                receiver::run(run, reader, job)
            }
        }
    })
}

/// Module, login, arguments, negotiation (§2, §3).
async fn open<S>(
    greeted: Greeted<S>,
    request: &Request,
    observer: &dyn Observer,
) -> Result<(Opening<S>, Negotiated), SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let options = &request.options;
    let Greeted { mut opening, version, theirs } = greeted;
    if version < Version::OLDEST_SUPPORTED {
        return Err(SessionError::new(
            ExitCode::Unsupported,
            format!(
                "the daemon speaks protocol {version}; this version of Bascule needs at least {}",
                Version::OLDEST_SUPPORTED
            ),
        ));
    }
    opening.send(&ClientLine::Module(request.module.clone()).to_line()).await?;
    enter_module(&mut opening, request, &theirs, version, observer).await?;

    let direction = match request.local {
        LocalEnd::Source(_) => Direction::Push,
        LocalEnd::Target(_) => Direction::Pull,
    };
    let paths: Vec<Vec<u8>> =
        request.paths.iter().map(|path| [&request.module[..], b"/", path].concat()).collect();
    let capabilities = Capabilities::ours(options, direction, true);
    opening
        .send(&args::encode_client_args(options, direction, &paths, capabilities, version)?)
        .await?;
    let negotiated = negotiate(&mut opening, options, capabilities, version).await?;
    Ok((opening, negotiated))
}

async fn greeted<S>(stream: S, options: &Options) -> Result<Greeted<S>, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut opening = Opening::new(stream, patience(options));
    let highest = match options.protocol {
        Some(number) => Version::new(number)?,
        None => Version::NEWEST,
    };
    let ours = Greeting::ours(highest);
    opening.send(&ours.to_line()).await?;
    let theirs = Greeting::parse(&opening.line().await?)?;
    let version = Greeting::negotiate(&ours, &theirs)?;
    Ok(Greeted { opening, version, theirs })
}

async fn enter_module<S>(
    opening: &mut Opening<S>,
    request: &Request,
    theirs: &Greeting,
    version: Version,
    observer: &dyn Observer,
) -> Result<(), SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut said, mut logged_in) = (0, false);
    loop {
        match ServerLine::parse(&opening.line().await?)? {
            ServerLine::Ok => return Ok(()),
            ServerLine::AuthRequired { .. } if std::mem::replace(&mut logged_in, true) => {
                // Each answer would give away another digest of the password.
                return Err(SessionError::new(
                    ExitCode::Protocol,
                    "the daemon asks for the password a second time",
                ));
            }
            ServerLine::AuthRequired { challenge } => {
                let password = password(&request.login).await?;
                let digest = auth::choose_client(theirs.digests.as_deref(), version)?;
                let user = match request.login.user.as_str() {
                    "" => "nobody",
                    user => user,
                };
                let response = auth::response(digest, &password, &challenge);
                let line = auth::Response {
                    user: user.as_bytes().to_vec(),
                    response: response.into_bytes(),
                };
                opening.send(&line.to_line()?).await?;
            }
            ServerLine::Text(mut text) => {
                text.push(b'\n');
                said += text.len();
                check_lines(said)?;
                observer.on(&Event::PeerText(&text));
            }
            ServerLine::Error(text) => return Err(refused(text)),
            ServerLine::Exit => {
                return Err(SessionError::new(
                    ExitCode::ClientStart,
                    "the daemon ended the connection instead of opening the module",
                ));
            }
        }
    }
}

/// Bounds what a daemon says before a transfer.
fn check_lines(bytes: usize) -> Result<(), SessionError> {
    if bytes <= MAX_LINES_BYTES {
        return Ok(());
    }
    Err(SessionError::new(
        ExitCode::Protocol,
        format!("the daemon sends lines without end, more than {MAX_LINES_BYTES} bytes"),
    ))
}

/// The password that was given, or that the user types now.
async fn password(login: &Login) -> Result<Zeroizing<Vec<u8>>, SessionError> {
    let missing = || {
        SessionError::new(
            ExitCode::ClientStart,
            "the daemon asks for a password: give one with --password-file or RSYNC_PASSWORD",
        )
    };
    match (&login.password, login.ask) {
        (Some(password), _) => Ok(password.clone()),
        (None, Some(ask)) => {
            let asked = tokio::task::spawn_blocking(ask).await;
            asked.map_err(|_| missing())?.map_err(|_| missing())
        }
        (None, None) => Err(missing()),
    }
}

/// Compat flags, names, seed (§3, §5).
async fn negotiate<S>(
    opening: &mut Opening<S>,
    options: &Options,
    announced: Capabilities,
    version: Version,
) -> Result<Negotiated, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let compat = if version.has_varints() {
        let flags = opening
            .receive_with(|buffer| {
                bascule_wire::decode::decode_with(buffer, |cursor| cursor.varint())
            })
            .await?;
        let compat = CompatFlags(flags.cast_unsigned());
        compat.check_answer(announced)?;
        compat
    } else {
        CompatFlags::default()
    };
    let offer = ClientOffer::new(options, compat);
    let mut lists = BytesMut::new();
    offer.encode(&mut lists)?;
    opening.send(&lists).await?;
    let answer = opening
        .receive_with(|buffer| {
            bascule_wire::decode::decode_with(buffer, |cursor| offer.read_answer(cursor))
        })
        .await?;
    let mut negotiated = offer.conclude(options, version, compat, &answer)?;
    negotiated.seed = opening
        .receive_with(|buffer| bascule_wire::decode::decode_with(buffer, |cursor| cursor.int()))
        .await?;
    Ok(negotiated)
}

fn refused(text: String) -> SessionError {
    SessionError::from_peer(ExitCode::ClientStart, format!("the daemon refused: {text}"))
}

fn patience(options: &Options) -> Duration {
    match options.timeout {
        0 => PATIENCE,
        seconds => PATIENCE.min(Duration::from_secs(seconds.into())),
    }
}

/// Waits until the run is asked to stop.
pub async fn stopped(stop: &Stop) {
    let (asked, ask) = tokio::sync::oneshot::channel();
    stop.on_stop(move || {
        let _ = asked.send(());
    });
    if ask.await.is_err() {
        std::future::pending::<()>().await;
    }
}
