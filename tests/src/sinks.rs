//! Servers that take notices and keep them: mail by SMTP, posts by HTTP.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long something that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a client may say nothing.
const SILENCE: Duration = Duration::from_secs(20);

/// A mail that arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// User and password of the login, separated by NULs, as AUTH PLAIN has them in base64.
    pub login: Option<String>,
    /// The headers, one a line, as they came.
    pub headers: String,
    /// The text, decoded.
    pub body: String,
}

impl Mail {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What it is about.
    pub fn subject(&self) -> &str {
        self.header("Subject").unwrap_or_default()
    }
}

/// A post that arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Post {
    /// The path of the URL.
    pub path: String,
    /// The headers, one a line, as they came.
    pub headers: String,
    /// The body.
    pub body: String,
}

impl Post {
    /// The body as the document that it is.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Takes mail; dropped, it takes no more connections.
#[derive(Debug)]
pub struct SmtpSink(Sink<Mail>);

/// Takes posts; dropped, it takes no more connections.
#[derive(Debug)]
pub struct HttpSink {
    sink: Sink<Post>,
    status: Arc<AtomicU16>,
}

impl SmtpSink {
    /// Takes mail from now on.
    ///
    /// # Panics
    /// When the listener cannot be used.
    pub fn on(listener: TcpListener) -> Self {
        Self::refusing(listener, "nobody@is.refused")
    }

    /// Takes mail from now on, for everybody but one recipient.
    ///
    /// # Panics
    /// When the listener cannot be used.
    pub fn refusing(listener: TcpListener, recipient: &'static str) -> Self {
        Self(Sink::on(listener, move |stream, kept: &_| take_mail(stream, kept, recipient)))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// What has arrived until now.
    pub fn messages(&self) -> Vec<Mail> {
        self.0.messages()
    }

    /// Waits for a mail for which `is_it` holds.
    ///
    /// # Panics
    /// When none comes in two minutes.
    pub fn wait_for(&self, is_it: impl Fn(&Mail) -> bool) -> Mail {
        self.0.wait_for(is_it)
    }
}

impl HttpSink {
    /// Takes posts from now on.
    ///
    /// # Panics
    /// When the listener cannot be used.
    pub fn on(listener: TcpListener) -> Self {
        let status = Arc::new(AtomicU16::new(204));
        let answer = Arc::clone(&status);
        let serve = move |stream, kept: &_| take_post(stream, kept, answer.load(Ordering::Relaxed));
        Self { sink: Sink::on(listener, serve), status }
    }

    /// Answers with this status from now on; what it does not answer with 2xx is not kept.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.sink.address
    }

    /// What has arrived until now.
    pub fn messages(&self) -> Vec<Post> {
        self.sink.messages()
    }

    /// Waits for a post for which `is_it` holds.
    ///
    /// # Panics
    /// When none comes in two minutes.
    pub fn wait_for(&self, is_it: impl Fn(&Post) -> bool) -> Post {
        self.sink.wait_for(is_it)
    }
}

type Kept<T> = Mutex<Vec<T>>;

#[derive(Debug)]
struct Sink<T> {
    address: SocketAddr,
    kept: Arc<Kept<T>>,
    is_over: Arc<AtomicBool>,
    accepts: Option<JoinHandle<()>>,
}

impl<T: Clone + std::fmt::Debug + Send + 'static> Sink<T> {
    fn on(
        listener: TcpListener,
        serve: impl Fn(TcpStream, &Kept<T>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("it listens");
        let kept = Arc::new(Kept::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let (keeps, ends, serve) = (Arc::clone(&kept), Arc::clone(&is_over), Arc::new(serve));
        let accepts = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let (keeps, serve) = (Arc::clone(&keeps), Arc::clone(&serve));
                std::thread::spawn(move || {
                    // A client that goes away in the middle has sent nothing.
                    let _ = stream.set_read_timeout(Some(SILENCE));
                    let _ = serve(stream, &keeps);
                });
            }
        });
        Self { address, kept, is_over, accepts: Some(accepts) }
    }

    fn messages(&self) -> Vec<T> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait_for(&self, is_it: impl Fn(&T) -> bool) -> T {
        let began = Instant::now();
        loop {
            let messages = self.messages();
            if let Some(found) = messages.iter().find(|message| is_it(message)) {
                return found.clone();
            }
            assert!(began.elapsed() < PATIENCE, "it did not come: {messages:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl<T> Drop for Sink<T> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepts) = self.accepts.take()
        {
            let _ = accepts.join();
        }
    }
}

fn keep<T>(kept: &Kept<T>, message: T) {
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(message);
}

/// One SMTP connection; mail for `refused` is not taken.
fn take_mail(stream: TcpStream, kept: &Kept<Mail>, refused: &str) -> io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    let mut mail = Mail::default();
    write!(answers, "220 sink ready\r\n")?;
    loop {
        let Some(line) = line_of(&mut lines)? else { return Ok(()) };
        let (word, rest) = line.split_at(line.find([' ', ':']).unwrap_or(line.len()));
        let answer = match &word.to_ascii_uppercase()[..] {
            "EHLO" => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => {
                mail.login = rest.split_whitespace().nth(1).map(ToOwned::to_owned);
                "235 welcome"
            }
            "MAIL" => {
                mail.from = address(rest);
                "250 go on"
            }
            "RCPT" if address(rest) == refused => "550 no such user",
            "RCPT" => {
                mail.to.push(address(rest));
                "250 go on"
            }
            "DATA" => {
                write!(answers, "354 a dot ends it\r\n")?;
                if !take_text(&mut lines, &mut mail)? {
                    return Ok(());
                }
                let login = mail.login.clone();
                keep(kept, std::mem::replace(&mut mail, Mail { login, ..Mail::default() }));
                "250 kept"
            }
            "RSET" | "NOOP" => "250 good",
            "QUIT" => {
                write!(answers, "221 bye\r\n")?;
                return Ok(());
            }
            _ => "502 what?",
        };
        write!(answers, "{answer}\r\n")?;
    }
}

/// Takes a mail's headers and text; `false` when the client has gone before the end.
fn take_text(lines: &mut BufReader<TcpStream>, mail: &mut Mail) -> io::Result<bool> {
    let mut text = String::new();
    loop {
        match line_of(lines)? {
            None => return Ok(false),
            Some(line) if line == "." => break,
            Some(line) => {
                text.push_str(line.strip_prefix('.').unwrap_or(&line));
                text.push('\n');
            }
        }
    }
    let (headers, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    // A long header goes on in lines that begin with a space.
    mail.headers = headers.replace("\n ", " ");
    let is_quoted = mail
        .header("Content-Transfer-Encoding")
        .is_some_and(|encoding| encoding.eq_ignore_ascii_case("quoted-printable"));
    mail.body = if is_quoted { unquoted(body) } else { body.to_owned() };
    Ok(true)
}

/// Decodes quoted-printable text.
fn unquoted(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let joined = text.replace("=\n", "");
    let mut parts = joined.split('=');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(part[2..].bytes());
            }
            None => bytes.extend(part.bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One HTTP connection: as many posts as the client likes.
fn take_post(stream: TcpStream, kept: &Kept<Post>, status: u16) -> io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    let Some(first) = line_of(&mut lines)? else { return Ok(()) };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut post = Post { path, ..Post::default() };
    let mut length = 0;
    while let Some(line) = line_of(&mut lines)?.filter(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        post.headers.push_str(&line);
        post.headers.push('\n');
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body)?;
    post.body = String::from_utf8_lossy(&body).into_owned();
    if (200..300).contains(&status) {
        keep(kept, post);
    }
    write!(answers, "HTTP/1.1 {status} so it is\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// The next line without its end; `None` at the end of the stream.
fn line_of(lines: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// What stands between angle brackets.
fn address(text: &str) -> String {
    let inner = text.split('<').nth(1).and_then(|rest| rest.split('>').next());
    inner.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_and_a_post_are_kept_as_they_came() {
        let listener = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let smtp = SmtpSink::on(listener());
        let mut client = TcpStream::connect(smtp.address()).expect("it listens");
        let said = "EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nSubject: hi\r\n\
                    Content-Transfer-Encoding: quoted-printable\r\n\r\n..a =C3=A9 b=\r\nc\r\n.\r\nQUIT\r\n";
        client.write_all(said.as_bytes()).expect("it reads");
        let mail = smtp.wait_for(|_| true);
        assert_eq!((&mail.from[..], mail.subject(), &mail.body[..]), ("a@x", "hi", ".a é bc\n"));
        assert_eq!(mail.to, ["b@y"]);

        let http = HttpSink::on(listener());
        let post = |sink: &HttpSink| {
            let mut client = TcpStream::connect(sink.address()).expect("it listens");
            write!(client, "POST /p HTTP/1.1\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}")
                .expect("read");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("an answer");
            answer
        };
        http.answer(500);
        assert!(post(&http).starts_with("HTTP/1.1 500"));
        http.answer(200);
        assert!(post(&http).starts_with("HTTP/1.1 200"));
        let kept = http.messages();
        assert_eq!((kept.len(), &kept[0].path[..]), (1, "/p"));
        assert_eq!(kept[0].json()["a"], 1);

        // Gone means gone: the same port can be had again.
        let address = http.address();
        drop(http);
        HttpSink::on(TcpListener::bind(address).expect("the port is free"));
    }
}
