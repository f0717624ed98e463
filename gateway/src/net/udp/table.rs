//! The flows of one listener's UDP socket: by whom they are between, and in order of age while they are undecided.
//!
//! The keys come from the network; they are hashed with random keys (std's `RandomState`), so that nobody can choose
//! addresses that fall together. Bounded by its user: undecided flows by `undecided_flows_max`, of which the table names
//! the oldest, decided ones by the room for their upstream sockets.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// Who a flow is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Who sends the datagrams: the subscriber when steered, else the balancer.
    pub peer: SocketAddr,
    /// The other end, and the real ones behind a balancer.
    pub ends: FlowEnds,
}

/// What else tells flows of one peer apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowEnds {
    /// The local address the datagrams came to, which is the one to answer from.
    Steered {
        /// None when the system does not say.
        local: Option<IpAddr>,
    },
    /// What the PROXY header says.
    Proxied {
        /// The subscriber.
        source: SocketAddr,
        /// Where the subscriber's datagrams were going.
        destination: SocketAddr,
        /// As for steered flows.
        local: Option<IpAddr>,
        /// What the header says of the subscriber beside his address, as a number: of another subscriber it is another flow.
        introduction: u64,
    },
    /// What the packet says of where it was going, which is what to answer from.
    Transparent {
        /// Where the subscriber's datagrams were going.
        destination: SocketAddr,
    },
}

impl FlowEnds {
    /// The local address to answer from.
    pub fn local(&self) -> Option<IpAddr> {
        match self {
            Self::Steered { local } | Self::Proxied { local, .. } => *local,
            Self::Transparent { destination } => Some(destination.ip()),
        }
    }
}

/// Flows with their keys.
pub struct Table<F> {
    flows: HashMap<Key, F>,
    /// Keys of the flows without a verdict or an origin, by the numbers of the flows, which rise.
    undecided: BTreeMap<u64, Key>,
    /// The flow that a peer named last, for datagrams that name none.
    latest: HashMap<SocketAddr, Key>,
}

impl<F> Default for Table<F> {
    fn default() -> Self {
        Self { flows: HashMap::new(), undecided: BTreeMap::new(), latest: HashMap::new() }
    }
}

impl<F> Table<F> {
    /// The flow between these.
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut F> {
        self.flows.get_mut(key)
    }

    /// The flow between these, to look at.
    pub fn get(&self, key: &Key) -> Option<&F> {
        self.flows.get(key)
    }

    /// Puts in an undecided flow with its number.
    pub fn insert(&mut self, key: Key, number: u64, flow: F) {
        self.flows.insert(key, flow);
        self.undecided.insert(number, key);
    }

    /// The flow of this number needs no watching over any more; true if it did up to here.
    pub fn settle(&mut self, number: u64) -> bool {
        self.undecided.remove(&number).is_some()
    }

    /// Takes a flow out; the caller settles it too.
    pub fn remove(&mut self, key: &Key) -> Option<F> {
        if self.latest.get(&key.peer) == Some(key) {
            self.latest.remove(&key.peer);
        }
        let flow = self.flows.remove(key);
        if self.flows.is_empty() {
            // A flood that is over leaves no room behind.
            self.flows.shrink_to_fit();
            self.latest.shrink_to_fit();
        }
        flow
    }

    /// The oldest undecided flow.
    pub fn oldest_undecided(&self) -> Option<(u64, Key)> {
        self.undecided.first_key_value().map(|(number, key)| (*number, *key))
    }

    /// The undecided flows, oldest first.
    pub fn undecided(&self) -> impl Iterator<Item = (u64, Key)> {
        self.undecided.iter().map(|(number, key)| (*number, *key))
    }

    /// All flows.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &F)> {
        self.flows.iter()
    }

    /// The flow that `peer` named last.
    pub fn latest(&self, peer: SocketAddr) -> Option<Key> {
        self.latest.get(&peer).copied()
    }

    /// Notes that `key.peer` names this flow, if it is in the table.
    pub fn name_latest(&mut self, key: Key) {
        if self.flows.contains_key(&key) {
            self.latest.insert(key.peer, key);
        }
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        Key { peer: SocketAddr::from(([127, 0, 0, 1], port)), ends: FlowEnds::Steered { local: None } }
    }

    fn proxied(port: u16, source: u16) -> Key {
        let source = SocketAddr::from(([10, 0, 0, 1], source));
        let destination = SocketAddr::from(([192, 0, 2, 1], 443));
        Key { ends: FlowEnds::Proxied { source, destination, local: None, introduction: 0 }, ..key(port) }
    }

    #[test]
    fn the_oldest_undecided_flow_is_named_whatever_was_settled_between() {
        let mut table = Table::default();
        for number in 0..5_u16 {
            table.insert(key(number), u64::from(number), number);
        }
        assert!(table.settle(0) && table.settle(2) && !table.settle(2));
        assert_eq!(table.oldest_undecided(), Some((1, key(1))));
        assert_eq!(table.remove(&key(1)), Some(1));
        assert!(table.settle(1));
        assert_eq!(table.undecided().map(|(number, _)| number).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn the_flow_a_peer_named_last_is_kept_apart_from_its_others() {
        let mut table = Table::default();
        table.name_latest(proxied(1, 7));
        assert_eq!(table.latest(key(1).peer), None, "not in the table");
        table.insert(proxied(1, 7), 1, 7);
        table.name_latest(proxied(1, 7));
        table.insert(proxied(1, 8), 2, 8);
        table.name_latest(proxied(1, 8));
        assert_eq!(table.latest(key(1).peer), Some(proxied(1, 8)));
        table.remove(&proxied(1, 7));
        assert_eq!(table.latest(key(1).peer), Some(proxied(1, 8)));
        table.remove(&proxied(1, 8));
        assert_eq!(table.latest(key(1).peer), None);
        assert!(table.is_empty());
    }
}
