//! Shadow copies of Windows volumes (VSS): a volume as it was at one moment, for files that other
//! programs keep to themselves. Made and removed by Windows PowerShell and the `Win32_ShadowCopy`
//! class, which take an administrator.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::command::{self, CommandError};

mod answer;

use answer::{Answer, Id};

/// Options of `powershell.exe`; what it shall do follows them.
const OPTIONS: [&str; 4] = ["-NoLogo", "-NoProfile", "-NonInteractive", "-Command"];
/// Attempts while another program makes a shadow copy, which Windows allows to one at a time.
const ATTEMPTS: u32 = 6;

/// Why there is no shadow copy, or why it stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The system has no such thing.
    #[error("there are no shadow copies on this system, only on Windows")]
    Unsupported,
    /// Not a volume of this machine.
    #[error("{0:?} is no name of a volume; shadow copies are of whole volumes of this machine")]
    NoVolume(String),
    /// PowerShell could not be run or took too long.
    #[error("{0}")]
    Command(String),
    /// The user may not.
    #[error(
        "only an administrator may make shadow copies; run Bascule as administrator or as SYSTEM"
    )]
    NotAdministrator,
    /// An administrator has turned shadow copies off.
    #[error(
        "the service \"Volume Shadow Copy\" (VSS) is disabled; `sc config VSS start= demand` allows it"
    )]
    ServiceDisabled,
    /// The volume has no room for it.
    #[error(
        "the volume has no room for a shadow copy, or has as many as there can be (`vssadmin list shadowstorage`)"
    )]
    NoRoom,
    /// Windows refused for another reason.
    #[error("Windows makes no shadow copy of the volume: {0}")]
    Refused(String),
    /// PowerShell's answer makes no sense.
    #[error("PowerShell gave no answer that makes sense: {0}")]
    Answer(String),
}

/// Makes a shadow copy of each volume that is asked for, once, and removes them at the end.
#[derive(Debug)]
pub struct ShadowCopies {
    shell: Shell,
    made: Mutex<HashMap<String, Result<ShadowCopy, SnapshotError>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ShadowCopy {
    id: Id,
    /// As in `\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy1`.
    device: String,
}

/// The program that does it.
#[derive(Debug)]
struct Shell {
    program: PathBuf,
    /// For making or removing one.
    limit: Duration,
    /// Between attempts.
    pause: Duration,
}

impl ShadowCopies {
    /// None as yet: nothing is made or run before it is needed.
    ///
    /// # Errors
    /// [`SnapshotError::Unsupported`] anywhere but on Windows.
    pub fn new() -> Result<Self, SnapshotError> {
        if !cfg!(windows) {
            return Err(SnapshotError::Unsupported);
        }
        // By its full path: an administrator's search path is not for others to choose from.
        let system =
            std::env::var_os("SystemRoot").map_or_else(|| r"C:\Windows".into(), PathBuf::from);
        let program = system.join(r"System32\WindowsPowerShell\v1.0\powershell.exe");
        let (limit, pause) = (Duration::from_secs(180), Duration::from_secs(5));
        Ok(Self::by(Shell { program, limit, pause }))
    }

    fn by(shell: Shell) -> Self {
        Self { shell, made: Mutex::default() }
    }

    /// The root folder of the shadow copy of `volume`, which is named like `C:\` or
    /// `\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\`. It is made when it is asked for first,
    /// and others wait for it meanwhile; a failure is remembered.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(&self, volume: &str) -> Result<PathBuf, SnapshotError> {
        if !is_volume(volume) {
            return Err(SnapshotError::NoVolume(volume.to_owned()));
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = made.entry(volume.to_owned()).or_insert_with(|| self.shell.make(volume));
        // With the backslash it is the folder, without it the device.
        copy.clone().map(|copy| PathBuf::from(copy.device + r"\"))
    }

    /// Removes those that were made; new ones can be made afterwards.
    ///
    /// # Errors
    /// The first that stays, with its number; it is not tried again.
    pub fn remove(&self) -> Result<(), SnapshotError> {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let copies = made.into_values().filter_map(Result::ok);
        let removed: Vec<_> = copies.map(|copy| self.shell.remove(&copy.id)).collect();
        removed.into_iter().collect()
    }
}

impl Drop for ShadowCopies {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(event = "snapshot.kept", "{error}");
        }
    }
}

impl Shell {
    fn make(&self, volume: &str) -> Result<ShadowCopy, SnapshotError> {
        let script = making(volume);
        let mut attempts = 1..ATTEMPTS;
        loop {
            let answer = self.ask(&script).map_err(|error| match error {
                CommandError::TooLong { .. } => SnapshotError::Command(format!(
                    "{error}; a shadow copy may have been left, which `vssadmin list shadows` shows"
                )),
                CommandError::Start { .. } => SnapshotError::Command(error.to_string()),
            })?;
            match answer.made() {
                Err(refused) if answer.is_busy() && attempts.next().is_some() => {
                    tracing::debug!(event = "snapshot.retried", "{refused}; trying again");
                    std::thread::sleep(self.pause);
                }
                Ok((id, Some(device))) => return Ok(ShadowCopy { id, device }),
                Ok((id, None)) => {
                    self.remove(&id)?;
                    let text = format!("the device of the shadow copy {id} was not to be had");
                    return Err(SnapshotError::Answer(text));
                }
                Err(refused) => return Err(refused),
            }
        }
    }

    fn remove(&self, id: &Id) -> Result<(), SnapshotError> {
        let answer = self.ask(&removing(id));
        let answer = answer.map_err(|error| SnapshotError::Command(error.to_string()));
        answer.and_then(|answer| answer.removed()).map_err(|error| {
            SnapshotError::Command(format!(
                "the shadow copy {id} could not be removed: {error}; \
                 `vssadmin delete shadows /shadow={id}` does it"
            ))
        })
    }

    fn ask(&self, script: &str) -> Result<Answer, CommandError> {
        let mut command = Command::new(&self.program);
        #[cfg(windows)]
        {
            use std::os::windows::process::CommandExt as _;
            // In a console of its own, Ctrl-C for this program does not end it half-way.
            const CREATE_NO_WINDOW: u32 = 0x0800_0000;
            command.creation_flags(CREATE_NO_WINDOW);
        }
        command::run(command.args(OPTIONS).arg(script), self.limit).map(|ran| Answer::of(&ran))
    }
}

/// Whether `text` is the name of a volume as this module takes it: nothing else gets into a command.
fn is_volume(text: &str) -> bool {
    if let Some(id) = text.strip_prefix(r"\\?\Volume").and_then(|rest| rest.strip_suffix('\\')) {
        return Id::parse(id).is_some();
    }
    matches!(text.as_bytes(), [letter, b':', b'\\'] if letter.is_ascii_alphabetic())
}

/// What both scripts begin with: errors end them, and texts are UTF-8 where the system's rules
/// allow a script to say so. Without double quotes, nothing in them has to be escaped.
const BEGINNING: &str = "$ErrorActionPreference='Stop'; $ProgressPreference='SilentlyContinue'; \
    try { [Console]::OutputEncoding = New-Object Text.UTF8Encoding $false } catch { }; ";

/// What both end with: an error by its numbers, since its text is in the system's language.
const ENDING: &str = " catch { \
    'native=' + $_.Exception.NativeErrorCode; 'status=' + $_.Exception.StatusCode; \
    'hresult=' + $_.Exception.HResult; 'text=' + $_.Exception.Message; exit 1 }";

fn making(volume: &str) -> String {
    format!(
        "{BEGINNING}try {{ \
         $service = Get-CimInstance -ClassName Win32_Service -Filter 'Name=''VSS'''; \
         'service=' + $service.StartMode; \
         if ($service.StartMode -ne 'Disabled') {{ \
         $made = Invoke-CimMethod -ClassName Win32_ShadowCopy -MethodName Create \
         -Arguments @{{Volume='{volume}'; Context='ClientAccessible'}}; \
         'code=' + $made.ReturnValue; \
         if ($made.ReturnValue -eq 0) {{ \
         'id=' + $made.ShadowID; \
         $copy = Get-CimInstance -ClassName Win32_ShadowCopy -Filter ('ID=''' + $made.ShadowID + ''''); \
         'device=' + $copy.DeviceObject }} }} }}{ENDING}"
    )
}

fn removing(id: &Id) -> String {
    format!(
        "{BEGINNING}try {{ \
         $copy = Get-CimInstance -ClassName Win32_ShadowCopy -Filter 'ID=''{id}'''; \
         if ($copy) {{ Remove-CimInstance -InputObject $copy }}; \
         'removed=yes' }}{ENDING}"
    )
}

#[cfg(test)]
mod tests;
