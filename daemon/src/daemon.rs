//! What the program does once its command line is read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bascule_engine::outcome::ExitCode;
use bascule_engine::stop::Stop;
use bascule_session::site::Peer;
use bascule_wire::Version;
use tokio::net::{TcpListener, TcpStream};

use crate::cli::{CheckConfig, Cli, Command, Daemon, Serve};
use crate::config::{self, Config};
use crate::connection::Connections;
use crate::door::{Door, Doorkeeper};
use crate::inherited::{self, StdinClient};
use crate::init;
use crate::listen::{self, Family};
use crate::log::{self, Destination};
use crate::pairing;
use crate::site::DaemonSite;
use crate::tls::{Certificate, Files};
use crate::zero::ZeroConfig;

/// The port of rsync daemons.
const RSYNC_PORT: u16 = 873;

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

/// Runs the program.
///
/// # Errors
/// Why it could not start.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => serve_config(cli.daemon).await,
        Some(Command::CheckConfig(check)) => check_config(&check),
        Some(Command::Init(init)) => {
            print!("{}", init::run(&init).map_err(Failure::new(ExitCode::Syntax))?);
            Ok(())
        }
        Some(Command::Serve(serve)) => serve_directory(serve).await,
    }
}

fn check_config(check: &CheckConfig) -> Result<(), Failure> {
    let config = load(&check.file, &check.dparam)?;
    certificate(&config)?;
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{}: good, {} module(s)", check.file.display(), config.modules.len());
    for module in &config.modules {
        let path = module.rules.path.as_deref().unwrap_or_default();
        println!("  {:<15} {path}", module.name);
    }
    Ok(())
}

fn load(path: &Path, overrides: &[String]) -> Result<Config, Failure> {
    config::load(path, overrides).map_err(|errors| Failure {
        exit: ExitCode::Syntax,
        error: anyhow::Error::new(errors).context("the configuration cannot be used"),
    })
}

async fn serve_config(daemon: Daemon) -> Result<(), Failure> {
    let highest = match daemon.protocol {
        None => Version::NEWEST,
        Some(number) => Version::new(number)
            .map_err(anyhow::Error::from)
            .map_err(Failure::new(ExitCode::Syntax))?,
    };
    let config = load(&daemon.config, &daemon.dparam)?;
    let on_stdin = StdinClient::find(daemon.stdio);
    let single = daemon.stdio || on_stdin.is_some();
    let global = &config.global;
    let expanded = |text: &Option<String>| {
        text.as_deref().map(|text| config::expand(text, &config::environment))
    };
    let log_file = daemon.log_file.clone().or(expanded(&global.log_file).map(PathBuf::from));
    start_log(log_file.as_deref(), daemon.verbose, single);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
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
    let site = DaemonSite::following(daemon.config, daemon.dparam, Arc::new(config));
    let connections = Connections::new(Arc::new(site), highest, &global);
    if single {
        if limited {
            tracing::warn!(
                "max connections counts the clients of one process; limit inetd or systemd instead"
            );
        }
        serve_single(connections, on_stdin).await;
        return Ok(());
    }
    let mut listeners = bind(address.as_deref(), port, family, backlog, Door::Both)?;
    if let Some(tls_port) = tls_port {
        listeners.extend(bind(address.as_deref(), tls_port, family, backlog, Door::TlsOnly)?);
    }
    let pid_file = pid_file
        .map(|path| PidFile::write(PathBuf::from(path)))
        .transpose()
        .map_err(Failure::new(ExitCode::FileIo))?;
    listen(Doorkeeper::new(connections, certificate), listeners).await;
    drop(pid_file);
    Ok(())
}

async fn serve_directory(serve: Serve) -> Result<(), Failure> {
    start_log(serve.log_file.as_deref(), serve.verbose, false);
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
    print!("{}", zero.instructions(serve.address.as_deref(), port, fingerprint));
    // Nobody may be reading; the daemon works all the same.
    let _ = std::io::stdout().flush();
    let config = zero.config();
    let global = config.global.clone();
    let site = DaemonSite::fixed(Arc::new(config));
    let connections = Connections::new(Arc::new(site), Version::NEWEST, &global);
    listen(Doorkeeper::new(connections, Some(Arc::new(certificate))), listeners).await;
    Ok(())
}

/// The certificate that a configuration names.
fn certificate(config: &Config) -> Result<Option<Arc<Certificate>>, Failure> {
    Files::of_config(config)
        .and_then(|files| files.map(Certificate::open).transpose())
        .map(|certificate| certificate.map(Arc::new))
        .map_err(Failure::new(ExitCode::Syntax))
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

async fn listen(doorkeeper: Doorkeeper, listeners: Vec<(TcpListener, Door)>) {
    if let Err(error) = bascule_platform::limits::raise_open_files() {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
    for (listener, door) in &listeners {
        if let Ok(address) = listener.local_addr() {
            let tls_only = *door == Door::TlsOnly;
            tracing::info!(%address, tls_only, version = env!("CARGO_PKG_VERSION"), "listening");
        }
    }
    let session = move |stream: TcpStream, peer: Peer, door: Door, stop: Stop| {
        let doorkeeper = doorkeeper.clone();
        async move { doorkeeper.serve(stream, peer, door, stop).await }
    };
    let end = async {
        if let Err(error) = bascule_platform::signals::interrupted().await {
            tracing::error!(%error, "signals cannot be caught");
            std::future::pending::<()>().await;
        }
        tracing::info!("stopping");
    };
    listen::run(listeners, session, end).await;
    tracing::info!("stopped");
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

/// Starts the log. A log file that cannot be opened is no reason not to serve. With one client on
/// standard input, standard error may lead to that client.
fn start_log(file: Option<&Path>, verbose: u8, single: bool) {
    let other = if single && inherited::stderr_is_socket() {
        Destination::Nowhere
    } else {
        Destination::Stderr
    };
    let Some(path) = file else {
        return log::start(other, verbose);
    };
    match log::open(path) {
        Ok(file) => log::start(Destination::File(file), verbose),
        Err(error) => {
            log::start(other, verbose);
            tracing::error!(path = %path.display(), %error, "cannot open the log file");
        }
    }
}

/// A file with this process's number, locked while the daemon runs and removed at the end.
#[derive(Debug)]
struct PidFile {
    path: PathBuf,
    _locked: File,
}

impl PidFile {
    fn write(path: PathBuf) -> anyhow::Result<Self> {
        let shown = path.display().to_string();
        let cannot = || format!("cannot write the pid file {shown}");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!("another daemon is running: it holds the pid file {shown}");
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        file.set_len(0).with_context(cannot)?;
        file.rewind().with_context(cannot)?;
        writeln!(file, "{}", std::process::id()).with_context(cannot)?;
        Ok(Self { path, _locked: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the pid file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_belongs_to_one_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pid");
        std::fs::write(&path, "left behind by another process\n").expect("written");
        let held = PidFile::write(path.clone()).expect("free");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text, format!("{}\n", std::process::id()));
        let error = PidFile::write(path.clone()).expect_err("held");
        assert!(error.to_string().starts_with("another daemon is running"), "{error}");
        drop(held);
        assert!(!path.exists());
    }
}
