//! Ports for servers that have to be told one.

use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Services of a machine that have ports of their own have smaller ones.
const LEAST: u16 = 10_000;
/// How many are looked at.
const TRIES: usize = 200;

/// A port of 127.0.0.1 on which nobody listens. Where the system allows it, it is none of those that it gives to whoever
/// asks for any port, and to connections, so that nobody else comes to have it before its server does, or while that server
/// is down for a moment.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let own = own_ports();
    let taken_by_none = |port| Some(TcpListener::bind(("127.0.0.1", port)).ok()?.local_addr());
    let mut tries = (0..TRIES)
        .map_while(|_| next(&own))
        .filter_map(taken_by_none);
    let found = tries.next().or_else(|| taken_by_none(0));
    let address = found.expect("loopback has free ports");
    address.expect("a bound listener has an address").port()
}

/// Ports that the system gives to nobody.
fn own_ports() -> Range<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.ok().and_then(|range| {
        let first = range.split_whitespace().next()?;
        first.parse().ok()
    });
    LEAST..first.unwrap_or(LEAST)
}

/// One after the other, from one where other programs do not begin.
fn next(own: &Range<u16>) -> Option<u16> {
    static FIRST: OnceLock<u64> = OnceLock::new();
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    let first = FIRST.get_or_init(|| RandomState::new().hash_one(0) >> 1);
    let number = first + GIVEN.fetch_add(1, Ordering::Relaxed);
    let offset = number.checked_rem(u64::try_from(own.len()).ok()?)?;
    own.start.checked_add(u16::try_from(offset).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_one_and_free() {
        let ports = [(); 50].map(|()| free_port());
        let held: Vec<_> = ports
            .iter()
            .map(|port| TcpListener::bind(("127.0.0.1", *port)).expect("it is free"))
            .collect();
        assert_eq!(held.len(), ports.len());
        assert!(!ports.contains(&free_port()));
        let own = own_ports();
        assert!(own.is_empty() || ports.iter().all(|port| own.contains(port)));
    }
}
