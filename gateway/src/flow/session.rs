//! Which subscriber an address belongs to, and whose a flow is.
//!
//! Counters belong to the session, never to the address (decision 15). Sessions come and go in a table of their own
//! ([`Sessions`]), one address at a time, whatever list and rating are in force. A flow keeps the session it started with for
//! as long as that holds its address ([`Standing`]); an address that is in no block has none, and its bytes are
//! `unattributed`.

pub mod accounting;
mod block;
mod news;
mod slots;
mod standing;
mod table;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use billing_export::Session;

pub use block::{Block, bits_of};
pub use news::{Batch, Changed, News, What};
pub use standing::{Evidence, Introduction, Standing};
pub use table::{Applied, Begun, Change, Event, Holding, SessionSource, SessionState, Sessions};

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
