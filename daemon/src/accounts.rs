//! Users and groups of this system, by the names that a configuration uses.
//!
//! The plain files are read first; `getent` answers for directory services.

use std::path::Path;

use crate::auth::Membership;

/// The largest account file that is read, in bytes.
const LARGEST_FILE: u64 = 64 << 20;

/// This system's accounts.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

/// A user of this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
}

impl System {
    /// Finds a user by name or number. A number needs no entry; its group is then unknown.
    pub fn user(self, text: &str) -> Option<(u32, Option<User>)> {
        let entry = lookup("passwd", text).and_then(|line| parse_user(&line));
        match (text.parse::<u32>(), entry) {
            (Ok(uid), Some(user)) if user.uid == uid => Some((uid, Some(user))),
            (Ok(uid), _) => Some((uid, None)),
            (Err(_), Some(user)) if user.name == text => Some((user.uid, Some(user))),
            (Err(_), _) => None,
        }
    }

    /// Finds a group's number by name or number.
    pub fn group(self, text: &str) -> Option<u32> {
        if let Ok(gid) = text.parse() {
            return Some(gid);
        }
        let line = lookup("group", text)?;
        let (name, gid, _) = parse_group(&line)?;
        (name == text).then_some(gid)
    }

    /// The numbers of all groups of a user, the primary one first.
    pub fn groups_of_user(self, user: &User) -> Vec<u32> {
        let mut groups = vec![user.gid];
        for (_, gid) in listed_groups(&user.name) {
            if !groups.contains(&gid) {
                groups.push(gid);
            }
        }
        groups
    }
}

impl Membership for System {
    fn groups_of(&self, user: &str) -> Vec<String> {
        // A number is not a user name here: a client chose it.
        let Some((_, Some(found))) = self.user(user).filter(|_| user.parse::<u32>().is_err())
        else {
            return Vec::new();
        };
        let mut names: Vec<String> = lookup("group", &found.gid.to_string())
            .and_then(|line| parse_group(&line).map(|(name, _, _)| name.to_owned()))
            .into_iter()
            .collect();
        names.extend(listed_groups(user).into_iter().map(|(name, _)| name));
        names
    }
}

/// The groups whose member lists name a user.
fn listed_groups(user: &str) -> Vec<(String, u32)> {
    let text = read(Path::new("/etc/group")).unwrap_or_default();
    let mut found: Vec<(String, u32)> = text
        .lines()
        .filter_map(parse_group)
        .filter(|(_, _, members)| members.split(',').any(|member| member == user))
        .map(|(name, gid, _)| (name.to_owned(), gid))
        .collect();
    // `USER GID...`; only directory services know of more groups than the file.
    if let Some(line) = getent("initgroups", user) {
        for gid in line.split_whitespace().skip(1) {
            let Ok(gid) = gid.parse::<u32>() else { continue };
            if found.iter().any(|(_, known)| *known == gid) {
                continue;
            }
            if let Some((name, _, _)) =
                lookup("group", &gid.to_string()).as_deref().and_then(parse_group)
            {
                found.push((name.to_owned(), gid));
            }
        }
    }
    found
}

/// The line of an account, by name or number.
fn lookup(database: &str, key: &str) -> Option<String> {
    let matches = |line: &&str| {
        let mut fields = line.split(':');
        fields.next() == Some(key) || fields.nth(1) == Some(key)
    };
    let file = Path::new("/etc").join(database);
    let text = read(&file).unwrap_or_default();
    match text.lines().find(matches) {
        Some(line) => Some(line.to_owned()),
        None => getent(database, key),
    }
}

fn parse_user(line: &str) -> Option<User> {
    let mut fields = line.trim_end().split(':');
    Some(User {
        name: fields.next()?.to_owned(),
        uid: fields.nth(1)?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}

fn parse_group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.trim_end().split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or("")))
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Asks the system's name service; the key comes last and cannot be taken for an option.
#[cfg(unix)]
fn getent(database: &str, key: &str) -> Option<String> {
    if key.is_empty() || key.starts_with('-') || key.contains('\0') {
        return None;
    }
    let output = std::process::Command::new("getent")
        .args([database, key])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}

#[cfg(not(unix))]
fn getent(_database: &str, _key: &str) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn finds_root_by_name_and_number() {
        let (uid, user) = System.user("root").expect("root exists");
        let user = user.expect("with an entry");
        assert_eq!((uid, user.gid, user.name.as_str()), (0, 0, "root"));
        assert_eq!(System.user("0").expect("a number").0, 0);
        assert_eq!(System.user("4123456789").expect("a number").1, None);
        assert_eq!(System.user("no-such-user-here"), None);
        assert_eq!(System.group("0"), Some(0));
        assert_eq!(System.group("root"), Some(0));
        assert_eq!(System.group("no-such-group"), None);
        assert_eq!(System.groups_of_user(&user).first(), Some(&0));
        assert!(System.groups_of("root").contains(&"root".to_owned()));
        assert_eq!(System.groups_of("0"), Vec::<String>::new());
        assert_eq!(System.groups_of("no-such-user-here"), Vec::<String>::new());
    }

    #[test]
    fn odd_keys_are_no_options() {
        assert_eq!(getent("passwd", "--help"), None);
        assert_eq!(getent("passwd", ""), None);
    }

    #[test]
    fn malformed_lines_are_nobody() {
        assert_eq!(parse_user("x:y"), None);
        assert_eq!(parse_user("x:y:-1:0"), None);
        assert_eq!(parse_group("g::"), None);
        assert_eq!(parse_group("g:x:5"), Some(("g", 5, "")));
    }
}
