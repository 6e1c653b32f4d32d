//! The journal of systemd: events with fields (`BASCULE_EVENT=login.failed`,
//! `BASCULE_MODULE=mail`), by its native protocol. The message holds the values too, because that
//! is what `journalctl` shows by default.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;

use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::event::Said;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// The most bytes of one field: all fields of an event together fit into one datagram.
const LONGEST: usize = 8 << 10;

/// Sends events to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    program: &'static str,
}

impl Journal {
    /// The journal, if standard error of this process leads there: systemd started it.
    pub(super) fn of_stderr(program: &'static str) -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
        if stream != format!("{}:{}", stderr.dev(), stderr.ino()) {
            return None;
        }
        Self::connect(SOCKET, program).ok()
    }

    fn connect(path: &str, program: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // Connected now: a thread that is confined later can still send.
        socket.connect(path)?;
        Ok(Self { socket, program })
    }

    fn send(&self, level: Level, said: &Said) -> io::Result<usize> {
        // Syslog's numbers.
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut datagram = Vec::new();
        field(&mut datagram, "PRIORITY", priority);
        field(&mut datagram, "SYSLOG_IDENTIFIER", self.program);
        field(&mut datagram, "MESSAGE", &said.line());
        if !said.name.is_empty() {
            field(&mut datagram, "BASCULE_EVENT", &said.name);
        }
        for (name, value) in &said.values {
            let name = format!("BASCULE_{}", name.to_ascii_uppercase());
            match value {
                Value::String(text) => field(&mut datagram, &name, text),
                other => field(&mut datagram, &name, &other.to_string()),
            }
        }
        self.socket.send(&datagram)
    }
}

/// Adds a field in the form for any bytes: name, length, value.
fn field(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let mut end = value.len().min(LONGEST);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let value = &value.as_bytes()[..end];
    datagram.extend_from_slice(name.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    datagram.extend_from_slice(value);
    datagram.push(b'\n');
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        // There is no other place to say that the journal is gone.
        let _ = self.send(*event.metadata().level(), &Said::of(event));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Reads a datagram as the journal does.
    fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(bytes[..end].to_vec()).expect("a name");
            let (length, rest) = bytes[end + 1..].split_first_chunk().expect("a length");
            let length = usize::try_from(u64::from_le_bytes(*length)).expect("a small length");
            let value = String::from_utf8(rest[..length].to_vec()).expect("a value");
            assert_eq!(rest[length], b'\n');
            bytes = &rest[length + 1..];
            fields.push((name, value));
        }
        assert!(bytes.is_empty());
        fields
    }

    #[test]
    fn an_event_has_fields_and_its_message_the_values() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let server = UnixDatagram::bind(&path).expect("a socket");
        let journal = Journal::connect(path.to_str().expect("text"), "prog").expect("connected");
        let subscriber = tracing_subscriber::registry().with(journal);
        let long = "é".repeat(LONGEST);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(
                event = "login.failed",
                user = "joe\nMESSAGE=x",
                tries = 3,
                "login failed"
            );
            tracing::info!(long, "long");
        });
        let mut buffer = vec![0; 1 << 20];
        let length = server.recv(&mut buffer).expect("a datagram");
        let expected = [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "prog"),
            ("MESSAGE", "login failed user=\"joe\\nMESSAGE=x\" tries=3"),
            ("BASCULE_EVENT", "login.failed"),
            ("BASCULE_USER", "joe\nMESSAGE=x"),
            ("BASCULE_TRIES", "3"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields(&buffer[..length]), expected);
        let length = server.recv(&mut buffer).expect("a datagram");
        assert!(fields(&buffer[..length]).iter().all(|(_, value)| value.len() <= LONGEST));
    }
}
