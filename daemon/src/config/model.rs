//! What a configuration says, with rsyncd's defaults.

use std::sync::Arc;

use super::Place;

/// A configuration that has been read and checked.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The daemon itself.
    pub global: Global,
    /// The modules, in the order of the file.
    pub modules: Vec<Arc<Module>>,
    /// What is legal but surely not meant.
    pub warnings: Vec<String>,
}

impl Config {
    /// The module of that exact name.
    pub fn module(&self, name: &[u8]) -> Option<&Arc<Module>> {
        self.modules.iter().find(|module| module.name.as_bytes() == name)
    }
}

/// One module.
#[derive(Debug, Clone)]
pub struct Module {
    /// The name, as clients ask for it.
    pub name: String,
    /// Where its section starts.
    pub place: Place,
    /// Its parameters.
    pub rules: Rules,
}

/// Everything that a parameter can set at one point of the file.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Global parameters.
    pub global: Global,
    /// The parameters of a module, or the defaults for the modules that follow.
    pub rules: Rules,
}

/// Parameters of the daemon. Texts still hold their `%VAR%` references.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are rsyncd.conf's parameter names")]
pub struct Global {
    pub motd_file: Option<String>,
    pub pid_file: Option<String>,
    pub log_file: Option<String>,
    pub address: Option<String>,
    /// 0 means 873.
    pub port: i64,
    /// Rsyncd's own default of 5 loses clients that come together.
    pub listen_backlog: i64,
    pub tls_certificate: Option<String>,
    pub tls_key: Option<String>,
    pub tls_client_ca: Option<String>,
    /// 0 means none.
    pub tls_port: i64,
    /// Where metrics and health are served; nowhere if `None`.
    pub metrics_address: Option<String>,
    /// Seconds for each step up to the transfer.
    pub handshake_timeout: i64,
    /// Clients that are being let in; one more lets the oldest go.
    pub max_openings: i64,
    pub max_openings_per_address: i64,
    /// Clients that transfer; one more is refused.
    pub max_transfers: i64,
    pub max_transfers_per_address: i64,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            motd_file: None,
            pid_file: None,
            log_file: None,
            address: None,
            port: 0,
            listen_backlog: 128,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            tls_port: 0,
            metrics_address: None,
            handshake_timeout: 60,
            max_openings: 500,
            max_openings_per_address: 100,
            max_transfers: 200,
            max_transfers_per_address: 50,
        }
    }
}

/// Parameters of a module. Texts still hold their `%VAR%` references, because some variables are
/// known only when a client has logged in.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are rsyncd.conf's parameter names")]
pub struct Rules {
    pub path: Option<String>,
    /// The module is served only while a file system is mounted at this folder.
    pub mounted_on: Option<String>,
    pub comment: Option<String>,
    pub read_only: bool,
    pub write_only: bool,
    pub list: bool,
    pub uid: Option<String>,
    pub gid: Option<String>,
    /// `None`: as if true for a daemon run by root.
    pub use_chroot: Option<bool>,
    /// `None`: like the effective `use chroot`.
    pub numeric_ids: Option<bool>,
    /// `None`: off only for a plain chrooted module.
    pub munge_symlinks: Option<bool>,
    pub auth_users: Option<String>,
    pub secrets_file: Option<String>,
    pub strict_modes: bool,
    pub hosts_allow: Option<String>,
    pub hosts_deny: Option<String>,
    pub reverse_lookup: bool,
    pub forward_lookup: bool,
    /// 0 means no limit; a negative number disables the module.
    pub max_connections: i64,
    pub filter: Option<String>,
    pub include_from: Option<String>,
    pub include: Option<String>,
    pub exclude_from: Option<String>,
    pub exclude: Option<String>,
    pub incoming_chmod: Option<String>,
    pub outgoing_chmod: Option<String>,
    pub refuse_options: Option<String>,
    pub require_tls: bool,
    /// Linux only: nothing but the module can be reached by the threads that serve it.
    pub landlock: bool,
    /// What is received is on stable storage before success is told.
    pub durable: bool,
    /// Windows only: what other programs keep to themselves is read from a shadow copy.
    pub shadow_copy: bool,
    /// Seconds; 0 means none.
    pub timeout: i64,
    /// Entries in the list of one run.
    pub max_entries: i64,
    /// MiB that they may take at a time.
    pub max_list_memory: i64,
    pub temp_dir: Option<String>,
    pub pre_xfer_exec: Option<String>,
    pub post_xfer_exec: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            path: None,
            mounted_on: None,
            comment: None,
            read_only: true,
            write_only: false,
            list: true,
            uid: None,
            gid: None,
            use_chroot: None,
            numeric_ids: None,
            munge_symlinks: None,
            auth_users: None,
            secrets_file: None,
            strict_modes: true,
            hosts_allow: None,
            hosts_deny: None,
            reverse_lookup: true,
            forward_lookup: true,
            max_connections: 0,
            filter: None,
            include_from: None,
            include: None,
            exclude_from: None,
            exclude: None,
            incoming_chmod: None,
            outgoing_chmod: None,
            refuse_options: None,
            require_tls: false,
            landlock: true,
            durable: false,
            shadow_copy: false,
            timeout: 600,
            max_entries: 20_000_000,
            max_list_memory: 4096,
            temp_dir: None,
            pre_xfer_exec: None,
            post_xfer_exec: None,
        }
    }
}
