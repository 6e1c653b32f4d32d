//! What the kernel's refusals mean to users, and patience with files that other programs have open.

use std::io::{self, ErrorKind};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    STATUS_ACCESS_DENIED, STATUS_CANNOT_DELETE, STATUS_DELETE_PENDING, STATUS_DIRECTORY_NOT_EMPTY,
    STATUS_FILE_DELETED, STATUS_FILE_IS_A_DIRECTORY, STATUS_FILE_LOCK_CONFLICT,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_INFO_CLASS, STATUS_INVALID_PARAMETER,
    STATUS_NOT_A_DIRECTORY, STATUS_NOT_IMPLEMENTED, STATUS_NOT_SUPPORTED,
    STATUS_OBJECT_NAME_COLLISION, STATUS_REPARSE_POINT_ENCOUNTERED, STATUS_SHARING_VIOLATION,
    STATUS_USER_MAPPED_FILE,
};

use super::sys::Status;

/// Waits between attempts at a file that another program has open, in milliseconds. Virus scanners
/// and indexers let go of a new file within that time; a program that works with it does not.
const WAITS: [u64; 5] = [5, 10, 20, 40, 80];

impl Status {
    /// Another program has the file open and does not share it.
    pub(super) fn is_busy(self) -> bool {
        matches!(self.0, STATUS_SHARING_VIOLATION | STATUS_DELETE_PENDING | STATUS_USER_MAPPED_FILE)
    }

    /// The file system, or this version of Windows, has no such call.
    pub(super) fn is_unsupported(self) -> bool {
        matches!(
            self.0,
            STATUS_INVALID_INFO_CLASS
                | STATUS_INVALID_PARAMETER
                | STATUS_NOT_SUPPORTED
                | STATUS_NOT_IMPLEMENTED
                | STATUS_INVALID_DEVICE_REQUEST
        )
    }

    /// The file is read-only, or the user may not.
    pub(super) fn is_refused(self) -> bool {
        matches!(self.0, STATUS_ACCESS_DENIED | STATUS_CANNOT_DELETE)
    }
}

impl From<Status> for io::Error {
    fn from(status: Status) -> Self {
        let (kind, text) = match status.0 {
            STATUS_SHARING_VIOLATION | STATUS_FILE_LOCK_CONFLICT | STATUS_USER_MAPPED_FILE => {
                (ErrorKind::ResourceBusy, "it is open in another program")
            }
            STATUS_DELETE_PENDING | STATUS_FILE_DELETED => (
                ErrorKind::ResourceBusy,
                "it was deleted, but its name stays until another program closes it",
            ),
            STATUS_REPARSE_POINT_ENCOUNTERED => {
                (ErrorKind::NotADirectory, "a symlink or junction is in the way")
            }
            STATUS_NOT_A_DIRECTORY => (ErrorKind::NotADirectory, "it is no directory"),
            STATUS_FILE_IS_A_DIRECTORY => (ErrorKind::IsADirectory, "it is a directory"),
            STATUS_OBJECT_NAME_COLLISION => {
                (ErrorKind::AlreadyExists, "there is something of that name already")
            }
            STATUS_DIRECTORY_NOT_EMPTY => {
                (ErrorKind::DirectoryNotEmpty, "the directory is not empty")
            }
            STATUS_CANNOT_DELETE => {
                (ErrorKind::PermissionDenied, "it is read-only, or a running program")
            }
            _ => return status.dos_error(),
        };
        Self::new(kind, text)
    }
}

/// Does something to a file, again after short waits as long as another program has it open.
pub(super) fn patiently<T>(attempt: impl FnMut() -> Result<T, Status>) -> Result<T, Status> {
    patiently_while(Status::is_busy, attempt)
}

/// The same as long as it fails in a certain way.
pub(super) fn patiently_while<T>(
    is_passing: impl Fn(Status) -> bool,
    mut attempt: impl FnMut() -> Result<T, Status>,
) -> Result<T, Status> {
    for wait in WAITS {
        match attempt() {
            Err(status) if is_passing(status) => std::thread::sleep(Duration::from_millis(wait)),
            done => return done,
        }
    }
    attempt()
}

/// A part of a file that another program has locked.
pub(super) fn locked() -> io::Error {
    Status(STATUS_FILE_LOCK_CONFLICT).into()
}

/// A read or write that met a lock, told in the same words as an open that did.
pub(super) fn in_words(error: io::Error) -> io::Error {
    const ERROR_SHARING_VIOLATION: i32 = 32;
    const ERROR_LOCK_VIOLATION: i32 = 33;
    const ERROR_USER_MAPPED_FILE: i32 = 1224;
    match error.raw_os_error() {
        Some(ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION | ERROR_USER_MAPPED_FILE) => {
            Status(STATUS_SHARING_VIOLATION).into()
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_busy_file_and_for_nothing_else() {
        let mut left = 2;
        let opened = patiently(|| {
            left -= 1;
            if left > 0 { Err(Status(STATUS_SHARING_VIOLATION)) } else { Ok(left) }
        });
        assert_eq!(opened, Ok(0));
        let mut attempts = 0;
        let mut refuse = |status| {
            attempts = 0;
            let refused: Result<(), Status> = patiently(|| {
                attempts += 1;
                Err(Status(status))
            });
            assert_eq!(refused, Err(Status(status)));
            attempts
        };
        assert_eq!(refuse(STATUS_SHARING_VIOLATION), WAITS.len() + 1);
        assert_eq!(refuse(STATUS_ACCESS_DENIED), 1);
    }

    #[test]
    fn says_who_is_to_blame() {
        let text = |status| io::Error::from(Status(status)).to_string();
        assert!(text(STATUS_SHARING_VIOLATION).contains("open in another program"));
        assert!(in_words(io::Error::from_raw_os_error(33)).to_string().contains("another program"));
        let denied = io::Error::from(Status(STATUS_ACCESS_DENIED));
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    }
}
