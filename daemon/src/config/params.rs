//! Finds a parameter by its name and stores a checked value.

use std::ops::RangeInclusive;

use super::model::{Global, Settings};
use super::reader::shorten;
use super::table::PARAMETERS;

/// One parameter.
pub struct Parameter {
    /// The name in rsyncd's spelling. Case and blanks do not matter in a file.
    pub name: &'static str,
    /// Where it may stand.
    pub scope: Scope,
    /// Its type, and the setting it fills.
    pub field: Field,
    /// How far it is carried out.
    pub support: Support,
}

/// Where a parameter may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Only before the first module or in `[global]`.
    Global,
    /// In a module, or in the global part as a default.
    Module,
    /// rsyncd allows it in modules; this daemon has it for the whole daemon only.
    GlobalForNow,
}

/// A parameter's type and the setting it fills.
#[derive(Clone)]
pub enum Field {
    /// A string; an empty one unsets it.
    Text(fn(&mut Settings) -> &mut Option<String>),
    /// A path: a string that loses its trailing slashes.
    Path(fn(&mut Settings) -> &mut Option<String>),
    /// A whole number in a range.
    Integer(RangeInclusive<i64>, fn(&mut Settings) -> &mut i64),
    /// yes/no, true/false, 1/0.
    Bool(fn(&mut Settings) -> &mut bool),
    /// A boolean whose absence means a third thing; `unset` unsets it.
    Switch(fn(&mut Settings) -> &mut Option<bool>),
    /// Nothing is stored: any text.
    AnyText,
    /// Nothing is stored: a whole number.
    AnyInteger,
    /// Nothing is stored: a boolean or `unset`.
    AnySwitch,
}

/// How far a parameter is carried out.
#[derive(Clone, Copy)]
pub enum Support {
    /// As rsyncd does.
    Works,
    /// As rsyncd does, and the value is checked by this function when it holds no `%VAR%`.
    Checked(fn(&str) -> Result<(), String>),
    /// Accepted with any value: it would change nothing here, for this reason.
    NoEffect(&'static str),
    /// Accepted only with a value that asks for what happens anyway.
    OnlyIf(fn(&str) -> bool, &'static str),
    /// Known to rsyncd, refused by name.
    NotYet,
}

/// The parameters of the daemon itself that have changed, by name, and count only at its start.
pub fn changed(old: &Global, new: &Global) -> Vec<&'static str> {
    let [mut old, mut new] =
        [old, new].map(|global| Settings { global: global.clone(), ..Settings::default() });
    PARAMETERS
        .iter()
        // Read for every client.
        .filter(|parameter| parameter.scope != Scope::Module && parameter.name != "motd file")
        .filter(|parameter| !parameter.is_same(&mut old, &mut new))
        .map(|parameter| parameter.name)
        .collect()
}

impl Parameter {
    /// Whether two settings have the same value of this parameter.
    fn is_same(&self, one: &mut Settings, other: &mut Settings) -> bool {
        match &self.field {
            Field::Text(of) | Field::Path(of) => of(one) == of(other),
            Field::Integer(_, of) => of(one) == of(other),
            Field::Bool(of) => of(one) == of(other),
            Field::Switch(of) => of(one) == of(other),
            Field::AnyText | Field::AnyInteger | Field::AnySwitch => true,
        }
    }

    /// Finds a parameter by its name as written in a file.
    ///
    /// # Errors
    /// A message with the nearest known name, if one is near.
    pub fn find(written: &str) -> Result<&'static Self, String> {
        let wanted = canonical(written);
        if let Some(found) = PARAMETERS.iter().find(|p| canonical(p.name) == wanted) {
            return Ok(found);
        }
        let letters = |name: &str| name.replace(['-', '_'], "");
        let near = PARAMETERS.iter().find(|p| {
            let known = canonical(p.name);
            letters(&known) == letters(&wanted) || distance(&known, &wanted) <= 2
        });
        let mut text = format!("the parameter \"{}\" is unknown", shorten(written));
        if let Some(near) = near {
            text.push_str(&format!("; did you mean \"{}\"?", near.name));
        }
        Err(text)
    }

    /// Checks a value and stores it. `value` has been expanded for all types but texts and paths.
    ///
    /// # Errors
    /// A message that names the parameter and what it takes.
    pub fn set(&self, settings: &mut Settings, value: &str, in_module: bool) -> Result<(), String> {
        match (self.scope, in_module) {
            (Scope::Global, true) => {
                return Err(format!(
                    "\"{}\" is a global parameter; put it before the first module or in [global]",
                    self.name
                ));
            }
            (Scope::GlobalForNow, true) => {
                return Err(format!(
                    "\"{}\" in a module is not supported yet; put it before the first module",
                    self.name
                ));
            }
            _ => {}
        }
        self.store(settings, value)?;
        let accepted = match self.support {
            Support::Works | Support::NoEffect(_) => return Ok(()),
            Support::Checked(_) if value.contains('%') => return Ok(()),
            Support::Checked(check) => {
                return check(value).map_err(|text| format!("\"{}\": {text}", self.name));
            }
            Support::OnlyIf(harmless, _) if value.is_empty() || harmless(value) => return Ok(()),
            Support::OnlyIf(_, accepted) => format!(" ({accepted})"),
            Support::NotYet if value.is_empty() => return Ok(()),
            Support::NotYet => String::new(),
        };
        Err(format!(
            "\"{} = {}\" is not supported yet{accepted}; remove the line to go on without it",
            self.name,
            shorten(value)
        ))
    }

    fn store(&self, settings: &mut Settings, value: &str) -> Result<(), String> {
        let wrong = |wanted: &str| {
            Err(format!("\"{}\" must be {wanted}, not \"{}\"", self.name, shorten(value)))
        };
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match &self.field {
            Field::Text(field) => *field(settings) = text(value),
            Field::Path(field) => {
                let trimmed = value.trim_end_matches('/');
                let all_slashes = trimmed.is_empty() && !value.is_empty();
                // On Windows `C:` is the drive's current folder, `C:/` its root.
                let is_drive = cfg!(windows) && trimmed.len() == 2 && trimmed.ends_with(':');
                *field(settings) = match all_slashes || is_drive {
                    true => text(value.get(..trimmed.len() + 1).unwrap_or(value)),
                    false => text(trimmed),
                };
            }
            Field::Integer(range, field) => match value.parse() {
                Ok(number) if range.contains(&number) => *field(settings) = number,
                _ => {
                    return wrong(&format!("a number from {} to {}", range.start(), range.end()));
                }
            },
            Field::Bool(field) => match boolean(value) {
                Some(value) => *field(settings) = value,
                None => return wrong("yes or no"),
            },
            Field::Switch(field) => match boolean(value) {
                Some(value) => *field(settings) = Some(value),
                None if is_unset(value) => *field(settings) = None,
                None => return wrong("yes, no or unset"),
            },
            Field::AnySwitch if boolean(value).is_none() && !is_unset(value) => {
                return wrong("yes or no");
            }
            Field::AnyInteger if value.parse::<i64>().is_err() => return wrong("a number"),
            Field::AnyText | Field::AnySwitch | Field::AnyInteger => {}
        }
        Ok(())
    }

    /// Whether `%VAR%` references are resolved when the file is read.
    pub fn expands_early(&self) -> bool {
        !matches!(self.field, Field::Text(_) | Field::Path(_) | Field::AnyText)
    }
}

/// A name without blanks, in lower case.
fn canonical(name: &str) -> String {
    name.split_whitespace().collect::<String>().to_ascii_lowercase()
}

pub(super) fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Some(true),
        "no" | "false" | "0" => Some(false),
        _ => None,
    }
}

pub(super) fn is_unset(value: &str) -> bool {
    value.eq_ignore_ascii_case("unset") || value == "-1"
}

/// How many letters must change to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(40).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(40).enumerate() {
        let mut next = vec![i + 1];
        let mut best = i + 1;
        for ((to, above), diagonal) in b.iter().zip(&row[1..]).zip(&row) {
            best = (best + 1).min(above + 1).min(diagonal + usize::from(from != *to));
            next.push(best);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str, in_module: bool) -> Result<Settings, String> {
        let mut settings = Settings::default();
        Parameter::find(name)?.set(&mut settings, value, in_module)?;
        Ok(settings)
    }

    #[test]
    fn names_ignore_case_and_blanks() {
        for name in ["read only", "Read  Only", "readonly", " r e a d O N L Y"] {
            assert!(!set(name, "no", true).expect("known").rules.read_only);
        }
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<String> = PARAMETERS.iter().map(|p| canonical(p.name)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), PARAMETERS.len());
    }

    #[test]
    fn booleans_are_rsyncds() {
        for (word, value) in [
            ("YES", true),
            ("true", true),
            ("1", true),
            ("No", false),
            ("FALSE", false),
            ("0", false),
        ] {
            assert_eq!(set("list", word, true).expect("a boolean").rules.list, value);
        }
        assert_eq!(set("use chroot", "unset", true).expect("unset").rules.use_chroot, None);
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (name, value, in_module, text) in [
            ("bogus", "1", true, "the parameter \"bogus\" is unknown"),
            (
                "read-only",
                "1",
                true,
                "the parameter \"read-only\" is unknown; did you mean \"read only\"?",
            ),
            (
                "pre-xfer exce",
                "1",
                true,
                "the parameter \"pre-xfer exce\" is unknown; did you mean \"pre-xfer exec\"?",
            ),
            ("list", "maybe", true, "\"list\" must be yes or no, not \"maybe\""),
            ("use chroot", "x", true, "\"use chroot\" must be yes, no or unset, not \"x\""),
            (
                "timeout",
                "12x",
                true,
                "\"timeout\" must be a number from 0 to 2147483647, not \"12x\"",
            ),
            ("port", "65536", false, "\"port\" must be a number from 0 to 65535, not \"65536\""),
            (
                "port",
                "873",
                true,
                "\"port\" is a global parameter; put it before the first module or in [global]",
            ),
            (
                "log file",
                "/x",
                true,
                "\"log file\" in a module is not supported yet; put it before the first module",
            ),
            (
                "fake super",
                "yes",
                true,
                "\"fake super = yes\" is not supported yet (only \"no\" is); remove the line to go on without it",
            ),
            ("fake super", "x", true, "\"fake super\" must be yes or no, not \"x\""),
            (
                "early exec",
                "/bin/true",
                true,
                "\"early exec = /bin/true\" is not supported yet; remove the line to go on without it",
            ),
            (
                "daemon uid",
                "nobody",
                false,
                "\"daemon uid = nobody\" is not supported yet; remove the line to go on without it",
            ),
            (
                "socket options",
                "SO_SNDBUF=1",
                false,
                "\"socket options = SO_SNDBUF=1\" is not supported yet (only TCP_NODELAY and SO_KEEPALIVE are, which are always on); remove the line to go on without it",
            ),
            ("max verbosity", "x", true, "\"max verbosity\" must be a number, not \"x\""),
        ] {
            assert_eq!(set(name, value, in_module).expect_err(name), text);
        }
        assert!(set("hosts allow", "10.0.0.0/99", true).is_err());
        assert!(set("auth users", "joe:wr", true).is_err());
    }

    #[test]
    fn every_unsupported_row_refuses_or_is_harmless() {
        for parameter in PARAMETERS {
            let mut settings = Settings::default();
            let probe = if matches!(parameter.field, Field::AnySwitch) { "yes" } else { "*" };
            let refused = parameter.set(&mut settings, probe, false);
            match parameter.support {
                Support::NotYet | Support::OnlyIf(..) => {
                    let text = refused.expect_err(parameter.name);
                    assert!(text.contains(parameter.name), "{text}");
                }
                _ => {}
            }
        }
    }

    #[test]
    fn paths_lose_trailing_slashes() {
        let path = |value| set("path", value, true).expect("a path").rules.path;
        assert_eq!(path("/srv/x//").as_deref(), Some("/srv/x"));
        assert_eq!(path("//").as_deref(), Some("/"));
        assert_eq!(path(""), None);
    }

    #[test]
    fn paths_of_windows_are_for_windows() {
        for path in ["C:/", "c:/mail", r"C:\mail", r"\\server\share\mail", "/cygdrive/c/mail"] {
            let set = set("path", path, true);
            if cfg!(windows) {
                assert_eq!(set.expect(path).rules.path.as_deref(), Some(path));
            } else {
                let error = set.expect_err(path);
                assert!(error.contains("a path of Windows") && error.contains("--map"), "{error}");
            }
        }
        for path in ["C:", "mail", "C:mail"] {
            assert!(set("path", path, true).is_err(), "{path}");
        }
    }
}
