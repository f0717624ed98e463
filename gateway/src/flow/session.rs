//! Which subscriber an address belongs to: longest prefix of the static table.
//!
//! Counters belong to the session, never to the address (decision 15). A flow keeps the session it
//! started with; an address that is in no prefix has none, and its bytes are `unattributed`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use billing_export::Session;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// Address → session, by longest prefix. IPv4 and IPv6 prefixes of one subscriber share one session (trap T36).
#[derive(Default)]
pub struct SubscriberTable {
    v4: PrefixMap<Ipv4Net, Session>,
    v6: PrefixMap<Ipv6Net, Session>,
}

impl SubscriberTable {
    /// The table of these rows; of equal prefixes the last one counts (the parser refuses duplicates).
    pub fn new(rows: impl IntoIterator<Item = (IpNet, Session)>) -> Self {
        let mut table = Self::default();
        for (prefix, session) in rows {
            match prefix {
                IpNet::V4(prefix) => {
                    table.v4.insert(prefix, session);
                }
                IpNet::V6(prefix) => {
                    table.v6.insert(prefix, session);
                }
            }
        }
        table
    }

    /// The session of `address`; IPv4-mapped IPv6 addresses count as IPv4.
    pub fn find(&self, address: IpAddr) -> Option<&Session> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.get_lpm(&Ipv4Net::from(address)).map(|(_, session)| session),
            IpAddr::V6(address) => self.v6.get_lpm(&Ipv6Net::from(address)).map(|(_, session)| session),
        }
    }

    /// The prefixes, in no order.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().map(|(prefix, _)| IpNet::V4(prefix));
        v4.chain(self.v6.iter().map(|(prefix, _)| IpNet::V6(prefix)))
    }

    /// How many prefixes the table holds.
    pub fn len(&self) -> usize {
        self.v4.len().saturating_add(self.v6.len())
    }

    /// Whether no address has a session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Who a flow or a look-up counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubscriberKey {
    /// A known session.
    Session(Session),
    /// An address without one: the network of it that the operator gives one customer, often more than one IPv6 /64
    /// (RFC 6177 §2).
    Address(IpAddr),
}

/// The network of `address` that has so many bits, by IP version; IPv4-mapped IPv6 addresses count as IPv4.
pub fn network(address: IpAddr, v4_bits: u8, v6_bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(v4_bits.into())).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(v6_bits.into())).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}
