//! The statements of a `deltacd.conf` as a configuration of `basculed`, with comments that say what
//! was changed and why.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_platform::mounts;

use super::places::{Maps, System};
use super::{secrets, words};
use crate::config::{Parameter, Settings, Statement, StatementKind, Support};
use crate::init;

/// Where things come from and go to.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// The folder of `deltacd.conf`.
    pub(super) dir: &'a Path,
    /// The folder for the copies of the secrets files.
    pub(super) state: &'a Path,
    /// Where DeltaCopy's paths are here.
    pub(super) maps: &'a Maps,
    /// The system that the configuration is for.
    pub(super) system: System,
}

/// A secrets file to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretsCopy {
    /// DeltaCopy's.
    pub(super) from: PathBuf,
    /// Our own.
    pub(super) to: PathBuf,
}

/// What became of a `deltacd.conf`.
#[derive(Debug, Default)]
pub(super) struct Translated {
    /// The configuration, without a header.
    pub(super) text: String,
    /// What the administrator has to know, one sentence each.
    pub(super) notes: Vec<String>,
    /// The files to copy.
    pub(super) secrets: Vec<SecretsCopy>,
    /// The modules that were left out because they have no folder yet.
    pub(super) empty: Vec<String>,
}

/// One section; the first is the global part.
#[derive(Debug, Default)]
struct Section<'a> {
    name: Option<&'a str>,
    lines: Vec<(&'a Statement, &'a str, &'a str)>,
}

impl Section<'_> {
    fn value(&self, wanted: &str) -> Option<&str> {
        let is = |name: &str| Parameter::find(name).is_ok_and(|found| found.name == wanted);
        self.lines.iter().rev().find(|(_, name, _)| is(name)).map(|(.., value)| *value)
    }

    fn is_global(&self) -> bool {
        self.name.is_none_or(|name| name.eq_ignore_ascii_case("global"))
    }
}

/// The sections that statements belong to. A module that comes twice is one: what is said of it later
/// counts, as for rsyncd.
fn sections(statements: &[Statement]) -> anyhow::Result<Vec<Section<'_>>> {
    let mut sections = vec![Section::default()];
    let mut current = 0;
    for statement in statements {
        match &statement.kind {
            StatementKind::Section(name) => {
                let again = sections.iter().position(|section| {
                    section.name == Some(name.as_str()) && !section.is_global()
                });
                current = again.unwrap_or_else(|| {
                    sections.push(Section { name: Some(name), lines: Vec::new() });
                    sections.len() - 1
                });
            }
            StatementKind::Parameter { name, value } => {
                sections[current].lines.push((statement, name, value));
            }
            StatementKind::Include(_) | StatementKind::Merge(_) => {
                bail!("{}: {}", statement.place, words::INCLUDES);
            }
        }
    }
    Ok(sections)
}

/// Translates the statements of a `deltacd.conf`.
///
/// # Errors
/// The line that stands in the way, and what to do about it.
pub(super) fn translate(
    statements: &[Statement],
    places: &Places<'_>,
) -> anyhow::Result<Translated> {
    let sections = sections(statements)?;
    let mut translator =
        Translator { places, done: Translated::default(), indent: "", defaults: Vec::new() };
    for section in &sections {
        translator.section(section)?;
    }
    if sections.iter().all(Section::is_global) {
        bail!("{}", words::NO_MODULES);
    }
    Ok(translator.done)
}

struct Translator<'a> {
    places: &'a Places<'a>,
    done: Translated,
    /// What a line begins with: modules are indented.
    indent: &'static str,
    /// What the global part says of what a module needs to be judged by.
    defaults: Vec<(&'static str, String)>,
}

impl Translator<'_> {
    fn section(&mut self, section: &Section<'_>) -> anyhow::Result<()> {
        let global = section.is_global();
        let shown = section.name.unwrap_or("global");
        if !global && self.effective(section, "path").is_none() {
            self.comment(&words::no_folder(shown));
            self.done.notes.push(words::no_folder(shown));
            self.done.empty.push(shown.to_owned());
            return Ok(());
        }
        if let Some(name) = section.name {
            self.done.text.push_str(&format!("\n[{name}]\n"));
            self.indent = "    ";
        }
        if global {
            for wanted in ["path", "auth users", "read only", "hosts allow"] {
                if let Some(value) = section.value(wanted) {
                    self.defaults.push((wanted, value.to_owned()));
                }
            }
        }
        for (statement, name, value) in &section.lines {
            let at = &statement.place;
            self.parameter(section, name, value).with_context(|| format!("{at}: {name}"))?;
        }
        if !global {
            self.close(section, shown);
        }
        Ok(())
    }

    /// The value that counts in a section, if it is not empty.
    fn effective<'s>(&'s self, section: &'s Section<'_>, wanted: &str) -> Option<&'s str> {
        let default = || self.defaults.iter().rev().find(|(name, _)| *name == wanted);
        let value = section.value(wanted).or_else(|| Some(default()?.1.as_str()));
        value.filter(|value| !value.is_empty())
    }

    fn parameter(&mut self, section: &Section<'_>, name: &str, value: &str) -> anyhow::Result<()> {
        let Ok(parameter) = Parameter::find(name) else {
            self.left_out(name, value, words::UNKNOWN);
            return Ok(());
        };
        if value.is_empty() {
            // As DeltaCopy writes what it has not been told yet; it takes back what the global part says.
            if self.check(parameter, section, value).is_ok() {
                self.line(parameter.name, "");
            }
            return Ok(());
        }
        match parameter.name {
            "path" | "exclude from" | "include from" | "temp dir" => {
                let here = self.places.maps.place(value)?;
                if here != value {
                    self.was(parameter.name, value, "");
                }
                if Path::new(&here).symlink_metadata().is_err() {
                    self.comment(words::NOT_THERE);
                    self.done.notes.push(format!(
                        "{} = {here}: {}",
                        parameter.name,
                        words::NOT_THERE
                    ));
                }
                self.line(parameter.name, &here);
                // As basculed init: what has no folder above it is always there.
                let mount = mounts::mount_point(Path::new(&here)).ok();
                let mount = mount.filter(|mount| mount.parent().is_some());
                if let Some(mount) = mount.as_deref().and_then(Path::to_str)
                    && parameter.name == "path"
                    && self.places.system == System::Unix
                {
                    self.comment(words::MOUNT);
                    self.line("mounted on", mount);
                }
            }
            "secrets file" => self.secrets(section, value)?,
            "strict modes" => self.left_out(name, value, words::STRICT_MODES),
            "uid" | "gid" => self.left_out(name, value, words::OWN_ACCOUNT),
            "log file" | "pid file" | "motd file" => {
                self.left_out(name, value, words::OF_THE_SERVICE);
            }
            "pre-xfer exec" | "post-xfer exec" => self.left_out(name, value, words::HOOK),
            _ => match (self.check(parameter, section, value), &parameter.support) {
                (Ok(()), Support::NoEffect(reason)) => self.left_out(name, value, reason),
                (Ok(()), _) => self.line(parameter.name, value),
                (Err(reason), Support::Works | Support::Checked(_)) => bail!("{reason}"),
                (Err(reason), _) => {
                    let reason = reason.split(';').next().unwrap_or_default();
                    self.left_out(name, value, reason);
                }
            },
        }
        Ok(())
    }

    fn check(
        &self,
        parameter: &Parameter,
        section: &Section<'_>,
        value: &str,
    ) -> Result<(), String> {
        parameter.set(&mut Settings::default(), value, !section.is_global())
    }

    fn secrets(&mut self, section: &Section<'_>, named: &str) -> anyhow::Result<()> {
        if !section.is_global() && self.effective(section, "auth users").is_none() {
            self.left_out("secrets file", named, words::NO_USERS);
            return Ok(());
        }
        let from = secrets::find(self.places.dir, named)?;
        let known = self.done.secrets.iter().find(|copy| copy.from == from);
        let to = match known {
            Some(copy) => copy.to.clone(),
            None => self.new_copy(from.clone(), section.name.unwrap_or("global")),
        };
        let content = secrets::read(&from)?;
        let users = self.effective(section, "auth users").unwrap_or_default();
        let (unknown, odd) = secrets::doubtful(users, &content);
        let notes = &mut self.done.notes;
        notes.extend(unknown.iter().map(|user| words::no_password(user, &from)));
        notes.extend(odd.iter().map(|user| words::not_ascii(user, &from)));
        let to = init::value(&to)?;
        self.was("secrets file", named, words::COPIED);
        self.raw_line("secrets file", &to);
        if self.places.system == System::Windows {
            self.comment(words::ACL);
            self.line("strict modes", "no");
        }
        Ok(())
    }

    fn new_copy(&mut self, from: PathBuf, module: &str) -> PathBuf {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let plain: String = module.chars().map(|c| if fits(c) { c } else { '_' }).collect();
        let names = std::iter::once(String::new()).chain((2..).map(|number| format!("-{number}")));
        let mut paths =
            names.map(|suffix| self.places.state.join(format!("{plain}{suffix}.secrets")));
        // Windows does not tell upper from lower case.
        let is_new = |path: &PathBuf| {
            let same = |copy: &SecretsCopy| copy.to.as_os_str().eq_ignore_ascii_case(path);
            !self.done.secrets.iter().any(same)
        };
        let to = paths.find(is_new).unwrap_or_default();
        self.done.secrets.push(SecretsCopy { from, to: to.clone() });
        to
    }

    /// What every module needs at its end.
    fn close(&mut self, section: &Section<'_>, shown: &str) {
        if !shown.is_ascii() {
            self.done.notes.push(words::module_not_ascii(shown));
        }
        if self.effective(section, "auth users").is_none() {
            let writable = self.effective(section, "read only").is_some_and(words::is_no);
            let some_hosts = self.effective(section, "hosts allow").is_some();
            self.comment(words::OPEN);
            self.done.notes.push(words::open(shown, writable, some_hosts));
        }
        if self.places.system == System::Unix
            && let Some((uid, gid)) = bascule_platform::privileges::own_ids()
        {
            self.comment(words::OWN_IDS);
            self.line("uid", &uid.to_string());
            self.line("gid", &gid.to_string());
        }
    }

    fn left_out(&mut self, name: &str, value: &str, reason: &str) {
        let (name, value) = (words::one_line(name), words::one_line(value));
        self.comment(&format!("Left out: {name} = {value} ({reason})"));
        self.done.notes.push(format!("left out: {name} = {value} ({reason})"));
    }

    fn was(&mut self, name: &str, value: &str, reason: &str) {
        self.comment(&format!("It was: {name} = {}{reason}", words::one_line(value)));
    }

    fn comment(&mut self, text: &str) {
        self.done.text.push_str(&format!("{}# {text}\n", self.indent));
    }

    fn line(&mut self, name: &str, value: &str) {
        // The rsync of DeltaCopy knows no %VAR%.
        self.raw_line(name, &value.replace('%', "%%"));
    }

    fn raw_line(&mut self, name: &str, value: &str) {
        let line = format!("{}{name} = {value}", self.indent);
        self.done.text.push_str(line.trim_end());
        self.done.text.push('\n');
    }
}
