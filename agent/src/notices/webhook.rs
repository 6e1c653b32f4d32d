//! Notices by a post of JSON.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls::crypto::ring;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::config::Webhook;
use super::queue::Waiting;

/// Checks what can be checked without the server.
///
/// # Errors
/// What makes no sense.
pub fn check(webhook: &Webhook) -> anyhow::Result<()> {
    let (url, host) = (&webhook.url, host(&webhook.url));
    if host.is_empty() || url.parse::<ureq::http::Uri>().is_err() {
        bail!("`url` is no URL such as https://host/path");
    }
    if host.contains('@') {
        bail!("`url` has a password in it: take `token.file`");
    }
    if webhook.token.is_some() && url.starts_with("http://") {
        bail!("a token is not sent in the clear: take an https:// URL");
    }
    Ok(())
}

/// Host and port of a URL: all of it that may be shown, since the rest is often a secret itself.
pub fn host(url: &str) -> &str {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default()
}

/// Posts a notice, and waits no longer than `patience` for all of it.
///
/// # Errors
/// Why the server did not take it.
pub fn send(webhook: &Webhook, notice: &Waiting, patience: Duration) -> anyhow::Result<()> {
    let tls = TlsConfig::builder()
        .root_certs(roots(webhook)?)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(patience))
        .user_agent(concat!("bascule/", env!("CARGO_PKG_VERSION")))
        // A post that is led elsewhere arrives there as something else, or with the token.
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut post = agent
        .post(&webhook.url)
        .header("Content-Type", "application/json")
        .header("Bascule-Event", &notice.event)
        .header("Idempotency-Key", &notice.id);
    if let Some(token) = &webhook.token {
        let token = token.read("the webhook's token")?;
        post = post.header("Authorization", format!("Bearer {}", *token));
    }
    let host = host(&webhook.url);
    let answer = match post.send(&notice.document) {
        Ok(answer) => answer,
        Err(ureq::Error::Timeout(_)) => {
            bail!("the webhook at {host} did not answer in {} s", patience.as_secs())
        }
        Err(error) => {
            return Err(error).with_context(|| format!("the webhook at {host} cannot be used"));
        }
    };
    if !answer.status().is_success() {
        bail!("the webhook at {host} answered with status {}", answer.status().as_u16());
    }
    Ok(())
}

fn roots(webhook: &Webhook) -> anyhow::Result<RootCerts> {
    let Some(file) = &webhook.ca else { return Ok(RootCerts::PlatformVerifier) };
    let shown = file.display();
    let pem = std::fs::read(file).with_context(|| format!("`ca`: cannot read {shown}"))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) =
            item.with_context(|| format!("`ca`: {shown} is no PEM"))?
        {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        bail!("`ca`: {shown} has no certificate in it");
    }
    Ok(RootCerts::new_with_certs(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_host_is_shown() {
        for url in ["https://h:1/secret", "https://h:1?secret", "http://h:1#secret", "http://h:1"] {
            assert_eq!(host(url), "h:1", "{url}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (text, reason) in [
            ("url = \"https://hooks.example.com/x\"", ""),
            ("url = \"http://127.0.0.1:8080\"", ""),
            ("url = \"hooks.example.com\"", "no URL"),
            ("url = \"https://\"", "no URL"),
            ("url = \"https://?key=secret\"", "no URL"),
            ("url = \"https://me:secret@hooks.example.com/\"", "password"),
            ("url = \"http://hooks/\"\ntoken.file = \"/x\"", "in the clear"),
        ] {
            let webhook = toml::from_str(text).expect(text);
            let found = check(&webhook).map_err(|error| format!("{error:#}"));
            match reason {
                "" => assert_eq!(found, Ok(()), "{text}"),
                _ => {
                    assert!(found.as_ref().is_err_and(|e| e.contains(reason)), "{text}: {found:?}");
                }
            }
        }
    }
}
