//! Names of users and groups from `/etc/passwd` and `/etc/group`. Directory services that are
//! not listed there are not asked; such ids travel as numbers.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Names and ids of one kind.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_id: HashMap<u32, Vec<u8>>,
    by_name: HashMap<Vec<u8>, u32>,
}

impl Names {
    /// The users of this machine, read once.
    pub(super) fn users() -> &'static Self {
        static USERS: OnceLock<Names> = OnceLock::new();
        USERS.get_or_init(|| Self::read("/etc/passwd"))
    }

    /// The groups of this machine, read once.
    pub(super) fn groups() -> &'static Self {
        static GROUPS: OnceLock<Names> = OnceLock::new();
        GROUPS.get_or_init(|| Self::read("/etc/group"))
    }

    pub(super) fn name(&self, id: u32) -> Option<Vec<u8>> {
        self.by_id.get(&id).cloned()
    }

    pub(super) fn id(&self, name: &[u8]) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    fn read(path: &str) -> Self {
        // Without the file every id travels as a number.
        Self::parse(&std::fs::read(path).unwrap_or_default())
    }

    fn parse(text: &[u8]) -> Self {
        let mut names = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
            if let Some(id) = id.filter(|_| !name.is_empty()) {
                names.by_id.entry(id).or_insert_with(|| name.to_vec());
                names.by_name.entry(name.to_vec()).or_insert(id);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_id_counts() {
        let names = Names::parse(b"root:x:0:0::/:/bin/sh\ntoor:x:0:0\nbroken\nmail:x:8:8\n");
        assert_eq!(names.name(0), Some(b"root".to_vec()));
        assert_eq!(names.id(b"toor"), Some(0));
        assert_eq!(names.id(b"mail"), Some(8));
        assert_eq!(names.name(9), None);
    }
}
