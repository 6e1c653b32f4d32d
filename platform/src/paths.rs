//! Paths as other programs write them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The path that a user or a configuration means. On Windows `/cygdrive/c/mail`, as DeltaCopy and
/// other rsyncs from Cygwin write it, is `C:\mail`, and slashes part names behind `\\?\` too; all else,
/// and everywhere else, is what it says.
pub fn native(path: impl AsRef<OsStr>) -> PathBuf {
    let path = path.as_ref();
    let meant = |path: &str| of_cygwin(path).or_else(|| with_backslashes(path));
    match path.to_str().filter(|_| cfg!(windows)).and_then(meant) {
        Some(path) => path.into(),
        None => path.into(),
    }
}

/// The same for a text.
pub fn native_text(path: &str) -> Cow<'_, str> {
    match of_cygwin(path).filter(|_| cfg!(windows)) {
        Some(path) => path.into(),
        None => path.into(),
    }
}

/// The full path of something that exists, in the form that people use: on Windows without the
/// prefix `\\?\`, where the path means the same without it.
///
/// # Errors
/// What the file system says.
pub fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    let full = path.canonicalize()?;
    Ok(match full.to_str().filter(|_| cfg!(windows)).and_then(without_prefix) {
        Some(plain) => plain.into(),
        None => full,
    })
}

/// `C:\mail` for `/cygdrive/c/mail`; slashes after the drive stay, Windows takes either.
fn of_cygwin(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/cygdrive/")?;
    let mut chars = rest.chars();
    let drive = chars.next().filter(char::is_ascii_alphabetic)?.to_ascii_uppercase();
    match chars.as_str() {
        "" => Some(format!("{drive}:\\")),
        below => Some(format!("{drive}:\\{}", below.strip_prefix('/')?)),
    }
}

/// `\\?\C:\mail\a` for `\\?\C:\mail\/a`: there Windows takes a slash for a part of a name, and two
/// backslashes for a name without letters.
fn with_backslashes(path: &str) -> Option<String> {
    let mut rest = path.strip_prefix(r"\\?\")?.replace('/', r"\");
    while rest.contains(r"\\") {
        rest = rest.replace(r"\\", r"\");
    }
    Some(format!(r"\\?\{rest}"))
}

/// A path of Windows as an rsync from Cygwin takes it: `/cygdrive/c/mail` for `C:\mail`, with slashes.
pub fn for_cygwin(path: &str) -> String {
    let path = without_prefix(path).unwrap_or_else(|| path.to_owned()).replace('\\', "/");
    match path.split_once(':') {
        Some((drive, below)) if drive.len() == 1 && drive.is_ascii() => {
            let below = below.strip_prefix('/').unwrap_or(below);
            format!("/cygdrive/{}/{below}", drive.to_ascii_lowercase())
        }
        _ => path,
    }
}

/// `C:\mail` for `\\?\C:\mail` and `\\server\mail` for `\\?\UNC\server\mail`, unless only the long
/// form can name it: beyond 259 characters, or with a name that programs would change.
fn without_prefix(path: &str) -> Option<String> {
    const LONGEST: usize = 259;
    let rest = path.strip_prefix(r"\\?\")?;
    let plain = match rest.strip_prefix(r"UNC\") {
        Some(share) => format!(r"\\{share}"),
        None if rest.get(1..3) == Some(r":\") => rest.to_owned(),
        None => return None,
    };
    let is_odd = |name: &str| name.ends_with(['.', ' ']);
    (plain.encode_utf16().count() <= LONGEST && !plain.split('\\').any(is_odd)).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths_of_cygwin() {
        for (path, expected) in [
            ("/cygdrive/c/mail/é", Some("C:\\mail/é")),
            ("/cygdrive/D/", Some("D:\\")),
            ("/cygdrive/d", Some("D:\\")),
            ("/cygdrive/", None),
            ("/cygdrive/cd/x", None),
            ("/cygdrive/1/x", None),
            ("cygdrive/c/x", None),
            ("C:\\mail", None),
        ] {
            assert_eq!(of_cygwin(path).as_deref(), expected, "{path}");
            let native = native_text(path);
            let expected = if cfg!(windows) { expected.unwrap_or(path) } else { path };
            assert_eq!(native, expected);
            assert_eq!(super::native(path), Path::new(expected));
        }
    }

    #[test]
    fn a_slash_parts_names_behind_the_long_prefix() {
        let path = r"\\?\C:\mail\/a/";
        let expected = if cfg!(windows) { r"\\?\C:\mail\a\" } else { path };
        assert_eq!(native(path).as_os_str(), expected);
    }

    #[test]
    fn tells_paths_to_cygwin() {
        for (path, expected) in [
            (r"C:\mail é\", "/cygdrive/c/mail é/"),
            ("D:/", "/cygdrive/d/"),
            (r"\\server\share\x", "//server/share/x"),
            (r"\\?\E:\x", "/cygdrive/e/x"),
            (r"a\b", "a/b"),
            ("/cygdrive/c/mail", "/cygdrive/c/mail"),
        ] {
            assert_eq!(for_cygwin(path), expected);
        }
    }

    #[test]
    fn takes_the_long_prefix_off_where_it_means_nothing() {
        for (path, expected) in [
            (r"\\?\C:\mail", Some(r"C:\mail")),
            (r"\\?\UNC\server\share\x", Some(r"\\server\share\x")),
            (r"\\?\Volume{1}\x", None),
            (r"\\?\C:\mail.\x", None),
            (r"C:\mail", None),
        ] {
            assert_eq!(without_prefix(path).as_deref(), expected, "{path}");
        }
        assert_eq!(without_prefix(&format!(r"\\?\C:\{}", "x".repeat(260))), None);
    }

    #[test]
    fn finds_what_exists() {
        let full = canonical(Path::new(".")).expect("here");
        assert!(full.is_absolute() && full.is_dir());
        assert!(!full.to_string_lossy().starts_with(r"\\?\"));
    }
}
