//! The manual pages of the commands, from what `--help` says.

use anyhow::Context as _;
use bascule_agent::cli::Cli as Agent;
use bascule_daemon::cli::Cli as Daemon;
use bascule_engine::outcome::ExitCode;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use roff::{Roff, bold, roman};

use crate::{VERSION, keys};

/// One page.
#[derive(Debug)]
pub struct Page {
    /// Such as `bascule-run`.
    pub name: String,
    /// The section of the manual: 1 commands, 5 files, 8 administration.
    pub section: u8,
    /// As troff reads it.
    pub text: Vec<u8>,
}

impl Page {
    /// Such as `bascule-run.1`.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// All pages, with the date of the sources.
///
/// # Errors
/// When one cannot be written, which is a fault of this program.
pub fn pages(moment: Timestamp) -> anyhow::Result<Vec<Page>> {
    let date = moment.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string();
    let mut pages = vec![keys::page(&date)?];
    for (command, section) in [(Agent::command(), 1), (Daemon::command(), 8)] {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        of_command(&command, section, &date, &mut pages)?;
    }
    pages.sort_by_key(Page::file_name);
    Ok(pages)
}

/// The pages of a command and of those below it.
fn of_command(
    command: &Command,
    section: u8,
    date: &str,
    pages: &mut Vec<Page>,
) -> anyhow::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        of_command(below, section, date, pages)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let man = Man::new(command.clone())
        .section(section.to_string())
        .date(date)
        .source(format!("Bascule {VERSION}"))
        .manual(if section == 8 { "System administration" } else { "User commands" });
    let mut text = Vec::new();
    man.render(&mut text).with_context(|| format!("the page of {name}"))?;
    exit_status(&name).to_writer(&mut text)?;
    see_also(&name, section).to_writer(&mut text)?;
    pages.push(Page { name, section, text });
    Ok(())
}

/// What the exit codes of the commands that mirror mean; nothing for others.
fn exit_status(name: &str) -> Roff {
    let mut roff = Roff::new();
    if matches!(name, "bascule" | "bascule-mirror" | "bascule-run") {
        roff.control("SH", ["EXIT STATUS"]);
        for code in ExitCode::ALL {
            roff.control("TP", []);
            roff.text([bold(code.code().to_string())]);
            roff.text([roman(code.meaning())]);
        }
    }
    roff
}

/// The pages that a reader of this one may want.
fn see_also(name: &str, section: u8) -> Roff {
    let above = name.rsplit_once('-').map(|(above, _)| (above, section));
    let others = [("bascule", 1), ("bascule.toml", 5), ("basculed", 8), ("rsync", 1)];
    let of_the_daemon = (section == 8).then_some(("rsyncd.conf", 5));
    let mut seen: Vec<(&str, u8)> = Vec::new();
    for page in above.into_iter().chain(others).chain(of_the_daemon) {
        if page.0 != name && !seen.contains(&page) {
            seen.push(page);
        }
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let last = seen.len().saturating_sub(1);
    for (at, (name, section)) in seen.into_iter().enumerate() {
        let end = if at == last { "" } else { "," };
        roff.text([bold(name), roman(format!("({section}){end}"))]);
    }
    roff
}
