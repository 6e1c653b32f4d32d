//! Files that hold passwords and keys.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a file that only its owner may read. What was read is wiped from memory when it is dropped.
///
/// # Errors
/// When it cannot be read, and on Unix when others may read it.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_as(path, "the password file")
}

/// The same for a file that error texts call `what`.
///
/// # Errors
/// As [`read`].
pub fn read_as(path: &Path, what: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let mode = std::fs::metadata(path).map_err(named)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{what} {} may be read by others: run chmod 600 on it", path.display()),
            ));
        }
    }
    std::fs::read(path).map(Zeroizing::new).map_err(named)
}
