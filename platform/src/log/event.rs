//! An event taken apart: its name, its message, its values.

use std::fmt::{self, Write as _};

use serde_json::Value;
use tracing::Event;
use tracing::field::{Field, Visit};

/// The field that holds an event's stable name.
const NAME: &str = "event";

/// What an event says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The stable name, such as `session.started`; empty if it has none.
    pub(super) name: String,
    /// The words, with control characters escaped.
    pub(super) message: String,
    /// The values, as they were given.
    pub(super) values: Vec<(&'static str, Value)>,
}

impl Said {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut said = Self::default();
        event.record(&mut said);
        said
    }

    /// The message with the values behind it, on one line.
    pub(super) fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in &self.values {
            let text = match value {
                Value::String(text) => escaped(text),
                other => other.to_string(),
            };
            let plain = !text.is_empty() && !text.contains([' ', '"', '=', '\'']);
            // Writing to a string cannot fail.
            let _ = if plain {
                write!(line, " {name}={text}")
            } else {
                write!(line, " {name}=\"{}\"", text.replace('"', "\\\""))
            };
        }
        line
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = escaped(&text),
            (NAME, Value::String(text)) => self.name = escaped(&text),
            (name, value) => self.values.push((name, value)),
        }
    }
}

impl Visit for Said {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

fn escaped(text: &str) -> String {
    text.chars().flat_map(escape).collect()
}

/// Control characters, and those that change the direction of text, as `\u{…}`.
fn escape(c: char) -> impl Iterator<Item = char> {
    let hidden = c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    let (plain, escaped) = if hidden { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}
