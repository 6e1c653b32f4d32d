//! systemd: units installed and steered by `systemctl`, and the notify protocol of a running
//! service.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::control::{Link, Nobody, Word};
use super::{Logs, Manager, Service, ServiceError, State, Status, unit};

/// Whether systemd runs this machine.
pub fn runs_here() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The way to systemd, if it started this process with a socket for that.
pub(super) fn link() -> Arc<dyn Link> {
    #[cfg(target_os = "linux")]
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        return Arc::new(notify::Notify::new());
    }
    Arc::new(Nobody)
}

#[cfg(target_os = "linux")]
mod notify {
    use std::sync::Once;

    use sd_notify::NotifyState;

    use super::{Link, Word};

    /// Speaks to systemd.
    pub(super) struct Notify {
        watchdog: Once,
    }

    impl Notify {
        pub(super) fn new() -> Self {
            Self { watchdog: Once::new() }
        }
    }

    impl Link for Notify {
        fn say(&self, word: Word<'_>) {
            let sent = match word {
                Word::Ready(status) => {
                    self.watchdog.call_once(keep_alive);
                    sd_notify::notify(&[NotifyState::Status(status), NotifyState::Ready])
                }
                // The time is what newer versions of systemd ask for.
                Word::Reloading => NotifyState::monotonic_usec_now()
                    .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
                Word::Status(status) => sd_notify::notify(&[NotifyState::Status(status)]),
                Word::Stopping(status) => {
                    sd_notify::notify(&[NotifyState::Status(status), NotifyState::Stopping])
                }
            };
            if let Err(error) = sent {
                tracing::warn!(event = "service.notify_failed", %error, "cannot tell systemd");
            }
        }
    }

    /// Tells systemd twice within its limit that this process still runs its tasks.
    fn keep_alive() {
        let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
            return;
        };
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(limit / 2);
            loop {
                ticks.tick().await;
                // When systemd is gone there is no limit either.
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// Units of the running system, or of one below a folder.
#[derive(Debug)]
pub struct Systemd {
    root: Option<PathBuf>,
}

impl Systemd {
    /// The running system, or with `root` the one below that folder.
    pub fn new(root: Option<&Path>) -> Self {
        Self { root: root.map(Path::to_owned) }
    }

    fn unit_file(&self, unit: &str) -> PathBuf {
        self.root.as_deref().unwrap_or(Path::new("/")).join("etc/systemd/system").join(unit)
    }

    /// `systemctl`, which with a root changes files alone.
    fn systemctl(&self, arguments: &[&str]) -> Result<String, ServiceError> {
        let mut command = Command::new("systemctl");
        if let Some(root) = &self.root {
            command.arg("--root").arg(root);
        }
        command.args(arguments);
        let shown = format!("systemctl {}", arguments.join(" "));
        let output = command.output().map_err(|error| ServiceError::Command {
            command: shown.clone(),
            said: error.to_string(),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let said = if said.is_empty() { output.status.to_string() } else { said };
        Err(ServiceError::Command { command: shown, said })
    }

    /// No longer at boot; stopped where the system runs.
    fn disable(&self, units: &[&str]) -> Result<(), ServiceError> {
        let verb: &[&str] = if self.root.is_none() { &["disable", "--now"] } else { &["disable"] };
        self.systemctl(&[verb, units].concat()).map(drop)
    }

    fn steer(&self, verb: &str, name: &str) -> Result<(), ServiceError> {
        if self.root.is_some() {
            return Err(not_running());
        }
        if self.status(name)?.state == State::Missing {
            return Err(ServiceError::Missing(name.to_owned()));
        }
        self.systemctl(&[verb, &format!("{name}.service")]).map(drop)
    }

    fn write(&self, unit: &str, text: &str) -> Result<PathBuf, ServiceError> {
        let path = self.unit_file(unit);
        ours(&path)?;
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text));
        match written {
            Ok(()) => Ok(path),
            Err(error) => Err(ServiceError::File { path, error }),
        }
    }
}

impl Manager for Systemd {
    fn install(&self, service: &Service, start: bool) -> Result<Vec<String>, ServiceError> {
        let name = &service.name;
        super::check_name(name)?;
        let made_by = format!("{} service install", program_name(&service.program));
        let text = unit::service(service, &made_by)?;
        let (unit, socket) = (format!("{name}.service"), format!("{name}.socket"));
        let mut done = Vec::new();
        if service.sockets.is_empty() {
            // It may have had one before.
            let old = self.unit_file(&socket);
            if old.exists() {
                ours(&old)?;
                self.disable(&[&socket])?;
                remove(&old)?;
            }
        } else {
            let path = self.write(&socket, &unit::socket(service, &made_by))?;
            done.push(format!("{} is written", path.display()));
        }
        let path = self.write(&unit, &text)?;
        done.push(format!("{} is written", path.display()));
        if self.root.is_none() {
            self.systemctl(&["daemon-reload"])?;
        }
        self.systemctl(&["enable", &unit])?;
        done.push(format!("{name} starts with this machine"));
        if start && self.root.is_none() {
            if !service.sockets.is_empty() {
                // The service must let go of the port first.
                self.systemctl(&["stop", &unit])?;
                self.systemctl(&["restart", &socket])?;
            }
            self.systemctl(&["restart", &unit])?;
            done.push(format!("{name} runs"));
        }
        Ok(done)
    }

    fn uninstall(&self, name: &str) -> Result<Vec<String>, ServiceError> {
        super::check_name(name)?;
        let units = [format!("{name}.socket"), format!("{name}.service")];
        let paths = units.each_ref().map(|unit| self.unit_file(unit));
        let there: Vec<&str> = units
            .iter()
            .zip(&paths)
            .filter(|(_, path)| path.exists())
            .map(|(unit, _)| unit.as_str())
            .collect();
        if there.is_empty() {
            return Err(ServiceError::Missing(name.to_owned()));
        }
        for path in &paths {
            ours(path)?;
        }
        self.disable(&there)?;
        let mut done = Vec::new();
        for path in &paths {
            if remove(path)? {
                done.push(format!("{} is removed", path.display()));
            }
        }
        if self.root.is_none() {
            self.systemctl(&["daemon-reload"])?;
        }
        Ok(done)
    }

    fn start(&self, name: &str) -> Result<(), ServiceError> {
        self.steer("start", name)
    }

    fn stop(&self, name: &str) -> Result<(), ServiceError> {
        self.steer("stop", name)
    }

    fn restart(&self, name: &str) -> Result<(), ServiceError> {
        self.steer("restart", name)
    }

    fn reload(&self, name: &str) -> Result<(), ServiceError> {
        self.steer("reload", name)
    }

    fn status(&self, name: &str) -> Result<Status, ServiceError> {
        super::check_name(name)?;
        if self.root.is_some() {
            return Err(not_running());
        }
        let unit = format!("{name}.service");
        let shown = self.systemctl(&["show", &unit, "--property", PROPERTIES])?;
        Ok(status(name, &shown))
    }

    fn logs(&self, name: &str, logs: Logs) -> Result<(), ServiceError> {
        super::check_name(name)?;
        let mut command = Command::new("journalctl");
        command.arg(format!("--unit={name}.service")).arg(format!("--lines={}", logs.lines));
        if logs.follow {
            command.arg("--follow");
        }
        if let Some(root) = &self.root {
            command.arg("--root").arg(root);
        }
        let failed = |said: String| ServiceError::Command { command: "journalctl".into(), said };
        let status = command.status().map_err(|error| failed(error.to_string()))?;
        if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
    }
}

/// What `systemctl show` is asked for.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,MainPID,StatusText,NRestarts,\
                          StateChangeTimestamp,UnitFileState,MemoryCurrent,ExecMainStatus";

/// Reads the answer.
fn status(name: &str, shown: &str) -> Status {
    let value = |wanted: &str| {
        shown
            .lines()
            .filter_map(|line| line.split_once('='))
            .find_map(|(key, value)| (key == wanted).then_some(value))
            .unwrap_or_default()
    };
    if value("LoadState") != "loaded" {
        return Status { state: State::Missing, text: format!("{name}: not installed\n") };
    }
    let state = match value("ActiveState") {
        "active" => State::Running,
        "reloading" | "activating" | "deactivating" => State::Changing,
        "failed" => State::Failed,
        _ => State::Stopped,
    };
    let mut text = format!("{name}: {} ({})", value("ActiveState"), value("SubState"));
    if !value("StateChangeTimestamp").is_empty() {
        text.push_str(&format!(" since {}", value("StateChangeTimestamp")));
    }
    text.push_str(&format!(", {} at boot\n", value("UnitFileState")));
    if !value("StatusText").is_empty() {
        text.push_str(&format!("  {}\n", value("StatusText")));
    }
    if value("MainPID").parse::<u32>().is_ok_and(|pid| pid != 0) {
        text.push_str(&format!(
            "  process {}, restarted {} times",
            value("MainPID"),
            value("NRestarts")
        ));
        if let Ok(bytes) = value("MemoryCurrent").parse::<u64>()
            && bytes != u64::MAX
        {
            text.push_str(&format!(", {} MiB", bytes >> 20));
        }
        text.push('\n');
    } else if state == State::Failed {
        let (result, code) = (value("Result"), value("ExecMainStatus"));
        text.push_str(&format!("  why: {result}, exit code {code}; its log says more\n"));
    }
    Status { state, text }
}

fn program_name(program: &Path) -> String {
    program.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn not_running() -> ServiceError {
    ServiceError::NoManager("with --root there are files alone, and no service that runs".into())
}

/// Refuses a file that this program has not made.
fn ours(path: &Path) -> Result<(), ServiceError> {
    match std::fs::read(path) {
        Ok(text) if text.starts_with(unit::MARK.as_bytes()) => Ok(()),
        Ok(_) => Err(ServiceError::InTheWay(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ServiceError::File { path: path.to_owned(), error }),
    }
}

/// Removes a unit file of ours; whether there was one.
fn remove(path: &Path) -> Result<bool, ServiceError> {
    ours(path)?;
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ServiceError::File { path: path.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_a_service_is() {
        let running = "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=12\n\
                       StatusText=serving 2 modules = all\nNRestarts=1\nUnitFileState=enabled\n\
                       StateChangeTimestamp=Thu 2026-11-26 11:00:00 UTC\nMemoryCurrent=5242880\n";
        let found = status("prog", running);
        assert_eq!(found.state, State::Running);
        assert_eq!(
            found.text,
            "prog: active (running) since Thu 2026-11-26 11:00:00 UTC, enabled at boot\n  \
             serving 2 modules = all\n  process 12, restarted 1 times, 5 MiB\n"
        );
        let failed = "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\n\
                      MainPID=0\nExecMainStatus=1\nUnitFileState=enabled\n";
        let found = status("prog", failed);
        assert_eq!(found.state, State::Failed);
        assert!(found.text.contains("why: exit-code, exit code 1"), "{}", found.text);
        assert_eq!(
            status("prog", "LoadState=not-found\nActiveState=inactive\n").state,
            State::Missing
        );
    }
}
