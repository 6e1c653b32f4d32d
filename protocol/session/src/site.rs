//! What a daemon answers with: its modules and their rules.
//!
//! All methods may block (files, name look-ups, child processes); the server calls them away from
//! the async threads.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bascule_engine::ledger::ListLimits;
use bascule_engine::outcome::ExitCode;
use bascule_engine::symlinks::SymlinkTargets;
use bascule_engine::tree::Target;
use bascule_wire::args::Direction;
use bascule_wire::filter::Rule;

use crate::tcp::Line;

/// Who is at the other end.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The address; `None` on a pipe.
    pub address: Option<IpAddr>,
    /// Whether nobody on the way can read or change what is said (TLS).
    pub is_secure: bool,
    /// The user whom a client certificate names, signed by the authority of this daemon.
    pub certificate_user: Option<String>,
    /// The connection, to see whether it is still there; `None` on a pipe.
    pub line: Option<Arc<Line>>,
}

/// A refusal before the transfer: the text of the `@ERROR: ` line, without that prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

/// One line of the module listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLine {
    /// The name.
    pub name: String,
    /// The comment.
    pub comment: String,
}

/// A daemon's set of modules.
pub trait Site: Send + Sync {
    /// The message of the day, sent verbatim after the greeting.
    fn motd(&self) -> Option<Vec<u8>>;

    /// The modules that this peer may see.
    fn modules(&self, peer: &Peer) -> Vec<ModuleLine>;

    /// Looks a module up: it exists → hosts allow/deny → max connections, in this order (§2.5).
    /// The returned value counts as one connection until it is dropped.
    ///
    /// # Errors
    /// The refusal to send.
    fn open(&self, name: &[u8], peer: &Peer) -> Result<Box<dyn OpenModule>, Refusal>;
}

/// One login attempt.
#[derive(Debug, Clone, Copy)]
pub struct LoginAttempt<'a> {
    /// The user as given.
    pub user: &'a [u8],
    /// The digest in use.
    pub digest: bascule_wire::auth::AuthDigest,
    /// The challenge as sent.
    pub challenge: &'a str,
    /// The response as received.
    pub response: &'a [u8],
}

/// A module that a peer has reached but not yet entered.
pub trait OpenModule: Send {
    /// Whether a login is needed.
    fn needs_login(&self) -> bool;

    /// How long a login of `user` has to wait before it is checked: nothing is held up meanwhile.
    fn login_delay(&self, _user: &[u8]) -> Duration {
        Duration::ZERO
    }

    /// Checks a login (`auth users`, secrets file) and remembers the user.
    ///
    /// # Errors
    /// The refusal to send: the same text whatever was wrong (the log says what).
    fn login(&mut self, attempt: &LoginAttempt<'_>) -> Result<(), Refusal>;

    /// Opens the module's path under its user and gives its rules.
    ///
    /// # Errors
    /// The refusal to send.
    fn enter(&mut self) -> Result<ModuleRules, Refusal>;

    /// Called with the client's arguments before anything is transferred (`pre-xfer exec`).
    ///
    /// # Errors
    /// The refusal; it reaches the client as an in-band error.
    fn before_transfer(&mut self, args: &[Vec<u8>]) -> Result<(), Refusal>;

    /// Called once at the end, whatever happened (`post-xfer exec`).
    fn after_transfer(&mut self, exit: ExitCode);
}

/// Runs first on a session's engine thread, to give up privileges: those that the direction does not
/// need. Threads started from there inherit what is left.
pub type EnterThread = Arc<dyn Fn(Direction) -> io::Result<()> + Send + Sync>;

/// What a module allows and how it behaves.
#[derive(Clone)]
pub struct ModuleRules {
    /// The module's name.
    pub name: String,
    /// The module's tree.
    pub root: Arc<dyn Target>,
    /// Refuse pushes.
    pub read_only: bool,
    /// Why nothing can be received though it is allowed: what to tell a client that pushes.
    pub unreceivable: Option<String>,
    /// Refuse pulls.
    pub write_only: bool,
    /// `filter`, `include`, `exclude` and their `from` files, in the order in which they match.
    pub filters: Vec<Rule>,
    /// `incoming chmod`, in the form of `--chmod`.
    pub incoming_chmod: Option<String>,
    /// `outgoing chmod`.
    pub outgoing_chmod: Option<String>,
    /// `numeric ids`: on this side only, the peer does not hear of it.
    pub numeric_ids: bool,
    /// `refuse options`: names, wildcards, `!` exceptions, in order.
    pub refuse_options: Vec<String>,
    /// Seconds without a byte; 0 means none.
    pub timeout: u32,
    /// What is received is on stable storage before success is told, whatever the client asks.
    pub durable: bool,
    /// How long the list of one run may become, in either direction.
    pub list_limits: ListLimits,
    /// How the targets of symlinks are stored (§19.7).
    pub symlink_targets: SymlinkTargets,
    /// Gives up privileges.
    pub enter_thread: Option<EnterThread>,
}
