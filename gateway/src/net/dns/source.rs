//! Who a query counts for: the subscriber's session, whatever its addresses; without one the network that the operator
//! gives one customer (`dns.source_prefix_v4`, `dns.source_prefix_v6`).
//!
//! A source is a keyed hash: small, without a lock or a copy, and nobody can choose to share with somebody. It says nothing
//! about whom it stands for.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use billing_export::Session;

use crate::flow::session::network;
use crate::wire::dns::options::CLIENT_COOKIE_BYTES;

/// Tells what is proven from what is claimed: any number that no hash of this size is likely to differ by (2⁶⁴ divided by
/// the golden ratio).
const PROVEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whoever limits are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(u64);

impl Source {
    /// The same where a connection has proven who it is: counted apart, so that nobody takes from it in another's name.
    pub(super) const fn proven(self) -> Self {
        Self(self.0 ^ PROVEN)
    }

    /// The number of this source among `count` places.
    pub(super) fn place(self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.checked_rem(count).and_then(|place| usize::try_from(place).ok()).unwrap_or(0)
    }
}

/// Tells sources apart.
pub(super) struct Sources {
    /// Bits of an IPv4 address that are one customer's.
    v4_bits: u8,
    /// Bits of an IPv6 address that are one customer's.
    v6_bits: u8,
    key: RandomState,
}

impl Sources {
    /// Sources whose customers without a session have networks of these lengths.
    pub(super) const fn new(v4_bits: u8, v6_bits: u8, key: RandomState) -> Self {
        Self { v4_bits, v6_bits, key }
    }

    /// The server cookie for a client and its cookie (RFC 7873 §4.2, appendix B.1).
    pub(super) fn cookie(&self, client: IpAddr, cookie: [u8; CLIENT_COOKIE_BYTES]) -> [u8; 8] {
        self.key.hash_one((client.to_canonical(), cookie)).to_be_bytes()
    }

    /// Whom a query from `client` counts for, whose session is `session`.
    pub(super) fn of(&self, client: IpAddr, session: Option<&Session>) -> Source {
        Source(match session {
            Some(session) => self.key.hash_one(session),
            None => self.key.hash_one(network(client, self.v4_bits, self.v6_bits)),
        })
    }
}

#[cfg(test)]
mod tests {
    use billing_export::SubscriberType;

    use super::*;

    #[test]
    fn f9_a_session_is_one_source_whatever_its_addresses_and_a_stranger_is_his_network() {
        let sources = Sources::new(32, 56, RandomState::new());
        let session = |id| Session::new(SubscriberType::Account, id, "").unwrap();
        let [one, same, other] = ["one", "one", "other"].map(session);
        let of = |text: &str, session| sources.of(text.parse().unwrap(), session);
        assert_eq!(of("2001:db8::1", Some(&one)), of("10.0.0.1", Some(&same)));
        assert_ne!(of("10.0.0.1", Some(&one)), of("10.0.0.1", Some(&other)));
        assert_ne!(of("10.0.0.1", Some(&one)), of("10.0.0.1", None));
        // At the prefix's last address, and one over.
        assert_eq!(of("2001:db8::1", None), of("2001:db8:0:ff:ffff:ffff:ffff:ffff", None));
        assert_ne!(of("2001:db8::1", None), of("2001:db8:0:100::1", None));
        assert_ne!(of("10.0.0.1", None), of("10.0.0.2", None));
        assert_eq!(of("::ffff:10.0.0.1", None), of("10.0.0.1", None));
        let wide = Sources::new(24, 64, RandomState::new());
        assert_eq!(wide.of("10.0.0.1".parse().unwrap(), None), wide.of("10.0.0.255".parse().unwrap(), None));
        assert_ne!(wide.of("10.0.0.1".parse().unwrap(), None), wide.of("10.0.1.0".parse().unwrap(), None));
    }
}
