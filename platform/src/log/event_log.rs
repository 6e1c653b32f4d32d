//! The Windows event log: warnings, errors, and what the service itself does. The source is
//! registered when the service is installed, with the message file that every Windows has.
#![allow(unsafe_code, reason = "the event log and the registry are reached by C functions alone")]

use std::io;
use std::ptr::{null, null_mut};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE, RegisterEventSourceW,
    ReportEventW,
};
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, REG_DWORD, REG_EXPAND_SZ, RegDeleteTreeW, RegSetKeyValueW,
};

use super::event::Said;

/// Holds the messages 1 to 1000, each of them "%1".
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// The number of every event of ours: the event's name is in its text.
const NUMBER: u32 = 1;

/// The most of an event before its name, in UTF-16: Windows drops what is longer than 31,839.
const LONGEST: usize = 31_000;

/// Writes events to the event log.
pub(super) struct EventLog(HANDLE);

// SAFETY: the handle is only given to ReportEventW, which may be called from any thread.
unsafe impl Send for EventLog {}
// SAFETY: as above; calls at the same time are serialised by the event log.
unsafe impl Sync for EventLog {}

impl EventLog {
    /// The log of a source; `None` when there is no event log. Never closed: it lives as long as
    /// the process.
    pub(super) fn open(source: &str) -> Option<Self> {
        let source = wide(source);
        // SAFETY: no server name, and a source name that ends with a zero.
        let handle = unsafe { RegisterEventSourceW(null(), source.as_ptr()) };
        (!handle.is_null()).then_some(Self(handle))
    }
}

impl<S: Subscriber> Layer<S> for EventLog {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let said = Said::of(event);
        let kind = match *event.metadata().level() {
            Level::ERROR => EVENTLOG_ERROR_TYPE,
            Level::WARN => EVENTLOG_WARNING_TYPE,
            Level::INFO if said.name.starts_with("service.") => EVENTLOG_INFORMATION_TYPE,
            _ => return,
        };
        let line = said.line();
        let name = format!(" ({})", said.name);
        let text = line.encode_utf16().take(LONGEST).chain(name.encode_utf16()).chain([0]);
        let text: Vec<u16> = text.collect();
        let strings = [text.as_ptr()];
        // SAFETY: one string that ends with a zero, no user, no data; all outlive the call. The
        // answer is not looked at: there is no other place to say that the log is gone.
        unsafe {
            ReportEventW(self.0, kind, 0, NUMBER, null_mut(), 1, 0, strings.as_ptr(), null());
        }
    }
}

/// Registers a source, so that the event viewer shows its texts.
///
/// # Errors
/// What Windows says; administrators may do this.
pub fn register(source: &str) -> io::Result<()> {
    let key = wide(&key(source));
    let (file, types) = (wide(MESSAGES), wide("TypesSupported"));
    let file_name = wide("EventMessageFile");
    let supported = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    let supported = u32::from(supported).to_le_bytes();
    let size = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    // SAFETY: names and the value end with a zero, sizes are those of the values in bytes.
    let set = unsafe {
        let set = RegSetKeyValueW(
            HKEY_LOCAL_MACHINE,
            key.as_ptr(),
            file_name.as_ptr(),
            REG_EXPAND_SZ,
            file.as_ptr().cast(),
            size(file.len() * 2)?,
        );
        if set == 0 {
            RegSetKeyValueW(
                HKEY_LOCAL_MACHINE,
                key.as_ptr(),
                types.as_ptr(),
                REG_DWORD,
                supported.as_ptr().cast(),
                size(supported.len())?,
            )
        } else {
            set
        }
    };
    checked(set)
}

/// Forgets a source.
///
/// # Errors
/// What Windows says; a source that is not registered is no error.
pub fn forget(source: &str) -> io::Result<()> {
    let key = wide(&key(source));
    // SAFETY: a name that ends with a zero.
    let deleted = unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, key.as_ptr()) };
    match checked(deleted) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn key(source: &str) -> String {
    format!(r"SYSTEM\CurrentControlSet\Services\EventLog\Application\{source}")
}

fn checked(status: u32) -> io::Result<()> {
    match i32::try_from(status) {
        Ok(0) => Ok(()),
        Ok(code) => Err(io::Error::from_raw_os_error(code)),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// UTF-16 with a zero at its end; a zero within ends it early.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
