//! DeltaCopy's secrets files: found, read, and what is wrong with them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_platform::paths;
use zeroize::Zeroizing;

use crate::auth::parse_rules;

/// The largest secrets file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Where the secrets file is that DeltaCopy's configuration in `dir` names: there, even if that
/// folder is a copy from another machine, or where the name says.
///
/// # Errors
/// Where it was sought in vain.
pub(super) fn find(dir: &Path, named: &str) -> anyhow::Result<PathBuf> {
    let names = named.split(['/', '\\']).filter(|name| !matches!(*name, "" | "."));
    let names: Vec<&str> = names.collect();
    // Not above the folder, nor on another drive.
    let leads_away = |name: &&str| *name == ".." || name.contains(':');
    let from = names.iter().rposition(leads_away).map_or(0, |at| at + 1);
    let tails = (from..names.len()).map(|from| dir.join(names[from..].iter().collect::<PathBuf>()));
    let own = paths::native(named);
    let own = own.is_absolute().then_some(own);
    let found = tails.chain(own).find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "the secrets file {named} is neither there nor below {}: copy DeltaCopy's folder \
             \"secrets\" beside its deltacd.conf",
            dir.display()
        )
    })
}

/// What a secrets file holds, as it is, without a byte order mark.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn read(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let shown = || format!("the secrets file {}", path.display());
    let length = path.metadata().with_context(shown)?.len();
    if length > LARGEST {
        bail!("{} is larger than 1 MiB: it is something else", shown());
    }
    let content = Zeroizing::new(std::fs::read(path).with_context(shown)?);
    if content.contains(&0) {
        bail!("{} is no plain text: save it as UTF-8 or ANSI", shown());
    }
    let plain = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content);
    Ok(Zeroizing::new(plain.to_vec()))
}

/// The users of `auth users` who have no password in `secrets`, and those with a name or password
/// that is not plain ASCII.
pub(super) fn doubtful(auth_users: &str, secrets: &[u8]) -> (Vec<String>, Vec<String>) {
    let lines = secrets.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.iter().position(|byte| *byte == b':')?;
        (line[0] != b'#').then(|| (&line[..colon], &line[colon + 1..]))
    });
    let known: Vec<(&[u8], &[u8])> = lines.collect();
    let rules = parse_rules(auth_users).unwrap_or_default();
    let single = rules.iter().filter(|rule| !rule.group && !rule.pattern.contains(['*', '?', '[']));
    let unknown = single.map(|rule| &rule.pattern).filter(|user| {
        !known.iter().any(|(name, password)| *name == user.as_bytes() && !password.is_empty())
    });
    let odd = known.iter().filter(|(name, password)| !name.is_ascii() || !password.is_ascii());
    (
        unknown.cloned().collect(),
        odd.map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_file_in_a_copied_folder() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("secrets/Mail.secret");
        std::fs::create_dir(dir.path().join("secrets")).expect("a directory");
        std::fs::write(&file, "joe:x").expect("a file");
        for named in [
            r"secrets\Mail.secret",
            "secrets/Mail.secret",
            "./secrets/Mail.secret",
            "/cygdrive/c/Program Files/DeltaCopy/secrets/Mail.secret",
            r"C:\DeltaCopy\secrets\Mail.secret",
            file.to_str().expect("UTF-8"),
        ] {
            assert_eq!(find(dir.path(), named).expect(named), file, "{named}");
        }
        let inside = dir.path().join("secrets");
        // Nothing above the folder is taken for a part of it.
        let error = find(&inside, "../secrets/None.secret").expect_err("none").to_string();
        assert!(error.contains("None.secret is neither there nor below"), "{error}");
    }

    #[test]
    fn tells_who_cannot_log_in() {
        let secrets = b"# sam:x\r\njoe:one\r\nzo\xe9:two\r\neve:\r\nmax:\xe9";
        let (unknown, odd) = doubtful("joe, sam eve:rw @staff *", secrets);
        assert_eq!(unknown, ["sam", "eve"]);
        assert_eq!(odd, ["zo\u{fffd}", "max"]);
    }

    #[test]
    fn refuses_what_is_no_text() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"\xff\xfej\0").expect("written");
        assert!(read(file.path()).expect_err("UTF-16").to_string().contains("plain text"));
        std::fs::write(file.path(), b"\xef\xbb\xbfjoe:x\r\n").expect("written");
        assert_eq!(&**read(file.path()).expect("text"), b"joe:x\r\n");
    }
}
