//! The daemon program.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use bascule_daemon::cli::{Cli, Command};
use bascule_daemon::config::{self, Config};
use bascule_daemon::site::DaemonSite;
use bascule_daemon::{listen, zero};
use bascule_engine::stop::Stop;
use bascule_session::server::ServerOptions;
use bascule_session::site::Site;
use bascule_wire::Version;
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("basculed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Some(Command::CheckConfig { file }) => {
            let config = config::load(file, &[])?;
            for warning in &config.warnings {
                println!("{}: warning: {warning}", file.display());
            }
            println!("{}: {} modules, no errors", file.display(), config.modules.len());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Serve(serve)) => {
            let prepared = zero::prepare(serve)?;
            start_log(None, cli.verbose)?;
            println!("{}", prepared.instructions);
            let site = Arc::new(DaemonSite::fixed(Arc::new(prepared.config)));
            serve_tcp(site, serve.address.as_deref(), serve.port, options(cli)?, None)
        }
        None => from_config(cli),
    }
}

fn from_config(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config = Arc::new(config::load(&cli.config, &cli.dparam)?);
    let log_file =
        cli.log_file.clone().or_else(|| config.global.log_file.as_deref().map(Into::into));
    start_log(log_file.as_deref(), cli.verbose)?;
    for warning in &config.warnings {
        tracing::warn!(event = "config_warning", text = %warning);
    }
    let Config { global, .. } = &*config;
    let address = cli.address.clone().or_else(|| global.address.clone());
    let configured = u16::try_from(global.port).context("port: out of range")?;
    let port = cli.port.or(Some(configured).filter(|port| *port > 0)).unwrap_or(873);
    let pid_file = global.pid_file.clone();
    let options = options(cli)?;
    let site = DaemonSite::following(cli.config.clone(), cli.dparam.clone(), Arc::clone(&config));
    let site = Arc::new(site);
    if cli.stdio || stdin_is_socket() {
        runtime()?.block_on(listen::stdio(site, options, Stop::new()));
        return Ok(ExitCode::SUCCESS);
    }
    serve_tcp(site, address.as_deref(), port, options, pid_file.as_deref())
}

fn serve_tcp(
    site: Arc<dyn Site>,
    address: Option<&str>,
    port: u16,
    options: ServerOptions,
    pid_file: Option<&str>,
) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let listener = listen::bind(address, port).await?;
        if let Some(path) = pid_file {
            std::fs::write(path, format!("{}\n", std::process::id()))
                .with_context(|| format!("writing the pid file {path}"))?;
        }
        tracing::info!(event = "listening", address = %listener.local_addr()?);
        let stop = Stop::new();
        let asked = stop.clone();
        tokio::spawn(async move {
            if bascule_platform::signals::interrupted().await.is_ok() {
                asked.stop();
            }
        });
        listen::accept(listener, site, options, stop).await;
        if let Some(path) = pid_file {
            // The next start replaces a pid file that stays.
            let _ = std::fs::remove_file(path);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")
}

fn options(cli: &Cli) -> anyhow::Result<ServerOptions> {
    let highest = match cli.protocol {
        Some(number) => Version::new(number)?,
        None => Version::NEWEST,
    };
    Ok(ServerOptions { highest, umask: bascule_platform::umask() })
}

fn start_log(file: Option<&Path>, verbose: u8) -> anyhow::Result<()> {
    let level = if verbose > 0 { "debug" } else { "info" };
    let builder = tracing_subscriber::fmt().with_env_filter(level).with_ansi(false);
    match file {
        Some(path) => {
            let file = File::options()
                .append(true)
                .create(true)
                .open(path)
                .with_context(|| format!("opening the log file {}", path.display()))?;
            builder.with_writer(Mutex::new(file)).init();
        }
        None => builder.with_writer(std::io::stderr).init(),
    }
    Ok(())
}

/// Whether an inetd gave us a connection on standard input.
fn stdin_is_socket() -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        use std::os::unix::fs::FileTypeExt as _;

        let stdin = std::io::stdin();
        let Ok(fd) = stdin.as_fd().try_clone_to_owned() else { return false };
        return File::from(fd).metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    }
    #[cfg(not(unix))]
    false
}
