//! Where a program keeps what it has to remember.

use std::io;
use std::path::{Path, PathBuf};

/// The system's configuration file of that name: in `/etc`, on Windows in `%ProgramData%\\Bascule`.
/// `None` where the environment does not say where that is.
pub fn configuration(name: &str) -> Option<PathBuf> {
    if cfg!(windows) {
        let base = std::env::var_os("ProgramData").filter(|value| !value.is_empty())?;
        return Some(PathBuf::from(base).join("Bascule").join(name));
    }
    Some(PathBuf::from("/etc").join(name))
}

/// The folder of the program `name` for what it remembers between runs: below `XDG_STATE_HOME` or
/// `~/.local/state`, on Windows below `%LOCALAPPDATA%`. `None` where the environment names no home.
pub fn folder(name: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else {
        set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))
    };
    Some(base?.join(name))
}

/// The folder of the program `name` for what it remembers as a service of the system: below
/// `/var/lib`, on Windows below `%ProgramData%\\Bascule`. `None` where the environment does not say
/// where that is.
pub fn of_the_system(name: &str) -> Option<PathBuf> {
    if cfg!(windows) {
        let base = std::env::var_os("ProgramData").filter(|value| !value.is_empty())?;
        return Some(PathBuf::from(base).join("Bascule").join(name));
    }
    Some(PathBuf::from("/var/lib").join(name))
}

/// Makes a folder, with its parents, that only its owner can look into.
///
/// # Errors
/// When it cannot be made.
pub fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Keeps a folder to those who administrate this machine: on Windows to LocalSystem, the group of the
/// administrators and the owner, for all that is made in it from now on. On Unix the modes of the
/// folder and of its files do that already.
///
/// # Errors
/// When Windows refuses.
#[cfg(windows)]
pub fn keep_to_administrators(path: &Path) -> io::Result<()> {
    // LocalSystem, Administrators, Owner Rights: their names are other words in each language.
    const ALLOWED: [&str; 3] = ["*S-1-5-18", "*S-1-5-32-544", "*S-1-3-4"];
    let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    let mut command = std::process::Command::new(Path::new(&root).join(r"System32\icacls.exe"));
    command.arg(path).args(["/inheritance:r", "/q"]);
    for allowed in ALLOWED {
        command.arg("/grant:r").arg(format!("{allowed}:(OI)(CI)F"));
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
