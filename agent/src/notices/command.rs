//! `bascule notify`: tries out whether notices arrive.

use bascule_engine::outcome::ExitCode;
use clap::Args;
use jiff::Timestamp;

use super::deliver::{Sender, waiting};
use super::note::{origin, ways};
use super::notice::{Notice, What};
use super::queue::{Queue, Way};
use super::texts::render;
use super::webhook;
use crate::history::store::Store;
use crate::jobs::load::Loaded;
use crate::jobs::options::Configuration;
use crate::output::print;

/// Options of `bascule notify`.
#[derive(Debug, Args)]
pub struct Notify {
    /// Which configuration.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Runs `bascule notify`: sends a test notice by every way that is configured, and says what came
/// of each.
///
/// # Errors
/// When no way is configured, or the configuration cannot be used.
pub async fn notify(cli: &Notify) -> anyhow::Result<ExitCode> {
    let loaded = Loaded::open(cli.configuration.config.as_deref())?;
    let ways = ways(&loaded.config.notify);
    if ways.is_empty() {
        anyhow::bail!(
            "{} says nothing about notices: add [notify.mail] or [notify.webhook], as docs/notices.md \
             shows",
            loaded.file.display()
        );
    }
    let notice = Notice { what: What::Test, job: None, at: Timestamp::now(), since: None };
    let text = render(&notice, &origin(&loaded));
    let sender = Sender::of_service(&loaded)?;
    let mut code = ExitCode::Success;
    for way in ways {
        let test = Queue::unqueued(&notice, &text)?;
        let sender = sender.clone();
        let sent = tokio::task::spawn_blocking(move || sender.send(way, &test)).await?;
        match sent {
            Ok(refused) => {
                print(&format!("{}: sent to {}\n", way.as_str(), whom(&loaded, way)));
                for recipient in refused {
                    code = ExitCode::Syntax;
                    print(&format!("{}: but NOT to {recipient}\n", way.as_str()));
                }
            }
            Err(error) => {
                code = ExitCode::Syntax;
                print(&format!(
                    "{}: NOT sent to {}: {error:#}\n",
                    way.as_str(),
                    whom(&loaded, way)
                ));
            }
        }
    }
    // Without a state folder nothing waits either.
    let state = loaded.state()?;
    if Store::look(&state)?.is_some() {
        let number = waiting(&state)?;
        if number > 0 {
            print(&format!("{number} notices wait to be sent; the service goes on trying\n"));
        }
    }
    Ok(code)
}

/// Who gets notices by a way.
fn whom(loaded: &Loaded, way: Way) -> String {
    let notify = &loaded.config.notify;
    match way {
        Way::Mail => notify.mail.as_ref().map(|mail| mail.to.join(", ")),
        Way::Webhook => {
            notify.webhook.as_ref().map(|webhook| webhook::host(&webhook.url).to_owned())
        }
    }
    .unwrap_or_default()
}
