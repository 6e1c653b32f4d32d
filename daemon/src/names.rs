//! Host names by the system's resolver.

use std::net::{IpAddr, SocketAddr};

use crate::hosts::Names;

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resolver;

impl Names for Resolver {
    fn name_of(&self, address: IpAddr) -> Option<String> {
        let name = dns_lookup::lookup_addr(&address).ok()?;
        // Without a name the resolver answers with the address itself.
        if name.parse::<IpAddr>().is_ok() {
            return None;
        }
        // Whoever owns the address can give it any name; only the name's owner can confirm it.
        let confirmed = self
            .addresses_of(&name)?
            .iter()
            .any(|found| found.to_canonical() == address.to_canonical());
        if !confirmed {
            tracing::warn!(event = "host.name_mismatch", %address, name, "the host name of a client does not lead back to it");
        }
        confirmed.then_some(name)
    }

    fn addresses_of(&self, name: &str) -> Option<Vec<IpAddr>> {
        match dns_lookup::lookup_host(name) {
            Ok(found) => Some(found.collect()),
            Err(error) => {
                let error = std::io::Error::other(error);
                tracing::warn!(event = "host.unresolved", name, %error, "a host name could not be resolved");
                None
            }
        }
    }
}

/// The addresses to listen on for a name or address.
///
/// # Errors
/// What the resolver says.
pub fn resolve(name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = dns_lookup::lookup_host(name).map_err(std::io::Error::other)?;
    Ok(found.map(|address| SocketAddr::new(address, port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_resolver() {
        let addresses = resolve("::1", 873).expect("an address");
        assert_eq!(addresses, ["[::1]:873".parse().expect("an address")]);
        assert_eq!(Resolver.addresses_of("a name that cannot be"), None);
    }
}
