//! Reads rsyncd.conf: files and includes into a checked [`Config`].

mod model;
mod params;
mod reader;
mod table;
mod vars;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bascule_platform::text;

pub use model::{Config, Global, Module, Rules, Settings};
pub use params::{Field, Parameter, Scope, Support, changed};
pub use reader::{Statement, StatementKind, statements};
pub use table::PARAMETERS;
pub use vars::{environment, expand};

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// How deep files may include each other.
const DEEPEST_INCLUDE: usize = 16;
/// How many problems are reported; a file of another kind would give one for every line.
const MOST_PROBLEMS: usize = 50;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named, or the command-line option.
    pub file: Arc<str>,
    /// The line from 1; 0 means the file as a whole.
    pub line: u32,
}

impl Place {
    fn error(&self, text: impl Into<String>) -> ConfigError {
        ConfigError { place: self.clone(), text: text.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub text: String,
}

/// All problems of a configuration, one a line when displayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// Reads a configuration file and everything it includes. `overrides` are `--dparam` texts
/// (`NAME=VALUE`): they stand as if written at the end of the global part.
///
/// # Errors
/// Every problem found, each with its file and line.
pub fn load(path: &Path, overrides: &[String]) -> Result<Config, ConfigErrors> {
    let mut loader = Loader::new(overrides);
    loader.file(path, None, 0);
    loader.finish()
}

/// Reads a configuration from memory. `&include` and `&merge` read files.
///
/// # Errors
/// Every problem found, each with its line.
pub fn parse(text: &[u8], name: &str, overrides: &[String]) -> Result<Config, ConfigErrors> {
    let mut loader = Loader::new(overrides);
    loader.text(text, &Arc::from(name), 0);
    loader.finish()
}

struct Loader<'a> {
    overrides: &'a [String],
    overridden: bool,
    settings: Settings,
    /// Which module the parameters go to; `None` in the global part.
    section: Option<usize>,
    modules: Vec<Module>,
    problems: Vec<ConfigError>,
}

impl<'a> Loader<'a> {
    fn new(overrides: &'a [String]) -> Self {
        Self {
            overrides,
            overridden: false,
            settings: Settings::default(),
            section: None,
            modules: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn file(&mut self, path: &Path, named_at: Option<&Place>, depth: usize) {
        let name: Arc<str> = Arc::from(path.display().to_string());
        match read_bounded(path) {
            Ok(text) => self.text(&text, &name, depth),
            Err(error) => {
                let own = Place { file: Arc::clone(&name), line: 0 };
                let place = named_at.unwrap_or(&own);
                self.problems.push(place.error(format!("cannot read {name}: {error}")));
            }
        }
    }

    fn text(&mut self, text: &[u8], name: &Arc<str>, depth: usize) {
        for statement in statements(text, name, &mut self.problems) {
            if self.problems.len() >= MOST_PROBLEMS {
                return;
            }
            let Statement { place, kind } = statement;
            match kind {
                StatementKind::Section(name) => self.enter_section(name, &place),
                StatementKind::Parameter { name, value } => {
                    if let Err(text) = self.parameter(&name, &value) {
                        self.problems.push(place.error(text));
                    }
                }
                StatementKind::Include(path) => {
                    // An included file starts from the defaults and leaves none behind.
                    let settings = self.settings.clone();
                    let section = self.section.take();
                    self.nested(&path, "conf", &place, depth);
                    self.section = section;
                    self.settings = settings;
                }
                StatementKind::Merge(path) => self.nested(&path, "inc", &place, depth),
            }
        }
    }

    fn nested(&mut self, path: &Path, extension: &str, place: &Place, depth: usize) {
        if depth >= DEEPEST_INCLUDE {
            self.problems.push(place.error(format!(
                "{} is included {DEEPEST_INCLUDE} levels deep; does it include itself?",
                path.display()
            )));
            return;
        }
        if !path.is_dir() {
            self.file(path, Some(place), depth + 1);
            return;
        }
        match files_in(path, extension) {
            Ok(files) if extension == "conf" => {
                let settings = self.settings.clone();
                for file in files {
                    self.section = None;
                    self.settings.clone_from(&settings);
                    self.file(&file, Some(place), depth + 1);
                }
            }
            Ok(files) => {
                for file in files {
                    self.file(&file, Some(place), depth + 1);
                }
            }
            Err(error) => self.problems.push(
                place.error(format!("cannot list the directory {}: {error}", path.display())),
            ),
        }
    }

    fn enter_section(&mut self, name: String, place: &Place) {
        if name.eq_ignore_ascii_case("global") {
            self.section = None;
            return;
        }
        self.apply_overrides();
        let known = self.modules.iter().position(|module| module.name == name);
        self.section = Some(known.unwrap_or_else(|| {
            self.modules.push(Module {
                name,
                place: place.clone(),
                rules: self.settings.rules.clone(),
            });
            self.modules.len() - 1
        }));
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), String> {
        let parameter = Parameter::find(name)?;
        let expanded;
        let value = if parameter.expands_early() {
            expanded = expand(value, &environment);
            expanded.as_str()
        } else {
            value
        };
        match self.section.and_then(|at| self.modules.get_mut(at)) {
            None => parameter.set(&mut self.settings, value, false),
            Some(module) => {
                // The table's setters work on both halves; a module has only one of them.
                let mut settings =
                    Settings { global: Global::default(), rules: module.rules.clone() };
                let result = parameter.set(&mut settings, value, true);
                module.rules = settings.rules;
                result
            }
        }
    }

    fn apply_overrides(&mut self) {
        if std::mem::replace(&mut self.overridden, true) {
            return;
        }
        let section = self.section.take();
        for text in self.overrides {
            let result = match text.split_once('=') {
                Some((name, value)) => self.parameter(name.trim(), value.trim()),
                None => Err("expected NAME=VALUE".to_owned()),
            };
            if let Err(problem) = result {
                let place = Place {
                    file: Arc::from(format!("--dparam={}", reader::shorten(text))),
                    line: 0,
                };
                self.problems.push(place.error(problem));
            }
        }
        self.section = section;
    }

    fn finish(mut self) -> Result<Config, ConfigErrors> {
        self.apply_overrides();
        let mut warnings = Vec::new();
        for module in &self.modules {
            let rules = &module.rules;
            let Module { name, place, .. } = module;
            if rules.path.is_none() {
                self.problems.push(place.error(format!("the module [{name}] has no path")));
            }
            if rules.auth_users.is_some() && rules.secrets_file.is_none() {
                warnings.push(format!(
                    "{place}: the module [{name}] has auth users but no secrets file: nobody can log in"
                ));
            }
            if rules.shadow_copy && !rules.read_only {
                warnings.push(format!(
                    "{place}: the module [{name}] has shadow copy, which serves only clients that may not write, and is not read only"
                ));
            }
            if rules.read_only && rules.write_only {
                warnings.push(format!(
                    "{place}: the module [{name}] is both read only and write only: nothing can be done with it"
                ));
            }
        }
        if !self.problems.is_empty() {
            self.problems.truncate(MOST_PROBLEMS);
            return Err(ConfigErrors(self.problems));
        }
        Ok(Config {
            global: self.settings.global,
            modules: self.modules.into_iter().map(Arc::new).collect(),
            warnings,
        })
    }
}

/// The text of a configuration file, however it was saved.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other("it is larger than 16 MiB"));
    }
    Ok(text::unmarked(&text)?.into_owned())
}

fn files_in(directory: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
