//! The log: one line an event, time in UTC, stable words first, values after them. Control
//! characters never reach it, so that no client can write lines of its own.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Where the log goes.
#[derive(Debug)]
pub enum Destination {
    /// Standard error.
    Stderr,
    /// An open file.
    File(File),
    /// Nowhere: standard error is the client's connection.
    Nowhere,
}

/// Opens a log file for appending; a new one is readable by its owner and group.
///
/// # Errors
/// What the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// Starts the log of this process. Each `-v` tells more.
pub fn start(destination: Destination, verbose: u8) {
    let level = match verbose {
        0 => Level::INFO,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).event_format(Line);
    // A second start in one process keeps the first log.
    let _ = match destination {
        Destination::Stderr => builder.with_writer(io::stderr).try_init(),
        Destination::File(file) => builder.with_writer(Arc::new(file)).try_init(),
        Destination::Nowhere => builder.with_writer(io::sink).try_init(),
    };
}

/// The form of a line.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let metadata = event.metadata();
        write!(writer, " [{}] {} ", std::process::id(), metadata.level())?;
        let mut values = Values::default();
        event.record(&mut values);
        writeln!(writer, "{}{}", values.message, values.rest)
    }
}

/// Collects an event's message and fields.
#[derive(Debug, Default)]
struct Values {
    message: String,
    rest: String,
}

impl Values {
    fn add(&mut self, field: &Field, value: &str) {
        let escaped: String = value.chars().flat_map(escape).collect();
        let out = if field.name() == "message" {
            &mut self.message
        } else {
            // Writing to a string cannot fail.
            let _ = write!(self.rest, " {}=", field.name());
            &mut self.rest
        };
        let plain = field.name() == "message"
            || (!escaped.is_empty() && !escaped.contains([' ', '"', '=', '\'']));
        if plain {
            out.push_str(&escaped);
        } else {
            let _ = write!(out, "\"{}\"", escaped.replace('"', "\\\""));
        }
    }
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Control characters, and those that change the direction of text, as `\u{…}`.
fn escape(c: char) -> impl Iterator<Item = char> {
    let hidden = c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    let (plain, escaped) = if hidden { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn rule_19_6_a_client_cannot_write_lines_of_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let file = open(&path).expect("a log file");
        let subscriber =
            tracing_subscriber::fmt().event_format(Line).with_writer(Arc::new(file)).finish();
        tracing::subscriber::with_default(subscriber, || {
            let user = "joe\n2026 login user=root \u{1b}[2J\u{202e}";
            tracing::warn!(user, plain = "x", number = 5, "login \"failed\"");
        });
        let mut text = String::new();
        File::open(&path).and_then(|mut file| file.read_to_string(&mut text)).expect("a log");
        let (_, line) = text.split_once("] ").expect("a process id");
        assert_eq!(
            line,
            "WARN login \"failed\" user=\"joe\\n2026 login user=root \\u{1b}[2J\\u{202e}\" \
             plain=x number=5\n"
        );
    }
}
