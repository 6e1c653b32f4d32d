//! Where a path of a `deltacd.conf` is on this machine.
//!
//! DeltaCopy writes `/cygdrive/c/mail`; people also write `C:\mail`, `C:/mail` and `\\server\share`.
//! On Windows that is the same folder, unless `--map` names another. Elsewhere only `--map` knows.

use anyhow::{Context as _, bail};

/// The system whose paths are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    /// `C:\mail`.
    Windows,
    /// `/srv/mail`.
    Unix,
}

impl System {
    /// The one that this program runs on.
    pub(super) const HERE: Self = if cfg!(windows) { Self::Windows } else { Self::Unix };

    fn separator(self) -> char {
        match self {
            Self::Windows => '\\',
            Self::Unix => '/',
        }
    }
}

/// What a path starts at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    /// A drive, as an upper-case letter.
    Drive(char),
    /// A share of a server.
    Share(String, String),
    /// `/`: below DeltaCopy's own Cygwin.
    Cygwin,
}

/// A path in the terms of DeltaCopy's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    root: Root,
    names: Vec<String>,
}

impl Place {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let slashes = text.trim().replace('\\', "/");
        let (root, rest) = if let Some((drive, rest)) = drive(&slashes) {
            (Root::Drive(drive), rest)
        } else if let Some(share) = slashes.strip_prefix("//") {
            let mut parts = share.splitn(3, '/').filter(|part| !part.is_empty());
            let (Some(server), Some(name)) = (parts.next(), parts.next()) else {
                bail!("\"{text}\" names a server but no share");
            };
            let rest = parts.next().unwrap_or_default();
            (Root::Share(server.to_owned(), name.to_owned()), rest)
        } else if let Some(rest) = slashes.strip_prefix('/') {
            (Root::Cygwin, rest)
        } else {
            bail!("\"{text}\" is no full path such as C:\\mail or /cygdrive/c/mail");
        };
        let names = rest.split('/').filter(|name| !matches!(*name, "" | "."));
        let names: Vec<String> = names.map(ToOwned::to_owned).collect();
        if names.iter().any(|name| name == "..") {
            bail!("\"{text}\" goes up with \"..\"; write the path without it");
        }
        Ok(Self { root, names })
    }

    /// What is left of `self` below `base`; Windows does not tell upper from lower case.
    fn below(&self, base: &Self) -> Option<&[String]> {
        let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        let same_root = match (&self.root, &base.root) {
            (Root::Share(server, name), Root::Share(other, share)) => {
                same(server, other) && same(name, share)
            }
            (one, other) => one == other,
        };
        let (head, rest) = self.names.split_at_checked(base.names.len())?;
        let is_below = same_root && head.iter().zip(&base.names).all(|(a, b)| same(a, b));
        is_below.then_some(rest)
    }

    /// The same place for a program of Windows that is no program of Cygwin.
    fn of_windows(&self) -> Option<String> {
        let base = match &self.root {
            // No backslash at the end: that would continue the line of the configuration.
            Root::Drive(drive) if self.names.is_empty() => return Some(format!("{drive}:/")),
            Root::Drive(drive) => format!("{drive}:"),
            Root::Share(server, name) => format!(r"\\{server}\{name}"),
            Root::Cygwin => return None,
        };
        Some(join(base, &self.names, System::Windows))
    }
}

/// The drive that a path with slashes begins with, and what follows.
fn drive(path: &str) -> Option<(char, &str)> {
    let (text, colon) = match path.get(..10).filter(|p| p.eq_ignore_ascii_case("/cygdrive/")) {
        Some(_) => (&path[10..], ""),
        None => (path, ":"),
    };
    let mut chars = text.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?.to_ascii_uppercase();
    let rest = chars.as_str().strip_prefix(colon)?;
    (rest.is_empty() || rest.starts_with('/')).then_some((letter, rest))
}

fn join(mut base: String, names: &[String], system: System) -> String {
    for name in names {
        if !base.ends_with(['/', '\\']) {
            base.push(system.separator());
        }
        base.push_str(name);
    }
    base
}

/// What `--map` says.
#[derive(Debug)]
pub(super) struct Maps {
    system: System,
    /// The longest first.
    maps: Vec<(Place, String)>,
}

impl Maps {
    /// Reads the values of `--map`: `FROM=TO`.
    ///
    /// # Errors
    /// Which of them makes no sense and why.
    pub(super) fn parse(values: &[String], system: System) -> anyhow::Result<Self> {
        let mut maps = Vec::new();
        for value in values {
            let wrong = || format!("--map={value}");
            let Some((from, to)) = value.split_once('=') else {
                bail!("{}: FROM=TO is needed, such as C:=/srv/mail", wrong());
            };
            let (from, to) = (Place::parse(from).with_context(wrong)?, to.trim());
            let is_full = match system {
                System::Unix => to.starts_with('/'),
                System::Windows => matches!(
                    Place::parse(to).with_context(wrong)?.root,
                    Root::Drive(_) | Root::Share(..)
                ),
            };
            if !is_full {
                bail!("{}: \"{to}\" is no full path of this machine", wrong());
            }
            let to = to.trim_end_matches(['/', '\\']);
            maps.push((from, if to.is_empty() { "/" } else { to }.to_owned()));
        }
        maps.sort_by_key(|(from, _)| std::cmp::Reverse(from.names.len()));
        Ok(Self { system, maps })
    }

    /// The path on this machine.
    ///
    /// # Errors
    /// That it is no full path, or has no meaning here and how to give it one.
    pub(super) fn place(&self, path: &str) -> anyhow::Result<String> {
        let place = Place::parse(path)?;
        for (from, to) in &self.maps {
            if let Some(rest) = place.below(from) {
                let to = join(to.clone(), rest, self.system);
                return Ok(if to.ends_with(':') { to + "/" } else { to });
            }
        }
        let native = place.of_windows().filter(|_| self.system == System::Windows);
        native.with_context(|| match (&place.root, self.system) {
            (Root::Drive(drive), _) => format!(
                "{path} is on drive {drive}: of a Windows machine, which means nothing here: say where \
                 it is here with --map {drive}:=/some/folder (what follows {drive}:\\ is added to that \
                 folder)"
            ),
            (Root::Share(server, name), _) => format!(
                "{path} is on a share of a Windows machine: say where it is here with \
                 --map //{server}/{name}=/some/folder"
            ),
            (Root::Cygwin, system) => {
                let to = if system == System::Windows { "C:\\some\\folder" } else { "/some/folder" };
                format!(
                    "{path} is inside DeltaCopy's own Cygwin, not on a drive: say where it is here with \
                     --map {path}={to}"
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(maps: &[&str], system: System, path: &str) -> Result<String, String> {
        let maps: Vec<String> = maps.iter().map(|map| (*map).to_owned()).collect();
        let maps = Maps::parse(&maps, system).map_err(|error| format!("{error:#}"))?;
        maps.place(path).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn on_windows_a_path_is_the_same_folder() {
        for (path, expected) in [
            ("/cygdrive/c/Mes données/é/", r"C:\Mes données\é"),
            ("/cygdrive/C", "C:/"),
            (r"d:\mail\x", r"D:\mail\x"),
            ("D:/mail/./x", r"D:\mail\x"),
            ("d:", "D:/"),
            (r"\\server\share\a b", r"\\server\share\a b"),
            ("//server/share", r"\\server\share"),
        ] {
            assert_eq!(placed(&[], System::Windows, path).as_deref(), Ok(expected), "{path}");
        }
        let moved = |path| placed(&[r"C:=E:\", r"c:\mail=F:\m"], System::Windows, path);
        assert_eq!(moved("/cygdrive/c/MAIL/x").as_deref(), Ok(r"F:\m\x"));
        assert_eq!(moved("/cygdrive/c/mailbox").as_deref(), Ok(r"E:\mailbox"));
        assert_eq!(moved("c:/").as_deref(), Ok("E:/"));
    }

    #[test]
    fn elsewhere_only_a_map_knows() {
        let map = ["c:=/srv/c", r"\\nas\mail=/srv/nas", "/home/=/", "/cygdrive/d/É x=/srv/d"];
        for (path, expected) in [
            ("/cygdrive/c/Mes données", "/srv/c/Mes données"),
            (r"C:\", "/srv/c"),
            (r"\\NAS\Mail\a", "/srv/nas/a"),
            ("/home/x", "/x"),
            ("D:/é X/y", "/srv/d/y"),
        ] {
            assert_eq!(placed(&map, System::Unix, path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn refusals_say_what_to_give() {
        for (map, path, reason) in [
            (&[][..], "/cygdrive/e/x", "--map E:=/some/folder"),
            (&[], r"\\nas\mail\x", "--map //nas/mail=/some/folder"),
            (&[], "/home/x", "--map /home/x=/some/folder"),
            (&[], "mail", "no full path"),
            (&[], r"C:\a\..\b", "without it"),
            (&[], r"\\server", "no share"),
            (&["C:=srv"], "C:/", "no full path of this machine"),
            (&["C:"], "C:/", "FROM=TO"),
            (&["x=/y"], "C:/", "--map=x=/y"),
        ] {
            let error = placed(map, System::Unix, path).expect_err(path);
            assert!(error.contains(reason), "{path}: {error}");
        }
        let error = placed(&["C:=/srv"], System::Windows, "C:/").expect_err("no drive");
        assert!(error.contains("no full path of this machine"), "{error}");
    }
}
