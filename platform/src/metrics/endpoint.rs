//! A small HTTP server: `GET /metrics` and `GET /healthz`, one request a connection, few
//! connections at a time, each for a short while.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Sources;
use super::text::Form;

/// Connections at a time; others wait for one to end.
const MOST: usize = 16;
/// How long a client may take to ask.
const ASKING: Duration = Duration::from_secs(5);
/// How long it may take to find out what to answer: a disk may not answer.
const FINDING_OUT: Duration = Duration::from_secs(10);
/// How long a connection may last in all.
const LIFETIME: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 << 10;
/// How long to wait when no connection can be accepted.
const PAUSE: Duration = Duration::from_secs(1);

type Answer = Response<Full<Bytes>>;

/// A running endpoint; it ends when this is dropped.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Ends it; its port is free then.
    pub async fn stop(mut self) {
        self.task.abort();
        // That it was told to end is no error.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens on `address`, such as `127.0.0.1:9874`, and tells what `sources` say. Where that cannot
/// be, the log says so and the program goes on without: `None`.
///
/// Has to be called from a thread without walls of its own, since what looks at disks inherits them.
pub async fn start(address: &str, sources: Sources) -> Option<Endpoint> {
    match bind(address).await {
        Ok((listener, bound)) => {
            tracing::info!(event = "metrics.listening", address = %bound, "metrics and health are served");
            if !bound.ip().is_loopback() {
                tracing::warn!(
                    event = "metrics.open",
                    address = %bound,
                    "whoever reaches this address can read the metrics: there is no password"
                );
            }
            let task = tokio::spawn(serve(listener, sources));
            Some(Endpoint { address: bound, task })
        }
        Err(error) => {
            tracing::error!(
                event = "metrics.unavailable",
                address,
                %error,
                "no metrics and no health are served, everything else works: free the port or name \
                 another, then restart"
            );
            None
        }
    }
}

/// Checks an address as it stands in a configuration.
///
/// # Errors
/// What it should look like.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" is no address with a port, such as 127.0.0.1:9874 or [::1]:9874")
    })
}

async fn bind(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let address = parse_address(address).map_err(io::Error::other)?;
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

async fn serve(listener: TcpListener, sources: Sources) {
    let asked = match spawn_finder(sources) {
        Ok(asked) => asked,
        Err(error) => {
            tracing::error!(event = "metrics.unavailable", %error, "no thread for the metrics");
            return;
        }
    };
    let free = Arc::new(Semaphore::new(MOST));
    while let Ok(place) = Arc::clone(&free).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let asked = asked.clone();
        tokio::spawn(async move {
            // It may go on for no longer, and what a client does wrong is its own affair.
            let _ = tokio::time::timeout(LIFETIME, talk(stream, asked)).await;
            drop(place);
        });
    }
}

async fn talk(stream: TcpStream, asked: mpsc::UnboundedSender<Question>) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let asked = asked.clone();
        async move { Ok::<_, Infallible>(answer(&request, &asked).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKING)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

/// What somebody wants to know.
enum Question {
    Figures(Form, oneshot::Sender<Result<String, std::fmt::Error>>),
    Health(oneshot::Sender<(bool, String)>),
}

/// The thread that finds answers out, one after the other: however many ask, a disk that hangs takes
/// one thread.
fn spawn_finder(sources: Sources) -> io::Result<mpsc::UnboundedSender<Question>> {
    let (asked, mut questions) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("metrics".into()).spawn(move || {
        while let Some(question) = questions.blocking_recv() {
            // Whoever asked may have gone.
            match question {
                Question::Figures(_, to) if to.is_closed() => {}
                Question::Figures(form, to) => {
                    let _ = to.send(form.write(&(sources.figures)()));
                }
                Question::Health(to) if to.is_closed() => {}
                Question::Health(to) => {
                    let health = (sources.health)();
                    let _ = to.send((health.is_good(), format!("{:#}\n", health.document())));
                }
            }
        }
    })?;
    Ok(asked)
}

async fn answer(request: &Request<Incoming>, asked: &mpsc::UnboundedSender<Question>) -> Answer {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz") {
        return text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    if path == "/healthz" {
        return match find_out(asked, Question::Health).await {
            Some((true, document)) => typed(StatusCode::OK, "application/json", document),
            Some((false, document)) => {
                typed(StatusCode::SERVICE_UNAVAILABLE, "application/json", document)
            }
            None => typed(StatusCode::SERVICE_UNAVAILABLE, "application/json", late()),
        };
    }
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let form = Form::accepted(accept.unwrap_or_default());
    match find_out(asked, |to| Question::Figures(form, to)).await {
        Some(Ok(figures)) => typed(StatusCode::OK, form.content_type(), figures),
        Some(Err(_)) => text(StatusCode::INTERNAL_SERVER_ERROR, "a figure cannot be written\n"),
        None => text(StatusCode::SERVICE_UNAVAILABLE, LATE),
    }
}

/// Asks; `None` if that takes too long.
async fn find_out<T>(
    asked: &mpsc::UnboundedSender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (to, found) = oneshot::channel();
    asked.send(question(to)).ok()?;
    tokio::time::timeout(FINDING_OUT, found).await.ok()?.ok()
}

/// Why there is no answer.
const LATE: &str = "the answer was not found in 10 s: a disk does not answer, or this program is at \
    fault; its log may say more\n";

fn late() -> String {
    let health =
        super::Health { problems: vec![LATE.trim_end().into()], ..super::Health::default() };
    format!("{:#}\n", health.document())
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    typed(status, "text/plain; charset=utf-8", body.to_owned())
}

fn typed(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::figures::Gauges;
    use crate::metrics::{Health, Registry};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn sources(problems: &[&str]) -> Sources {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Sources {
            figures: Arc::new(|| {
                let mut registry = Registry::default();
                registry.register("x_up", "Up", Gauges::one(1.0));
                registry
            }),
            health: Arc::new(move || Health { problems: problems.clone(), ..Health::default() }),
        }
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("text");
        said
    }

    async fn endpoint(problems: &[&str]) -> Endpoint {
        start("127.0.0.1:0", sources(problems)).await.expect("a free port")
    }

    #[tokio::test]
    async fn tells_figures_and_health_and_nothing_else() {
        let endpoint = endpoint(&[]).await;
        for (request, wanted) in [
            ("GET /metrics", "HTTP/1.1 200 OK"),
            ("GET /metrics?x=1", "HTTP/1.1 200 OK"),
            ("GET /healthz", "\"status\": \"ok\""),
            ("HEAD /metrics", "content-length: "),
            ("POST /metrics", "HTTP/1.1 405 "),
            ("DELETE /healthz", "allow: GET, HEAD"),
            ("GET /", "HTTP/1.1 404 "),
            ("nonsense", "HTTP/1.1 400 "),
        ] {
            let request = format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n");
            let said = ask(endpoint.address, &request).await;
            assert!(said.contains(wanted), "{request}: {said}");
            assert_eq!(said.contains("x_up 1"), request.starts_with("GET /metrics"), "{said}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(LONGEST_HEAD));
        assert!(ask(endpoint.address, &long).await.contains("HTTP/1.1 431 "));
    }

    #[tokio::test]
    async fn trouble_is_503_with_its_reason() {
        let endpoint = endpoint(&["the disk is gone"]).await;
        let said = ask(endpoint.address, "GET /healthz HTTP/1.0\r\n\r\n").await;
        assert!(said.contains(" 503 ") && said.contains("the disk is gone"), "{said}");
    }

    #[tokio::test]
    async fn clients_that_ask_nothing_keep_nobody_out_for_long() {
        let endpoint = endpoint(&[]).await;
        let mut silent = Vec::new();
        for _ in 0..MOST {
            silent.push(TcpStream::connect(endpoint.address).await.expect("it listens"));
        }
        let said = ask(endpoint.address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(said.contains("x_up 1"), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_address_that_is_taken_or_none_stops_nothing_else() {
        let first = endpoint(&[]).await;
        assert!(start(&first.address.to_string(), sources(&[])).await.is_none());
        assert!(start("localhost", sources(&[])).await.is_none());
        let everywhere = format!("0.0.0.0:{}", first.address.port());
        first.stop().await;
        assert!(start(&everywhere, sources(&[])).await.is_some(), "it is free again");
    }
}
