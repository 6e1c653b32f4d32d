//! `basculed service`: the daemon as a service of systemd or of Windows.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_engine::outcome::ExitCode;
use bascule_platform::output;
use bascule_platform::service::foreground::{self, Instead};
use bascule_platform::service::steer;
use bascule_platform::service::{self, Service, unit};

use crate::cli::{Install, ServiceCommand};
use crate::config::{self, Config, Global};
use crate::daemon::{RSYNC_PORT, certificate, load};

/// The name of the program, and of its service if none is given.
const PROGRAM: &str = "basculed";
/// What root keeps: to become the modules' users, keep owners, reach every file of a module and
/// listen.
const CAPABILITIES: [&str; 9] = [
    "SETUID",
    "SETGID",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "MKNOD",
    "NET_BIND_SERVICE",
];
/// Ports below this one need a right of their own on Unix.
const FIRST_FREE_PORT: u16 = 1024;

/// Does what was asked for; gives the exit code.
///
/// # Errors
/// Why it could not be done.
pub fn run(command: &ServiceCommand) -> anyhow::Result<u8> {
    let install = match command {
        ServiceCommand::Install(install) => install,
        ServiceCommand::Steer(asked) => {
            let instead = instead(asked.name_or(PROGRAM), Path::new(crate::cli::NEW_CONFIG));
            return Ok(steer::steer(asked, PROGRAM, &instead)?);
        }
    };
    let name = install.installing.which.name_or(PROGRAM);
    service::check_name(name)?;
    if install.installing.print {
        output::print(&printed(name, install)?);
    } else {
        let service = described(name, install, true)?;
        steer::install(&service, &install.installing, &instead(name, &install.config))?;
    }
    Ok(0)
}

/// The texts of the unit files.
fn printed(name: &str, install: &Install) -> anyhow::Result<String> {
    if cfg!(windows) {
        bail!("there are no unit files on Windows: nothing to print");
    }
    let service = described(name, install, false)?;
    let made_by = "basculed service install";
    let mut text = unit::service(&service, made_by)?;
    if !service.sockets.is_empty() {
        text.push_str(&format!("\n# {}.socket\n{}", service.name, unit::socket(&service, made_by)));
    }
    Ok(text)
}

/// The daemon as a service. Only to be shown, it need not have a configuration yet.
fn described(name: &str, install: &Install, is_needed: bool) -> anyhow::Result<Service> {
    let file = std::path::absolute(&install.config).context("the configuration's path")?;
    let config = if is_needed || file.exists() {
        let config = load(&file, &[]).map_err(|failure| failure.error)?;
        certificate(&config).map_err(|failure| failure.error)?;
        config
    } else {
        Config::default()
    };
    let program = match &install.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("this program's own path")?,
    };
    let sockets = if install.socket_activation { sockets(&config.global)? } else { Vec::new() };
    let low = ports(&config.global).into_iter().any(|port| port < FIRST_FREE_PORT);
    let user_capabilities =
        if low && sockets.is_empty() { vec!["NET_BIND_SERVICE"] } else { Vec::new() };
    let password = install.installing.password()?;
    Ok(Service {
        display_name: "Bascule daemon".into(),
        description: "Bascule daemon: serves rsync modules".into(),
        documentation: "man:rsyncd.conf(5)".into(),
        arguments: arguments(name, &file),
        name: name.to_owned(),
        program,
        user: install.user.clone(),
        password,
        writes: writes(&config, &full(&install.writes)?),
        capabilities: CAPABILITIES.to_vec(),
        user_capabilities,
        makes_special_files: true,
        hopeless: Some(ExitCode::Syntax.code()),
        sockets,
    })
}

/// Full paths: systemd ignores others.
fn full(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let full = |path: &PathBuf| {
        std::path::absolute(path).with_context(|| format!("--writes={}", path.display()))
    };
    paths.iter().map(full).collect()
}

/// How the manager starts the daemon.
fn arguments(name: &str, config: &Path) -> Vec<OsString> {
    if cfg!(windows) {
        let folder = foreground::log_folder(name);
        return vec![
            "--windows-service".into(),
            name.into(),
            "--config".into(),
            config.into(),
            "--log-dir".into(),
            folder.into(),
        ];
    }
    let mut option = OsString::from("--config=");
    option.push(config);
    vec!["--no-detach".into(), option]
}

/// How to run the daemon without a manager.
fn instead(name: &str, config: &Path) -> Instead {
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    Instead {
        program: std::env::current_exe().unwrap_or_else(|_| "basculed".into()),
        arguments: vec![
            format!("--config={}", config.display()),
            format!("--log-dir={}", foreground::log_folder(name).display()),
        ],
    }
}

/// The places that a daemon of this configuration writes to.
fn writes(config: &Config, more: &[PathBuf]) -> Vec<PathBuf> {
    let expanded = |text: &str| {
        let text = config::expand(text, &config::environment);
        // What stands for a client or its user is known only then: the folder above counts.
        // A single `%` is a part of the name.
        match text.find('%').filter(|at| text[at + 1..].contains('%')) {
            None => PathBuf::from(text),
            Some(at) => {
                let known = &text[..at];
                PathBuf::from(&known[..=known.rfind('/').unwrap_or(0)])
            }
        }
    };
    let mut writes = more.to_vec();
    for module in &config.modules {
        let rules = &module.rules;
        let some_may_write = rules.auth_users.as_deref().is_some_and(|users| users.contains(":rw"));
        if !rules.read_only || some_may_write {
            writes.extend(rules.path.as_deref().map(expanded));
        }
    }
    for file in [&config.global.log_file, &config.global.pid_file] {
        let file = file.as_deref().map(expanded);
        writes.extend(file.as_deref().and_then(Path::parent).map(Path::to_owned));
    }
    // RuntimeDirectory= is there already, and nobody mounts it.
    writes.retain(|path| !path.starts_with("/run") && !path.as_os_str().is_empty());
    writes.sort();
    writes.dedup();
    writes
}

fn ports(global: &Global) -> Vec<u16> {
    let port = |number: i64| u16::try_from(number).ok().filter(|port| *port != 0);
    let mut ports = vec![port(global.port).unwrap_or(RSYNC_PORT)];
    ports.extend(port(global.tls_port));
    ports
}

/// The addresses that systemd is to listen on.
fn sockets(global: &Global) -> anyhow::Result<Vec<String>> {
    let address = global.address.as_deref().map(|text| config::expand(text, &config::environment));
    let address = match address.as_deref() {
        None => None,
        Some(text) => match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Some(address.to_string()),
            Ok(IpAddr::V6(address)) => Some(format!("[{address}]")),
            Err(_) => bail!("systemd listens on addresses, not names: \"address = {text}\""),
        },
    };
    let one = |port: u16| match &address {
        None => port.to_string(),
        Some(address) => format!("{address}:{port}"),
    };
    Ok(ports(global).into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        config::parse(text.as_bytes(), "conf", &[]).expect("a configuration")
    }

    #[test]
    fn the_service_may_write_where_the_modules_do() {
        let config = config(
            "log file = /var/log/rsync/x.log\npid file = /run/basculed/pid\n\
             [a]\npath = /srv/a\nread only = no\n[b]\npath = /srv/b\n\
             [c]\npath = /srv/c\nauth users = joe:rw\n\
             [d]\npath = /home/%RSYNC_USER_NAME%/mail\nread only = no\n\
             [e]\npath = /srv/100%%\nread only = no\n",
        );
        let paths = writes(&config, &["/extra".into()]);
        let expected = ["/extra", "/home/", "/srv/100%", "/srv/a", "/srv/c", "/var/log/rsync"];
        assert_eq!(paths, expected.map(PathBuf::from));
    }

    #[test]
    fn systemd_listens_where_the_daemon_would() {
        let found = |text: &str| sockets(&config(&format!("{text}\n[m]\npath = /srv\n")).global);
        assert_eq!(found("").expect("ports"), ["873"]);
        assert_eq!(found("address = ::1\nport = 8730").expect("ports"), ["[::1]:8730"]);
        assert_eq!(found("address = 192.0.2.1").expect("ports"), ["192.0.2.1:873"]);
        assert!(found("address = mail.example").is_err());
    }
}
