//! What becomes of the targets of symlinks on their way into and out of a module (§19.7).

/// What disarms a symlink in a module with `munge symlinks`.
pub const MUNGE_PREFIX: &[u8] = b"/rsyncd-munged/";

/// How a side stores the targets of symlinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SymlinkTargets {
    /// As they are.
    #[default]
    Verbatim,
    /// With a prefix that disarms them: added on receipt, taken off on sending.
    Munged,
    /// Rewritten on receipt so that they cannot lead out of the tree.
    Sanitized,
}

impl SymlinkTargets {
    /// The target `link` as it is stored in the directory `dir` of the transfer.
    pub fn store(self, dir: &[u8], link: &[u8]) -> Box<[u8]> {
        match self {
            Self::Verbatim => link.into(),
            Self::Munged => [MUNGE_PREFIX, link].concat().into_boxed_slice(),
            Self::Sanitized => sanitize(dir, link).into_boxed_slice(),
        }
    }

    /// A stored target as it travels.
    pub fn send(self, link: &[u8]) -> &[u8] {
        match self {
            Self::Munged => link.strip_prefix(MUNGE_PREFIX).unwrap_or(link),
            Self::Verbatim | Self::Sanitized => link,
        }
    }
}

/// Whether a symlink in the directory `dir` with the target `link` points out of the tree
/// (`--safe-links`): it is absolute, empty, or climbs above the root. A target that climbs anywhere
/// but at its very beginning counts as well, wherever it leads now: what it passes through may become
/// a symlink later (C: `unsafe_symlink`, since 3.4.0).
pub fn leaves_tree(dir: &[u8], link: &[u8]) -> bool {
    if link.is_empty() || link[0] == b'/' {
        return true;
    }
    let parts = || link.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let climbs = parts().take_while(|part| *part == b"..").count();
    let ends_in_climb = link.len() > 3 && link.ends_with(b"/..");
    climbs > depth(dir) || ends_in_climb || parts().skip(climbs).any(|part| part == b"..")
}

/// Takes out of `link` what would lead above the root of the tree: a leading slash, and each `..`
/// too many; `.`, empty parts and `name/..` go as well. What is left empty becomes `.`.
fn sanitize(dir: &[u8], link: &[u8]) -> Vec<u8> {
    let mut climbs_left = if link.first() == Some(&b'/') { 0 } else { depth(dir) };
    let mut climbs = 0;
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in link.split_inclusive(|byte| *byte == b'/') {
        match part.strip_suffix(b"/").unwrap_or(part) {
            b"" | b"." => {}
            b".." if parts.len() > climbs => drop(parts.pop()),
            b".." if climbs_left == 0 => {}
            b".." => {
                climbs_left -= 1;
                climbs += 1;
                parts.push(part);
            }
            _ => parts.push(part),
        }
    }
    if parts.is_empty() { b".".to_vec() } else { parts.concat() }
}

fn depth(dir: &[u8]) -> usize {
    dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_which_symlinks_leave_the_tree() {
        for link in [&b""[..], b"/etc", b"..", b"../..", b"x/../../y"] {
            assert!(leaves_tree(b"", link), "{link:?}");
        }
        for link in [&b"x"[..], b"../x", b"..", b"./x", b"..//x", b"a/..b/c"] {
            assert!(!leaves_tree(b"d", link), "{link:?}");
        }
        assert!(leaves_tree(b"d/e", b"../../../x") && !leaves_tree(b"d/e", b"../../x"));
    }

    #[test]
    fn a_symlink_that_climbs_behind_a_name_is_unsafe() {
        // `a` may be a symlink, or become one.
        for link in [&b"a/../b"[..], b"a/../../b", b"a/..", b"../a/../b", b"./../x", b"../.."] {
            assert!(leaves_tree(b"d/e/f", link), "{link:?}");
        }
    }

    #[test]
    fn sanitized_targets_stay_within() {
        for (dir, link, stored) in [
            ("", "/etc/passwd", "etc/passwd"),
            ("", "//etc//passwd", "etc/passwd"),
            ("", "..", "."),
            ("", "../../x", "x"),
            ("d", "../../../x", "../x"),
            ("d/e", "../../../x", "../../x"),
            ("d", "/../x", "x"),
            ("d", "./a//b", "a/b"),
            ("", "a/../b", "b"),
            ("", "foo/../../..", "."),
            ("d", "a/..", "."),
            ("d", "a/b/..", "a/"),
            ("d", "a/", "a/"),
            ("", "", "."),
        ] {
            let found = sanitize(dir.as_bytes(), link.as_bytes());
            assert_eq!(found, stored.as_bytes(), "{link} in {dir}");
            assert!(!leaves_tree(dir.as_bytes(), &found) || found.is_empty(), "{link} in {dir}");
        }
    }

    #[test]
    fn rule_19_7_munged_targets_come_back() {
        let stored = SymlinkTargets::Munged.store(b"", b"../x");
        assert_eq!(&*stored, b"/rsyncd-munged/../x");
        assert_eq!(SymlinkTargets::Munged.send(&stored), b"../x");
        assert_eq!(SymlinkTargets::Verbatim.send(&stored), &*stored);
    }
}
