//! A daemon as one end: it is asked for lists, with digests and without, and for nothing else.
//!
//! That is rsync's `--list-only -c`: the daemon is the sender whichever end it is, so it has no
//! means to write, and a read-only module will do.

use std::collections::HashSet;
use std::sync::Arc;

use bascule_engine::empty::EmptyTree;
use bascule_engine::ledger::ListLimits;
use bascule_engine::observe::Observer;
use bascule_engine::outcome::Report;
use bascule_engine::path::RelPath;
use bascule_engine::receiver::Destination;
use bascule_engine::stop::Stop;
use bascule_session::client::{self, LocalEnd, Request};
use bascule_wire::Options;
use bascule_wire::filter::{Rule, RuleKind};
use bascule_wire::names::ChecksumName;
use bascule_wire::options::ChecksumChoice;

use super::context::Context;
use crate::cli::Connection;
use crate::location::Remote;
use crate::mirror::{Ended, umask};
use crate::remote::{abandoned, login, reach};
use crate::restore::without_wildcards;
use crate::trash;
use bascule_wire::shown;

/// A daemon and what of it is to be listed.
pub struct Daemon<'a> {
    /// The daemon and its module.
    pub remote: &'a Remote,
    /// What of it.
    pub path: &'a [u8],
    /// How to reach it.
    pub connection: &'a Connection,
    /// What to list.
    pub options: &'a Options,
    /// Which names take part.
    pub rules: &'a [Rule],
    /// How long its list may become.
    pub list_limits: ListLimits,
    /// Who wants to know how exact its times are.
    pub context: &'a Context,
}

impl std::fmt::Display for Daemon<'_> {
    /// What is listed, for the state.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { remote: Remote { host, port, module, .. }, path, .. } = self;
        write!(f, "{host}:{}/{module}/{}", port.unwrap_or_default(), shown(path))
    }
}

impl Daemon<'_> {
    /// Lists the daemon's end: with the digests of all files, or without. What is in the directories
    /// `spared` is left out.
    ///
    /// # Errors
    /// When the command line makes no sense.
    pub async fn list(
        &self,
        digests: bool,
        spared: &HashSet<Vec<u8>>,
        observer: Arc<dyn Observer>,
        stop: &Stop,
    ) -> anyhow::Result<Ended> {
        let leave_out = |dir: &Vec<u8>| {
            let pattern = [b"/", &without_wildcards(dir)[..], b"/"].concat();
            Rule::plain(RuleKind::Exclude, &pattern)
        };
        let filters = trash::ahead(self.rules.to_vec(), spared.iter().map(leave_out));
        let mut options = Options { list_only: true, checksum: digests, ..self.options.clone() };
        let (greeted, line) = match reach(self.remote, self.connection, &options, stop).await? {
            Ok(reached) => reached,
            Err(error) => return Ok((Report::default(), Err(error))),
        };
        if greeted.keeps_ticks() {
            self.context.note_ticks();
        }
        if greeted.is_bascule() {
            let blake3 = ChecksumName::Blake3;
            options.checksum_choice = Some(ChecksumChoice { transfer: blake3, list: blake3 });
        }
        let request = Request {
            module: self.remote.module.as_bytes().to_vec(),
            paths: vec![self.path.to_vec()],
            options,
            filters,
            login: login(self.remote, self.connection)?,
            local: LocalEnd::Target(nowhere()),
            umask: umask(),
            pace: None,
            list_limits: self.list_limits,
        };
        let (report, outcome) =
            client::transfer_with(greeted, request, observer, stop.clone()).await;
        Ok((report, abandoned(line, outcome)))
    }
}

/// A destination that cannot be written.
fn nowhere() -> Destination {
    Destination { tree: Arc::new(EmptyTree::nowhere()), path: RelPath::root(), is_directory: true }
}
