//! How many sockets of one address may be of a kind that costs its peer nothing.
//!
//! The lock is never held across an await, and every entry is removed by a guard.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places each address has for such sockets.
#[derive(Debug)]
pub(super) struct Shares {
    per_address_max: u32,
    taken: Mutex<HashMap<IpAddr, u32>>,
}

impl Shares {
    /// Every place is free.
    pub(super) fn new(per_address_max: u32) -> Arc<Self> {
        Arc::new(Self {
            per_address_max,
            taken: Mutex::default(),
        })
    }

    /// A place for a socket of this address; `None` when its share is taken.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        self.take_below(self.per_address_max, address)
    }

    /// A place in the first half of the share, so that who takes it leaves room for new sockets.
    pub(super) fn take_spare(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        self.take_below(self.per_address_max.div_ceil(2), address)
    }

    fn take_below(self: &Arc<Self>, limit: u32, address: IpAddr) -> Option<Share> {
        let address = share_of(address);
        let mut places = self.lock();
        let taken = places.entry(address).or_default();
        if *taken >= limit {
            return None;
        }
        *taken += 1;
        drop(places);
        Some(Share {
            shares: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole state.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the places an address has; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut places = self.shares.lock();
        if let Some(taken) = places.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                places.remove(&self.address);
            }
        }
    }
}

/// Whom an address shares its places with: whoever has one IPv6 address has the whole /64.
fn share_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_a_fixed_number_of_places_and_gets_them_back() {
        let shares = Shares::new(2);
        let first = shares.take(address("192.0.2.1")).unwrap();
        let _second = shares.take(address("::ffff:192.0.2.1")).unwrap();
        assert!(shares.take(address("192.0.2.1")).is_none());
        assert!(shares.take(address("192.0.2.2")).is_some());
        drop(first);
        assert!(shares.take_spare(address("192.0.2.1")).is_none());
        assert!(shares.take(address("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_one_subscriber_counts_as_one_address() {
        let shares = Shares::new(1);
        let _first = shares.take(address("2001:db8::1")).unwrap();
        assert!(shares.take(address("2001:db8::2:3")).is_none());
        assert!(shares.take(address("2001:db8:0:1::1")).is_some());
    }
}
