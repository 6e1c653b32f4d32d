//! An event as a line, for people or for machines.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::event::Said;

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Time, process, level, name, message, values.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Formats lines.
pub(super) struct Lines(pub(super) Format);

impl<S, N> FormatEvent<S, N> for Lines
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
        let said = Said::of(event);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let (pid, level) = (std::process::id(), event.metadata().level());
        match self.0 {
            Format::Text => {
                write!(writer, "{time} [{pid}] {level} ")?;
                if !said.name.is_empty() {
                    write!(writer, "{} ", said.name)?;
                }
                writeln!(writer, "{}", said.line())
            }
            Format::Json => {
                let mut line = Map::new();
                line.insert("time".into(), time.into());
                line.insert("pid".into(), pid.into());
                line.insert("level".into(), level.as_str().into());
                line.insert("event".into(), said.name.into());
                line.insert("message".into(), said.message.into());
                for (name, value) in said.values {
                    // A value never hides what every line has.
                    line.entry(name).or_insert(value);
                }
                writeln!(writer, "{}", Value::Object(line))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;

    fn line(format: Format, log: impl FnOnce()) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let file = fs::File::create(&path).expect("a log file");
        let subscriber = tracing_subscriber::fmt()
            .event_format(Lines(format))
            .with_writer(Arc::new(file))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        fs::read_to_string(&path).expect("a log")
    }

    fn hostile() {
        let user = "joe\n2026 login user=root \u{1b}[2J\u{202e}";
        tracing::warn!(user, plain = "x", number = 5, "login \"failed\"");
    }

    #[test]
    fn rule_19_6_a_client_cannot_write_lines_of_its_own() {
        let text = line(Format::Text, hostile);
        let (_, line) = text.split_once("] ").expect("a process id");
        assert_eq!(
            line,
            "WARN login \"failed\" user=\"joe\\n2026 login user=root \\u{1b}[2J\\u{202e}\" \
             plain=x number=5\n"
        );
    }

    #[test]
    fn json_keeps_numbers_and_lines_apart() {
        let text = line(Format::Json, hostile);
        assert_eq!(text.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["number"], 5);
        assert_eq!(value["level"], "WARN");
        assert_eq!(value["message"], "login \"failed\"");
        assert_eq!(value["user"], "joe\n2026 login user=root \u{1b}[2J\u{202e}");
    }

    #[test]
    fn the_name_stands_before_the_message() {
        let named = || tracing::info!(event = "a.b", level = "no", n = 1, "done");
        let text = line(Format::Text, named);
        assert!(text.ends_with("] INFO a.b done level=no n=1\n"), "{text}");
        let value: Value = serde_json::from_str(&line(Format::Json, named)).expect("JSON");
        assert_eq!((&value["event"], &value["level"]), (&"a.b".into(), &"INFO".into()));
    }
}
