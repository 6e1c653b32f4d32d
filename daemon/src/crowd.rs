//! How many clients there may be, in all and from one address. Those that are still being let in
//! never keep another out: the one that has waited longest goes. Those that transfer stay.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bascule_engine::stop::Stop;

use crate::claims::unpoisoned;

/// Most clients of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// From one address, or one IPv6 network of 64 bits.
    pub per_address: usize,
}

/// The clients of a daemon.
#[derive(Debug)]
pub struct Crowd {
    /// Of those that are being let in: greeting, login, arguments.
    openings: Limits,
    /// Of those that transfer.
    transfers: Limits,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    /// From the oldest to the newest.
    openings: VecDeque<Opening>,
    transfers: HashMap<Source, usize>,
}

#[derive(Debug)]
struct Opening {
    number: u64,
    source: Source,
    stop: Stop,
}

/// Where clients come from: what one owner has. `None` is a pipe.
type Source = Option<IpAddr>;

/// One client, until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    crowd: Arc<Crowd>,
    number: u64,
    source: Source,
    transfers: AtomicBool,
}

/// A limit that was reached, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached(pub usize);

impl Crowd {
    /// Keeps these limits; at least one client is always let in.
    pub fn new(openings: Limits, transfers: Limits) -> Self {
        Self { openings, transfers, present: Mutex::default() }
    }

    /// How many clients there are: those that are being let in, those that transfer.
    pub fn count(&self) -> (usize, usize) {
        let present = unpoisoned(&self.present);
        (present.openings.len(), present.transfers.values().sum())
    }

    /// Lets a client begin. Where that is one too many, the longest waiting one from the same
    /// address, or from the address with the most, is stopped.
    pub fn arrive(self: &Arc<Self>, address: Option<IpAddr>, stop: Stop) -> Ticket {
        let source = address.map(network);
        let (number, gone) = {
            let mut present = unpoisoned(&self.present);
            present.next += 1;
            let number = present.next;
            present.openings.push_back(Opening { number, source, stop });
            (number, present.one_too_many(self.openings, source))
        };
        if let Some(gone) = gone {
            let address = gone.source.map(|address| address.to_string());
            tracing::warn!(
                event = "client.displaced",
                address,
                "too many clients are being let in: the oldest goes"
            );
            gone.stop.stop();
        }
        Ticket { crowd: Arc::clone(self), number, source, transfers: AtomicBool::new(false) }
    }
}

impl Present {
    fn one_too_many(&mut self, limits: Limits, source: Source) -> Option<Opening> {
        let count =
            |of: Source| self.openings.iter().filter(|opening| opening.source == of).count();
        let crowded = if count(source) > limits.per_address.max(1) {
            source
        } else if self.openings.len() > limits.total.max(1) {
            let mut counts: HashMap<Source, usize> = HashMap::new();
            for opening in &self.openings {
                *counts.entry(opening.source).or_default() += 1;
            }
            counts.into_iter().max_by_key(|(_, count)| *count).map(|(source, _)| source)?
        } else {
            return None;
        };
        let oldest = self.openings.iter().position(|opening| opening.source == crowded)?;
        self.openings.remove(oldest)
    }

    fn leave_opening(&mut self, number: u64) {
        self.openings.retain(|opening| opening.number != number);
    }
}

impl Ticket {
    /// The client has come through: it transfers from now on.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn transfer(&self) -> Result<(), Reached> {
        let limits = self.crowd.transfers;
        let mut present = unpoisoned(&self.crowd.present);
        present.leave_opening(self.number);
        let total: usize = present.transfers.values().sum();
        let own = present.transfers.get(&self.source).copied().unwrap_or(0);
        for (count, limit) in [(own, limits.per_address), (total, limits.total)] {
            if count >= limit.max(1) {
                return Err(Reached(limit));
            }
        }
        *present.transfers.entry(self.source).or_default() += 1;
        self.transfers.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut present = unpoisoned(&self.crowd.present);
        present.leave_opening(self.number);
        if self.transfers.load(Ordering::Relaxed)
            && let Some(count) = present.transfers.get_mut(&self.source)
        {
            *count -= 1;
            if *count == 0 {
                present.transfers.remove(&self.source);
            }
        }
    }
}

/// An IPv4 address, or the network of an IPv6 address: one host has all of it.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(openings: (usize, usize), transfers: (usize, usize)) -> Arc<Crowd> {
        let limits = |(total, per_address)| Limits { total, per_address };
        Arc::new(Crowd::new(limits(openings), limits(transfers)))
    }

    fn from(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    /// Lets somebody in; tells who was stopped by now.
    fn arrive(crowd: &Arc<Crowd>, address: &str) -> (Ticket, Stop) {
        let stop = Stop::new();
        (crowd.arrive(from(address), stop.clone()), stop)
    }

    #[test]
    fn the_oldest_of_the_most_crowded_address_goes() {
        let crowd = crowd((5, 3), (9, 9));
        let guest = arrive(&crowd, "192.0.2.1");
        let flood: Vec<_> = (0..100).map(|_| arrive(&crowd, "192.0.2.66")).collect();
        assert!(!guest.1.is_stopped());
        assert!(flood[..97].iter().all(|(_, stop)| stop.is_stopped()));
        assert!(flood[97..].iter().all(|(_, stop)| !stop.is_stopped()));
        let second = arrive(&crowd, "192.0.2.2");
        assert!(flood[97..].iter().all(|(_, stop)| !stop.is_stopped()), "five fit");
        let third = arrive(&crowd, "192.0.2.3");
        assert!(flood[97].1.is_stopped() && !flood[98].1.is_stopped());
        assert!([&guest, &second, &third].iter().all(|(_, stop)| !stop.is_stopped()));
    }

    #[test]
    fn one_that_transfers_does_not_count_as_being_let_in() {
        let crowd = crowd((1, 1), (9, 9));
        let (first, stop) = arrive(&crowd, "192.0.2.1");
        assert_eq!(first.transfer(), Ok(()));
        let _others: Vec<_> = (0..5).map(|_| arrive(&crowd, "192.0.2.1")).collect();
        assert!(!stop.is_stopped());
    }

    #[test]
    fn transfers_are_limited_and_counted_until_they_end() {
        let crowd = crowd((99, 99), (3, 2));
        let begin = |address| {
            let (ticket, _) = arrive(&crowd, address);
            ticket.transfer().map(|()| ticket)
        };
        let first = begin("192.0.2.1").expect("the first");
        let _second = begin("192.0.2.1").expect("the second");
        assert_eq!(begin("192.0.2.1").err(), Some(Reached(2)));
        let _third = begin("192.0.2.2").expect("another address");
        assert_eq!(begin("192.0.2.3").err(), Some(Reached(3)));
        drop(first);
        assert!(begin("192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let crowd = crowd((99, 99), (9, 1));
        let (ticket, _) = arrive(&crowd, "2001:db8::1");
        assert_eq!(ticket.transfer(), Ok(()));
        let (neighbour, _) = arrive(&crowd, "2001:db8::ffff:2");
        assert_eq!(neighbour.transfer(), Err(Reached(1)));
        let (other, _) = arrive(&crowd, "2001:db8:0:1::1");
        assert_eq!(other.transfer(), Ok(()));
        assert_eq!(
            network("::ffff:192.0.2.1".parse().expect("an address")).to_string(),
            "192.0.2.1"
        );
    }
}
