//! Who may look into a file or folder, where modes do not say it.

use std::io;
use std::path::Path;

/// Keeps a file or folder to those who administrate this machine: on Windows to LocalSystem, the group
/// of the administrators and the owner; for a folder, all that is made in it from now on too. On Unix
/// the mode does that already.
///
/// # Errors
/// When Windows refuses.
#[cfg(windows)]
pub fn keep_to_administrators(path: &Path) -> io::Result<()> {
    // LocalSystem, Administrators, Owner Rights: their names are other words in each language.
    const ALLOWED: [&str; 3] = ["*S-1-5-18", "*S-1-5-32-544", "*S-1-3-4"];
    let rights = if path.is_dir() { "(OI)(CI)F" } else { "F" };
    let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    let mut command = std::process::Command::new(Path::new(&root).join(r"System32\icacls.exe"));
    command.arg(path).args(["/inheritance:r", "/q"]);
    for allowed in ALLOWED {
        command.arg("/grant:r").arg(format!("{allowed}:{rights}"));
    }
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(io::Error::other(format!("icacls could not change its ACL: {said}")))
}

/// As on Windows.
#[cfg(not(windows))]
#[expect(clippy::missing_const_for_fn, reason = "Windows has work here")]
pub fn keep_to_administrators(_path: &Path) -> io::Result<()> {
    Ok(())
}
