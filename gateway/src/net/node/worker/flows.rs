//! A worker's flows, in the order of the subscribers' addresses: those of one address are found without a look at the others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::flow::session::{Block, bits_of};
use crate::net::node::flow_record::Flow;

/// Flows by the subscriber's address, as far as [`place`] tells it, and their number.
#[derive(Default)]
pub(super) struct Flows(BTreeMap<(u64, u64), Rc<Flow>>);

impl Flows {
    /// Adds a flow.
    pub(super) fn insert(&mut self, flow: Rc<Flow>) {
        self.0.insert(key(&flow), flow);
    }

    /// Drops a flow.
    pub(super) fn remove(&mut self, flow: &Flow) {
        self.0.remove(&key(flow));
    }

    /// All of them.
    pub(super) fn values(&self) -> impl Iterator<Item = &Rc<Flow>> {
        self.0.values()
    }

    /// Those from addresses and ports of a block.
    pub(super) fn of(&self, block: Block) -> impl Iterator<Item = &Rc<Flow>> {
        let (first, last) = block.ends();
        let (first, last) = (place(first, block.is_v4()), place(last, block.is_v4()));
        let flows = self.0.range((first, 0)..=(last, u64::MAX)).map(|(_, flow)| flow);
        flows.filter(move |flow| block.covers(flow.source, flow.port()))
    }
}

/// Where a flow stands.
const fn key(flow: &Flow) -> (u64, u64) {
    let is_v4 = match flow.source {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    };
    (place(bits_of(flow.source), is_v4), flow.id)
}

/// Half of an address's bits, which keeps the order within a version: an open flow pays for them. Of IPv6 the first half, for
/// what differs behind it is one customer's; of IPv4 the second, where all of it is.
#[expect(clippy::cast_possible_truncation, reason = "half of the bits is meant")]
const fn place(bits: u128, is_v4: bool) -> u64 {
    if is_v4 { bits as u64 } else { (bits >> u64::BITS) as u64 }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;

    /// Where an address stands.
    fn of(address: &str) -> u64 {
        let block = Block::of(address.parse().unwrap());
        place(block.ends().0, block.is_v4())
    }

    #[test]
    fn b19_an_address_of_a_block_stands_between_its_ends() {
        for (prefix, inside) in [
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"]),
            ("10.0.0.7/32", ["10.0.0.7", "::ffff:10.0.0.7"]),
            ("2001:db8::/56", ["2001:db8::", "2001:db8:0:ff:ffff::1"]),
            ("2001:db8::1/128", ["2001:db8::1", "2001:db8::1"]),
            ("::/0", ["::", "ffff::1"]),
        ] {
            let block = Block::from(prefix.parse::<IpNet>().unwrap());
            let (first, last) = block.ends();
            let range = place(first, block.is_v4())..=place(last, block.is_v4());
            assert!(inside.iter().all(|address| range.contains(&of(address))), "{prefix}");
        }
    }
}
