//! What PowerShell says: lines of `KEY=VALUE`, taken only if they are just as expected.

use std::fmt;

use super::SnapshotError;
use crate::command::Ran;

/// The longest text of Windows that is passed on, in characters.
const LONGEST_TEXT: usize = 300;

/// The number of a shadow copy, as in `{01234567-89AB-CDEF-0123-456789ABCDEF}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id(String);

impl Id {
    /// Takes nothing but hexadecimal digits in their places.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let groups = text.strip_prefix('{')?.strip_suffix('}')?.split('-');
        let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        let lengths = groups.map(|group| is_hex(group).then_some(group.len()));
        lengths.eq([8, 4, 4, 4, 12].map(Some)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a script said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    service: Option<String>,
    code: Option<String>,
    id: Option<String>,
    device: Option<String>,
    removed: Option<String>,
    native: Option<String>,
    status: Option<String>,
    hresult: Option<String>,
    text: Option<String>,
    /// The first thing that is no answer.
    strange: Option<String>,
}

impl Answer {
    pub(super) fn of(ran: &Ran) -> Self {
        let said = String::from_utf8_lossy(&ran.stdout);
        let mut answer = Self::default();
        let mut lines = said.trim_start_matches('\u{feff}').lines();
        while let Some(line) = lines.next() {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let known = match key {
                "" => continue,
                "service" => Some(&mut answer.service),
                "code" => Some(&mut answer.code),
                "id" => Some(&mut answer.id),
                "device" => Some(&mut answer.device),
                "removed" => Some(&mut answer.removed),
                "native" => Some(&mut answer.native),
                "status" => Some(&mut answer.status),
                "hresult" => Some(&mut answer.hresult),
                "text" => Some(&mut answer.text),
                _ => None,
            };
            match known {
                // The last one, of several lines if need be.
                Some(text @ None) if key == "text" => {
                    let rest: Vec<_> = std::iter::once(value).chain(lines.by_ref()).collect();
                    *text = Some(printable(&rest.join(" ")));
                }
                Some(once @ None) => *once = Some(value.trim_end().to_owned()),
                _ => {
                    answer.strange.get_or_insert_with(|| printable(line));
                }
            }
        }
        if !ran.status.success() && answer.text.is_none() {
            answer.strange.get_or_insert_with(|| ran.status.to_string());
        }
        if said.trim().is_empty() {
            let error = printable(&String::from_utf8_lossy(&ran.stderr));
            answer.strange = Some(match error.as_str() {
                "" => format!("it said nothing ({})", ran.status),
                _ => error,
            });
        }
        answer
    }

    /// The shadow copy that was made; without a device if only that was not to be had.
    pub(super) fn made(&self) -> Result<(Id, Option<String>), SnapshotError> {
        // One that was made is removed, whatever else was said.
        let id = self.id.as_deref().and_then(Id::parse);
        if let (Some("0"), Some(id)) = (self.code.as_deref(), id) {
            let device = self.device.clone().filter(|device| is_device(device));
            return Ok((id, device.filter(|_| self.strange.is_none() && self.text.is_none())));
        }
        if self.service.as_deref() == Some("Disabled") {
            return Err(SnapshotError::ServiceDisabled);
        }
        Err(match self.code.as_deref() {
            None | Some("0") => self.trouble(),
            Some("1") => SnapshotError::NotAdministrator,
            Some("6" | "8") => SnapshotError::NoRoom,
            Some(code) => SnapshotError::Refused(match meaning(code) {
                Some(text) => text.to_owned(),
                None => format!("code {}", printable(code)),
            }),
        })
    }

    /// Whether another shadow copy is being made.
    pub(super) fn is_busy(&self) -> bool {
        self.code.as_deref() == Some("9")
    }

    pub(super) fn removed(&self) -> Result<(), SnapshotError> {
        match (self.removed.as_deref(), &self.strange) {
            (Some("yes"), None) => Ok(()),
            _ => Err(self.trouble()),
        }
    }

    /// The error that ended a script.
    fn trouble(&self) -> SnapshotError {
        // Of WMI, of the system (access denied), and of it (the service cannot be started).
        const WMI_ACCESS_DENIED: u32 = 0x8004_1003;
        const ACCESS_DENIED: u32 = 0x8007_0005;
        const SERVICE_DISABLED: u32 = 0x8007_0422;
        let is = |wanted: u32| {
            [&self.status, &self.hresult].into_iter().flatten().any(|number| {
                let number = number.parse::<i64>();
                number.is_ok_and(|number| {
                    number == i64::from(wanted) || number == i64::from(wanted.cast_signed())
                })
            })
        };
        if self.native.as_deref() == Some("AccessDenied")
            || is(WMI_ACCESS_DENIED)
            || is(ACCESS_DENIED)
        {
            return SnapshotError::NotAdministrator;
        }
        if is(SERVICE_DISABLED) {
            return SnapshotError::ServiceDisabled;
        }
        if let Some(text) = &self.text {
            return SnapshotError::Refused(text.clone());
        }
        let strange = self.strange.clone();
        SnapshotError::Answer(strange.unwrap_or_else(|| "it broke off".to_owned()))
    }
}

/// What the numbers mean that `Win32_ShadowCopy.Create` returns, those aside that have an error of
/// their own.
fn meaning(code: &str) -> Option<&'static str> {
    Some(match code {
        "2" => "it takes the request for invalid",
        "3" => "there is no such volume",
        "4" => "volumes of this kind cannot have one (NTFS and ReFS can)",
        "5" => "this version of Windows makes none of this kind",
        "7" => "the volume is in use by others",
        "9" => "another one is being made all the time",
        "10" => "the provider of shadow copies vetoed it",
        "11" => "the provider of shadow copies is not registered",
        "12" => "the provider of shadow copies failed; the event log says more",
        "13" => "it does not say why (code 13); the event log may",
        _ => return None,
    })
}

/// Whether `text` is just the device of a shadow copy.
fn is_device(text: &str) -> bool {
    let number = text.strip_prefix(r"\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy");
    number.is_some_and(|number| {
        (1..=10).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A foreign text as one line for a message.
fn printable(text: &str) -> String {
    let words: Vec<_> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(LONGEST_TEXT).collect()
}
