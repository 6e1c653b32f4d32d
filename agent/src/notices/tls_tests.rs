//! Notices over TLS: passwords and tokens are sent to those only whom an authority vouches for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bascule_session::tls::{Acceptor, Identity, Secured};
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::queue::Waiting;
use super::{mail, webhook};

/// A server on this machine with a certificate of its own.
struct Server {
    listener: TcpListener,
    acceptor: Acceptor,
    folder: tempfile::TempDir,
    /// All that clients said by TLS.
    said: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("an identity");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), chain).expect("a file");
        bascule_platform::secret::write(&folder.path().join("secret"), "sesame\n", false)
            .expect("a file");
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.expect("a port"),
            acceptor: Acceptor::new(identity, None).expect("an acceptor"),
            folder,
            said: Arc::default(),
        }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// A file in TOML's words.
    fn at(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        toml::Value::from(path.to_string_lossy().into_owned()).to_string()
    }

    /// Serves one client; whatever becomes of it is seen by what it said.
    async fn serve(&self, answers: impl Fn(&str) -> Option<&'static str>, begins_clear: bool) {
        let (stream, _) = self.listener.accept().await.expect("a client");
        let stream = if begins_clear { self.until_starttls(stream).await } else { Some(stream) };
        let Some(stream) = stream else { return };
        let Ok(Secured { stream, .. }) = self.acceptor.accept(stream).await else { return };
        let greeting = if begins_clear { "" } else { answers("").unwrap_or_default() };
        self.talk(stream, greeting, answers).await;
    }

    async fn until_starttls(&self, stream: TcpStream) -> Option<TcpStream> {
        let mut lines = BufReader::new(stream);
        lines.write_all(b"220 hello\r\n").await.ok()?;
        let mut line = String::new();
        while lines.read_line(&mut line).await.ok()? > 0 {
            if line.starts_with("STARTTLS") {
                lines.write_all(b"220 go on\r\n").await.ok()?;
                return Some(lines.into_inner());
            }
            lines.write_all(b"250-hello\r\n250 STARTTLS\r\n").await.ok()?;
            line.clear();
        }
        None
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        greeting: &str,
        answers: impl Fn(&str) -> Option<&'static str>,
    ) {
        let mut lines = BufReader::new(stream);
        if lines.write_all(greeting.as_bytes()).await.is_err() || lines.flush().await.is_err() {
            return;
        }
        let mut line = String::new();
        while lines.read_line(&mut line).await.is_ok_and(|length| length > 0) {
            self.said.lock().expect("nobody panicked").push(line.trim_end().to_owned());
            if let Some(answer) = answers(line.trim_end()) {
                let answered = lines.write_all(answer.as_bytes()).await;
                if answered.is_err() || lines.flush().await.is_err() {
                    return;
                }
            }
            line.clear();
        }
    }

    fn heard(&self, text: &str) -> bool {
        self.said.lock().expect("nobody panicked").iter().any(|line| line.contains(text))
    }
}

fn smtp(line: &str) -> Option<&'static str> {
    Some(match line.split([' ', ':']).next().unwrap_or_default() {
        "" => "220 hello\r\n",
        "EHLO" => "250-hello\r\n250 AUTH PLAIN\r\n",
        "AUTH" => "235 welcome\r\n",
        "MAIL" | "RCPT" | "." => "250 good\r\n",
        "DATA" => "354 go on\r\n",
        "QUIT" => "221 bye\r\n",
        _ => return None,
    })
}

fn http(line: &str) -> Option<&'static str> {
    line.starts_with('{').then_some("HTTP/1.1 200 good\r\nContent-Length: 0\r\n\r\n")
}

fn notice() -> Waiting {
    Waiting {
        number: 1,
        id: "00ff".into(),
        event: "test".into(),
        job: None,
        made: Timestamp::UNIX_EPOCH,
        attempts: 1,
        subject: "a subject".into(),
        body: "a body\n".into(),
        // The end of a line is what the server here waits for.
        document: "{}\n".into(),
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a mail to a server that serves one client, with these settings; gives whether it went.
async fn mailed(server: &Server, settings: String, begins_clear: bool) -> Result<(), String> {
    let port = server.port();
    let text = format!(
        "server = \"127.0.0.1\"\nport = {port}\nfrom = \"a@example.com\"\nto = [\"b@example.com\"]\n\
         user = \"bascule\"\npassword.file = {}\n{settings}",
        server.at("secret")
    );
    let settings: super::config::Mail = toml::from_str(&text).expect("it makes sense");
    mail::check(&settings).expect("it makes sense");
    let sending = tokio::task::spawn_blocking(move || {
        let sent = mail::send(&settings, &notice(), "here", PATIENCE);
        sent.map(drop).map_err(|error| format!("{error:#}"))
    });
    let answers = |line: &str| if line.is_empty() && begins_clear { None } else { smtp(line) };
    ended(server.serve(answers, begins_clear), sending).await
}

/// Waits until both have ended; a client that never comes is not waited for.
async fn ended(
    serving: impl Future<Output = ()>,
    sending: JoinHandle<Result<(), String>>,
) -> Result<(), String> {
    let mut sending = sending;
    tokio::pin!(serving);
    let sent = tokio::select! {
        sent = &mut sending => {
            // What was said last may be on its way.
            let _ = tokio::time::timeout(PATIENCE, serving).await;
            sent
        }
        () = &mut serving => sending.await,
    };
    sent.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_by_starttls_and_by_tls_to_a_server_that_is_vouched_for() {
    for (security, begins_clear) in [("starttls", true), ("tls", false)] {
        let server = Server::new().await;
        let settings = format!("security = \"{security}\"\nca = {}\n", server.at("ca.pem"));
        assert_eq!(mailed(&server, settings, begins_clear).await, Ok(()), "{security}");
        // "\0bascule\0sesame"
        for said in ["AUTH PLAIN AGJhc2N1bGUAc2VzYW1l", "RCPT TO:<b@example.com>", "a body"] {
            assert!(server.heard(said), "{security}: {said}");
        }
        // Nobody vouches for it: it learns nothing.
        let stranger = Server::new().await;
        let settings = format!("security = \"{security}\"\n");
        let error = mailed(&stranger, settings, begins_clear).await.expect_err("not trusted");
        assert!(error.contains("certificate"), "{security}: {error}");
        assert!(!stranger.heard(""), "{security}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_by_tls_to_a_server_that_is_vouched_for() {
    for is_known in [true, false] {
        let server = Server::new().await;
        let ca = if is_known { format!("ca = {}\n", server.at("ca.pem")) } else { String::new() };
        let text = format!(
            "url = \"https://127.0.0.1:{}/hook\"\ntoken.file = {}\n{ca}",
            server.port(),
            server.at("secret")
        );
        let settings: super::config::Webhook = toml::from_str(&text).expect("it makes sense");
        webhook::check(&settings).expect("it makes sense");
        let sending = tokio::task::spawn_blocking(move || {
            webhook::send(&settings, &notice(), PATIENCE).map_err(|error| format!("{error:#}"))
        });
        let sent = ended(server.serve(http, false), sending).await;
        assert_eq!(sent.is_ok(), is_known, "{sent:?}");
        assert_eq!(server.heard("Bearer sesame"), is_known);
        assert!(is_known || sent.is_err_and(|error| error.to_lowercase().contains("certificate")));
    }
}
