//! `bascule init`: writes a commented `bascule.toml` with one job.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_engine::outcome::ExitCode;
use bascule_platform::secret::sealed;
use bascule_platform::shell::word;
use zeroize::Zeroizing;

use super::load;
use super::options::Init;
use crate::location::Location;
use crate::output::print;

/// Runs `bascule init`: asks for what was not said, on a terminal.
///
/// # Errors
/// What is missing or makes no sense, and that there is a configuration already: nothing is
/// overwritten.
pub fn init(cli: &Init) -> anyhow::Result<ExitCode> {
    let file = match &cli.configuration.config {
        Some(file) => std::path::absolute(file).context("the configuration's path")?,
        None => load::default_file()?,
    };
    let shown = file.display();
    if file.symlink_metadata().is_ok() {
        bail!(
            "{shown} exists and is left as it is; add a job to it, or name another with --config"
        );
    }
    load::check_name(&cli.name).context("--name")?;
    let target = match &cli.target {
        Some(target) => target.clone(),
        None => ask("Target, as `basculed init` printed it (rsyncs://…)")?,
    };
    let sources = match cli.sources.as_slice() {
        [] => vec![ask("Folder to mirror (with a slash at the end: its contents)")?],
        given => given.to_vec(),
    };
    let state = match &cli.state {
        Some(state) => std::path::absolute(state).context("the state folder's path")?,
        None => bascule_platform::state::of_the_system("bascule")
            .context("the environment names no folder for the history; name one with --state")?,
    };
    let sources: Vec<String> =
        sources.iter().map(|source| resolved(source)).collect::<anyhow::Result<_>>()?;
    let target = resolved(&target)?;
    // A password is asked for, and kept, only when all else is right.
    load::parse(&configuration(cli, &sources, &target, &state, None))
        .context("such a job makes no sense")?;
    let password = password(cli, &target, &state)?;
    let text = configuration(cli, &sources, &target, &state, password.as_deref());
    load::parse(&text).context("such a job makes no sense")?;
    write_new(&file, &text).with_context(|| format!("cannot write {shown}"))?;
    let option = match &cli.configuration.config {
        Some(_) => format!(" {}", word(&format!("--config={shown}"))),
        None => String::new(),
    };
    let job = &cli.name;
    print(&format!(
        "{shown} is written. Now\n\n  bascule check{option}\n\nlooks whether all is ready,\n\n  \
         bascule service install{option}\n\nlets the system run it every {}, and\n\n  \
         bascule status{option}\n\nsays how far it is. `bascule converge {job}{option}` does the same by hand, until a run\nis \
         short enough for the switch.\n",
        cli.every
    ));
    Ok(ExitCode::Success)
}

/// A local end by its full path, the slash at its end kept: services run elsewhere.
fn resolved(end: &str) -> anyhow::Result<String> {
    if let Location::Remote(_) = Location::parse(end.as_ref())? {
        return Ok(end.to_owned());
    }
    if end.is_empty() {
        bail!("an end of the mirror has no name");
    }
    let full = std::path::absolute(end).with_context(|| end.to_owned())?;
    let mut full = full.into_os_string().into_string().ok().context("a path that is not UTF-8")?;
    if end.ends_with(std::path::is_separator) && !full.ends_with(std::path::is_separator) {
        full.push('/');
    }
    Ok(full)
}

/// The file with the password: the one that was named, or a new one with what is typed.
fn password(cli: &Init, target: &str, state: &Path) -> anyhow::Result<Option<PathBuf>> {
    if let Some(file) = &cli.password_file {
        let file = std::path::absolute(file).context("the password file's path")?;
        bascule_platform::secret::read(&file)?;
        return Ok(Some(file));
    }
    let Location::Remote(remote) = Location::parse(target.as_ref())? else { return Ok(None) };
    let Some(user) = remote.user else { return Ok(None) };
    let typed = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("Password of {user} at {}: ", remote.host))?
    } else {
        bail!("name the file with the password of {user} with --password-file");
    };
    let typed = Zeroizing::new(typed);
    let file = state.join(format!("{}.password", cli.name));
    bascule_platform::state::private_folder(state)
        .with_context(|| format!("cannot make {}", state.display()))?;
    let content = Zeroizing::new(match cfg!(windows) {
        true => sealed::seal(typed.as_bytes())?,
        false => format!("{}\n", *typed),
    });
    bascule_platform::secret::write(&file, &content, true)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Some(file))
}

fn configuration(
    cli: &Init,
    sources: &[String],
    target: &str,
    state: &Path,
    password: Option<&Path>,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let exclude = exclude(sources, target);
    let sources: Vec<String> = sources.iter().map(|source| quoted(source)).collect();
    let schema = schema_line().unwrap_or_default();
    let mut text = format!(
        "\
{schema}# What Bascule mirrors: docs/jobs.md explains every key.

# The history of all runs and the locks of the jobs.
state = {}
# For how many days runs stay in the history.
keep_days = 400

# For Prometheus and health checks on this machine (docs/metrics.md); there is no password.
# [metrics]
# listen = \"127.0.0.1:9873\"

[jobs.{}]
# What is mirrored; a slash at the end means the contents.
sources = [{}]
# Where it goes.
target = {}
",
        path(state),
        cli.name,
        sources.join(", "),
        quoted(target),
    );
    // Writing to a string cannot fail.
    let _ = match password {
        Some(file) => writeln!(
            text,
            "# Whoever reads this file can write at the target.\npassword.{} = {}",
            if is_sealed(file) { "dpapi" } else { "file" },
            path(file)
        ),
        None => writeln!(text, "# {}", example_password(state, "bascule.password")),
    };
    let _ = write!(
        text,
        "\
# When the service runs it (`bascule service install`), and the hours in which runs may begin.
schedule.every = {}
# windows = [\"19:00-07:00\"]
# When its runs are short enough for the switch: docs/converge.md.
goal = {{ under = \"10m\", times = 2 }}
# How many components of a path name an account: 1 for user/…, 2 for domain/user/….
account_depth = {}
# What holds deletions back: more than this part of the target and more than so many names.
guard = {{ percent = 10, names = 100 }}
# What is deleted or overwritten at the target is kept for so many days.
{}trash_days = {}
# Names that are left out.
{exclude}
# Most bytes per second.
# bandwidth = \"20m\"
# bandwidth_hours = {{ \"08:00-18:00\" = \"2m\" }}
# Further options of `bascule mirror`.
# options = [\"--numeric-ids\"]

# Who is told what happens: docs/notices.md; `bascule notify` tries it out.
# [notify]
# digest = \"07:00\"
# [notify.mail]
# server = \"smtp.example.com\"
# from = \"Bascule <bascule@example.com>\"
# to = [\"admin@example.com\"]
# user = \"bascule\"
# {}
# [notify.webhook]
# url = \"https://chat.example.com/hooks/…\"
",
        quoted(&cli.every),
        cli.account_depth,
        if cli.trash_days.is_some() { "" } else { "# " },
        cli.trash_days.unwrap_or(30),
        example_password(state, "bascule.mail-password"),
    );
    text
}

/// Whether the password in a file is one that `bascule seal` or `bascule init` has sealed. One that is
/// yet to be written will be, on Windows.
fn is_sealed(file: &Path) -> bool {
    std::fs::read(file).map_or(cfg!(windows), |content| sealed::is_sealed(&content))
}

/// How a password would be named: on Windows `bascule seal` writes such a file.
fn example_password(state: &Path, name: &str) -> String {
    if cfg!(windows) {
        let file = state.join(name);
        return format!("password.dpapi = {}", toml::Value::from(&*file.to_string_lossy()));
    }
    format!("password.file = \"/etc/{name}\"")
}

/// The names that a job leaves out. What Windows keeps for itself at the top of each drive, where not
/// even administrators can read it, is nobody's to mirror or to delete.
fn exclude(sources: &[String], target: &str) -> String {
    let is_drive = |end: &str| match Location::parse(end.as_ref()) {
        Ok(Location::Local(path)) => cfg!(windows) && Path::new(&path).parent().is_none(),
        _ => false,
    };
    if sources.iter().map(String::as_str).chain([target]).any(is_drive) {
        return r#"exclude = ["/System Volume Information/", "/$RECYCLE.BIN/", "/$Recycle.Bin/"]"#
            .to_owned();
    }
    r#"# exclude = ["*.tmp"]"#.to_owned()
}

/// The line that names the schema to editors, if it is installed: beside this program, or in
/// `share` beside the folder of programs.
fn schema_line() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    let places = [folder.to_owned(), folder.parent()?.join("share/bascule")];
    let found = places.map(|place| place.join("bascule.schema.json"));
    let url = found.iter().find(|path| path.is_file()).and_then(|path| file_url(path))?;
    Some(format!("#:schema {url}\n"))
}

/// The URL of a full path.
fn file_url(path: &Path) -> Option<String> {
    let mut url = "file://".to_owned();
    let path = path.to_str()?.replace(std::path::MAIN_SEPARATOR, "/");
    // Windows' paths begin with a drive, Unix' with a slash.
    if !path.starts_with('/') {
        url.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/:-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    Some(url)
}

fn ask(what: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("{what}: say it on the command line (`bascule init --help`)");
    }
    let mut typed = String::new();
    print(&format!("{what}: "));
    std::io::stdin().read_line(&mut typed).context("reading the answer")?;
    let typed = typed.trim().to_owned();
    if typed.is_empty() {
        bail!("{what}: nothing was typed");
    }
    Ok(typed)
}

fn write_new(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut open = std::fs::OpenOptions::new().write(true).create_new(true).open(file)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str], folder: &Path) -> (anyhow::Result<ExitCode>, String) {
        use clap::Parser as _;
        let config = folder.join("bascule.toml");
        let places = [("--config", &config), ("--state", &folder.join("state"))];
        let places = places.map(|(option, path)| format!("{option}={}", path.display()));
        let line = ["bascule", "init"].into_iter().chain(words.iter().copied());
        let line = line.chain(places.iter().map(String::as_str));
        let crate::cli::Command::Init(cli) =
            crate::cli::Cli::try_parse_from(line).expect("a command line").command
        else {
            unreachable!("init was asked for")
        };
        (init(&cli), std::fs::read_to_string(config).unwrap_or_default())
    }

    #[test]
    fn local_ends_are_written_by_their_whole_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let (code, text) = asked(&["copy", "mail/"], folder.path());
        assert_eq!(code.expect("written"), ExitCode::Success);
        let config = load::parse(&text).expect("it makes sense");
        let job = &config.jobs["mail"];
        assert!(Path::new(&job.target).is_absolute() && job.target.ends_with("copy"), "{text}");
        assert!(Path::new(&job.sources[0]).is_absolute(), "{text}");
        assert!(job.sources[0].ends_with(std::path::is_separator), "{text}");
    }

    #[cfg(windows)]
    #[test]
    fn what_windows_keeps_for_itself_on_a_drive_is_left_out() {
        for (ends, expected) in [
            ([r"E:\copy", r"D:\"], 3),
            (["E:/", r"D:\mail\"], 3),
            (["host::mail", r"\\server\d$\"], 3),
            (["host::mail", r"D:\mail\"], 0),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let (code, text) = asked(&ends, folder.path());
            assert_eq!(code.expect("written"), ExitCode::Success);
            let config = load::parse(&text).expect("it makes sense");
            assert_eq!(config.jobs["mail"].exclude.len(), expected, "{ends:?}");
        }
    }

    #[test]
    fn a_password_is_named_as_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        bascule_platform::secret::write(&file, "sesame\n", false).expect("a file");
        let option = format!("--password-file={}", file.display());
        let (code, text) = asked(&["rsync://joe@h/m/", "/mail/", &option], folder.path());
        assert_eq!(code.expect("written"), ExitCode::Success);
        assert!(text.contains("\npassword.file = "), "{text}");
        if cfg!(windows) {
            let content = sealed::seal(b"sesame").expect("sealed");
            bascule_platform::secret::write(&file, &content, true).expect("a file");
            assert!(is_sealed(&file));
        }
    }

    #[test]
    fn what_makes_no_sense_leaves_nothing_behind() {
        for words in [
            &["rsync://bob@h/mail/", "/mail/", "--name=../evil"][..],
            &["rsync://bob@h/mail/", "/mail/", "--every=soon"],
            &["rsync://bob:hunter2@h/mail/", "/mail/"],
            &["rsync://h/", "/mail/"],
            &["rsync://h/mail/", "rsync://g/mail/"],
            &["/copy", ""],
            &["", "/mail/"],
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let error = format!("{:#}", asked(words, folder.path()).0.expect_err("refused"));
            assert!(!error.contains("hunter2") && !error.contains("name the file"), "{error}");
            let left = std::fs::read_dir(folder.path()).expect("readable").count();
            assert_eq!(left, 0, "{words:?}");
        }
    }

    #[test]
    fn a_path_is_told_as_a_url() {
        let url = |path: &str| file_url(Path::new(path)).expect("a text");
        if cfg!(windows) {
            let path = r"C:\Program Files\Bascule\bascule.schema.json";
            assert_eq!(url(path), "file:///C:/Program%20Files/Bascule/bascule.schema.json");
        } else {
            assert_eq!(url("/usr/share/é b/x_y.json"), "file:///usr/share/%C3%A9%20b/x_y.json");
        }
    }
}
