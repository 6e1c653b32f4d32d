//! A mirror to or from a daemon: logs in, lets the guard count, tries again after faults on the way.

use std::io::{IsTerminal as _, Read as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bascule_engine::observe::{Event, Observer};
use bascule_engine::outcome::{Counters, ExitCode, Problem, Report, Severity};
use bascule_engine::run::{IO_ERROR_DELETE_LIMIT, interrupted};
use bascule_engine::stop::Stop;
use bascule_platform::secret::{self, first_line};
use bascule_platform::text::unmarked_secret;
use bascule_session::client::{self, AskPassword, Greeted, LocalEnd, Login, Request};
use bascule_session::error::SessionError;
use bascule_session::tcp::Line;
use bascule_wire::Options;
use bascule_wire::filter::Rule;
use zeroize::Zeroizing;

use crate::cli::{Connection, Mirror};
use crate::connect::{Connected, Stream, connect};
use crate::guard::Count;
use crate::hours::Limits;
use crate::location::Remote;
use crate::mirror::{Ended, umask};
use crate::options;
use crate::report::Console;
use crate::retry::{self, Retries};

/// What is wanted of a daemon.
pub struct Wanted<'a> {
    /// The daemon and its module.
    pub remote: &'a Remote,
    /// Paths in the module; one for a push.
    pub paths: Vec<Vec<u8>>,
    /// The options.
    pub options: &'a Options,
    /// The filter rules.
    pub rules: Vec<Rule>,
}

/// Mirrors between `local`, which is opened for each attempt, and a daemon.
///
/// # Errors
/// When the command line makes no sense.
pub async fn mirror(
    cli: &Mirror,
    wanted: Wanted<'_>,
    local: impl Fn() -> anyhow::Result<LocalEnd>,
    console: &Arc<Console>,
    stop: &Stop,
) -> anyhow::Result<Ended> {
    let Wanted { remote, paths, options, rules } = wanted;
    if remote.module.is_empty() {
        bail!("{}: the module is missing; `bascule list` shows the daemon's modules", remote.host);
    }
    let retries = Retries { limit: cli.retries, wait: Duration::from_secs(cli.retry_wait) };
    let login = login(remote, &cli.connection)?;
    let followed = Limits::new(cli.run.bwlimit, &cli.run.bwlimit_hours)?.follow();
    let mut done = Counters::default();
    for failed in 1_u32.. {
        let request = Request {
            module: remote.module.as_bytes().to_vec(),
            paths: paths.clone(),
            options: options.clone(),
            filters: rules.clone(),
            login: login.clone(),
            local: local()?,
            pace: followed.as_ref().map(|followed| followed.pace.clone()),
            list_limits: cli.run.list_limits.limits(),
            umask: umask(),
        };
        let (mut report, outcome) = attempt(cli, remote, request, console, stop).await?;
        retry::add(&done, &mut report);
        let pause = match &outcome {
            // Once a daemon has let us in, it says so among the messages.
            Err(error)
                if retry::can_heal(error)
                    || error.exit == ExitCode::ClientStart && console.was_told_to_wait() =>
            {
                retries.pause(failed)
            }
            _ => None,
        };
        let (Err(error), Some(pause)) = (&outcome, pause) else {
            return Ok((report, outcome));
        };
        console.try_again(error, failed, cli.retries.saturating_add(1), pause);
        if !retry::wait(pause, stop).await {
            return Ok((report, Err(interrupted())));
        }
        done = report.counters;
    }
    bail!("the attempts cannot be counted any more")
}

/// One attempt: connects and transfers. Before a stock receiver deletes, a dry run counts.
async fn attempt(
    cli: &Mirror,
    remote: &Remote,
    mut request: Request,
    console: &Arc<Console>,
    stop: &Stop,
) -> anyhow::Result<Ended> {
    let reached = reach(remote, &cli.connection, &request.options, stop).await?;
    let (mut greeted, mut line) = match reached {
        Ok(reached) => reached,
        Err(error) => return Ok((Report::default(), Err(error))),
    };
    let options = &request.options;
    let counts = matches!(request.local, LocalEnd::Source(_)) && !options.dry_run;
    let mut objection = None;
    if let Some(guard) = options.delete_guard.filter(|_| counts && !greeted.is_bascule()) {
        let count = Arc::new(Count::default());
        let counting = Request { options: Count::options(options), ..request.clone() };
        let counted = Arc::<Count>::clone(&count);
        let (report, outcome) =
            client::transfer_with(greeted, counting, counted, stop.clone()).await;
        if outcome.is_err() {
            return Ok((report, abandoned(line, outcome)));
        }
        objection = count.apply(&guard, &report, &mut request.options);
        (greeted, line) = match reach(remote, &cli.connection, &request.options, stop).await? {
            Ok(reached) => reached,
            Err(error) => return Ok((Report::default(), Err(error))),
        };
    }
    let observer: Arc<dyn Observer> = Arc::<Console>::clone(console);
    let (mut report, outcome) =
        client::transfer_with(greeted, request, observer, stop.clone()).await;
    if let Some(text) = objection.filter(|_| outcome.is_ok()) {
        console.on(&Event::Problem(&Problem::of_run(Severity::Warning, text)));
        report.io_error |= IO_ERROR_DELETE_LIMIT;
    }
    Ok((report, abandoned(line, outcome)))
}

pub(crate) type Reached = (Greeted<Box<dyn Stream>>, Option<Line>);

/// Connects to a daemon and hears its greeting.
pub(crate) async fn reach(
    remote: &Remote,
    connection: &Connection,
    options: &Options,
    stop: &Stop,
) -> anyhow::Result<Result<Reached, SessionError>> {
    let connected = tokio::select! {
        connected = connect(remote, connection) => connected?,
        () = client::stopped(stop) => Err(interrupted()),
    };
    Ok(match connected {
        Ok(Connected { stream, line }) => match client::greet(stream, options, stop).await {
            Ok(greeted) => Ok((greeted, line)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    })
}

/// Gives up the line of a transfer that failed on the way.
pub(crate) fn abandoned(
    line: Option<Line>,
    outcome: Result<(), SessionError>,
) -> Result<(), SessionError> {
    if let (Some(line), Err(error)) = (line, &outcome)
        && retry::can_heal(error)
    {
        line.abandon();
    }
    outcome
}

/// The user and the password, as the command line and the environment give them.
///
/// # Errors
/// When the password cannot be read.
pub fn login(remote: &Remote, connection: &Connection) -> anyhow::Result<Login> {
    let user = remote
        .user
        .clone()
        .or_else(|| std::env::var("USER").ok())
        .or_else(|| std::env::var("LOGNAME").ok())
        .unwrap_or_default();
    let password = match &connection.password_file {
        Some(file) if file == "-" => {
            let mut text = Zeroizing::new(Vec::new());
            std::io::stdin().read_to_end(&mut text).context("reading the password")?;
            let text = unmarked_secret(text).context("reading the password")?;
            Some(first_line(&text).to_vec().into())
        }
        Some(file) => Some(first_line(&secret::read(file.as_ref())?).to_vec().into()),
        None => std::env::var_os("RSYNC_PASSWORD").map(|text| options::bytes(&text).into()),
    };
    let ask: AskPassword = ask_password;
    Ok(Login { user, password, ask: std::io::stdin().is_terminal().then_some(ask) })
}

/// Asks once; a new attempt gets the same answer.
fn ask_password() -> std::io::Result<Zeroizing<Vec<u8>>> {
    static TYPED: OnceLock<Zeroizing<Vec<u8>>> = OnceLock::new();
    match TYPED.get() {
        Some(typed) => Ok(typed.clone()),
        None => {
            let typed = rpassword::prompt_password("Password: ")?.into_bytes();
            Ok(TYPED.get_or_init(|| typed.into()).clone())
        }
    }
}
