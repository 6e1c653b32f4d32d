//! `bascule mirror` and `bascule list`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bascule_engine::empty::EmptyTree;
use bascule_engine::ledger::ListLimits;
use bascule_engine::observe::{Event, Observer, Silent};
use bascule_engine::outcome::{ExitCode, Report};
use bascule_engine::path::RelPath;
use bascule_engine::receiver::Destination;
use bascule_engine::stop::Stop;
use bascule_engine::walk::SourceArg;
use bascule_platform::snapshot::ShadowCopies;
use bascule_session::client::{self, LocalEnd, Login, Request};
use bascule_session::error::SessionError;
use bascule_session::pace::Pace;
use bascule_session::server::{self, ServerOptions};
use bascule_session::site::Peer;
use bascule_wire::filter::Rule;
use bascule_wire::{Options, Version};
use clap::ArgMatches;

use crate::cli::{Connection, List, Mirror};
use crate::connect::connect;
use crate::guard::{Disks, Ends};
use crate::history::{self, recorder::Recorder};
use crate::hours::Limits;
use crate::itemize::printable;
use crate::jobs::diff::Differences;
use crate::listing::Lines;
use crate::local::{self, LocalSite};
use crate::location::{Location, Remote};
use crate::options;
use crate::output::print;
use crate::remote::{self, Wanted, login};
use crate::report::Console;

/// Bytes that may wait between the two halves of a local mirror.
const DUPLEX: usize = 1 << 20;

/// Runs a mirror; the exit code says how it went.
///
/// # Errors
/// When the command line makes no sense.
pub async fn mirror(cli: &Mirror, matches: &ArgMatches, stop: Stop) -> anyhow::Result<ExitCode> {
    Ok(carry_out(cli, matches, Watchers::default(), stop).await?.exit)
}

/// Who else is told what happens in a run.
#[derive(Debug, Clone, Default)]
pub struct Watchers {
    /// For the history.
    pub recorder: Option<Arc<Recorder>>,
    /// For a comparison.
    pub differences: Option<Arc<Differences>>,
    /// Nothing is shown to the user: whoever asked for the run tells what came of it.
    pub silent: bool,
}

impl Watchers {
    /// Whether one of them wants to know what the other end changes.
    fn want_changes(&self) -> bool {
        self.recorder.is_some() || self.differences.is_some()
    }
}

/// Runs a mirror that `watchers` look at.
///
/// # Errors
/// When the command line makes no sense.
pub async fn carry_out(
    cli: &Mirror,
    matches: &ArgMatches,
    watchers: Watchers,
    stop: Stop,
) -> anyhow::Result<history::Ended> {
    let mut run = options::options(&cli.run, &cli.connection)?;
    let rules = options::filters(&cli.run.names, matches, run.partial_dir.as_deref())?;
    let locations =
        cli.paths.iter().map(|path| Location::parse(path)).collect::<Result<Vec<_>, _>>()?;
    let Some((destination, sources)) = locations.split_last() else {
        bail!("a source and a destination are needed");
    };
    let shadows = shadow_copies(cli, sources)?;
    let mut console = Console::new(&run, cli.json, !cli.no_progress);
    if watchers.want_changes() {
        // The other end tells what it deletes and changes only when it is asked.
        run.itemize = run.itemize.max(1);
    }
    console = console.watched_by(watchers);
    let console = Arc::new(console);
    let began = Instant::now();
    let observer: Arc<dyn Observer> = Arc::<Console>::clone(&console);
    let (report, outcome) = match destination {
        Location::Remote(remote) => {
            let pair = remote.to_string();
            let seen = local_sources(sources, None)?;
            let local = || Ok(LocalEnd::Source(local_sources(sources, shadows.as_ref())?));
            let paths = vec![remote.path.clone()];
            let wanted = Wanted { remote, paths, options: &run, rules };
            let mirroring = remote::mirror(cli, wanted, local, &console, &stop);
            let ends = Ends { sources: &seen, target: None, destination: &pair };
            on_the_same_disks(&cli.connection, &run, ends, mirroring).await?
        }
        Location::Local(destination) => {
            let temp_dir = absolute_temp_dir(cli);
            let target = local::destination(destination, temp_dir)?;
            let pair = std::path::absolute(destination)?.display().to_string();
            if let Some((remote, paths)) = remote_sources(sources)? {
                let local = || Ok(LocalEnd::Target(target.clone()));
                let wanted = Wanted { remote: &remote, paths, options: &run, rules };
                let mirroring = remote::mirror(cli, wanted, local, &console, &stop);
                let ends = Ends { sources: &[], target: Some(&target), destination: &pair };
                on_the_same_disks(&cli.connection, &run, ends, mirroring).await?
            } else {
                // Both ends read the same disk: differences cost more than they save.
                run.whole_file = Some(run.whole_file.unwrap_or(true));
                let sources = local_sources(sources, shadows.as_ref())?;
                // The target stages there already: its path means nothing to a module.
                run.temp_dir.take_if(|_| temp_dir.is_some());
                // There is no link that could be dead.
                run.timeout = 0;
                let to = target.clone();
                let limits = Limits::new(cli.run.bwlimit, &cli.run.bwlimit_hours)?;
                let followed = limits.follow();
                let pace = followed.as_ref().map(|followed| followed.pace.clone());
                let mirroring = local_run(sources.clone(), to, &run, rules, pace, observer, stop);
                let ends = Ends { sources: &sources, target: Some(&target), destination: &pair };
                on_the_same_disks(&cli.connection, &run, ends, mirroring).await?
            }
        }
    };
    if let Some(shadows) = shadows {
        remove_shadow_copies(shadows).await?;
    }
    Ok(console.conclude(&run, report, &outcome, began.elapsed()))
}

/// What makes shadow copies of the sources' volumes, if they are wanted.
fn shadow_copies(cli: &Mirror, sources: &[Location]) -> anyhow::Result<Option<Arc<ShadowCopies>>> {
    if !cli.shadow_copy {
        return Ok(None);
    }
    if sources.iter().any(|source| matches!(source, Location::Remote(_))) {
        bail!(
            "--shadow-copy is for sources on this machine; for a daemon's, put \
             \"shadow copy = yes\" into its module"
        );
    }
    Ok(Some(Arc::new(ShadowCopies::new().context("--shadow-copy")?)))
}

/// Removes them before the program ends: one that stays is told of, and is no failure of the run.
async fn remove_shadow_copies(shadows: Arc<ShadowCopies>) -> anyhow::Result<()> {
    let removed = tokio::task::spawn_blocking(move || shadows.remove());
    if let Err(error) = removed.await.context("removing the shadow copies failed")? {
        eprintln!("bascule: {error}");
    }
    Ok(())
}

/// Awaits a run, unless one of its ends is not on the disk that it was on: an unmounted disk looks
/// like a source in which everything was deleted, and as a target takes a whole copy to a disk that
/// has no room for it. A complete run is remembered.
async fn on_the_same_disks(
    connection: &Connection,
    options: &Options,
    ends: Ends<'_>,
    run: impl Future<Output = anyhow::Result<Ended>>,
) -> anyhow::Result<Ended> {
    let disks = Disks::open(connection.notes.as_deref());
    if options.delete_guard.is_some_and(|guard| guard.allowed.is_none())
        && let Some(text) = disks.objection(ends)?
    {
        return Ok((Report::default(), Err(SessionError::new(ExitCode::FileSelection, text))));
    }
    let (report, outcome) = run.await?;
    let is_complete = outcome.is_ok() && report.exit_code() == ExitCode::Success;
    if options.delete_guard.is_some()
        && !options.dry_run
        && is_complete
        && let Err(error) = disks.remember(ends)
    {
        eprintln!("bascule: it could not be noted which disk this is on: {error:#}");
    }
    Ok((report, outcome))
}

/// How a run ended, and why it ended early.
pub(crate) type Ended = (Report, Result<(), SessionError>);

/// Mirrors between two folders of this machine, with the daemon in this process.
async fn local_run(
    sources: Vec<SourceArg>,
    target: Destination,
    options: &Options,
    filters: Vec<Rule>,
    pace: Option<Pace>,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> anyhow::Result<Ended> {
    let (ours, theirs) = tokio::io::duplex(DUPLEX);
    let site = Arc::new(LocalSite { tree: target.tree });
    let server_options = ServerOptions {
        highest: Version::NEWEST,
        umask: umask(),
        patience: Duration::from_secs(60),
    };
    let peer = Peer::default();
    let serving = tokio::spawn(server::serve(
        theirs,
        site,
        peer,
        server_options,
        Arc::new(Silent),
        stop.clone(),
    ));
    let mut path = target.path.as_bytes().to_vec();
    if target.is_directory {
        path.push(b'/');
    }
    let request = Request {
        module: local::MODULE.to_vec(),
        paths: vec![path],
        options: options.clone(),
        filters,
        login: Login::default(),
        local: LocalEnd::Source(sources),
        pace,
        list_limits: ListLimits::NONE,
        umask: umask(),
    };
    let ended = client::transfer(ours, request, observer, stop).await;
    serving.await.context("the daemon in this process failed")?;
    Ok(ended)
}

/// A temp dir of this machine that is not relative to the destination.
fn absolute_temp_dir(cli: &Mirror) -> Option<&Path> {
    cli.run.temp_dir.as_deref().map(Path::new).filter(|dir| dir.is_absolute())
}

fn local_sources(
    sources: &[Location],
    shadows: Option<&Arc<ShadowCopies>>,
) -> anyhow::Result<Vec<SourceArg>> {
    sources
        .iter()
        .map(|source| match source {
            Location::Local(path) => local::source_with(path, shadows),
            Location::Remote(_) => bail!("the source and the destination cannot both be remote"),
        })
        .collect()
}

/// The daemon and the paths of remote sources; `None` when all are local.
fn remote_sources(sources: &[Location]) -> anyhow::Result<Option<(Remote, Vec<Vec<u8>>)>> {
    let mut found: Option<(Remote, Vec<Vec<u8>>)> = None;
    let mut any_local = false;
    for source in sources {
        match (source, &mut found) {
            (Location::Local(_), _) => any_local = true,
            (Location::Remote(remote), None) => {
                found = Some((remote.clone(), vec![remote.path.clone()]));
            }
            (Location::Remote(remote), Some((first, paths))) => {
                if (&remote.host, remote.port, &remote.module, remote.security)
                    != (&first.host, first.port, &first.module, first.security)
                {
                    bail!("all remote sources have to be in one module of one daemon");
                }
                paths.push(remote.path.clone());
            }
        }
    }
    if any_local && found.is_some() {
        bail!("the sources have to be all local or all remote");
    }
    Ok(found)
}

/// Runs `bascule list`.
///
/// # Errors
/// When the command line makes no sense.
pub async fn list(cli: &List, stop: Stop) -> anyhow::Result<ExitCode> {
    let Location::Remote(remote) = Location::parse(&cli.url)? else {
        bail!("a daemon's URL is needed, such as rsync://host/ or rsync://host/module/");
    };
    let options = listing_options(&cli.connection, cli.protocol);
    if remote.module.is_empty() {
        let stream = match connect(&remote, &cli.connection).await? {
            Ok(connected) => connected.stream,
            Err(error) => return Ok(failed(&error)),
        };
        return Ok(match client::list_modules(stream, &options).await {
            Ok(lines) => {
                print(&format!("{}\n", printable(&lines)));
                ExitCode::Success
            }
            Err(error) => failed(&error),
        });
    }
    let observer = Arc::new(Lister(Lines::new()));
    let limits = cli.list_limits.limits();
    let listed = list_files(&remote, &cli.connection, options, limits, observer, stop).await?;
    Ok(match listed {
        (report, Ok(())) => report.exit_code(),
        (_, Err(error)) => failed(&error),
    })
}

/// The options of a run that only lists.
pub(crate) fn listing_options(connection: &Connection, protocol: Option<u8>) -> Options {
    Options {
        list_only: true,
        links: true,
        dirs: true,
        times: true,
        perms: true,
        timeout: connection.timeout,
        protocol,
        ..Options::default()
    }
}

/// Tells `observer` what is in a folder of a daemon's module.
///
/// # Errors
/// When the command line makes no sense.
pub(crate) async fn list_files(
    remote: &Remote,
    connection: &Connection,
    options: Options,
    list_limits: ListLimits,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> anyhow::Result<Ended> {
    let stream = match connect(remote, connection).await? {
        Ok(connected) => connected.stream,
        Err(error) => return Ok((Report::default(), Err(error))),
    };
    let request = Request {
        module: remote.module.as_bytes().to_vec(),
        paths: vec![remote.path.clone()],
        options,
        filters: Vec::new(),
        login: login(remote, connection)?,
        local: LocalEnd::Target(Destination {
            tree: Arc::new(EmptyTree::nowhere()),
            path: RelPath::root(),
            is_directory: true,
        }),
        pace: None,
        list_limits,
        umask: umask(),
    };
    Ok(client::transfer(stream, request, observer, stop).await)
}

/// Prints the entries of a listing.
struct Lister(Lines);

impl Observer for Lister {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Entry(entry) => print(&format!("{}\n", self.0.line(entry))),
            Event::PeerText(text) => print(&format!("{}\n", printable(text))),
            Event::Problem(problem) => eprintln!("{}", printable(problem.to_string().as_bytes())),
            _ => {}
        }
    }
}

fn failed(error: &SessionError) -> ExitCode {
    eprintln!("bascule: {error}");
    error.exit
}

pub(crate) fn umask() -> u32 {
    bascule_platform::umask()
}

#[cfg(test)]
mod held;
