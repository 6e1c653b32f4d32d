//! Slows logins down that fail again and again, by address and by user.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::claims::unpoisoned;
use crate::crowd::network;

/// The wait before the second try; doubled with each further one.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait for an address that fails.
const LONGEST_BY_ADDRESS: Duration = Duration::from_secs(16);
/// The longest wait for a user whom others try: the true one may be waiting too.
const LONGEST_BY_USER: Duration = Duration::from_secs(2);
/// After this time without a try, nothing is remembered.
const FORGET: Duration = Duration::from_secs(600);
/// Most addresses and users that are remembered.
const MOST: usize = 4096;

/// The failed logins of late.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<HashMap<Key, Failures>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    User(Vec<u8>),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Attempts {
    /// Notes a try before its outcome is known, so that many at once are no way around. Tells how
    /// long it has to wait.
    pub fn begin(&self, address: Option<IpAddr>, user: &[u8], now: Instant) -> Duration {
        let mut known = unpoisoned(&self.0);
        if known.len() >= MOST {
            known.retain(|_, failures| now.duration_since(failures.last) < FORGET);
        }
        if known.len() >= MOST {
            // A flood of names: those that failed least are the least worth remembering.
            let mut counts: Vec<u32> = known.values().map(|failures| failures.count).collect();
            counts.sort_unstable();
            let least = counts[MOST / 4];
            known.retain(|_, failures| failures.count > least);
        }
        let longest = |key: &Key| match key {
            Key::Address(_) => LONGEST_BY_ADDRESS,
            Key::User(_) => LONGEST_BY_USER,
        };
        let mut wait = Duration::ZERO;
        for key in keys(address, user) {
            let cap = longest(&key);
            let failures = known.entry(key).or_insert(Failures { count: 0, last: now });
            if now.duration_since(failures.last) >= FORGET {
                failures.count = 0;
            }
            wait = wait.max(delay(failures.count).min(cap));
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
        wait
    }

    /// The try was right: what was noted of both is forgotten.
    pub fn succeeded(&self, address: Option<IpAddr>, user: &[u8]) {
        let mut known = unpoisoned(&self.0);
        for key in keys(address, user) {
            known.remove(&key);
        }
    }
}

fn keys(address: Option<IpAddr>, user: &[u8]) -> impl Iterator<Item = Key> {
    let address = address.map(|address| Key::Address(network(address)));
    address.into_iter().chain([Key::User(user.to_vec())])
}

fn delay(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        count => FIRST.saturating_mul(1 << (count - 1).min(16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_limit() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let waits: Vec<_> = (0..9)
            .map(|number: u8| attempts.begin(address(1), &[number], now).as_millis())
            .collect();
        assert_eq!(waits, [0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 16_000]);
        assert_eq!(attempts.begin(address(2), b"other", now), Duration::ZERO);
        assert_eq!(attempts.begin(address(1), b"x", now + FORGET), Duration::ZERO);
    }

    #[test]
    fn others_slow_a_user_down_only_a_little_and_success_forgets() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for last in 0..100 {
            attempts.begin(address(last), b"admin", now);
        }
        assert_eq!(attempts.begin(address(200), b"admin", now), LONGEST_BY_USER);
        attempts.succeeded(address(200), b"admin");
        assert_eq!(attempts.begin(address(200), b"admin", now), Duration::ZERO);
    }

    #[test]
    fn a_flood_of_names_does_not_fill_the_memory() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for _ in 0..9 {
            attempts.begin(address(1), b"admin", now);
        }
        for number in 0..20_000_u32 {
            attempts.begin(None, &number.to_le_bytes(), now);
        }
        assert!(unpoisoned(&attempts.0).len() <= MOST);
        assert_eq!(attempts.begin(address(1), b"y", now), LONGEST_BY_ADDRESS, "it is remembered");
    }
}
