//! Options about the connection to a daemon.

use std::ffi::OsString;
use std::path::PathBuf;

use bascule_engine::ledger::ListLimits;
use clap::Args;

use super::values::bytes;

/// How to reach and log in to a daemon.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Read the password from FILE ("-" for standard input); otherwise RSYNC_PASSWORD is used.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<OsString>,
    /// The daemon's port when the URL names none.
    #[arg(long, value_name = "PORT", default_value_t = 873)]
    pub port: u16,
    /// Give up when nothing has moved for this many seconds; 0 waits for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u32,
    /// Give up an address that has not answered after this many seconds; 0 leaves that to the
    /// system.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub contimeout: u64,
    /// For rsyncs://: trust the authorities in FILE (PEM) instead of this system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<OsString>,
    /// For rsyncs://: show the certificate in FILE (PEM) to the daemon.
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<OsString>,
    /// The key to --client-cert (PEM).
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<OsString>,
    /// Connect in the clear although this daemon was reached by TLS before.
    #[arg(long)]
    pub allow_plain: bool,
    /// Where it is noted which daemons speak TLS and which disks sources were on; by default the
    /// user's state folder.
    #[arg(skip)]
    pub notes: Option<PathBuf>,
}

impl Connection {
    /// The arguments that say the same.
    pub fn arguments(&self) -> Vec<OsString> {
        let Self { password_file, port, timeout, contimeout, .. } = self;
        let Self { ca_file, client_cert, client_key, allow_plain, .. } = self;
        let number = |number: u64| Some(number.to_string().into());
        let given = [
            ("--password-file", password_file.clone()),
            ("--port", number((*port).into())),
            ("--timeout", number((*timeout).into())),
            ("--contimeout", number(*contimeout)),
            ("--ca-file", ca_file.clone()),
            ("--client-cert", client_cert.clone()),
            ("--client-key", client_key.clone()),
        ];
        let pairs = given.into_iter().filter_map(|(name, value)| Some([name.into(), value?]));
        let mut line: Vec<OsString> = pairs.flatten().collect();
        line.extend(allow_plain.then(|| "--allow-plain".into()));
        line
    }
}

/// How long the list of a daemon may become.
#[derive(Debug, Clone, Args)]
pub struct MaxList {
    /// End the run when a daemon lists more than NUM files and folders.
    #[arg(long, value_name = "NUM", default_value_t = ListLimits::default().entries)]
    pub max_entries: u64,
    /// End the run when a daemon's list takes more memory than SIZE at a time, such as 500m.
    #[arg(long, value_name = "SIZE", default_value = "4g", value_parser = bytes)]
    pub max_list_memory: u64,
}

impl Default for MaxList {
    fn default() -> Self {
        let ListLimits { entries, bytes } = ListLimits::default();
        Self { max_entries: entries, max_list_memory: bytes }
    }
}

impl MaxList {
    /// The same for a run.
    pub fn limits(&self) -> ListLimits {
        ListLimits { entries: self.max_entries, bytes: self.max_list_memory }
    }
}
