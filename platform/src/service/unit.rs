//! The unit files of systemd: one service and, if it is started by its first client, one socket.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Service, ServiceError};

/// The first words of a unit file of ours: others are never overwritten or removed.
pub(super) const MARK: &str = "# Made by `";

/// The text of the service's unit.
///
/// # Errors
/// [`ServiceError::Unwritable`] for a path or argument that no unit file can hold.
pub fn service(service: &Service, made_by: &str) -> Result<String, ServiceError> {
    let mut unit = format!(
        "{MARK}{made_by}`, which overwrites it; `systemctl edit {}` keeps changes.\n",
        service.name
    );
    let writes: Vec<String> = service.writes.iter().map(path).collect::<Result<_, _>>()?;
    head(&mut unit, service, &writes);
    let mut command = argument(service.program.as_os_str())?;
    for word in &service.arguments {
        write(&mut command, format_args!(" {}", argument(word)?));
    }
    write(
        &mut unit,
        format_args!(
            "\n[Service]\nType=notify\nNotifyAccess=main\nExecStart={command}\n\
             ExecReload=/bin/kill -HUP $MAINPID\nWatchdogSec=60\nTimeoutStopSec=30\n\
             # Started again after a fault, however often\nRestart=on-failure\nRestartSec=5\n"
        ),
    );
    if let Some(code) = service.hopeless {
        write(&mut unit, format_args!("RestartPreventExitStatus={code}\n"));
    }
    unit.push_str("LimitNOFILE=65536\nUMask=0022\n");
    account(&mut unit, service)?;
    unit.push_str("\n# Nothing else on this machine can be changed.\nProtectSystem=strict\n");
    for path in &writes {
        write(&mut unit, format_args!("ReadWritePaths=-{path}\n"));
    }
    let Service { name, .. } = service;
    write(
        &mut unit,
        format_args!("RuntimeDirectory={name}\nLogsDirectory={name}\nStateDirectory={name}\n"),
    );
    walls(&mut unit, service);
    unit.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    if !service.sockets.is_empty() {
        write(&mut unit, format_args!("Also={name}.socket\n"));
    }
    Ok(unit)
}

/// The text of the socket's unit.
pub fn socket(service: &Service, made_by: &str) -> String {
    let Service { name, description, .. } = service;
    let mut unit = format!(
        "{MARK}{made_by}`, which overwrites it.\n[Unit]\nDescription={} (socket)\n\n[Socket]\n",
        specifiers(description)
    );
    for address in &service.sockets {
        write(&mut unit, format_args!("ListenStream={address}\n"));
    }
    write(
        &mut unit,
        format_args!(
            "Service={name}.service\nBacklog=128\nNoDelay=yes\n\n[Install]\nWantedBy=sockets.target\n"
        ),
    );
    unit
}

fn head(unit: &mut String, service: &Service, writes: &[String]) {
    let Service { name, description, documentation, sockets, .. } = service;
    write(
        unit,
        format_args!(
            "[Unit]\nDescription={}\nDocumentation={documentation}\nAfter=network-online.target\n\
             Wants=network-online.target\nStartLimitIntervalSec=0\n",
            specifiers(description)
        ),
    );
    for path in writes {
        // Never into the empty folder below a disk that is not there.
        write(unit, format_args!("RequiresMountsFor={path}\n"));
    }
    if !sockets.is_empty() {
        write(unit, format_args!("Requires={name}.socket\nAfter={name}.socket\n"));
    }
}

/// Who it runs as, and with which powers.
fn account(unit: &mut String, service: &Service) -> Result<(), ServiceError> {
    let (comment, capabilities) = match &service.user {
        Some(user) => {
            let user = one_line(OsStr::new(user))?;
            write(unit, format_args!("\nUser={}\n", specifiers(user)));
            ("What this user needs beyond its own.", &service.user_capabilities)
        }
        None => ("What root keeps.", &service.capabilities),
    };
    let list = capabilities.iter().map(|name| format!("CAP_{name}")).collect::<Vec<_>>().join(" ");
    write(unit, format_args!("\n# {comment}\nCapabilityBoundingSet={list}\n"));
    if service.user.is_some() {
        write(unit, format_args!("AmbientCapabilities={list}\n"));
    }
    Ok(())
}

/// What it can reach of the system beside its files.
fn walls(unit: &mut String, service: &Service) {
    unit.push_str(
        "\n# Remove this line if a program that it runs needs set-id programs.\nNoNewPrivileges=yes\n",
    );
    unit.push_str(
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\n\
         SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self\n\
         SystemCallErrorNumber=EPERM\n\
         SystemCallFilter=~@debug @mount @cpu-emulation @obsolete @reboot @swap @raw-io @resources\n\
         SystemCallArchitectures=native\n",
    );
    let in_tmp = |path: &PathBuf| ["/tmp", "/var/tmp"].iter().any(|tmp| path.starts_with(tmp));
    if !service.writes.iter().any(in_tmp) {
        unit.push_str("PrivateTmp=yes\n");
    }
    unit.push_str(
        "ProtectHome=read-only\nProtectProc=invisible\nProcSubset=pid\nProtectClock=yes\n\
         ProtectControlGroups=yes\nProtectHostname=yes\nProtectKernelLogs=yes\n\
         ProtectKernelModules=yes\nProtectKernelTunables=yes\nLockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\nRestrictNamespaces=yes\nRestrictRealtime=yes\nPrivateMounts=yes\nRemoveIPC=yes\n\
         KeyringMode=private\nDevicePolicy=closed\n",
    );
    if service.makes_special_files && service.user.is_none() {
        unit.push_str(
            "# Copies of device nodes are made, and never opened.\n\
             DeviceAllow=char-* m\nDeviceAllow=block-* m\nRestrictSUIDSGID=no\n",
        );
    } else {
        unit.push_str("PrivateDevices=yes\nRestrictSUIDSGID=yes\n");
    }
}

/// A word of a command line.
fn argument(word: &OsStr) -> Result<String, ServiceError> {
    // `$` would name a variable; in other lines it is itself.
    Ok(quoted(&specifiers(one_line(word)?).replace('$', "$$")))
}

/// A path in a list of paths.
fn path(path: impl AsRef<Path>) -> Result<String, ServiceError> {
    Ok(quoted(&specifiers(one_line(path.as_ref().as_os_str())?)))
}

fn one_line(text: &OsStr) -> Result<&str, ServiceError> {
    text.to_str()
        .filter(|text| !text.contains(char::is_control))
        .ok_or_else(|| ServiceError::Unwritable(text.to_owned()))
}

/// `%` begins a specifier everywhere in a unit.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/.,:=_-+@%$".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Service {
        Service {
            name: "prog".into(),
            description: "100% example".into(),
            program: "/opt/my programs/prog".into(),
            arguments: ["--config=/etc/a b.conf", "$HOME", "50%", "say \"hi\"", r"back\slash", ""]
                .map(Into::into)
                .to_vec(),
            writes: vec!["/srv/mail store".into(), "/srv/é".into()],
            capabilities: vec!["CHOWN", "FOWNER"],
            ..Service::default()
        }
    }

    #[test]
    fn whatever_a_path_holds_stays_one_word() {
        let unit = service(&example(), "prog service install").expect("a unit");
        let line = r#"ExecStart="/opt/my programs/prog" "--config=/etc/a b.conf" $$HOME 50%% "say \"hi\"" "back\\slash" """#;
        assert!(unit.lines().any(|found| found == line), "{unit}");
        assert!(
            unit.contains("ReadWritePaths=-\"/srv/mail store\"\nReadWritePaths=-/srv/é\n"),
            "{unit}"
        );
        assert!(unit.contains("Description=100%% example\n"));
        for bad in ["a\nb", "a\0b"] {
            let service_ = Service { arguments: vec![bad.into()], ..example() };
            assert!(matches!(service(&service_, "x"), Err(ServiceError::Unwritable(_))));
        }
    }

    #[test]
    fn another_user_has_no_powers_and_makes_no_special_files() {
        let root = service(&example(), "x").expect("a unit");
        assert!(root.contains("CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER\n"));
        assert!(!root.contains("User="));
        let user = Service {
            user: Some("mail".into()),
            user_capabilities: vec!["NET_BIND_SERVICE"],
            makes_special_files: true,
            ..example()
        };
        let unit = service(&user, "x").expect("a unit");
        for line in [
            "User=mail",
            "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE",
            "RestrictSUIDSGID=yes",
            "PrivateDevices=yes",
        ] {
            assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
        }
    }

    #[test]
    fn a_socket_starts_its_service() {
        let with = Service { sockets: vec!["873".into(), "192.0.2.1:874".into()], ..example() };
        let text = socket(&with, "x");
        assert!(text.contains("ListenStream=873\nListenStream=192.0.2.1:874\n"), "{text}");
        let unit = service(&with, "x").expect("a unit");
        assert!(unit.contains("Requires=prog.socket\n") && unit.contains("Also=prog.socket\n"));
    }
}
