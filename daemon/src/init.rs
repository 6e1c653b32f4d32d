//! `basculed init`: writes a configuration with its certificate and password, and prints the lines
//! to paste at the source.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_platform::{mounts, shell, state};

use crate::cli::Init;
use crate::config::{self, Config};
use crate::pairing::{self, Line};
use crate::tls::{Certificate, Files};

/// Writes what `init` asks for; gives what to do next, for the terminal.
///
/// # Errors
/// What is wrong with a folder or a name, which file cannot be written, or that there is a
/// configuration already: nothing is overwritten.
pub fn run(init: &Init) -> anyhow::Result<String> {
    let file = std::path::absolute(&init.config).context("the configuration's path")?;
    let shown = file.display();
    if file.symlink_metadata().is_ok() {
        bail!("{shown} exists and is left as it is; name another file with --config");
    }
    pairing::check_name("user", &init.user)?;
    let modules = modules(&init.modules)?;
    let served: Vec<&Path> = modules.iter().map(|(_, dir)| dir.as_path()).collect();
    let state = init.state_dir.clone().or_else(|| state::of_the_system("basculed"));
    let state = state.context("the environment names no folder for the password: --state-dir")?;
    let state = pairing::private_dir(&state, &served)?;
    let password_file = state.join(format!("{}.password", init.user));
    let secrets_file = state.join(format!("{}.secrets", init.user));
    pairing::make_login(&init.user, &password_file, &secrets_file)?;
    let files = Files::self_made(&state)?;
    let text = configuration(init, &modules, &secrets_file, &files)?;
    write_new(&file, &text).with_context(|| format!("cannot write {shown}"))?;
    let config = config::load(&file, &[]).context("the new configuration")?;
    let line = Line {
        user: &init.user,
        address: init.address.as_deref(),
        port: init.port,
        password_file: &password_file,
        fingerprint: Certificate::open(files)?.fingerprint()?,
    };
    Ok(instructions(&file, &config, &password_file, line))
}

/// The modules by name, with the full paths of their folders.
fn modules(arguments: &[String]) -> anyhow::Result<Vec<(&str, PathBuf)>> {
    let mut modules: Vec<(&str, PathBuf)> = Vec::new();
    for argument in arguments {
        let Some((name, dir)) = argument.split_once('=') else {
            bail!(
                "\"{argument}\" is no module: NAME=DIR is needed, such as mail=/opt/icewarp/mail"
            );
        };
        pairing::check_name("module", name)?;
        if matches!(name, "global") || modules.iter().any(|(other, _)| *other == name) {
            bail!("there can be no second module \"{name}\"");
        }
        let dir = pairing::served_dir(Path::new(dir))?;
        // Known before anything is made.
        value(&dir)?;
        modules.push((name, dir));
    }
    Ok(modules)
}

fn configuration(
    init: &Init,
    modules: &[(&str, PathBuf)],
    secrets_file: &Path,
    tls: &Files,
) -> anyhow::Result<String> {
    let mut text = String::from(
        "# Made by basculed init. The parameters are those of rsyncd.conf and of docs/daemon.md and\n\
         # docs/tls.md; basculed check-config says whether they are right.\n",
    );
    if let Some(address) = &init.address {
        writeln!(text, "address = {address}")?;
    }
    writeln!(text, "port = {}", init.port)?;
    text.push_str(
        "# For Prometheus and health checks on this machine (docs/metrics.md); there is no password.\n\
         # metrics address = 127.0.0.1:9874\n",
    );
    writeln!(text, "tls certificate = {}", value(&tls.certificate)?)?;
    writeln!(text, "tls key = {}", value(&tls.key)?)?;
    for (name, dir) in modules {
        writeln!(text, "\n[{name}]\n    path = {}", value(dir)?)?;
        // What has no folder above it is always there.
        let mount = mounts::mount_point(dir).ok().filter(|mount| mount.parent().is_some());
        if let Some(mount) = mount {
            text.push_str("    # Not into the empty folder below a disk that is not there.\n");
            writeln!(text, "    mounted on = {}", value(&mount)?)?;
        }
        text.push_str("    read only = no\n");
        text.push_str(
            "    # A true copy: symlinks, names of owners and modes as they are there.\n",
        );
        text.push_str("    use chroot = yes\n    munge symlinks = no\n    numeric ids = no\n");
        if let Some((uid, gid)) = bascule_platform::privileges::own_ids() {
            text.push_str("    # Only root can keep every owner.\n");
            writeln!(text, "    uid = {uid}\n    gid = {gid}")?;
        }
        writeln!(text, "    auth users = {}", init.user)?;
        writeln!(text, "    secrets file = {}", value(secrets_file)?)?;
        if cfg!(windows) {
            text.push_str("    strict modes = no\n");
        }
        text.push_str(
            "    # Remove this for a client without TLS (a stock rsync, DeltaCopy): what it sends can\n    \
             # be read and changed on the way.\n    require tls = yes\n",
        );
    }
    Ok(text)
}

/// A path as a parameter's value.
///
/// # Errors
/// For one that the daemon would read as another: blanks at its ends do not count in a configuration,
/// and a backslash at its end makes the next line a part of it.
pub(crate) fn value(path: &Path) -> anyhow::Result<String> {
    let stays = |text: &Cow<'_, str>| {
        text.trim() == *text && !text.ends_with('\\') && !text.contains(char::is_control)
    };
    // A drive's root has one: a slash stands for it.
    let text = path.to_str().map(|text| match text.strip_suffix('\\') {
        Some(drive) if cfg!(windows) => Cow::from(format!("{drive}/")),
        _ => Cow::from(text),
    });
    let Some(text) = text.filter(stays) else {
        bail!(
            "{path:?}: such a path cannot stand in a configuration: name one without blanks or a \
             backslash at its end, and without control characters"
        );
    };
    Ok(text.replace('%', "%%"))
}

/// Writes a configuration with its folders, and overwrites none.
pub(crate) fn write_new(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut new = OpenOptions::new().write(true).create_new(true).open(file)?;
    let written = new.write_all(text.as_bytes()).and_then(|()| new.sync_all());
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(file);
    }
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => std::io::Error::new(error.kind(), "it has just been made"),
        _ => error,
    })
}

fn instructions(file: &Path, config: &Config, password_file: &Path, line: Line<'_>) -> String {
    let option = shell::word(&format!("--config={}", file.display()));
    let mut text = format!(
        "{} is written, with a certificate and a password of its own.\n\n\
         Let it run here as a service (`basculed {option}` runs it by hand):\n\n  \
         basculed service install {option}\n\n\
         The password is in {}; copy that file to the source, keep it at mode\n\
         600, and type there, with the folder instead of SRC:\n\n",
        file.display(),
        password_file.display(),
    );
    for module in &config.modules {
        text.push_str(&format!("  {}\n", line.of(&module.name)));
    }
    text.push_str(
        "\nThat mirrors once. `bascule init` with the URL and the folder makes a job of it that is repeated\n\
         until the switch.\n\n\
         The connection is encrypted (TLS), and the fingerprint at the end makes sure that it is this\n\
         daemon.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(root: &Path, modules: &[String]) -> Init {
        Init {
            modules: modules.to_vec(),
            config: root.join("etc/basculed.conf"),
            user: "joe".into(),
            address: Some("192.0.2.1".into()),
            port: 8730,
            state_dir: Some(root.join("state")),
        }
    }

    #[test]
    fn writes_what_the_daemon_takes_and_overwrites_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let folders = ["mail", "100% archive"].map(|name| dir.path().join(name));
        for folder in &folders {
            std::fs::create_dir(folder).expect("a directory");
        }
        let arguments =
            [format!("mail={}", folders[0].display()), format!("archive={}", folders[1].display())];
        let init = init(dir.path(), &arguments);
        let said = run(&init).expect("written");
        let config = config::load(&init.config, &[]).expect("usable");
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        for (name, folder) in [("mail", &folders[0]), ("archive", &folders[1])] {
            let rules = &config.module(name.as_bytes()).expect("the module").rules;
            let path = rules.path.as_deref().map(|text| text.replace("%%", "%"));
            let folder = bascule_platform::paths::canonical(folder).expect("there");
            assert_eq!(path.as_deref(), folder.to_str());
            assert!(rules.require_tls && !rules.read_only);
            let line = format!("rsyncs://joe@192.0.2.1:8730/{name}/#sha256=");
            assert!(said.contains(&line), "{said}");
        }
        let password = std::fs::read_to_string(dir.path().join("state/joe.password"));
        assert!(!said.contains(password.expect("a password").trim()));
        let again = run(&init).expect_err("it exists").to_string();
        assert!(again.contains("left as it is"), "{again}");
    }

    #[cfg(unix)]
    #[test]
    fn refuses_a_folder_that_a_configuration_would_name_otherwise() {
        for name in ["mail ", "mail\u{a0}", "mail\\", "ma\til", "ma\nil"] {
            let dir = tempfile::tempdir().expect("a directory");
            for name in ["mail", name] {
                std::fs::create_dir_all(dir.path().join(name)).expect("a directory");
            }
            let init = init(dir.path(), &[format!("mail={}", dir.path().join(name).display())]);
            let error = run(&init).expect_err(name).to_string();
            assert!(error.contains("cannot stand in a configuration"), "{error}");
            assert!(!init.config.exists() && !dir.path().join("state").exists());
        }
    }

    #[test]
    fn names_what_is_wrong_and_leaves_no_configuration() {
        let dir = tempfile::tempdir().expect("a directory");
        let here = dir.path().display();
        let cases = [
            ("mail", "NAME=DIR"),
            ("mail=/no/such/folder", "cannot serve /no/such/folder"),
            (&format!("a/b={here}"), "must be letters"),
            (&format!("global={here}"), "no second module"),
            (&format!("mail={here}"), "would be served too"),
        ];
        // Nothing is made in what is served.
        let state = dir.path().join("state");
        for (argument, reason) in cases {
            let init = init(dir.path(), &[argument.to_owned()]);
            let error = run(&init).expect_err(argument).to_string();
            assert!(error.contains(reason), "{argument}: {error}");
            assert!(!init.config.exists() && !state.exists());
        }
    }
}
