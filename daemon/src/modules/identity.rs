//! Whom a module's sessions become: `uid` and `gid`.

use bascule_platform::privileges::{Identity, own_ids, runs_as_root};
use bascule_session::site::Refusal;

use super::DaemonModule;
use crate::accounts::System;
use crate::auth::split_list;

/// The user of a root daemon's module that names none.
const NOBODY: &str = "nobody";
/// The groups tried for a root daemon's module that names none.
const NOBODY_GROUPS: [&str; 2] = ["nobody", "nogroup"];

impl DaemonModule {
    /// Whom the session's threads become; `None` when they stay who they are.
    pub(super) fn identity(&self) -> Result<Option<Identity>, Refusal> {
        let expanded = |text: &Option<String>| text.as_deref().map(|t| self.client.expand(t));
        let (uid, gid) = (expanded(&self.rules().uid), expanded(&self.rules().gid));
        let root = runs_as_root();
        if !root && uid.is_none() && gid.is_none() {
            return Ok(None);
        }
        let no_user = |name: &str| self.refuse(&format!("invalid uid {name}"), "no such user");
        let no_group = |name: &str| self.refuse(&format!("invalid gid {name}"), "no such group");
        let own = own_ids();
        let name = uid.as_deref().or(root.then_some(NOBODY));
        let (uid, user) = match name {
            Some(name) => System.user(name).ok_or_else(|| no_user(name))?,
            None => match own {
                Some((uid, _)) => (uid, None),
                None => return Err(self.refuse("setgid failed", "this system has no groups")),
            },
        };
        let mut groups: Vec<u32> = Vec::new();
        for name in gid.as_deref().into_iter().flat_map(split_list) {
            if name == "*" && groups.is_empty() {
                let user = user.as_ref().ok_or_else(|| no_group(name))?;
                groups = System.groups_of_user(user);
            } else {
                groups.push(System.group(name).ok_or_else(|| no_group(name))?);
            }
        }
        if groups.is_empty() && root {
            let nobody = NOBODY_GROUPS.iter().find_map(|name| System.group(name));
            groups.push(nobody.ok_or_else(|| no_group(NOBODY))?);
        }
        let gid = groups.first().copied().or(own.map(|(_, gid)| gid)).unwrap_or(u32::MAX);
        if !root {
            if own == Some((uid, gid)) {
                return Ok(None);
            }
            let reason = "only a daemon that runs as root can change its user; remove uid and gid";
            return Err(self.refuse("setuid failed", reason));
        }
        Ok(Some(Identity { uid, gid, groups }))
    }
}
