//! The log of a program: one event a line, in text or JSON, to standard error, a file, a folder of
//! daily files, the journal of systemd, and on Windows to the event log as well.
//!
//! An event is a [`tracing`] event; its field `event` is its stable name, such as
//! `session.started`, its message is for people and may be reworded. Control characters never
//! reach a log, so that no client can write lines of its own.

mod event;
#[cfg(windows)]
pub mod event_log;
mod files;
#[cfg(target_os = "linux")]
mod journal;
mod lines;

use std::io;
use std::path::PathBuf;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

pub use lines::Format;

/// A layer of any kind.
type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The journal if systemd started this process with its standard error there, otherwise
    /// standard error.
    Standard,
    /// A file, opened again by [`reopen`] after something else has rotated it.
    File(PathBuf),
    /// A folder: one file a day, the oldest go.
    Folder {
        /// Where; made if it is missing.
        path: PathBuf,
        /// How many files stay.
        keep: usize,
    },
    /// Nowhere: standard error is the client's connection.
    Nowhere,
}

/// How a program logs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program's name: the identifier in the journal, the start of the names of daily files.
    pub program: &'static str,
    /// Where the log goes.
    pub destination: Destination,
    /// Where it goes when that cannot be opened.
    pub otherwise: Destination,
    /// The form of lines; in the journal events have fields, unless a form is asked for.
    pub format: Option<Format>,
    /// 0 for what an administrator wants to know, 1 for details, 2 for everything, that of libraries
    /// too.
    pub verbose: u8,
    /// The source in the Windows event log that warnings, errors and the service's own events go
    /// to besides; elsewhere this has no effect.
    pub event_source: Option<String>,
}

/// Starts the log of this process. A log that cannot be opened is no reason not to work: the other
/// one says why. A second start in one process keeps the first log.
pub fn start(settings: &Settings) {
    let (layer, failure) = match layer(settings, &settings.destination) {
        Ok(layer) => (layer, None),
        // The last resort cannot fail.
        Err(error) => (layer(settings, &settings.otherwise).ok().flatten(), Some(error)),
    };
    let layers: Vec<AnyLayer> = layer.into_iter().chain(event_log(settings)).collect();
    // Around the others: what is too fine reaches none of them.
    let _ = tracing_subscriber::registry().with(layers).with(levels(settings.verbose)).try_init();
    if let Some(error) = failure {
        let path = match &settings.destination {
            Destination::File(path) | Destination::Folder { path, .. } => path.display(),
            Destination::Standard | Destination::Nowhere => return,
        };
        tracing::error!(event = "log.unusable", %path, %error, "cannot open the log file");
    }
}

/// What is told at that verbosity: only who wants everything wants the details of libraries.
fn levels(verbose: u8) -> Targets {
    match verbose {
        0 => Targets::new().with_default(LevelFilter::INFO),
        1 => Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("bascule", LevelFilter::DEBUG),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    }
}

/// Opens the log file of this process by its name again, for whoever has renamed or removed it.
/// Nothing happens when the log goes elsewhere; what cannot be opened leaves the old file in use.
pub fn reopen() {
    if let Err(error) = files::reopen() {
        tracing::error!(event = "log.unusable", %error, "cannot open the log file again");
    }
}

/// The Windows event log, for a service.
#[cfg(windows)]
fn event_log(settings: &Settings) -> Option<AnyLayer> {
    let log = event_log::EventLog::open(settings.event_source.as_deref()?)?;
    Some(Box::new(log))
}

/// Only Windows has one.
#[cfg(not(windows))]
fn event_log(_settings: &Settings) -> Option<AnyLayer> {
    None
}

fn layer(settings: &Settings, destination: &Destination) -> io::Result<Option<AnyLayer>> {
    let lines = lines::Lines(settings.format.unwrap_or_default());
    let builder = fmt::layer().with_ansi(false).event_format(lines);
    Ok(Some(match destination {
        Destination::Standard => {
            #[cfg(target_os = "linux")]
            if settings.format.is_none()
                && let Some(journal) = journal::Journal::of_stderr(settings.program)
            {
                return Ok(Some(Box::new(journal)));
            }
            Box::new(builder.with_writer(io::stderr))
        }
        Destination::File(path) => Box::new(builder.with_writer(files::appending(path)?)),
        Destination::Folder { path, keep } => {
            let daily = files::daily(path, settings.program, *keep)?;
            Box::new(builder.with_writer(daily))
        }
        Destination::Nowhere => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_tell_their_details_only_when_everything_is_wanted() {
        let told = |verbose, target| {
            let levels = levels(verbose);
            let is_told = |level: &Level| levels.would_enable(target, level);
            [Level::INFO, Level::DEBUG, Level::TRACE].map(|level| is_told(&level))
        };
        for own in ["bascule_session::pump", "basculed"] {
            assert_eq!(told(0, own), [true, false, false]);
            assert_eq!(told(1, own), [true, true, false]);
            assert_eq!(told(2, own), [true; 3]);
        }
        assert_eq!(told(1, "rustls::client::hs"), [true, false, false]);
        assert_eq!(told(2, "rustls::client::hs"), [true; 3]);
    }
}
