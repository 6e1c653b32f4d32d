//! `hosts allow` and `hosts deny`. Whatever cannot be found out counts against the client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::glob;

/// What rsyncd calls a client whose name was not looked up.
pub const UNDETERMINED: &str = "UNDETERMINED";

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// `*` or `all`.
    Everyone,
    /// An address with a mask; a single address has a full one.
    Network { address: IpAddr, mask: u128 },
    /// A pattern for the client's name.
    Glob(String),
    /// A host name.
    Name(String),
}

/// Looks names up. Both directions may be slow and may fail.
pub trait Names {
    /// The name of an address, confirmed by looking that name up; `None` when there is none.
    fn name_of(&self, address: IpAddr) -> Option<String>;

    /// The addresses of a name; `None` when it could not be resolved.
    fn addresses_of(&self, name: &str) -> Option<Vec<IpAddr>>;
}

/// The two lists and how names may be looked up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lists<'a> {
    /// `hosts allow`.
    pub allow: Option<&'a str>,
    /// `hosts deny`.
    pub deny: Option<&'a str>,
    /// `reverse lookup`.
    pub reverse_lookup: bool,
    /// `forward lookup`.
    pub forward_lookup: bool,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the client may go on.
    pub allowed: bool,
    /// The client's name, if it had to be looked up and has one.
    pub host_name: Option<String>,
}

/// Decides whether a client may use a module: a match in `allow` lets it in; a match in `deny`
/// shuts it out; with neither, it is let in unless there is only an `allow` list. A client on a
/// pipe has no address and matches `*` only.
///
/// # Errors
/// An entry that makes no sense; the client must be refused then.
pub fn check_client(
    lists: &Lists<'_>,
    client: Option<IpAddr>,
    names: &dyn Names,
) -> Result<Verdict, String> {
    let allow = lists.allow.map(parse).transpose()?;
    let deny = lists.deny.map(parse).transpose()?;
    let mut client =
        Client { address: client.map(|address| address.to_canonical()), name: None, lists, names };
    // A name that cannot be looked up does not match for `allow`, and matches for `deny`.
    let allowed = if allow.iter().flatten().any(|pattern| client.matches(pattern) == Some(true)) {
        true
    } else if deny.iter().flatten().any(|pattern| client.matches(pattern) != Some(false)) {
        false
    } else {
        allow.is_none() || deny.is_some()
    };
    Ok(Verdict { allowed, host_name: client.name.flatten() })
}

/// Checks the entries of a list.
///
/// # Errors
/// The entry that makes no sense and why.
pub fn check(list: &str) -> Result<(), String> {
    parse(list).map(drop)
}

struct Client<'a> {
    address: Option<IpAddr>,
    /// Looked up at most once.
    name: Option<Option<String>>,
    lists: &'a Lists<'a>,
    names: &'a dyn Names,
}

impl Client<'_> {
    /// Whether a pattern matches; `None` when that could not be found out.
    fn matches(&mut self, pattern: &Pattern) -> Option<bool> {
        match pattern {
            Pattern::Everyone => Some(true),
            Pattern::Network { address, mask } => Some(self.address.is_some_and(|client| {
                client.is_ipv4() == address.is_ipv4()
                    && bits(client) & mask == bits(*address) & mask
            })),
            Pattern::Glob(pattern) => {
                let name = self.name()?;
                Some(glob::matches(pattern, &name))
            }
            Pattern::Name(wanted) => {
                let client = self.address?;
                if self.name().is_some_and(|name| name == *wanted) {
                    return Some(true);
                }
                if self.lists.forward_lookup {
                    let addresses = self.names.addresses_of(wanted)?;
                    if addresses.iter().any(|found| found.to_canonical() == client) {
                        return Some(true);
                    }
                    return Some(false);
                }
                self.name().map(|_| false)
            }
        }
    }

    /// The client's name in lower case, without a final dot.
    fn name(&mut self) -> Option<String> {
        if !self.lists.reverse_lookup {
            return None;
        }
        let address = self.address?;
        self.name
            .get_or_insert_with(|| {
                self.names
                    .name_of(address)
                    .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
            })
            .clone()
    }
}

fn parse(list: &str) -> Result<Vec<Pattern>, String> {
    list.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|entry| !entry.is_empty())
        .map(parse_entry)
        .collect()
}

fn parse_entry(entry: &str) -> Result<Pattern, String> {
    let wrong = |why: &str| Err(format!("\"{}\" {why}", entry.escape_debug()));
    if entry == "*" || entry.eq_ignore_ascii_case("all") {
        return Ok(Pattern::Everyone);
    }
    if entry.starts_with('@') {
        return wrong("is a netgroup, which is not supported; name the hosts or their networks");
    }
    if let Some((address, mask)) = entry.split_once('/') {
        let Some(address) = parse_address(address) else {
            return wrong("does not start with an IP address");
        };
        let Some(mask) = parse_mask(address, mask) else {
            return wrong("does not end in a length or mask of its address's kind");
        };
        return Ok(network(address, mask));
    }
    if let Some(address) = parse_address(entry) {
        return Ok(network(address, full_mask(address)));
    }
    if glob::is_pattern(entry) {
        return Ok(Pattern::Glob(entry.to_ascii_lowercase()));
    }
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !entry.chars().all(fits) {
        return wrong("is neither an address nor a network nor a host name");
    }
    if entry.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return wrong("is not a whole IP address; write a network as 192.168.0.0/16");
    }
    Ok(Pattern::Name(entry.trim_end_matches('.').to_ascii_lowercase()))
}

/// Parses an address; a scope (`fe80::1%eth0`) is dropped, since the peer's has none here.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = match text.split_once('%') {
        Some((address, _)) if address.contains(':') => address,
        _ => text,
    };
    text.parse().ok()
}

fn network(address: IpAddr, mask: u128) -> Pattern {
    // A mapped address means the IPv4 one, if its mask leaves it one.
    match address.to_canonical() {
        IpAddr::V4(short) if address.is_ipv6() && mask >> 32 == u128::MAX >> 32 => {
            Pattern::Network { address: IpAddr::V4(short), mask: mask & u128::from(u32::MAX) }
        }
        _ => Pattern::Network { address, mask },
    }
}

fn parse_mask(address: IpAddr, text: &str) -> Option<u128> {
    let full = full_mask(address);
    if let Ok(length) = text.parse::<u32>() {
        let width = 128 - full.leading_zeros();
        return (length <= width).then(|| match width - length {
            0 => full,
            128 => 0,
            free => full >> free << free,
        });
    }
    match (address, text.parse().ok()?) {
        (IpAddr::V4(_), mask @ IpAddr::V4(_)) | (IpAddr::V6(_), mask @ IpAddr::V6(_)) => {
            Some(bits(mask))
        }
        _ => None,
    }
}

fn full_mask(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(_) => bits(IpAddr::V4(Ipv4Addr::BROADCAST)),
        IpAddr::V6(_) => bits(IpAddr::V6(Ipv6Addr::from(u128::MAX))),
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Book;

    impl Names for Book {
        fn name_of(&self, address: IpAddr) -> Option<String> {
            (address.to_string() == "10.0.0.1").then(|| "One.Example.ORG.".to_owned())
        }

        fn addresses_of(&self, name: &str) -> Option<Vec<IpAddr>> {
            match name {
                "two.example.org" => Some(vec!["10.0.0.2".parse().expect("an address")]),
                "empty.example.org" => Some(Vec::new()),
                _ => None,
            }
        }
    }

    fn allowed(allow: Option<&str>, deny: Option<&str>, client: &str) -> bool {
        let lists = Lists { allow, deny, reverse_lookup: true, forward_lookup: true };
        let client = client.parse().ok();
        check_client(&lists, client, &Book).expect("good lists").allowed
    }

    #[test]
    fn the_order_of_the_lists_is_rsyncds() {
        assert!(allowed(None, None, "10.0.0.1"));
        assert!(allowed(Some("10.0.0.1"), None, "10.0.0.1"));
        assert!(!allowed(Some("10.0.0.1"), None, "10.0.0.2"));
        assert!(!allowed(None, Some("10.0.0.1"), "10.0.0.1"));
        assert!(allowed(None, Some("10.0.0.1"), "10.0.0.2"));
        assert!(allowed(Some("10.0.0.1"), Some("*"), "10.0.0.1"));
        assert!(!allowed(Some("10.0.0.1"), Some("*"), "10.0.0.2"));
        assert!(allowed(Some("10.0.0.1"), Some("10.0.0.3"), "10.0.0.2"));
    }

    #[test]
    fn addresses_networks_and_masks() {
        for (pattern, client, expected) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.9/0", "99.0.0.1", true),
            ("10.1.0.0/255.255.0.0", "10.1.3.4", true),
            ("10.1.0.0/255.255.0.0", "10.2.3.4", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::5", false),
            ("2001:db8::/ffff:ffff::", "2001:db8::5", true),
            ("::/0", "10.0.0.1", false),
            ("fe80::1%eth0", "fe80::1", true),
            ("fe80::%eth0/64", "fe80::9", true),
            ("x.example.org, 10.0.0.3\t10.0.0.4", "10.0.0.4", true),
        ] {
            assert_eq!(allowed(Some(pattern), None, client), expected, "{pattern} {client}");
        }
    }

    #[test]
    fn names_are_looked_up_both_ways() {
        assert!(allowed(Some("*.example.org"), None, "10.0.0.1"));
        assert!(allowed(Some("ONE.example.org"), None, "10.0.0.1"));
        assert!(allowed(Some("two.example.org"), None, "10.0.0.2"));
        assert!(!allowed(Some("two.example.org"), None, "10.0.0.9"));
        assert!(!allowed(Some("*.example.org"), None, "10.0.0.9"));
    }

    #[test]
    fn rule_19_6_what_cannot_be_looked_up_is_denied() {
        // The client's name is unknown: it may be the one that is shut out.
        assert!(!allowed(None, Some("*.evil.org"), "10.0.0.9"));
        assert!(!allowed(None, Some("gone.evil.org"), "10.0.0.9"));
        assert!(allowed(None, Some("empty.example.org"), "10.0.0.9"));
        assert!(allowed(None, Some("*.evil.org"), "10.0.0.1"));
        assert!(!allowed(Some("gone.evil.org"), None, "10.0.0.9"));
    }

    #[test]
    fn a_pipe_matches_everyone_only() {
        assert!(!allowed(Some("10.0.0.0/8"), None, "none"));
        assert!(allowed(Some("*"), None, "none"));
        assert!(!allowed(None, Some("*.evil.org"), "none"));
        assert!(allowed(None, Some("10.0.0.0/8"), "none"));
    }

    #[test]
    fn without_reverse_lookup_no_name_is_asked_for() {
        struct Nobody;
        impl Names for Nobody {
            fn name_of(&self, _: IpAddr) -> Option<String> {
                unreachable!("reverse lookup is off")
            }
            fn addresses_of(&self, _: &str) -> Option<Vec<IpAddr>> {
                unreachable!("forward lookup is off")
            }
        }
        let lists = Lists { allow: Some("*.example.org one.example.org"), ..Lists::default() };
        let client = "10.0.0.1".parse().ok();
        let verdict = check_client(&lists, client, &Nobody).expect("good lists");
        assert!(!verdict.allowed);
    }

    #[test]
    fn malformed_entries_are_named() {
        for (list, text) in [
            (
                "10.0.0.0/33",
                "\"10.0.0.0/33\" does not end in a length or mask of its address's kind",
            ),
            (
                "10.0.0.0/ffff::",
                "\"10.0.0.0/ffff::\" does not end in a length or mask of its address's kind",
            ),
            ("host/8", "\"host/8\" does not start with an IP address"),
            (
                "192.168.",
                "\"192.168.\" is not a whole IP address; write a network as 192.168.0.0/16",
            ),
            (
                "ok @group",
                "\"@group\" is a netgroup, which is not supported; name the hosts or their networks",
            ),
            ("a;b", "\"a;b\" is neither an address nor a network nor a host name"),
        ] {
            assert_eq!(check(list).expect_err(list), text);
        }
    }
}
