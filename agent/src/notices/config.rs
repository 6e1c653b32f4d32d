//! The section `[notify]` of `bascule.toml`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use jiff::civil::Time;
use schemars::JsonSchema;
use serde::Deserialize;

use super::notice::Event;
use crate::jobs::config::Secret;

/// Who is told what happens to the jobs, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// By mail. Take another server than the one that is being moved.
    pub mail: Option<Mail>,
    /// By a post of JSON to a URL.
    pub webhook: Option<Webhook>,
    /// Which events are told, such as `run.failed`; all of them if this is left out.
    pub events: Option<Vec<String>>,
    /// After so many hours in which no run of any job has begun, that is told; 0 is never.
    pub silence_hours: u32,
    /// The time of the day at which a digest of the last day is sent, such as `07:00`; none is sent
    /// if this is left out.
    pub digest: Option<String>,
    /// Room on a disk of this machine, the one of `state` or of a target, below which that is told,
    /// such as `1g`.
    pub disk_low: String,
}

/// Notices by mail.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// The name of the SMTP server; its certificate has to have it.
    pub server: String,
    /// Its port; by default 587, with `security = "tls"` 465, with `"none"` 25.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub security: Security,
    /// Who sends them, such as `Bascule <bascule@example.com>`.
    pub from: String,
    /// Who gets them.
    pub to: Vec<String>,
    /// The name to log in with; no login if this is left out.
    #[serde(default)]
    pub user: Option<String>,
    /// Where the password is.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file with the certificate of an authority to trust instead of those of the system, as PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// How a connection to an SMTP server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// It begins in the clear and has to become TLS before anything is said.
    #[default]
    Starttls,
    /// TLS from its beginning.
    Tls,
    /// Not at all: for a server on this machine. No password is sent by it.
    None,
}

/// Notices by HTTP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to post: `https://…`, or `http://…` on a network that can be trusted.
    pub url: String,
    /// Where the token is that is sent as `Authorization: Bearer …`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file with the certificates of authorities to trust instead of those of the system, as PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            mail: None,
            webhook: None,
            events: None,
            silence_hours: 26,
            digest: None,
            disk_low: "1g".to_owned(),
        }
    }
}

impl Notify {
    /// Whether this event is told to anybody.
    pub fn tells(&self, event: Event) -> bool {
        let names = self.events.as_ref();
        names.is_none_or(|names| names.iter().any(|name| name == event.as_str()))
    }

    /// The time of the daily digest.
    ///
    /// # Errors
    /// When it is no time of the day.
    pub fn digest_time(&self) -> anyhow::Result<Option<Time>> {
        let Some(text) = &self.digest else { return Ok(None) };
        let wrong = || format!("`notify.digest`: \"{}\" is no time such as 07:00", text);
        let (hour, minute) = text.split_once(':').with_context(wrong)?;
        let (hour, minute) = (hour.parse().with_context(wrong)?, minute.parse());
        Ok(Some(Time::new(hour, minute.with_context(wrong)?, 0, 0).with_context(wrong)?))
    }

    /// Bytes of room below which a disk is low.
    ///
    /// # Errors
    /// When it is no size.
    pub fn disk_low_bytes(&self) -> anyhow::Result<u64> {
        crate::cli::bytes(&self.disk_low)
            .map_err(|error| anyhow::anyhow!("`notify.disk_low`: {error}"))
    }

    /// Checks what its types do not.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn check(&self) -> anyhow::Result<()> {
        for name in self.events.iter().flatten() {
            if Event::parse(name).is_none() {
                let known: Vec<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
                bail!(
                    "`notify.events`: there is no event \"{}\"; the events are: {}",
                    name.escape_debug(),
                    known.join(", ")
                );
            }
        }
        self.digest_time()?;
        self.disk_low_bytes()?;
        if let Some(mail) = &self.mail {
            super::mail::check(mail).context("`notify.mail`")?;
        }
        if let Some(webhook) = &self.webhook {
            super::webhook::check(webhook).context("`notify.webhook`")?;
        }
        Ok(())
    }
}
