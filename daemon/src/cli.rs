//! The command line: what an rsync user types, and what Bascule adds.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

/// Serves rsync modules to rsync and Bascule clients.
#[derive(Debug, Parser)]
#[command(name = "basculed", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// A special way to run; without one, the modules of the configuration are served.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Accepted for rsync's sake: there is no other way to run.
    #[arg(long)]
    pub daemon: bool,
    /// Accepted for rsync's sake: the program always stays in the foreground.
    #[arg(long)]
    pub no_detach: bool,
    /// Listen on this address only.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Listen on this port (873 by default).
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/rsyncd.conf")]
    pub config: PathBuf,
    /// Write the log to FILE instead of standard error.
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Override a global parameter of the configuration.
    #[arg(short = 'M', long, value_name = "NAME=VALUE")]
    pub dparam: Vec<String>,
    /// Say more in the log.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// The highest protocol to offer, 30 to 32.
    #[arg(long, value_name = "NUM")]
    pub protocol: Option<u8>,
    /// Serve one connection on standard input and output, as under inetd.
    #[arg(long)]
    pub stdio: bool,
}

/// A special way to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a configuration and say what is wrong with it.
    CheckConfig {
        /// The configuration.
        #[arg(default_value = "/etc/rsyncd.conf")]
        file: PathBuf,
    },
    /// Serve one folder with a login, without any configuration.
    Serve(Serve),
}

/// The options of `basculed serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The folder to serve.
    pub dir: PathBuf,
    /// The module's name.
    #[arg(long, value_name = "NAME", default_value = "data")]
    pub module: String,
    /// The user who may log in.
    #[arg(long, value_name = "NAME", default_value = "bascule")]
    pub user: String,
    /// Where the generated password is kept; by default .basculed-MODULE.secret beside the folder.
    #[arg(long, value_name = "FILE")]
    pub secrets_file: Option<PathBuf>,
    /// Listen on this address only.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Listen on this port.
    #[arg(long, value_name = "PORT", default_value_t = 873)]
    pub port: u16,
}
