//! Notices by mail.

use std::time::Duration;

use anyhow::{Context as _, bail};
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport as _};

use super::config::{Mail, Security};
use super::queue::Waiting;

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

/// Sends a notice, and waits no longer than `patience` for each answer.
///
/// # Errors
/// Why the server did not take it.
pub fn send(mail: &Mail, notice: &Waiting, host: &str, patience: Duration) -> anyhow::Result<()> {
    let message = message(mail, notice, host)?;
    let port = mail.port.unwrap_or(match mail.security {
        Security::Starttls => 587,
        Security::Tls => 465,
        Security::None => 25,
    });
    let at = format!("{}:{port}", mail.server);
    let mut transport = SmtpTransport::builder_dangerous(&mail.server)
        .port(port)
        .tls(tls(mail)?)
        .hello_name(ClientId::Domain(host.to_owned()))
        .timeout(Some(patience));
    if let (Some(user), Some(password)) = (&mail.user, &mail.password) {
        let password = password.read("the mail server's password")?;
        transport = transport.credentials(Credentials::new(user.clone(), password.to_string()));
    }
    transport.build().send(&message).map(|_| ()).map_err(|error| {
        anyhow::Error::new(error).context(format!("the mail server {at} did not take it"))
    })
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
            "Run 31: no way",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
