//! Which addresses no host of a fleet has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Link-local and cloud metadata addresses, and those that name no single host. Loopback and private ones are allowed.
#[must_use]
pub fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_refused_v4(v4),
        IpAddr::V6(v6) => is_refused_v6(v6),
    }
}

fn is_refused_v4(address: Ipv4Addr) -> bool {
    const METADATA: [Ipv4Addr; 3] = [
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    address.octets()[0] == 0
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA.contains(&address)
}

fn is_refused_v6(address: Ipv6Addr) -> bool {
    const METADATA: [Ipv6Addr; 2] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    if address.is_loopback() {
        return false;
    }
    address.is_unspecified()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || METADATA.contains(&address)
        || embedded_v4(address).is_some_and(is_refused_v4)
}

/// The IPv4 address inside: mapped, compatible (`::a.b.c.d`), translated (`64:ff9b::/96`) or 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => {
            Some(v4(high, low))
        }
        [0x2002, ..] => Some(v4(b, c)),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_no_fleet_host_are_refused() {
        for (refused, addresses) in [
            (
                true,
                &[
                    "169.254.169.254",
                    "169.254.0.1",
                    "0.0.0.0",
                    "0.1.2.3",
                    "224.0.0.1",
                    "239.255.255.255",
                    "255.255.255.255",
                    "100.100.100.200",
                    "::",
                    "fe80::1",
                    "febf::1",
                    "ff02::1",
                    "fd00:ec2::254",
                    "::ffff:169.254.169.254",
                    "::169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "2002:a9fe:a9fe::1",
                    "::ffff:0.0.0.0",
                ][..],
            ),
            (
                false,
                &[
                    "127.0.0.1",
                    "127.8.9.1",
                    "10.0.0.1",
                    "192.168.1.1",
                    "172.16.0.1",
                    "203.0.113.9",
                    "::1",
                    "fd00::1",
                    "2001:db8::1",
                    "::ffff:10.0.0.1",
                    "::ffff:127.0.0.1",
                    "100.64.0.1",
                    "fec0::1",
                ][..],
            ),
        ] {
            for address in addresses {
                assert_eq!(is_refused(address.parse().unwrap()), refused, "{address}");
            }
        }
    }
}
