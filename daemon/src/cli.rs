//! The command line: rsync's for `rsync --daemon`, and two commands of our own.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

/// The configuration file when none is named.
pub const DEFAULT_CONFIG: &str = "/etc/rsyncd.conf";

/// The configuration file that `basculed init` writes when none is named.
#[cfg(unix)]
const NEW_CONFIG: &str = "/etc/basculed.conf";
/// As on Unix: beside the other programs' data.
#[cfg(windows)]
const NEW_CONFIG: &str = r"C:\ProgramData\Bascule\basculed.conf";

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
    /// Serve one folder as a writable module with a generated password, without a configuration.
    Serve(Serve),
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
    /// Where the password, the certificate and its key are kept.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
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
