//! The system calls: the only `unsafe` code of this crate. Names are single components relative to
//! an open directory, in UTF-16 without a NUL at the end.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_INFORMATION_CLASS, FILE_SYNCHRONOUS_IO_NONALERT, FS_INFORMATION_CLASS,
    FileIdBothDirectoryInformation, NtCreateFile, NtQueryDirectoryFile, NtQueryInformationFile,
    NtQueryVolumeInformationFile, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, OBJ_DONT_REPARSE, RtlNtStatusToDosError,
    STATUS_NAME_TOO_LONG, STATUS_NO_MORE_FILES, STATUS_NO_SUCH_FILE, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_NORMAL, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    GETFINALPATHNAMEBYHANDLE_FLAGS, GetFinalPathNameByHandleW, SYNCHRONIZE, VOLUME_NAME_DOS,
    VOLUME_NAME_GUID,
};
use windows_sys::Win32::System::IO::{DeviceIoControl, IO_STATUS_BLOCK};
use windows_sys::Win32::System::Ioctl::FSCTL_GET_REPARSE_POINT;

/// The longest path that the kernel knows, in UTF-16 units.
const LONGEST_PATH: usize = 32_768;

/// What the kernel answered instead of doing what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) NTSTATUS);

impl Status {
    /// Warnings (something was cut off) come with an answer: they are no failures.
    fn check(status: NTSTATUS) -> Result<(), Self> {
        // The two highest bits are the severity; both set mean an error.
        if status.cast_unsigned() >> 30 == 3 { Err(Self(status)) } else { Ok(()) }
    }

    /// The same as an error of Windows.
    pub(super) fn dos_error(self) -> io::Error {
        // SAFETY: a function of one number, without side effects.
        let code = unsafe { RtlNtStatusToDosError(self.0) };
        io::Error::from_raw_os_error(code.cast_signed())
    }
}

/// How a name is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// The rights that are asked for.
    pub(super) access: u32,
    /// What happens when there is such a name, or none.
    pub(super) disposition: u32,
    /// The kind of file, and whether reparse points are opened themselves.
    pub(super) options: u32,
    /// Refuse reparse points of any path component instead of following them.
    pub(super) refuse_reparse: bool,
}

/// Opens a name in an open directory; the directory itself for an empty name. Others may read, write,
/// rename and delete the file meanwhile.
pub(super) fn open_at(dir: impl AsHandle, name: &[u16], how: &How) -> Result<OwnedHandle, Status> {
    let object_name = unicode_string(name)?;
    let refuse = if how.refuse_reparse { OBJ_DONT_REPARSE } else { 0 };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: dir.as_handle().as_raw_handle(),
        ObjectName: &raw const object_name,
        Attributes: OBJ_CASE_INSENSITIVE | refuse,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    let mut handle: HANDLE = null_mut();
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: `attributes` points to `object_name`, that to `name`, and both outlive the call; the
    // two out-pointers are to locals; the directory's handle is borrowed.
    let status = unsafe {
        NtCreateFile(
            &raw mut handle,
            how.access | SYNCHRONIZE,
            &raw const attributes,
            &raw mut block,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            how.disposition,
            how.options | FILE_SYNCHRONOUS_IO_NONALERT,
            null(),
            0,
        )
    };
    Status::check(status)?;
    // SAFETY: the call succeeded, so this is a handle that nobody else has.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Asks about an open file. What does not fit into `answer` is cut off.
pub(super) fn query(
    file: impl AsHandle,
    class: FILE_INFORMATION_CLASS,
    answer: &mut [u64],
) -> Result<(), Status> {
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: the answer is written into `answer`, whose size in bytes is told; any bytes are valid
    // numbers, and it is aligned for every structure of the kernel.
    Status::check(unsafe {
        NtQueryInformationFile(
            file.as_handle().as_raw_handle(),
            &raw mut block,
            answer.as_mut_ptr().cast(),
            length(size_of_val(answer)),
            class,
        )
    })
}

/// Asks about the volume of an open file.
pub(super) fn query_volume(
    file: impl AsHandle,
    class: FS_INFORMATION_CLASS,
    answer: &mut [u64],
) -> Result<(), Status> {
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: as in `query`.
    Status::check(unsafe {
        NtQueryVolumeInformationFile(
            file.as_handle().as_raw_handle(),
            &raw mut block,
            answer.as_mut_ptr().cast(),
            length(size_of_val(answer)),
            class,
        )
    })
}

/// Changes something of an open file; `bytes` of `wanted` count.
pub(super) fn set(
    file: impl AsHandle,
    class: FILE_INFORMATION_CLASS,
    wanted: &[u64],
    bytes: usize,
) -> Result<(), Status> {
    let bytes = bytes.min(size_of_val(wanted));
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: the call reads `bytes` bytes of `wanted`, which has as many. A handle in it (of a
    // directory to rename to) is borrowed by the caller.
    Status::check(unsafe {
        NtSetInformationFile(
            file.as_handle().as_raw_handle(),
            &raw mut block,
            wanted.as_ptr().cast(),
            length(bytes),
            class,
        )
    })
}

/// Reads the next names of an open directory as a chain of `FILE_ID_BOTH_DIR_INFORMATION`, with
/// `only` such as are called that. `false` when there are no more.
pub(super) fn read_dir(
    dir: impl AsHandle,
    only: Option<&[u16]>,
    answer: &mut [u64],
) -> Result<bool, Status> {
    let pattern = only.map(unicode_string).transpose()?;
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: as in `query`; the pattern and the name that it points to outlive the call.
    let status = unsafe {
        NtQueryDirectoryFile(
            dir.as_handle().as_raw_handle(),
            null_mut(),
            None,
            null(),
            &raw mut block,
            answer.as_mut_ptr().cast(),
            length(size_of_val(answer)),
            FileIdBothDirectoryInformation,
            false,
            pattern.as_ref().map_or(null(), |pattern| &raw const *pattern),
            false,
        )
    };
    if status == STATUS_NO_MORE_FILES || status == STATUS_NO_SUCH_FILE {
        return Ok(false);
    }
    Status::check(status).map(|()| true)
}

/// What an open reparse point holds, as a `REPARSE_DATA_BUFFER`; gives its length in bytes.
pub(super) fn reparse_data(file: impl AsHandle, answer: &mut [u64]) -> io::Result<usize> {
    let mut returned = 0;
    // SAFETY: the answer is written into `answer`, whose size in bytes is told; the handle is
    // synchronous, so no OVERLAPPED is needed.
    let done = unsafe {
        DeviceIoControl(
            file.as_handle().as_raw_handle(),
            FSCTL_GET_REPARSE_POINT,
            null(),
            0,
            answer.as_mut_ptr().cast(),
            length(size_of_val(answer)),
            &raw mut returned,
            null_mut(),
        )
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(returned as usize) }
}

/// Where an open file is, as `\\?\C:\...` in UTF-16.
pub(super) fn final_path(file: impl AsHandle) -> io::Result<Vec<u16>> {
    path_of(file, VOLUME_NAME_DOS)
}

/// Where an open file is, as `\\?\Volume{...}\...` in UTF-16: by its volume, wherever that is mounted.
pub(super) fn volume_path(file: impl AsHandle) -> io::Result<Vec<u16>> {
    path_of(file, VOLUME_NAME_GUID)
}

fn path_of(file: impl AsHandle, form: GETFINALPATHNAMEBYHANDLE_FLAGS) -> io::Result<Vec<u16>> {
    let mut path = vec![0; LONGEST_PATH];
    // SAFETY: at most as many units as told are written into `path`.
    let units = unsafe {
        GetFinalPathNameByHandleW(
            file.as_handle().as_raw_handle(),
            path.as_mut_ptr(),
            length(path.len()),
            form,
        )
    };
    match units as usize {
        0 => Err(io::Error::last_os_error()),
        units if units >= LONGEST_PATH => Err(Status(STATUS_NAME_TOO_LONG).dos_error()),
        units => {
            path.truncate(units);
            Ok(path)
        }
    }
}

fn unicode_string(name: &[u16]) -> Result<UNICODE_STRING, Status> {
    let bytes = u16::try_from(size_of_val(name)).map_err(|_| Status(STATUS_NAME_TOO_LONG))?;
    // The kernel does not write to names that it is given.
    Ok(UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: name.as_ptr().cast_mut() })
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
