//! The serving side: greeting, module, login, arguments, then one role of the engine.

use std::sync::Arc;
use std::time::Duration;

use bascule_engine::chmod::Chmod;
use bascule_engine::filter::{FilterSet, FilterSide, ModuleFilter};
use bascule_engine::observe::Observer;
use bascule_engine::outcome::{ExitCode, Fatal, Report};
use bascule_engine::path::RelPath;
use bascule_engine::receiver::{self, Destination};
use bascule_engine::run::Side;
use bascule_engine::sender;
use bascule_engine::stop::Stop;
use bascule_engine::tree::{Source, Target};
use bascule_wire::args::{self, ArgsDecoder, Direction, ServerCommand};
use bascule_wire::auth;
use bascule_wire::filter::{FilterListDecoder, sends_filter_list};
use bascule_wire::greeting::{ClientLine, Greeting, ServerLine};
use bascule_wire::message::Message;
use bascule_wire::setup::ServerOffer;
use bascule_wire::{Negotiated, Version};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::SessionError;
use crate::opening::Opening;
use crate::pace::Pace;
use crate::paths;
use crate::role::{Conversation, Work};
use crate::site::{LoginAttempt, ModuleRules, OpenModule, Peer, Refusal, Site};

/// How a connection was served.
#[derive(Debug, Default)]
pub struct Served {
    /// The module, once one was opened.
    pub module: Option<String>,
    /// Whether data were asked for or brought.
    pub direction: Option<Direction>,
    /// What was done.
    pub report: Report,
    /// Why it ended early.
    pub error: Option<SessionError>,
}

/// How a server behaves towards every peer.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// The highest protocol number to offer.
    pub highest: Version,
    /// The file mode creation mask of this process.
    pub umask: u32,
    /// How long a client may take for each step of the opening.
    pub patience: Duration,
}

/// Serves one connection to its end. Nothing that a peer does makes this fail for another.
pub async fn serve<S>(
    stream: S,
    site: Arc<dyn Site>,
    peer: Peer,
    options: ServerOptions,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Served
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut served = Served::default();
    let mut opening = Opening::new(stream, options.patience);
    let opened = tokio::select! {
        opened = open(&mut opening, &site, &peer, options) => opened,
        () = crate::client::stopped(&stop) => {
            Err(SessionError::new(ExitCode::Interrupted, "the server is stopping, or too many others are being let in"))
        }
    };
    // It holds on to the connection.
    drop(peer);
    let entered = match opened {
        Ok(Some(entered)) => entered,
        Ok(None) => {
            opening.close().await;
            return served;
        }
        Err(error) => {
            served.error = Some(error);
            opening.close().await;
            return served;
        }
    };
    served.module = Some(entered.rules.name.clone());
    served.direction = Some(entered.command.direction);
    let Entered { mut module, rules, command, negotiated, refusal } = entered;
    let counts = (opening.read, opening.written);
    let (stream, leftover) = opening.into_parts();
    let mut run_options = command.options.clone();
    if rules.timeout > 0 && (run_options.timeout == 0 || run_options.timeout > rules.timeout) {
        run_options.timeout = rules.timeout;
    }
    run_options.durable |= rules.durable;
    let conversation = Conversation {
        pace: Pace::of_writing(run_options.bwlimit),
        stream,
        leftover,
        opening: counts,
        negotiated,
        options: run_options,
        side: Side::Server,
        list_limits: rules.list_limits,
        observer,
        stop,
        enter_thread: rules.enter_thread.clone().map(|enter| -> Box<dyn FnOnce() -> _ + Send> {
            let direction = command.direction;
            Box::new(move || enter(direction))
        }),
    };
    let (report, outcome) = conversation.run(work(command, rules, refusal, options.umask)).await;
    let exit = match &outcome {
        Ok(()) => report.exit_code(),
        Err(fatal) => fatal.exit,
    };
    // The hook may block; a client that waits for nothing more is not kept.
    let _ = tokio::task::spawn_blocking(move || module.after_transfer(exit)).await;
    served.report = report;
    served.error = outcome.err();
    served
}

/// A client that has come through the opening.
struct Entered {
    module: Box<dyn OpenModule>,
    rules: ModuleRules,
    command: ServerCommand,
    negotiated: Negotiated,
    /// What has to be said in-band instead of a transfer.
    refusal: Option<Fatal>,
}

/// The opening of §2 and §3; `None` when the client was only listing, or was refused.
async fn open<S>(
    opening: &mut Opening<S>,
    site: &Arc<dyn Site>,
    peer: &Peer,
    options: ServerOptions,
) -> Result<Option<Entered>, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ours = Greeting::of_daemon(options.highest, cfg!(windows));
    let mut greeting = ours.to_line();
    if let Some(motd) = blocking(site, |site| site.motd()).await? {
        greeting.extend_from_slice(&motd);
        greeting.push(b'\n');
    }
    opening.send(&greeting).await?;
    let theirs = match Greeting::parse(&opening.line().await?) {
        Ok(theirs) => theirs,
        Err(error) => {
            return refuse(opening, "protocol startup error").await.and(Err(error.into()));
        }
    };
    let version = match Greeting::negotiate(&ours, &theirs) {
        Ok(version) => version,
        Err(error) => {
            return refuse(opening, &error.to_string()).await.and(Err(error.into()));
        }
    };
    let mut line = ClientLine::parse(&opening.line().await?);
    if let ClientLine::EarlyInput(length) = line {
        opening
            .receive_with(|buffer| {
                Ok((buffer.len() >= length).then(|| drop(buffer.split_to(length))))
            })
            .await?;
        line = ClientLine::parse(&opening.line().await?);
    }
    let name = match line {
        ClientLine::Module(name) => name,
        ClientLine::List => {
            let asking = peer.clone();
            for module in blocking(site, move |site| site.modules(&asking)).await? {
                opening.send(&ServerLine::module(&module.name, &module.comment).to_line()).await?;
            }
            opening.send(&ServerLine::Exit.to_line()).await?;
            return Ok(None);
        }
        ClientLine::EarlyInput(_) | ClientLine::Unknown(_) => {
            return refuse(opening, "Unknown command").await.map(|()| None);
        }
    };
    if version < Version::OLDEST_SUPPORTED {
        let text = format!(
            "protocol {version} is not supported here (at least {} is needed)",
            Version::OLDEST_SUPPORTED
        );
        return refuse(opening, &text).await.map(|()| None);
    }
    let asking = peer.clone();
    let wanted = name.clone();
    let module = match blocking(site, move |site| site.open(&wanted, &asking)).await? {
        Ok(module) => module,
        Err(Refusal(text)) => return refuse(opening, &text).await.map(|()| None),
    };
    let (module, rules) = match login_and_enter(opening, module, &theirs, version).await? {
        Ok(entered) => entered,
        Err(Refusal(text)) => return refuse(opening, &text).await.map(|()| None),
    };
    opening.send(&ServerLine::Ok.to_line()).await?;
    arguments(opening, module, rules, &name, version).await.map(Some)
}

/// Login, then the module's own path and user.
async fn login_and_enter<S>(
    opening: &mut Opening<S>,
    mut module: Box<dyn OpenModule>,
    theirs: &Greeting,
    version: Version,
) -> Result<Result<(Box<dyn OpenModule>, ModuleRules), Refusal>, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if module.needs_login() {
        let digest = match auth::choose_server(theirs.digests.as_deref(), version) {
            Ok(digest) => digest,
            Err(error) => return Ok(Err(Refusal(error.to_string()))),
        };
        let challenge = auth::challenge(digest, &random()?);
        opening.send(&ServerLine::AuthRequired { challenge: challenge.clone() }.to_line()).await?;
        let response = auth::Response::parse(&opening.line().await?);
        tokio::time::sleep(module.login_delay(&response.user)).await;
        let (back, checked) = on_blocking_thread(move || {
            let checked = module.login(&LoginAttempt {
                user: &response.user,
                digest,
                challenge: &challenge,
                response: &response.response,
            });
            (module, checked)
        })
        .await?;
        module = back;
        if let Err(refusal) = checked {
            return Ok(Err(refusal));
        }
    }
    let (module, entered) = on_blocking_thread(move || {
        let entered = module.enter();
        (module, entered)
    })
    .await?;
    Ok(entered.map(|rules| (module, rules)))
}

/// Arguments, compat flags, names, seed; then what the module has against it.
async fn arguments<S>(
    opening: &mut Opening<S>,
    module: Box<dyn OpenModule>,
    rules: ModuleRules,
    name: &[u8],
    version: Version,
) -> Result<Entered, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut list = opening.receive(&mut ArgsDecoder::new(version)).await?;
    if args::is_secluded(&list) {
        let second = opening.receive(&mut ArgsDecoder::secluded()).await?;
        list = args::join_secluded(list, second);
    } else {
        args::unescape_options(&mut list);
    }
    let (command, mut refusal) = match args::parse_server_args(&list) {
        Ok(command) => (command, None),
        Err(error) => {
            let fatal = Fatal::new(
                ExitCode::from_peer(error.exit_code().into()),
                format!("rsync: {error}"),
            );
            (ServerCommand::unusable(&list), Some(fatal))
        }
    };
    let offer = ServerOffer::new(&command, version, seed_of(&command)?);
    let mut sent = BytesMut::new();
    offer.encode(&mut sent)?;
    opening.send(&sent).await?;
    let answer = opening
        .receive_with(|buffer| {
            bascule_wire::decode::decode_with(buffer, |cursor| offer.read_answer(cursor))
        })
        .await?;
    let negotiated = match offer.conclude(&answer) {
        Ok(negotiated) => negotiated,
        Err(error) => {
            refusal.get_or_insert_with(|| error.into());
            offer.plain()
        }
    };
    let mut seed = BytesMut::new();
    offer.encode_seed(&mut seed);
    opening.send(&seed).await?;
    if refusal.is_none() {
        refusal = objection(&rules, &command);
    }
    let requested: Vec<Vec<u8>> = list.clone();
    let (module, allowed) = on_blocking_thread(move || {
        let mut module = module;
        let allowed = module.before_transfer(&requested);
        (module, allowed)
    })
    .await?;
    if let (None, Err(Refusal(text))) = (&refusal, allowed) {
        refusal = Some(Fatal::new(ExitCode::ClientStart, text));
    }
    let mut command = command;
    args::strip_module(&mut command.paths, name);
    Ok(Entered { module, rules, command, negotiated, refusal })
}

/// What a module has against a command that this build could carry out.
fn objection(rules: &ModuleRules, command: &ServerCommand) -> Option<Fatal> {
    if let Some(option) = args::refused_option(&rules.refuse_options, command) {
        return Some(Fatal::new(
            ExitCode::Unsupported,
            format!("rsync: The server is configured to refuse {option}"),
        ));
    }
    let text = match command.direction {
        Direction::Push if rules.read_only => "ERROR: module is read only",
        Direction::Push => rules.unreceivable.as_deref()?,
        Direction::Pull if rules.write_only => "ERROR: module is write only",
        Direction::Pull => return None,
    };
    Some(Fatal::new(ExitCode::Syntax, text))
}

/// The engine's part of a server.
fn work(command: ServerCommand, rules: ModuleRules, refusal: Option<Fatal>, umask: u32) -> Work {
    Box::new(move |run, reader| {
        if rules.timeout > 0 && run.negotiated.version.has_io_timeout() {
            run.writer.message(&Message::IoTimeout(rules.timeout))?;
        }
        if let Some(fatal) = refusal {
            return Err(fatal);
        }
        let side = match command.direction {
            Direction::Push => FilterSide::Receiver,
            Direction::Pull => FilterSide::Sender,
        };
        let version = run.negotiated.version;
        let client_rules = if sends_filter_list(&run.options, command.direction, version) {
            reader.next(&mut FilterListDecoder::new())?
        } else {
            Vec::new()
        };
        let filters = Arc::new(FilterSet::new(&client_rules, side, &run.options)?);
        let tree: Arc<dyn Source> = Arc::<dyn Target>::clone(&rules.root);
        let module = ModuleFilter::new(&rules.filters, side, tree);
        match command.direction {
            Direction::Push => {
                let (path, is_directory) = destination(&command)?;
                let job = receiver::Job {
                    asked: None,
                    destination: Destination { tree: rules.root, path, is_directory },
                    filters,
                    module,
                    chmod: chmod(rules.incoming_chmod.as_deref(), umask)?,
                    symlink_targets: rules.symlink_targets,
                    numeric_ids: rules.numeric_ids,
                    umask,
                };
                receiver::run(run, reader, job)
            }
            Direction::Pull => {
                let args = paths::sources(&rules.root, &command.paths)?;
                let job = sender::Job {
                    args,
                    filters,
                    module,
                    chmod: chmod(rules.outgoing_chmod.as_deref(), umask)?,
                    symlink_targets: rules.symlink_targets,
                    numeric_ids: rules.numeric_ids,
                };
                sender::run(run, reader, job)
            }
        }
    })
}

fn destination(command: &ServerCommand) -> Result<(RelPath, bool), Fatal> {
    let [path] = &command.paths[..] else {
        return Err(Fatal::new(ExitCode::Syntax, "a push has exactly one destination"));
    };
    paths::destination(path)
}

fn chmod(text: Option<&str>, umask: u32) -> Result<Option<Chmod>, Fatal> {
    text.map(|text| {
        Chmod::parse(text, umask).map_err(|error| {
            Fatal::new(ExitCode::Syntax, format!("the module's chmod is wrong: {error}"))
        })
    })
    .transpose()
}

fn seed_of(command: &ServerCommand) -> Result<i32, SessionError> {
    match command.options.checksum_seed {
        Some(seed) => Ok(seed),
        None => Ok(i32::from_le_bytes(random::<4>()?)),
    }
}

fn random<const N: usize>() -> Result<[u8; N], SessionError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        SessionError::new(ExitCode::Unsupported, format!("no random numbers to be had: {error}"))
    })?;
    Ok(bytes)
}

/// Says `@ERROR` and ends the opening.
async fn refuse<S>(opening: &mut Opening<S>, text: &str) -> Result<(), SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    opening.send(&ServerLine::Error(text.to_owned()).to_line()).await
}

async fn blocking<T: Send + 'static>(
    site: &Arc<dyn Site>,
    ask: impl FnOnce(&dyn Site) -> T + Send + 'static,
) -> Result<T, SessionError> {
    let site = Arc::clone(site);
    on_blocking_thread(move || ask(&*site)).await
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SessionError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        SessionError::new(ExitCode::Protocol, "the server failed: this is a fault of Bascule")
    })
}
