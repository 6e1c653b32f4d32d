//! Notices by mail.

use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use lettre::address::Envelope;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0,
};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::config::{Mail, Security};
use super::queue::Waiting;
use crate::itemize::printable;

/// What the password is called in texts.
const PASSWORD: &str = "the mail server's password";

/// Checks what can be checked without the server.
///
/// # Errors
/// What makes no sense.
pub fn check(mail: &Mail) -> anyhow::Result<()> {
    mailbox("from", &mail.from)?;
    if mail.to.is_empty() {
        bail!("`to` names nobody");
    }
    for to in &mail.to {
        mailbox("to", to)?;
    }
    match (&mail.user, &mail.password) {
        (Some(_), None) => bail!("`user` without a `password`: name a file with `password.file`"),
        (None, Some(_)) => bail!("`password` without a `user`"),
        (Some(_), Some(_)) if mail.security == Security::None => bail!(
            "a password is not sent in the clear: take `security = \"starttls\"` or \"tls\", or no \
             `user`"
        ),
        _ => Ok(()),
    }
}

fn mailbox(key: &str, text: &str) -> anyhow::Result<Mailbox> {
    text.parse().with_context(|| format!("`{key}`: \"{}\" is no address", text.escape_debug()))
}

/// Sends a notice, and takes no longer than `patience` for all of it. Gives the recipients whom the
/// server refused while it took the mail for others, each with its reason.
///
/// # Errors
/// Why the server did not take it for anybody.
pub fn send(
    mail: &Mail,
    notice: &Waiting,
    host: &str,
    patience: Duration,
) -> anyhow::Result<Vec<String>> {
    let message = message(mail, notice, host)?;
    let (at, transport) = transport(mail, host)?;
    // A server that says a little now and then would keep a thread for as long as it likes; a task
    // can be given up.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sent = runtime
        .block_on(async { tokio::time::timeout(patience, hand_over(&transport, &message)).await });
    // Nor is a name server waited for.
    runtime.shutdown_background();
    match sent {
        Ok(Ok(refused)) => Ok(refused),
        Ok(Err(error)) => bail!(
            "the mail server {at} did not take it: {}",
            without_password(mail, printable(error.to_string().as_bytes()))
        ),
        Err(_) => bail!(
            "the mail server {at} did not take it in {} s: it is slow, or something on the way \
             swallows what is sent",
            patience.as_secs()
        ),
    }
}

type Server = AsyncSmtpTransport<Tokio1Executor>;

/// The server, and its name and port for texts.
fn transport(mail: &Mail, host: &str) -> anyhow::Result<(String, Server)> {
    let port = mail.port.unwrap_or(match mail.security {
        Security::Starttls => 587,
        Security::Tls => 465,
        Security::None => 25,
    });
    let mut transport = Server::builder_dangerous(&mail.server)
        .port(port)
        .tls(tls(mail)?)
        .hello_name(ClientId::Domain(host.to_owned()))
        .timeout(None);
    if let (Some(user), Some(password)) = (&mail.user, &mail.password) {
        let password = password.read(PASSWORD)?;
        transport = transport.credentials(Credentials::new(user.clone(), password.to_string()));
    }
    Ok((format!("{}:{port}", mail.server), transport.build()))
}

/// Sends a mail to all, or, when somebody is refused for good, to each alone: that one is not known
/// any more should not keep a notice from the others.
async fn hand_over(server: &Server, message: &Message) -> Result<Vec<String>, smtp::Error> {
    let (envelope, text) = (message.envelope(), message.formatted());
    let Err(error) = server.send_raw(envelope, &text).await else { return Ok(Vec::new()) };
    if !error.is_permanent() || envelope.to().len() == 1 {
        return Err(error);
    }
    let mut refused = Vec::new();
    for to in envelope.to() {
        let Ok(alone) = Envelope::new(envelope.from().cloned(), vec![to.clone()]) else { continue };
        if let Err(error) = server.send_raw(&alone, &text).await {
            refused.push(format!("{to}: {}", printable(error.to_string().as_bytes())));
        }
    }
    if refused.len() == envelope.to().len() { Err(error) } else { Ok(refused) }
}

/// What a server said, without the password: some repeat the line that they did not like.
fn without_password(mail: &Mail, said: String) -> String {
    let (Some(user), Some(password)) = (&mail.user, &mail.password) else { return said };
    let Ok(password) = password.read(PASSWORD) else { return said };
    let login = BASE64.encode(format!("\0{user}\0{}", *password));
    let secrets = [login, BASE64.encode(password.as_bytes()), password.to_string()];
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    secrets.fold(said, |said, secret| said.replace(secret, "(the password)"))
}

fn tls(mail: &Mail) -> anyhow::Result<Tls> {
    if mail.security == Security::None {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(mail.server.clone());
    if let Some(file) = &mail.ca {
        let shown = file.display();
        let pem = std::fs::read(file).with_context(|| format!("`ca`: cannot read {shown}"))?;
        let certificate = Certificate::from_pem(&pem)
            .with_context(|| format!("`ca`: {shown} is no certificate in PEM"))?;
        parameters =
            parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    let parameters = parameters.build().context("TLS cannot be used")?;
    Ok(match mail.security {
        Security::Tls => Tls::Wrapper(parameters),
        _ => Tls::Required(parameters),
    })
}

fn message(mail: &Mail, notice: &Waiting, host: &str) -> anyhow::Result<Message> {
    let mut message = Message::builder()
        .from(mailbox("from", &mail.from)?)
        .subject(&notice.subject)
        // The same for each attempt, so that a double can be told.
        .message_id(Some(format!("<{}@{host}>", notice.id)))
        .date(notice.made.into())
        // Without it readers may show the encoded text as it is.
        .header(MIME_VERSION_1_0)
        // Keeps those who are away from answering.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".into(),
        ))
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        message = message.to(mailbox("to", to)?);
    }
    let encoding = ContentTransferEncoding::QuotedPrintable;
    let body = Body::new_with_encoding(notice.body.clone(), encoding)
        .map_err(|_| anyhow::anyhow!("the text cannot be encoded"))?;
    message.body(body).context("the mail cannot be made")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn settings(text: &str) -> anyhow::Result<Mail> {
        let base = "server = \"mx.example.com\"\nfrom = \"Bascule <b@example.com>\"\n";
        let mail = toml::from_str(&format!("{base}{text}"))?;
        check(&mail)?;
        Ok(mail)
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let to = "to = [\"admin@example.com\"]\n";
        assert!(settings(to).is_ok());
        for (text, reason) in [
            ("to = []", "nobody"),
            ("to = [\"admin\"]", "\"admin\" is no address"),
            (&format!("{to}user = \"x\"")[..], "without a `password`"),
            (&format!("{to}password.file = \"/x\""), "without a `user`"),
            (
                &format!("{to}user = \"x\"\npassword.file = \"/x\"\nsecurity = \"none\""),
                "in the clear",
            ),
            (&format!("{to}security = \"ssl\""), "starttls"),
            (&format!("{to}sever = \"x\""), "sever"),
        ] {
            let error = format!("{:#}", settings(text).expect_err(text));
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_server_that_repeats_the_login_does_not_get_it_into_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        bascule_platform::secret::write(&file, "sesame\n", false).expect("a file");
        let file = toml::Value::from(file.to_string_lossy().into_owned());
        let mail = settings(&format!(
            "to = [\"a@example.com\"]\nuser = \"bascule\"\npassword.file = {file}\n"
        ))
        .expect("good");
        // By PLAIN, by LOGIN, and as it is.
        for secret in ["AGJhc2N1bGUAc2VzYW1l", "c2VzYW1l", "sesame"] {
            let said = without_password(&mail, format!("501 what is {secret}?"));
            assert_eq!(said, "501 what is (the password)?");
        }
    }

    #[test]
    fn a_mail_has_what_readers_and_programs_look_for() {
        let mail = settings("to = [\"a@example.com\", \"b@example.com\"]").expect("good");
        let notice = Waiting {
            number: 1,
            id: "00ff".into(),
            event: "run.failed".into(),
            job: Some("mail".into()),
            made: Timestamp::from_second(1_800_000_000).expect("a moment"),
            attempts: 1,
            subject: "[bascule mail1] mail: a run failed".into(),
            body: "Run 31: no way\n.\n".into(),
            document: "{}".into(),
        };
        let text = message(&mail, &notice, "mail1").expect("a mail").formatted();
        let text = String::from_utf8(text).expect("text");
        for part in [
            "From: Bascule <b@example.com>\r\n",
            "To: a@example.com, b@example.com\r\n",
            "Subject: [bascule mail1] mail: a run failed\r\n",
            "Message-ID: <00ff@mail1>\r\n",
            "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n",
            "MIME-Version: 1.0\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Run 31: no way",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
