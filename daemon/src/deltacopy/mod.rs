//! `basculed import-deltacopy`: the virtual directories of a DeltaCopy server as modules.
//!
//! `encoding` and the configuration's own reader cut `deltacd.conf` into statements, `translate`
//! turns them into a configuration with the help of `places` and `secrets`, the daemon's parser
//! checks it, and only then is anything written.

mod encoding;
mod places;
mod secrets;
mod translate;
mod words;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bascule_platform::{acl, paths, secret, state};

use crate::cli::ImportDeltacopy;
use crate::config::{self, Config, ConfigErrors, Statement};
use crate::{init, pairing};
use places::{Maps, System};
use translate::{Places, SecretsCopy, Translated, translate};

/// The name of DeltaCopy's configuration.
const CONF: &str = "deltacd.conf";
/// The largest that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// What was made, for the instructions.
struct Made<'a> {
    file: &'a Path,
    secrets: &'a [SecretsCopy],
    notes: &'a [String],
}

/// Imports what `import` names; gives what to say on standard output and on standard error.
///
/// # Errors
/// What stands in the way: nothing is written then, and nothing is ever overwritten.
pub fn run(import: &ImportDeltacopy) -> anyhow::Result<(String, String)> {
    let system = System::HERE;
    let dir = paths::native(&import.dir);
    let conf = if dir.is_dir() { dir.join(CONF) } else { dir };
    let conf = std::path::absolute(&conf).context("DeltaCopy's folder")?;
    let dir = conf.parent().unwrap_or(&conf);
    let maps = Maps::parse(&import.map, system)?;
    let state = import.state_dir.clone().or_else(|| state::of_the_system("basculed"));
    let state = state.context("the environment names no folder for the passwords: --state-dir")?;
    let state = std::path::absolute(paths::native(state)).context("the folder for passwords")?;
    // A folder of its own: on Windows its ACL keeps the files to administrators.
    let state = state.join("deltacopy");

    let (mut translated, read_as) = {
        let bytes = read(&conf)?;
        let (text, read_as) = encoding::read(&bytes, import.encoding.as_deref())
            .with_context(|| conf.display().to_string())?;
        let shown: Arc<str> = Arc::from(conf.display().to_string());
        let mut problems = Vec::new();
        let statements = config::statements(text.as_bytes(), &shown, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigErrors(problems)).context("DeltaCopy's configuration cannot be read");
        }
        refuse_continued(&text, &statements)?;
        let places = Places { dir, state: &state, maps: &maps, system };
        (translate(&statements, &places)?, read_as)
    };
    let text = words::header(&conf, read_as) + &translated.text;
    let config = config::parse(text.as_bytes(), "the new configuration", &[])
        .context("the daemon does not take what became of it")?;
    if config.modules.is_empty() {
        bail!("{}: {}", conf.display(), words::NO_MODULES);
    }
    let served = served(&config);
    translated.notes.extend(config.warnings.iter().cloned());
    let own = paths::canonical(dir).unwrap_or_else(|_| dir.to_owned());
    let above = served.iter().filter(|served| own.starts_with(served));
    translated.notes.extend(above.map(|served| words::serves_passwords(&own, served)));
    if import.print {
        return Ok((text, words::notes(&translated.notes)));
    }
    write(import, &text, &served, &state, &translated, &config)
}

/// Refuses a line that goes on in the next one. DeltaCopy writes none; a path of Windows that was
/// typed with a backslash at its end would swallow what follows, such as `auth users`.
fn refuse_continued(text: &str, statements: &[Statement]) -> anyhow::Result<()> {
    let ends_so = text.split('\n').zip(1..).filter(|(line, _)| line.trim_end().ends_with('\\'));
    for (_, number) in ends_so {
        // What is no statement is a comment.
        if let Some(found) = statements.iter().find(|statement| statement.place.line == number) {
            bail!("{}: {}", found.place, words::CONTINUED);
        }
    }
    Ok(())
}

fn read(conf: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = conf.display();
    let length = match conf.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "{shown} is not there: name the folder that DeltaCopy's server is installed in, such as \
             C:\\DeltaCopy"
        ),
        Err(error) => return Err(error).context(shown.to_string()),
    };
    if length > LARGEST {
        bail!("{shown} is larger than 16 MiB: it is something else");
    }
    std::fs::read(conf).with_context(|| format!("cannot read {shown}"))
}

/// The folders of the modules that are there.
fn served(config: &Config) -> Vec<PathBuf> {
    let paths = config.modules.iter().filter_map(|module| module.rules.path.as_deref());
    paths.filter_map(|path| paths::canonical(Path::new(&path.replace("%%", "%"))).ok()).collect()
}

fn write(
    import: &ImportDeltacopy,
    text: &str,
    served: &[PathBuf],
    state: &Path,
    translated: &Translated,
    config: &Config,
) -> anyhow::Result<(String, String)> {
    let file = std::path::absolute(paths::native(&import.config)).context("the configuration")?;
    let shown = file.display();
    if file.symlink_metadata().is_ok() {
        bail!("{shown} exists and is left as it is; name another file with --config");
    }
    let mut made: Vec<&PathBuf> = Vec::new();
    let written = (|| {
        if !translated.secrets.is_empty() {
            let served: Vec<&Path> = served.iter().map(PathBuf::as_path).collect();
            pairing::private_dir(state, &served)?;
            acl::keep_to_administrators(state)
                .with_context(|| format!("cannot protect {}", state.display()))?;
        }
        for SecretsCopy { from, to } in &translated.secrets {
            if copy(from, to)? {
                made.push(to);
            }
        }
        init::write_new(&file, text).with_context(|| format!("cannot write {shown}"))
    })();
    if let Err(error) = written {
        for copy in made {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(copy);
        }
        return Err(error);
    }
    let made = Made { file: &file, secrets: &translated.secrets, notes: &translated.notes };
    Ok((words::instructions(&made, config, System::HERE), String::new()))
}

/// Copies a secrets file; whether that was needed. A copy that an earlier import has made of the same
/// passwords stays.
fn copy(from: &Path, to: &Path) -> anyhow::Result<bool> {
    let content = secrets::read(from)?;
    match secret::write(to, &content[..], false) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let shown = to.display();
            let there = secret::read_as(to, "the passwords of an earlier import in")?;
            if *there != *content {
                bail!(
                    "{shown} exists, with other passwords, and is left as it is: remove it if no \
                     configuration names it any more, or name another folder with --state-dir"
                );
            }
            Ok(false)
        }
        Err(error) => Err(error).with_context(|| format!("cannot write {}", to.display())),
    }
}

#[cfg(test)]
mod tests;
