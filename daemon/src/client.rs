//! What is known of one client, as the `RSYNC_…` variables of hooks and `%VAR%` references.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config;
use crate::hosts::UNDETERMINED;

/// One client of one module.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The module's name.
    pub module: String,
    /// The module's path, once it is known.
    pub path: String,
    /// The address; `None` on a pipe.
    pub address: Option<IpAddr>,
    /// The name, if it was looked up and there is one.
    pub host_name: Option<String>,
    /// The user, once logged in.
    pub user: String,
    /// A number of its own for this session.
    pub number: u64,
}

impl Client {
    /// The variables, by name.
    pub fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("RSYNC_MODULE_NAME", self.module.clone()),
            ("RSYNC_MODULE_PATH", self.path.clone()),
            ("RSYNC_HOST_ADDR", self.address_text()),
            ("RSYNC_HOST_NAME", self.host_text().to_owned()),
            ("RSYNC_USER_NAME", self.user.clone()),
            ("RSYNC_PID", self.number.to_string()),
        ]
    }

    /// Resolves `%VAR%`: these variables first, then the daemon's environment.
    pub fn expand(&self, text: &str) -> String {
        config::expand(text, &|name| self.lookup(name))
    }

    /// Resolves `%VAR%` in a path. What the client chose must be one component of it.
    ///
    /// # Errors
    /// The variable whose value would change the path's shape.
    pub fn expand_path(&self, text: &str) -> Result<String, String> {
        self.expand_checked(text, |name, value| {
            let chosen_by_client = matches!(name, "RSYNC_USER_NAME" | "RSYNC_HOST_NAME");
            let splits = value.is_empty()
                || matches!(value, "." | "..")
                || value.contains(['/', '\\', '\0']);
            (chosen_by_client && splits).then(|| format!("%{name}% is no single path component"))
        })
    }

    /// Resolves `%VAR%`, unless `fault` finds something wrong with a variable's value.
    ///
    /// # Errors
    /// What `fault` says.
    pub fn expand_checked(
        &self,
        text: &str,
        fault: impl Fn(&str, &str) -> Option<String>,
    ) -> Result<String, String> {
        let problem = std::cell::RefCell::new(None);
        let expanded = config::expand(text, &|name| {
            let value = self.lookup(name)?;
            if let Some(found) = fault(name, &value) {
                problem.borrow_mut().get_or_insert(found);
            }
            Some(value)
        });
        match problem.into_inner() {
            Some(problem) => Err(problem),
            None => Ok(expanded),
        }
    }

    /// The address for texts; rsyncd's word on a pipe.
    pub fn address_text(&self) -> String {
        self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical().to_string()
    }

    /// The host name for texts.
    pub fn host_text(&self) -> &str {
        self.host_name.as_deref().unwrap_or(UNDETERMINED)
    }

    fn lookup(&self, name: &str) -> Option<String> {
        self.variables()
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
            .or_else(|| config::environment(name))
    }
}

/// A number that no other session on this machine has at the same time.
pub fn session_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) * 1_000_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_its_own_variables_before_the_environment() {
        let client = Client {
            module: "mail".to_owned(),
            user: "joe".to_owned(),
            address: "::ffff:10.0.0.1".parse().ok(),
            ..Client::default()
        };
        assert_eq!(
            client.expand("%RSYNC_MODULE_NAME% %RSYNC_USER_NAME% %RSYNC_HOST_ADDR% %NO_SUCH%"),
            "mail joe 10.0.0.1 %NO_SUCH%"
        );
        assert_eq!(client.host_text(), UNDETERMINED);
    }

    #[test]
    fn a_user_name_cannot_leave_its_place_in_a_path() {
        for user in ["..", ".", "", "a/b"] {
            let client = Client { user: user.to_owned(), ..Client::default() };
            client.expand_path("/home/%RSYNC_USER_NAME%/x").expect_err(user);
            assert_eq!(client.expand_path("/home").as_deref(), Ok("/home"));
        }
        let client = Client { user: "joe".to_owned(), ..Client::default() };
        assert_eq!(client.expand_path("/home/%RSYNC_USER_NAME%").as_deref(), Ok("/home/joe"));
    }
}
