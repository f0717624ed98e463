//! A worker's flows, in the order of the subscribers' addresses: those of one address are found without a look at the others.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::flow::session::{Block, bits_of};
use crate::net::flow_record::Flow;

/// Flows by the subscriber's address and their number.
#[derive(Default)]
pub(super) struct Flows(BTreeMap<(u128, u64), Rc<Flow>>);

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

    /// Those from addresses of a block.
    pub(super) fn of(&self, block: Block) -> impl Iterator<Item = &Rc<Flow>> {
        let (first, last) = block.ends();
        let flows = self.0.range((first, 0)..=(last, u64::MAX)).map(|(_, flow)| flow);
        flows.filter(move |flow| block.covers(flow.source))
    }
}

/// Where a flow stands.
const fn key(flow: &Flow) -> (u128, u64) {
    (bits_of(flow.source), flow.id)
}
