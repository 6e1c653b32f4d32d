//! The connecting side: greeting, login, arguments, then one role of the engine.

use std::sync::Arc;

use bascule_engine::tree::Target;
use bascule_engine::walk::SourceArg;
use bascule_wire::Options;
use bascule_wire::filter::Rule;

/// Where and how to log in. The password is never printed.
#[derive(Clone, Default)]
pub struct Login {
    /// The user; empty means `nobody`.
    pub user: String,
    /// The password; `None` when none was given.
    pub password: Option<Vec<u8>>,
}

/// What this end brings to the transfer.
pub enum LocalEnd {
    /// A push: what to send, in order.
    Source(Vec<SourceArg>),
    /// A pull: where to put it.
    Target(Destination),
}

/// Where received files go (§15, destination rules).
#[derive(Clone)]
pub struct Destination {
    /// The tree that holds the destination.
    pub tree: Arc<dyn Target>,
    /// The destination's path in that tree, as given, without a trailing slash.
    pub path: bascule_engine::path::RelPath,
    /// Whether it was written with a trailing slash: it is then a directory.
    pub is_directory: bool,
}

/// A transfer to ask a daemon for.
pub struct Request {
    /// The module.
    pub module: Vec<u8>,
    /// Paths within the module, as typed (globs and trailing slashes kept); one for a push.
    pub paths: Vec<Vec<u8>>,
    /// The options.
    pub options: Options,
    /// The filter rules, in the order in which they match.
    pub filters: Vec<Rule>,
    /// The login.
    pub login: Login,
    /// This end.
    pub local: LocalEnd,
}
