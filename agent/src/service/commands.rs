//! Installs the agent's service and steers it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_engine::outcome::ExitCode;
use bascule_platform::log::{self, Destination};
use bascule_platform::output;
use bascule_platform::service::foreground::{self, Instead};
use bascule_platform::service::steer;
use bascule_platform::service::{self, Control, Service as Described, unit};

use super::options::{Install, Run, Service};
use super::scheduler::{self, NoHistory};
use crate::jobs::load::{self, Loaded};
use crate::location::Location;

/// The name of the program, of its service if none is given, and of its logs.
const PROGRAM: &str = "bascule";
/// What root keeps when all it does is to read sources.
const TO_READ: [&str; 1] = ["DAC_READ_SEARCH"];
/// What root keeps to write exact copies on this machine.
const TO_WRITE: [&str; 6] =
    ["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "MKNOD"];

/// Does what was asked for; gives the exit code. `control` is the way to a manager that does not
/// send signals.
///
/// # Errors
/// Why it could not be done.
pub async fn run(asked: &Service, control: Option<Control>) -> anyhow::Result<u8> {
    match asked {
        Service::Install(install) => {
            let name = install.installing.which.name_or(PROGRAM);
            service::check_name(name)?;
            if install.installing.print {
                output::print(&printed(name, install)?);
                return Ok(0);
            }
            let described = described(name, install)?;
            let instead = instead(name, install.configuration.config.as_deref());
            steer::install(&described, &install.installing, &instead)?;
        }
        Service::Run(run) => return watch(run, control).await,
        Service::Steer(asked) => {
            return Ok(steer::steer(asked, PROGRAM, &instead(asked.name_or(PROGRAM), None))?);
        }
    }
    Ok(0)
}

/// Runs the jobs when they are due, until the order to end; gives the exit code.
async fn watch(run: &Run, control: Option<Control>) -> anyhow::Result<u8> {
    start_log(run);
    let control = match control {
        Some(control) => control,
        None => Control::by_signals(true).context("signals cannot be caught")?,
    };
    let ran = scheduler::run(run.configuration.config.as_deref(), control).await;
    let Err(error) = ran else { return Ok(0) };
    let text = format!("{error:#}");
    tracing::error!(event = "service.unstarted", error = text, "the service cannot start");
    // With the code that says so its manager would not try again.
    if error.is::<NoHistory>() { Ok(ExitCode::FileIo.code()) } else { Err(error) }
}

fn start_log(run: &Run) {
    let destination = match &run.log_dir {
        Some(path) => Destination::Folder { path: path.clone(), keep: run.log_keep },
        None => Destination::Standard,
    };
    log::start(&log::Settings {
        program: PROGRAM,
        destination,
        otherwise: Destination::Standard,
        format: run.log_format,
        verbose: run.verbose,
        event_source: run.windows_service.clone(),
    });
}

fn printed(name: &str, install: &Install) -> anyhow::Result<String> {
    if cfg!(windows) {
        bail!("there are no unit files on Windows: nothing to print");
    }
    Ok(unit::service(&described(name, install)?, "bascule service install")?)
}

/// The agent as a service.
fn described(name: &str, install: &Install) -> anyhow::Result<Described> {
    let loaded = Loaded::open(install.configuration.config.as_deref())?;
    if loaded.config.jobs.values().all(|job| job.schedule.is_none()) {
        bail!(
            "no job of {} has a schedule: say when it is to run with `schedule.every = \"15m\"`",
            loaded.file.display()
        );
    }
    let file = std::path::absolute(&loaded.file).context("the configuration's path")?;
    let writes = writes(&loaded)?;
    let capabilities = if writes.len() > 1 { TO_WRITE.to_vec() } else { TO_READ.to_vec() };
    Ok(Described {
        display_name: "Bascule agent".into(),
        description: "Bascule agent: mirrors when its jobs are due".into(),
        documentation: "man:rsync(1)".into(),
        program: std::env::current_exe().context("this program's own path")?,
        arguments: arguments(name, &file),
        name: name.to_owned(),
        user: install.user.clone(),
        password: install.installing.password()?,
        makes_special_files: writes.len() > 1,
        writes,
        capabilities,
        user_capabilities: Vec::new(),
        hopeless: Some(ExitCode::Syntax.code()),
        sockets: Vec::new(),
    })
}

/// How the manager starts the agent.
fn arguments(name: &str, config: &Path) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["service".into(), "run".into()];
    let mut option = OsString::from("--config=");
    option.push(config);
    line.push(option);
    if cfg!(windows) {
        line.extend(["--windows-service".into(), name.into()]);
        line.extend(["--log-dir".into(), foreground::log_folder(name).into()]);
    }
    line
}

/// The places that the agent writes to: its state, and the targets on this machine.
fn writes(loaded: &Loaded) -> anyhow::Result<Vec<PathBuf>> {
    let mut writes = vec![loaded.state()?];
    for job in loaded.config.jobs.values() {
        if let Location::Local(path) = Location::parse(job.target.as_ref())? {
            writes.push(std::path::absolute(path).context("a target's path")?);
        }
    }
    writes.dedup();
    Ok(writes)
}

/// How to run the agent without a manager.
fn instead(name: &str, config: Option<&Path>) -> Instead {
    let config = config.map(Path::to_owned).or_else(|| load::default_file().ok());
    let config = config.map(|file| std::path::absolute(&file).unwrap_or(file)).unwrap_or_default();
    Instead {
        program: std::env::current_exe().unwrap_or_else(|_| "bascule".into()),
        arguments: vec![
            "service".into(),
            "run".into(),
            format!("--config={}", config.display()),
            format!("--log-dir={}", foreground::log_folder(name).display()),
        ],
    }
}
