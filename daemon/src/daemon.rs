//! What the program does once its command line is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bascule_engine::outcome::ExitCode;
use bascule_engine::stop::Stop;
use bascule_platform::log::{self, Destination};
use bascule_platform::output;
use bascule_platform::service::{Control, sockets};
use bascule_session::site::Peer;
use bascule_wire::Version;
use tokio::net::TcpListener;

use crate::cli::{CheckConfig, Cli, Command, Daemon, Serve};
use crate::config::{self, Config};
use crate::connection::Connections;
use crate::deltacopy;
use crate::door::{Door, Doorkeeper};
use crate::inherited::{self, StdinClient};
use crate::init;
use crate::listen::{self, Family};
use crate::metrics::{self, Observed};
use crate::pairing;
use crate::pid_file::PidFile;
use crate::running::{self, Reloadable};
use crate::service;
use crate::site::DaemonSite;
use crate::tls::{Certificate, Files};
use crate::zero::ZeroConfig;

/// The port of rsync daemons.
pub(crate) const RSYNC_PORT: u16 = 873;

/// A failure with the exit code that rsync would end with.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: ExitCode,
    /// What happened.
    pub error: anyhow::Error,
}

impl Failure {
    fn new(exit: ExitCode) -> impl FnOnce(anyhow::Error) -> Self {
        move |error| Self { exit, error }
    }
}

/// Writes to the log why the daemon of a Windows service could not start.
pub fn log_failure(failure: &Failure) {
    let error = format!("{:#}", failure.error);
    tracing::error!(
        event = "service.failed",
        error,
        code = failure.exit.code(),
        "the service failed"
    );
}

/// Runs the program; gives its exit code. `control` is the way to the service manager if that is
/// not by signals.
///
/// # Errors
/// Why it could not start.
pub async fn run(cli: Cli, control: Option<Control>) -> Result<u8, Failure> {
    match cli.command {
        None => serve_config(cli.daemon, control).await?,
        Some(Command::CheckConfig(check)) => check_config(&check)?,
        Some(Command::Init(init)) => {
            output::print(&init::run(&init).map_err(Failure::new(ExitCode::Syntax))?);
        }
        Some(Command::ImportDeltacopy(import)) => {
            let (said, notes) = deltacopy::run(&import).map_err(Failure::new(ExitCode::Syntax))?;
            output::print_beside(&notes);
            output::print(&said);
        }
        Some(Command::Serve(serve)) => serve_directory(serve).await?,
        Some(Command::Service(asked)) => {
            return service::run(&asked).map_err(Failure::new(ExitCode::Syntax));
        }
    }
    Ok(0)
}

fn check_config(check: &CheckConfig) -> Result<(), Failure> {
    let config = load(&check.file, &check.dparam)?;
    certificate(&config)?;
    for warning in &config.warnings {
        output::print_beside(&format!("warning: {warning}\n"));
    }
    let mut text = format!("{}: good, {} module(s)\n", check.file.display(), config.modules.len());
    for module in &config.modules {
        let path = module.rules.path.as_deref().unwrap_or_default();
        text.push_str(&format!("  {:<15} {path}\n", module.name));
    }
    output::print(&text);
    Ok(())
}

/// Reads a configuration for use.
pub(crate) fn load(path: &Path, overrides: &[String]) -> Result<Config, Failure> {
    config::load(path, overrides).map_err(|errors| Failure {
        exit: ExitCode::Syntax,
        error: anyhow::Error::new(errors).context("the configuration cannot be used"),
    })
}

async fn serve_config(daemon: Daemon, control: Option<Control>) -> Result<(), Failure> {
    let highest = match daemon.protocol {
        None => Version::NEWEST,
        Some(number) => Version::new(number)
            .map_err(anyhow::Error::from)
            .map_err(Failure::new(ExitCode::Syntax))?,
    };
    if daemon.log_dir.is_some() {
        // Nothing in the configuration changes this log, and it may have to say what is wrong there.
        log::start(&log_settings(&daemon, None, false));
    }
    let config = load(&daemon.config, &daemon.dparam)?;
    let on_stdin = StdinClient::find(daemon.stdio);
    let single = daemon.stdio || on_stdin.is_some();
    let global = &config.global;
    let expanded = |text: &Option<String>| {
        text.as_deref().map(|text| config::expand(text, &config::environment))
    };
    let log_file =
        daemon.log_file.clone().or(expanded(&global.log_file).map(bascule_platform::paths::native));
    if daemon.log_dir.is_none() {
        log::start(&log_settings(&daemon, log_file, single));
    }
    for warning in &config.warnings {
        tracing::warn!(event = "config.warning", "{warning}");
    }
    let address = daemon.address.clone().or(expanded(&global.address));
    let port = match (daemon.port, u16::try_from(global.port)) {
        (Some(port), _) => port,
        (None, Ok(port)) if port != 0 => port,
        _ => RSYNC_PORT,
    };
    let family = match (daemon.ipv4, daemon.ipv6) {
        (true, _) => Family::V4,
        (_, true) => Family::V6,
        _ => Family::Any,
    };
    let backlog = i32::try_from(global.listen_backlog).unwrap_or(i32::MAX);
    let pid_file = expanded(&global.pid_file);
    let tls_port = u16::try_from(global.tls_port).ok().filter(|port| *port != 0);
    let certificate = certificate(&config)?;
    let limited = config.modules.iter().any(|module| module.rules.max_connections > 0);
    let global = config.global.clone();
    let metrics_address = expanded(&global.metrics_address);
    let site = DaemonSite::following(daemon.config, daemon.dparam, Arc::new(config));
    let site = Arc::new(site);
    let connections = Connections::new(Arc::clone(&site) as _, highest, &global);
    if single {
        if limited {
            tracing::warn!(
                event = "config.warning",
                "max connections counts the clients of one process; limit inetd or systemd instead"
            );
        }
        serve_single(connections, on_stdin).await;
        return Ok(());
    }
    let control = control.map_or_else(|| Control::by_signals(true), Ok).map_err(cannot_listen)?;
    let mut listeners = handed_over(tls_port).map_err(cannot_listen)?;
    if listeners.is_empty() {
        listeners = bind(address.as_deref(), port, family, backlog, Door::Both)?;
        if let Some(tls_port) = tls_port {
            listeners.extend(bind(address.as_deref(), tls_port, family, backlog, Door::TlsOnly)?);
        }
    }
    let pid_file = pid_file
        .map(|path| PidFile::write(bascule_platform::paths::native(path)))
        .transpose()
        .map_err(Failure::new(ExitCode::FileIo))?;
    let observed = Observed {
        tally: connections.tally().clone(),
        crowd: Arc::clone(connections.crowd()),
        site: Arc::clone(&site),
        certificate: certificate.clone(),
        since: SystemTime::now(),
    };
    let metrics = match metrics_address {
        Some(address) => metrics::serve(&address, observed).await,
        None => None,
    };
    let doorkeeper = Doorkeeper::new(connections, certificate.clone());
    let reloadable = Reloadable { site, certificate, started_with: global };
    running::serve(doorkeeper, listeners, control, Some(reloadable)).await;
    drop(metrics);
    drop(pid_file);
    Ok(())
}

async fn serve_directory(serve: Serve) -> Result<(), Failure> {
    log::start(&log::Settings {
        program: "basculed",
        destination: serve.log_file.clone().map_or(Destination::Standard, Destination::File),
        otherwise: Destination::Standard,
        format: None,
        verbose: serve.verbose,
        event_source: None,
    });
    let control = Control::by_signals(false).map_err(cannot_listen)?;
    let zero = serve
        .state_dir
        .clone()
        .map_or_else(pairing::state_dir, Ok)
        .and_then(|state| ZeroConfig::prepare(&serve.directory, &serve.module, &serve.user, &state))
        .map_err(Failure::new(ExitCode::Syntax))?;
    let listeners = bind(serve.address.as_deref(), serve.port, Family::Any, 128, Door::Both)?;
    let port = listeners
        .first()
        .and_then(|(listener, _)| listener.local_addr().ok())
        .map_or(serve.port, |address| address.port());
    let certificate = Files::self_made(zero.state_dir())
        .and_then(Certificate::open)
        .map_err(Failure::new(ExitCode::FileIo))?;
    let fingerprint = certificate.fingerprint().map_err(Failure::new(ExitCode::FileIo))?;
    output::print(&zero.instructions(serve.address.as_deref(), port, fingerprint));
    let config = zero.config();
    let global = config.global.clone();
    let site = DaemonSite::fixed(Arc::new(config));
    let connections = Connections::new(Arc::new(site), Version::NEWEST, &global);
    let doorkeeper = Doorkeeper::new(connections, Some(Arc::new(certificate)));
    running::serve(doorkeeper, listeners, control, None).await;
    Ok(())
}

/// The certificate that a configuration names.
pub(crate) fn certificate(config: &Config) -> Result<Option<Arc<Certificate>>, Failure> {
    Files::of_config(config)
        .and_then(|files| files.map(Certificate::open).transpose())
        .map(|certificate| certificate.map(Arc::new))
        .map_err(Failure::new(ExitCode::Syntax))
}

/// The sockets that the service manager has opened for this daemon; on the configuration's port for
/// TLS there is TLS alone.
fn handed_over(tls_port: Option<u16>) -> std::io::Result<Vec<(TcpListener, Door)>> {
    let open = |socket: std::net::TcpListener| {
        let port = socket.local_addr()?.port();
        let door = if Some(port) == tls_port { Door::TlsOnly } else { Door::Both };
        Ok((TcpListener::from_std(socket)?, door))
    };
    sockets::inherited()?.into_iter().map(open).collect()
}

fn cannot_listen(error: std::io::Error) -> Failure {
    Failure { exit: ExitCode::Socket, error: error.into() }
}

fn bind(
    address: Option<&str>,
    port: u16,
    family: Family,
    backlog: i32,
    door: Door,
) -> Result<Vec<(TcpListener, Door)>, Failure> {
    listen::bind(address, port, family, backlog)
        .map(|listeners| listeners.into_iter().map(|listener| (listener, door)).collect())
        .map_err(anyhow::Error::from)
        .map_err(Failure::new(ExitCode::Socket))
}

/// Serves the one client that started this process.
async fn serve_single(connections: Connections, on_stdin: Option<StdinClient>) {
    let stop = Stop::new();
    let asked = stop.clone();
    let signals = tokio::spawn(async move {
        if bascule_platform::signals::interrupted().await.is_ok() {
            asked.stop();
        }
    });
    match on_stdin {
        Some(client) => client.serve(&connections, stop).await,
        None => {
            inherited::wait_on_stdio();
            let pipe = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
            let peer = Peer::default();
            let ticket = connections.arrive(&peer, &stop);
            connections.serve(pipe, peer, ticket, stop).await;
        }
    }
    signals.abort();
}

/// How the daemon logs. With one client on standard input, standard error may lead to that client.
fn log_settings(daemon: &Daemon, file: Option<PathBuf>, single: bool) -> log::Settings {
    let otherwise = if single && inherited::stderr_is_socket() {
        Destination::Nowhere
    } else {
        Destination::Standard
    };
    let destination = match (&daemon.log_dir, file) {
        (Some(path), _) => Destination::Folder { path: path.clone(), keep: daemon.log_keep },
        (None, Some(path)) => Destination::File(path),
        (None, None) => otherwise.clone(),
    };
    log::Settings {
        program: "basculed",
        destination,
        otherwise,
        format: daemon.log_format,
        verbose: daemon.verbose,
        event_source: daemon.service_name().map(ToOwned::to_owned),
    }
}
