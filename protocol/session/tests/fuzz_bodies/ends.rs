//! The two ends of a session over the trees of a [`World`].

use std::sync::Arc;
use std::time::Duration;

use bascule_engine::ledger::ListLimits;
use bascule_engine::observe::Silent;
use bascule_engine::outcome::ExitCode;
use bascule_engine::path::RelPath;
use bascule_engine::receiver::Destination;
use bascule_engine::stop::Stop;
use bascule_engine::symlinks::SymlinkTargets;
use bascule_engine::tree::Target;
use bascule_engine::walk::SourceArg;
use bascule_session::client::{self, LocalEnd, Login, Request};
use bascule_session::error::SessionError;
use bascule_session::server::{self, ServerOptions};
use bascule_session::site::{
    LoginAttempt, ModuleLine, ModuleRules, OpenModule, Peer, Refusal, Site,
};
use bascule_wire::filter::{Rule, RuleKind};
use bascule_wire::names::{ChecksumName, CompressName};
use bascule_wire::options::{ChecksumChoice, DeleteTiming};
use bascule_wire::{Options, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::world::World;

/// How many kinds of run a client knows; `mode` counts them modulo this.
#[allow(dead_code, reason = "the tests go through them")]
pub(crate) const MODES: u8 = 2 * KINDS * 3;
const KINDS: u8 = 12;
/// Fixed, so that the sums of a recorded conversation are right when it is played again.
const SEED: i32 = 7;

/// A daemon with the module `mod`, and a stricter one behind a login.
pub(crate) async fn serve<S>(world: &World, stream: S) -> Result<(), SessionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let site = Arc::new(OneTree(Arc::new(world.root())));
    let patience = Duration::from_secs(60);
    let options = ServerOptions { highest: Version::NEWEST, umask: 0o022, patience };
    let peer = Peer::default();
    let served = server::serve(stream, site, peer, options, Arc::new(Silent), Stop::new()).await;
    served.error.map_or(Ok(()), Err)
}

/// A client that wants what `mode` says.
pub(crate) async fn transfer<S>(world: &World, mode: u8, stream: S) -> Result<(), SessionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let push = mode.is_multiple_of(2);
    let (path, local) = if push {
        let (tree, base, top) =
            (Arc::new(world.folder("root/new")), RelPath::root(), RelPath::root());
        (
            &b"old/"[..],
            LocalEnd::Source(vec![SourceArg { tree, base, named: b"new/".to_vec(), top }]),
        )
    } else {
        let (tree, path) = (Arc::new(world.folder("root/old")), RelPath::root());
        (&b"new/"[..], LocalEnd::Target(Destination { tree, path, is_directory: true }))
    };
    let request = Request {
        module: b"mod".to_vec(),
        paths: vec![path.to_vec()],
        options: options(mode / 2 % KINDS, mode / 2 / KINDS % 3),
        filters: vec![Rule::plain(RuleKind::Exclude, b"*.tmp")],
        login: Login { user: "alice".into(), password: Some(b"secret".to_vec().into()), ask: None },
        local,
        pace: None,
        list_limits: ListLimits::default(),
        umask: 0o022,
    };
    client::transfer(stream, request, Arc::new(Silent), Stop::new()).await.1
}

fn options(kind: u8, version: u8) -> Options {
    let mut options = Options::archive();
    options.modify_window = -1;
    options.delete = Some(DeleteTiming::During);
    options.checksum_seed = Some(SEED);
    options.protocol = Some(32 - version);
    match kind {
        1 => options.compress = true,
        2 => {
            options.hard_links = 1;
            options.delete = Some(DeleteTiming::Delay);
        }
        3 => options.inplace = true,
        4 => {
            options.no_inc_recursive = true;
            options.delete = Some(DeleteTiming::Before);
        }
        5 => {
            (options.partial, options.partial_dir) = (true, Some(b".partial".to_vec()));
            (options.delay_updates, options.sparse) = (true, true);
        }
        6 => (options.list_only, options.delete) = (true, None),
        7 => (options.dry_run, options.itemize, options.numeric_ids) = (true, 2, true),
        8 => {
            (options.checksum, options.delete) = (true, Some(DeleteTiming::After));
            let name = ChecksumName::Blake3;
            options.checksum_choice = Some(ChecksumChoice { transfer: name, list: name });
        }
        9 => {
            options.compress = true;
            options.compress_choice = Some(CompressName::Zlibx);
            options.whole_file = Some(true);
        }
        10 => {
            options.compress = true;
            options.compress_choice = Some(CompressName::Lz4);
            options.block_size = Some(700);
        }
        11 => {
            options.compress = true;
            options.compress_choice = Some(CompressName::Zlib);
            options.secluded_args = true;
        }
        _ => {}
    }
    options
}

/// A site with one tree.
struct OneTree(Arc<dyn Target>);

impl Site for OneTree {
    fn motd(&self) -> Option<Vec<u8>> {
        None
    }

    fn modules(&self, _peer: &Peer) -> Vec<ModuleLine> {
        vec![ModuleLine { name: "mod".into(), comment: "the tree".into() }]
    }

    fn open(&self, name: &[u8], _peer: &Peer) -> Result<Box<dyn OpenModule>, Refusal> {
        let tree = Arc::clone(&self.0);
        match name {
            b"mod" => Ok(Box::new(Module { tree, strict: false })),
            b"strict" => Ok(Box::new(Module { tree, strict: true })),
            _ => Err(Refusal("Unknown module".into())),
        }
    }
}

struct Module {
    tree: Arc<dyn Target>,
    strict: bool,
}

impl OpenModule for Module {
    fn needs_login(&self) -> bool {
        self.strict
    }

    fn login(&mut self, attempt: &LoginAttempt<'_>) -> Result<(), Refusal> {
        // No fuzzer answers a random challenge.
        if attempt.user == b"alice" { Ok(()) } else { Err(Refusal("auth failed".into())) }
    }

    fn enter(&mut self) -> Result<ModuleRules, Refusal> {
        let when_strict = |text: &str| self.strict.then(|| text.to_owned());
        let filters =
            if self.strict { vec![Rule::plain(RuleKind::Exclude, b"gone")] } else { vec![] };
        Ok(ModuleRules {
            name: "mod".into(),
            root: Arc::clone(&self.tree),
            read_only: false,
            unreceivable: None,
            write_only: false,
            filters,
            incoming_chmod: when_strict("Dg+s,ug+w"),
            outgoing_chmod: when_strict("o-rwx"),
            numeric_ids: self.strict,
            refuse_options: when_strict("force").into_iter().collect(),
            timeout: if self.strict { 60 } else { 0 },
            list_limits: ListLimits::default(),
            symlink_targets: if self.strict {
                SymlinkTargets::Munged
            } else {
                SymlinkTargets::Verbatim
            },
            durable: false,
            enter_thread: None,
        })
    }

    fn before_transfer(&mut self, _args: &[Vec<u8>]) -> Result<(), Refusal> {
        Ok(())
    }

    fn after_transfer(&mut self, _exit: ExitCode) {}
}
