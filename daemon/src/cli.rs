//! The command line: rsync's for `rsync --daemon`, and commands of our own.

use std::path::PathBuf;

use bascule_platform::log::Format;
use bascule_platform::service::steer::{Installing, Steering};
use clap::{ArgAction, Args, Parser, Subcommand};

/// The configuration file when none is named.
#[cfg(unix)]
pub const DEFAULT_CONFIG: &str = "/etc/rsyncd.conf";
/// As on Unix; rsync has no place of its own there.
#[cfg(windows)]
pub const DEFAULT_CONFIG: &str = NEW_CONFIG;

/// The configuration file that `basculed init` writes when none is named.
#[cfg(unix)]
pub const NEW_CONFIG: &str = "/etc/basculed.conf";
/// As on Unix: beside the other programs' data.
#[cfg(windows)]
pub const NEW_CONFIG: &str = r"C:\ProgramData\Bascule\basculed.conf";

/// Serves rsync modules to rsync and bascule clients.
#[derive(Debug, Parser)]
#[command(name = "basculed", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving a configuration file.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The daemon's options.
    #[command(flatten)]
    pub daemon: Daemon,
}

/// Other things to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read a configuration file, report every problem with its line, and end.
    CheckConfig(CheckConfig),
    /// Write a configuration with a certificate and a password, and print the lines for the source.
    Init(Init),
    /// Take the virtual directories and passwords of a DeltaCopy server into a new configuration.
    ImportDeltacopy(ImportDeltacopy),
    /// Serve one folder as a writable module with a generated password, without a configuration.
    Serve(Serve),
    /// Run the daemon as a service of systemd or Windows: install it, start it, ask how it is.
    #[command(subcommand)]
    Service(ServiceCommand),
}

/// What to do with the service.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Install the service or bring it up to date, start it at every boot and now.
    Install(Box<Install>),
    /// What is the same for all services.
    #[command(flatten)]
    Steer(Steering),
}

/// The options of `basculed service install`.
#[derive(Debug, Args)]
pub struct Install {
    /// The configuration file to serve.
    #[arg(long, value_name = "FILE", default_value = NEW_CONFIG)]
    pub config: PathBuf,
    /// The account it runs as, instead of root or LocalSystem. It cannot become the modules' users
    /// or keep owners.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// systemd: a place that it may write to beside the modules, such as one that a hook needs.
    #[arg(long, value_name = "DIR")]
    pub writes: Vec<PathBuf>,
    /// systemd: let it be started by its first client; no client is lost while it restarts.
    #[arg(long)]
    pub socket_activation: bool,
    /// How.
    #[command(flatten)]
    pub installing: Installing,
    /// The program to start, instead of this one.
    #[arg(long, value_name = "FILE", hide = true)]
    pub program: Option<PathBuf>,
}

/// The options of `rsync --daemon`.
#[derive(Debug, Args)]
pub struct Daemon {
    /// Accepted for rsync's sake: this program is always a daemon.
    #[arg(long)]
    pub daemon: bool,
    /// Accepted for rsync's sake: the daemon always stays in the foreground.
    #[arg(long)]
    pub no_detach: bool,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The address or name to listen on, instead of the configuration's.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// The port to listen on, instead of the configuration's; 0 lets the system choose.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Listen on IPv4 only.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Listen on IPv6 only.
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// The log file, instead of the configuration's.
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// A folder for the log: one file a day, the oldest go.
    #[arg(long, value_name = "DIR", conflicts_with = "log_file")]
    pub log_dir: Option<PathBuf>,
    /// How many of these files stay.
    #[arg(long, value_name = "NUM", default_value_t = 30, requires = "log_dir")]
    pub log_keep: usize,
    /// The form of the log; the journal of systemd has fields if none is named.
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<Format>,
    /// Run as this service: only the Service Control Manager says so.
    #[cfg(windows)]
    #[arg(long, value_name = "NAME", hide = true)]
    pub windows_service: Option<String>,
    /// A global parameter, as if at the end of the configuration's global part.
    #[arg(short = 'M', long, value_name = "NAME=VALUE")]
    pub dparam: Vec<String>,
    /// Serve one client on standard input and output. Implied when standard input is a
    /// connected socket, as under inetd.
    #[arg(long)]
    pub stdio: bool,
    /// Log more; twice for everything.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// The highest protocol to offer.
    #[arg(long, value_name = "NUM")]
    pub protocol: Option<u8>,
}

impl Daemon {
    /// The Windows service that this process is, if it is one.
    pub fn service_name(&self) -> Option<&str> {
        #[cfg(windows)]
        {
            self.windows_service.as_deref()
        }
        #[cfg(not(windows))]
        {
            None
        }
    }
}

/// The options of `basculed check-config`.
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The configuration file.
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub file: PathBuf,
    /// A global parameter, as if at the end of the configuration's global part.
    #[arg(short = 'M', long, value_name = "NAME=VALUE")]
    pub dparam: Vec<String>,
}

/// The options of `basculed init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The modules to serve and their folders, such as mail=/opt/icewarp/mail.
    #[arg(value_name = "NAME=DIR", required = true)]
    pub modules: Vec<String>,
    /// The configuration file to write; it may not exist.
    #[arg(long, value_name = "FILE", default_value = NEW_CONFIG)]
    pub config: PathBuf,
    /// The user who may log in.
    #[arg(long, value_name = "NAME", default_value = "bascule")]
    pub user: String,
    /// The address or name to listen on; every address of this machine if not given.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// The port to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 873, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Where the password, the certificate and its key are kept: by default in /var/lib/basculed, on
    /// Windows in %ProgramData%\Bascule\basculed.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// The options of `basculed import-deltacopy`.
#[derive(Debug, Args)]
pub struct ImportDeltacopy {
    /// The folder that DeltaCopy's server is installed in, or a copy of it: with deltacd.conf and the
    /// folder secrets.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The configuration file to write; it may not exist.
    #[arg(long, value_name = "FILE", default_value = NEW_CONFIG)]
    pub config: PathBuf,
    /// Where a path of DeltaCopy's machine is on this one, such as C:=/srv/mail; what follows FROM in
    /// a path is added to TO. Needed for every drive where this is not Windows.
    #[arg(long, value_name = "FROM=TO")]
    pub map: Vec<String>,
    /// The encoding of deltacd.conf if it is not UTF-8; windows-1252 if not given.
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<String>,
    /// Where the passwords are kept.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Show the configuration and write nothing.
    #[arg(long)]
    pub print: bool,
}

/// The options of `basculed serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The folder to serve.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The module's name.
    #[arg(long, value_name = "NAME", default_value = "data")]
    pub module: String,
    /// The user who may log in.
    #[arg(long, value_name = "NAME", default_value = "bascule")]
    pub user: String,
    /// The address or name to listen on; every address of this machine if not given.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// The port to listen on; 0 lets the system choose.
    #[arg(long, value_name = "PORT", default_value_t = 873)]
    pub port: u16,
    /// Where the generated password is kept.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The log file; standard error if not given.
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Log more; twice for everything.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("basculed").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn takes_what_rsyncs_own_tools_give() {
        let line = "--daemon --no-detach --address=127.0.0.1 --port=0 --config=/x --log-file=/l \
                    --dparam=motdfile=/m -M pidfile=/p -vv --protocol=30";
        let daemon = parse(line).expect("accepted").daemon;
        assert_eq!(daemon.config, PathBuf::from("/x"));
        assert_eq!(daemon.dparam, ["motdfile=/m", "pidfile=/p"]);
        assert_eq!((daemon.port, daemon.verbose, daemon.protocol), (Some(0), 2, Some(30)));
        assert_eq!(parse("").expect("accepted").daemon.config, PathBuf::from(DEFAULT_CONFIG));
    }

    #[test]
    fn commands_take_no_daemon_options() {
        assert!(matches!(
            parse("check-config /x").expect("accepted").command,
            Some(Command::CheckConfig(_))
        ));
        assert!(matches!(
            parse("serve /x --module a --user b").expect("accepted").command,
            Some(Command::Serve(_))
        ));
        let init = parse("init mail=/x archive=/y").expect("accepted").command;
        assert!(matches!(init, Some(Command::Init(init)) if init.modules.len() == 2));
        assert!(parse("init").is_err() && parse("init a=/x --port=0").is_err());
        assert!(parse("--port=1 check-config").is_err());
        assert!(parse("-4 -6").is_err());
        assert!(parse("--port=99999").is_err());
    }
}
