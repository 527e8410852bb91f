//! What all clients share: each address gets a fair part of it, so that nobody shuts the others out.
//!
//! - [`queue`]: permits for slow work, for which addresses take turns.
//! - [`budget`]: memory, of which an address may have as much as it leaves to others.
//!
//! Behind a proxy that is not counted in `TRUSTED_PROXY_HOPS` all clients are the proxy's one address, and share with each
//! other what one may have.

use std::net::IpAddr;

pub mod budget;
pub mod queue;

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 one, as a subscriber has all of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(u64);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            // No /64 that anyone has begins with as many zeros (RFC 4291, section 4).
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        })
    }
}

/// Another address for each last byte, for tests.
#[cfg(test)]
pub fn address(last: u8) -> Network {
    IpAddr::from([192, 0, 2, last]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_ne!(network("::1"), network("127.0.0.1"));
    }
}
