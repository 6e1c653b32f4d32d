//! Windows' own encryption of secrets (DPAPI).
#![allow(unsafe_code, reason = "DPAPI is reached by C functions alone")]

use std::io;
use std::ptr::{null, null_mut};
use std::slice;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};
use zeroize::{Zeroize as _, Zeroizing};

/// Services run as another account than the administrator: what one of this machine encrypts, all of
/// them can decrypt. Who can read the file is a matter of its ACL.
const FLAGS: u32 = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;

/// Encrypts for this machine.
///
/// # Errors
/// What Windows says.
pub(super) fn protect(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut sealed = CRYPT_INTEGER_BLOB { cbData: 0, pbData: null_mut() };
    let plain = blob(plain)?;
    // SAFETY: `plain` points to bytes that live through the call, which does not write to them;
    // `sealed` is filled with memory that `taken` frees.
    let done = unsafe {
        CryptProtectData(&raw const plain, null(), null(), null(), null(), FLAGS, &raw mut sealed)
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(taken(sealed).to_vec())
}

/// Decrypts what this machine encrypted.
///
/// # Errors
/// What Windows says, such as that another machine did.
pub(super) fn unprotect(sealed: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut plain = CRYPT_INTEGER_BLOB { cbData: 0, pbData: null_mut() };
    let sealed = blob(sealed)?;
    // SAFETY: as above, with the roles exchanged.
    let done = unsafe {
        CryptUnprotectData(
            &raw const sealed,
            null_mut(),
            null(),
            null(),
            null(),
            FLAGS,
            &raw mut plain,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(taken(plain))
}

fn blob(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(CRYPT_INTEGER_BLOB { cbData: length, pbData: bytes.as_ptr().cast_mut() })
}

/// A copy of what Windows made; its own memory is wiped and freed.
fn taken(made: CRYPT_INTEGER_BLOB) -> Zeroizing<Vec<u8>> {
    // SAFETY: Windows gave `cbData` bytes at `pbData`, which nobody else knows of.
    let bytes = unsafe { slice::from_raw_parts_mut(made.pbData, made.cbData as usize) };
    let copy = Zeroizing::new(bytes.to_vec());
    bytes.zeroize();
    // SAFETY: it was allocated by LocalAlloc, and is not used any more.
    unsafe { LocalFree(made.pbData.cast()) };
    copy
}
