//! Asks for metrics and health as Prometheus does, and reads the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long to wait for what has to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// The status and the body that `http://127.0.0.1:PORT/PATH` gives.
///
/// # Panics
/// When there is no answer.
pub fn get(port: u16, path: &str) -> (u16, String) {
    let began = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(began.elapsed() < PATIENCE, "nobody listens: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("sent");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("an answer");
    let (head, body) = said.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// What was scraped.
#[derive(Debug, Clone)]
pub struct Scraped {
    /// The text.
    pub text: String,
    samples: BTreeMap<String, f64>,
}

impl Scraped {
    /// Scrapes the program whose metrics are at `port`.
    ///
    /// # Panics
    /// When it does not answer as it should.
    pub fn from(port: u16) -> Self {
        let (status, text) = get(port, "/metrics");
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect();
        Self { text, samples }
    }

    /// Scrapes until `is_it` holds.
    ///
    /// # Panics
    /// When it never does.
    pub fn until(port: u16, is_it: impl Fn(&Self) -> bool) -> Self {
        let began = Instant::now();
        loop {
            let found = Self::from(port);
            if is_it(&found) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "it did not come to it: {}", found.text);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The value of a sample, named as in the text: `x_files_total{module="mail"}`.
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// The metrics with their types and the names of their labels.
    pub fn families(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let typed = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut found: BTreeMap<String, (String, BTreeSet<String>)> = typed
            .filter_map(|family| family.split_once(' '))
            .map(|(name, kind)| (name.to_owned(), (kind.to_owned(), BTreeSet::new())))
            .collect();
        for sample in self.samples.keys() {
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let names = labels.split(',').filter_map(|label| label.split_once('='));
            let family = found.entry(name.to_owned()).or_default();
            family.1.extend(names.map(|(label, _)| label.to_owned()));
        }
        found
    }
}

/// The words of a text that begin with `prefix`: names of metrics.
pub fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    words.filter(|word| word.starts_with(prefix)).map(str::to_owned).collect()
}

/// Lets Prometheus's own tool judge: `promtool` with these arguments and this standard input.
///
/// # Panics
/// When it finds something wrong, or is not installed: run `./test`, which installs it.
pub fn promtool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (./test does that)");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(input.as_bytes()).expect("it reads");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}
