//! Addresses of a network, and who may be led to them.

use std::net::{IpAddr, Ipv6Addr};

/// Tells whether nothing that anybody names from outside is ever at this address: link-local ones, where clouds have
/// their metadata, multicast, broadcast, the unspecified one.
pub fn is_never_meant(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast(),
        // The last is where a cloud has its metadata.
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

/// Tells whether an address is of this machine or of its own network: loopback, private, shared by a carrier
/// (RFC 6598), unique local.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_in_both_families_and_across_them() {
        for (address, never, private) in [
            ("93.184.216.34", false, false),
            ("2606:2800:220:1::1", false, false),
            ("10.1.2.3", false, true),
            ("100.64.0.1", false, true),
            ("100.128.0.1", false, false),
            ("127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("::1", false, true),
            ("fd12::1", false, true),
            ("169.254.169.254", true, false),
            ("::ffff:169.254.169.254", true, false),
            ("fe80::1", true, false),
            ("fd00:ec2::254", true, true),
            ("0.0.0.0", true, false),
            ("224.0.0.1", true, false),
            ("255.255.255.255", true, false),
            ("::", true, false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!((is_never_meant(address), is_private(address)), (never, private), "{address}");
        }
    }
}
