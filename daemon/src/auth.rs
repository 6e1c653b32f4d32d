//! `auth users` and `secrets file` (§2.6). Every failure looks the same to the client; what was
//! wrong goes to the log, and passwords go nowhere.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::Path;

use bascule_platform::text;
use bascule_session::site::LoginAttempt;

use zeroize::Zeroizing;

use crate::glob;

/// The largest secrets file that is read, in bytes.
const LARGEST_SECRETS: u64 = 16 << 20;
/// The longest user name that is considered, in bytes.
const LONGEST_USER: usize = 256;

/// What a matching rule says about access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As the module says.
    Module,
    /// Read only, whatever the module says.
    ReadOnly,
    /// Read and write, whatever the module says.
    ReadWrite,
    /// None at all.
    Denied,
}

/// One rule of `auth users`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A user or group name, or a pattern for one.
    pub pattern: String,
    /// Whether it names a group.
    pub group: bool,
    /// What a match means.
    pub access: Access,
}

/// How to find out about this system's groups.
pub trait Membership {
    /// The names of the groups that a user is in; none for an unknown user.
    fn groups_of(&self, user: &str) -> Vec<String>;
}

/// Why a login failed: for the log only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    /// No rule names the user.
    #[error("no matching rule in \"auth users\"")]
    NoRule,
    /// The matching rule denies the user.
    #[error("denied in \"auth users\"")]
    Denied,
    /// The user name could not be one.
    #[error("the user name is malformed")]
    BadName,
    /// The secrets file has no line for the user.
    #[error("no secret found for the user in {0}")]
    NoSecret(String),
    /// The response does not fit.
    #[error("password mismatch")]
    Mismatch,
    /// The daemon's own configuration stands in the way.
    #[error("{0}")]
    Unusable(String),
}

/// Parses `auth users`: separated by blanks and commas, or by commas only after a leading comma.
///
/// # Errors
/// The rule that makes no sense and why.
pub fn parse_rules(text: &str) -> Result<Vec<Rule>, String> {
    split_list(text)
        .map(|entry| {
            let (name, option) = entry.split_once(':').unwrap_or((entry, ""));
            let access = match option.to_ascii_lowercase().as_str() {
                "" => Access::Module,
                "ro" => Access::ReadOnly,
                "rw" => Access::ReadWrite,
                "deny" => Access::Denied,
                _ => {
                    return Err(format!(
                        "\"{}\" ends in an unknown option; it can be :ro, :rw or :deny",
                        entry.escape_debug()
                    ));
                }
            };
            let (group, pattern) = match name.strip_prefix('@') {
                Some(group) => (true, group),
                None => (false, name),
            };
            if pattern.is_empty() {
                return Err(format!("\"{}\" names nobody", entry.escape_debug()));
            }
            Ok(Rule { pattern: pattern.to_owned(), group, access })
        })
        .collect()
}

/// Checks `auth users` when a configuration is read.
///
/// # Errors
/// As [`parse_rules`].
pub fn check_rules(text: &str) -> Result<(), String> {
    parse_rules(text).map(drop)
}

/// The entries of a list that is separated by blanks and commas, or, when it starts with a comma,
/// by commas only.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let commas_only = text.trim_start().starts_with(',');
    text.split(move |c: char| c == ',' || (!commas_only && c.is_whitespace()))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// Where the secrets are and how they are checked.
#[derive(Debug, Clone, Copy)]
pub struct Secrets<'a> {
    /// The file; `None` when the module has none.
    pub file: Option<&'a Path>,
    /// `strict modes`.
    pub strict: bool,
}

/// Checks one login against the rules; the first matching rule decides.
///
/// # Errors
/// Why the login fails.
pub fn check_login(
    rules: &[Rule],
    secrets: Secrets<'_>,
    attempt: &LoginAttempt<'_>,
    membership: &dyn Membership,
) -> Result<Access, LoginFailure> {
    let user = user_name(attempt.user)?;
    let (access, group) = matching(rules, user, membership)?;
    check_secret(secrets, user, group.as_deref(), attempt)?;
    Ok(access)
}

/// What the rules say of a user who is known already: the first matching rule decides.
///
/// # Errors
/// Why the user has no access.
pub fn check_user(
    rules: &[Rule],
    user: &str,
    membership: &dyn Membership,
) -> Result<Access, LoginFailure> {
    let user = user_name(user.as_bytes())?;
    matching(rules, user, membership).map(|(access, _)| access)
}

/// The access that the first matching rule gives, and the group that it matched.
fn matching(
    rules: &[Rule],
    user: &str,
    membership: &dyn Membership,
) -> Result<(Access, Option<String>), LoginFailure> {
    let mut groups = None;
    let matching = rules.iter().find_map(|rule| {
        if !rule.group {
            return glob::matches(&rule.pattern, user).then_some((rule, None));
        }
        let groups = groups.get_or_insert_with(|| membership.groups_of(user));
        let group = groups.iter().find(|group| glob::matches(&rule.pattern, group))?;
        Some((rule, Some(group.clone())))
    });
    let (rule, group) = matching.ok_or(LoginFailure::NoRule)?;
    if rule.access == Access::Denied {
        return Err(LoginFailure::Denied);
    }
    Ok((rule.access, group))
}

/// A name that can stand before the colon of a secrets line and means a user there.
fn user_name(user: &[u8]) -> Result<&str, LoginFailure> {
    let name = std::str::from_utf8(user).map_err(|_| LoginFailure::BadName)?;
    let legal = !name.is_empty()
        && name.len() <= LONGEST_USER
        && !name.starts_with(['#', '@'])
        && !name.contains(|c: char| c == ':' || c.is_control());
    if legal { Ok(name) } else { Err(LoginFailure::BadName) }
}

/// Compares the response with every line of the user or of the group that let it in.
fn check_secret(
    secrets: Secrets<'_>,
    user: &str,
    group: Option<&str>,
    attempt: &LoginAttempt<'_>,
) -> Result<(), LoginFailure> {
    let path = secrets.file.ok_or_else(|| {
        LoginFailure::Unusable("the module has auth users but no secrets file".to_owned())
    })?;
    let shown = path.display();
    let unusable = |text: String| LoginFailure::Unusable(text);
    let file = File::open(path)
        .map_err(|error| unusable(format!("cannot open the secrets file {shown}: {error}")))?;
    let metadata = file
        .metadata()
        .map_err(|error| unusable(format!("cannot look at the secrets file {shown}: {error}")))?;
    if !metadata.is_file() {
        return Err(unusable(format!("the secrets file {shown} is not a file")));
    }
    if secrets.strict {
        check_modes(&metadata).map_err(|why| {
            unusable(format!("the secrets file {shown} {why} (see \"strict modes\")"))
        })?;
    }
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let room = usize::try_from(metadata.len().min(LARGEST_SECRETS)).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    let text = file
        .take(LARGEST_SECRETS)
        .read_to_end(&mut text)
        .and_then(|_| text::unmarked_secret(text))
        .map_err(|error| unusable(format!("cannot read the secrets file {shown}: {error}")))?;
    let mut known = false;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let Some(password) = password_of(line, user, group) else {
            continue;
        };
        if is_hashed(password) {
            return Err(unusable(format!(
                "line {} of the secrets file {shown} holds a hash: rsync's login needs the password \
                 itself (or use a client certificate)",
                number + 1
            )));
        }
        known = true;
        if verify(attempt, password) {
            return Ok(());
        }
    }
    if known {
        return Err(LoginFailure::Mismatch);
    }
    // As much work as for a known user.
    verify(attempt, b"");
    Err(LoginFailure::NoSecret(shown.to_string()))
}

fn verify(attempt: &LoginAttempt<'_>, password: &[u8]) -> bool {
    bascule_wire::auth::verify(attempt.digest, password, attempt.challenge, attempt.response)
        && !password.is_empty()
}

/// Whether this is a hash as in `/etc/shadow` or an LDAP directory: nobody can prove to know what
/// it was made of by rsync's challenge, and a hash that works as a password is worse than none.
fn is_hashed(password: &[u8]) -> bool {
    const CRYPT: [&[u8]; 10] =
        [b"1", b"2a", b"2b", b"2y", b"5", b"6", b"7", b"y", b"gy", b"argon2id"];
    let of_crypt = password.strip_prefix(b"$").is_some_and(|rest| {
        let mut parts = rest.split(|byte| *byte == b'$');
        parts.next().is_some_and(|scheme| CRYPT.contains(&scheme)) && parts.count() >= 2
    });
    let of_ldap = password.strip_prefix(b"{").is_some_and(|rest| {
        let end = rest.iter().position(|byte| *byte == b'}').unwrap_or(0);
        matches!(
            &rest[..end],
            b"SHA" | b"SSHA" | b"SSHA256" | b"SSHA512" | b"MD5" | b"SMD5" | b"CRYPT"
        )
    });
    of_crypt || of_ldap
}

/// The password of a secrets line, if the line is the user's or the group's.
fn password_of<'a>(line: &'a [u8], user: &str, group: Option<&str>) -> Option<&'a [u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.first() == Some(&b'#') {
        return None;
    }
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, password) = (&line[..colon], &line[colon + 1..]);
    let is_group = group.is_some_and(|group| name.strip_prefix(b"@") == Some(group.as_bytes()));
    (name == user.as_bytes() || is_group).then_some(password)
}

#[cfg(unix)]
fn check_modes(metadata: &Metadata) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt as _;
    if metadata.mode() & 0o006 != 0 {
        return Err("can be read or written by others; chmod it to 600");
    }
    if bascule_platform::privileges::runs_as_root() && metadata.uid() != 0 {
        return Err("must be owned by root because the daemon runs as root");
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_modes(_metadata: &Metadata) -> Result<(), &'static str> {
    Err("cannot be checked on this system; set \"strict modes = no\" and protect it with an ACL")
}

#[cfg(test)]
mod tests {
    use bascule_wire::auth::{AuthDigest, response};

    use super::*;

    struct Groups;

    impl Membership for Groups {
        fn groups_of(&self, user: &str) -> Vec<String> {
            match user {
                "joe" => vec!["staff".to_owned(), "guest".to_owned()],
                "sam" => vec!["staff".to_owned()],
                _ => Vec::new(),
            }
        }
    }

    fn secrets_file(text: &str) -> tempfile::NamedTempFile {
        // NamedTempFile makes it 0600.
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("write");
        file
    }

    fn login(
        rules: &str,
        secrets: &str,
        user: &str,
        password: &str,
    ) -> Result<Access, LoginFailure> {
        let file = secrets_file(secrets);
        let response = response(AuthDigest::Sha512, password.as_bytes(), "challenge");
        check_login(
            &parse_rules(rules).expect("good rules"),
            Secrets { file: Some(file.path()), strict: cfg!(unix) },
            &LoginAttempt {
                user: user.as_bytes(),
                digest: AuthDigest::Sha512,
                challenge: "challenge",
                response: response.as_bytes(),
            },
            &Groups,
        )
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let rules = "joe:deny @staff:ro admin:RW *";
        let secrets = "# joe:x\njoe:one\nsam:two\nadmin:three:3\r\nzoe:four\n";
        assert_eq!(login(rules, secrets, "joe", "one"), Err(LoginFailure::Denied));
        assert_eq!(login(rules, secrets, "sam", "two"), Ok(Access::ReadOnly));
        assert_eq!(login(rules, secrets, "admin", "three:3"), Ok(Access::ReadWrite));
        assert_eq!(login(rules, secrets, "zoe", "four"), Ok(Access::Module));
        assert_eq!(login("joe", secrets, "sam", "two"), Err(LoginFailure::NoRule));
        // An editor's mark is no part of the first name.
        assert_eq!(login("joe", "\u{feff}joe:one", "joe", "one"), Ok(Access::Module));
    }

    #[test]
    fn a_group_password_counts_only_for_that_groups_rule() {
        let secrets = "@staff:shared\n@other:x\nsam:own\n";
        assert_eq!(login("@staff", secrets, "sam", "shared"), Ok(Access::Module));
        assert_eq!(login("@sta*", secrets, "sam", "own"), Ok(Access::Module));
        assert_eq!(login("sam", secrets, "sam", "shared"), Err(LoginFailure::Mismatch));
        assert_eq!(login("@staff", secrets, "sam", "x"), Err(LoginFailure::Mismatch));
    }

    #[test]
    fn a_hash_is_no_password() {
        let secrets = "a:$6$salt$hash\nb:{SSHA}x\nc:$y$j9T$salt$hash\nd:$6.50\ne:{brace}\n";
        for (user, password) in [("a", "$6$salt$hash"), ("b", "{SSHA}x"), ("c", "$y$j9T$salt$hash")]
        {
            let failure = login("*", secrets, user, password).expect_err("refused").to_string();
            assert!(failure.contains("holds a hash") && !failure.contains(password), "{failure}");
        }
        assert_eq!(login("*", secrets, "d", "$6.50"), Ok(Access::Module));
        assert_eq!(login("*", secrets, "e", "{brace}"), Ok(Access::Module));
    }

    #[test]
    fn odd_names_never_match_a_line() {
        let secrets = "#x:1\n@staff:1\na:b:1\n:1\nempty:\n";
        for user in ["#x", "@staff", "a:b", "", "a\nb"] {
            assert_eq!(login("*", secrets, user, "1"), Err(LoginFailure::BadName), "{user}");
        }
        assert_eq!(login("*", secrets, "empty", ""), Err(LoginFailure::Mismatch));
        assert!(matches!(login("*", secrets, "zoe", ""), Err(LoginFailure::NoSecret(_))));
    }

    #[test]
    fn lists_split_on_commas_only_after_a_leading_comma() {
        let names = |text: &str| -> Vec<String> {
            parse_rules(text).expect("good").into_iter().map(|rule| rule.pattern).collect()
        };
        assert_eq!(names("joe, sam  zoe"), ["joe", "sam", "zoe"]);
        assert_eq!(names(", joe x , @Some Group:deny,"), ["joe x", "Some Group"]);
    }

    #[test]
    fn bad_rules_are_named() {
        for (text, problem) in [
            ("joe:wr", "\"joe:wr\" ends in an unknown option; it can be :ro, :rw or :deny"),
            ("@", "\"@\" names nobody"),
            ("joe :ro", "\":ro\" names nobody"),
        ] {
            assert_eq!(parse_rules(text).expect_err(text), problem);
        }
    }

    #[cfg(unix)]
    #[test]
    fn rule_19_6_a_secrets_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = secrets_file("joe:x\n");
        let response = response(AuthDigest::Md5, b"x", "c");
        let check = |mode: u32, strict: bool| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode))
                .expect("chmod");
            check_login(
                &parse_rules("joe").expect("good rules"),
                Secrets { file: Some(file.path()), strict },
                &LoginAttempt {
                    user: b"joe",
                    digest: AuthDigest::Md5,
                    challenge: "c",
                    response: response.as_bytes(),
                },
                &Groups,
            )
        };
        assert!(check(0o600, true).is_ok());
        assert!(check(0o640, true).is_ok());
        for mode in [0o604, 0o602] {
            let failure = check(mode, true).expect_err("too open");
            assert!(failure.to_string().contains("chmod it to 600"), "{failure}");
            assert!(check(mode, false).is_ok());
        }
    }
}
