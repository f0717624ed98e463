//! PROXY headers in front of datagrams: who really sent them and where they were going.
//!
//! A balancer writes the header in front of every datagram, or of the first one that a socket of its own sends; a datagram
//! without one belongs to the flow its sender named last. Balancers that write it once let a subscriber forge one in a
//! later datagram; those that write it always are told so by `datagram_headers = "each"`, and nothing without one is taken.
//! Header bytes are not counted, and answers carry no header.

use std::hash::BuildHasher as _;
use std::rc::Rc;

use super::Relay;
use super::table::{FlowEnds, Key};
use crate::net::ingress::said::Said;
use crate::net::node::report::Refusal;
use crate::net::node::settings::{DatagramHeaders, Peers};
use crate::net::sys::batch::Train;
use crate::wire::proxy_protocol::{self, Carried, Header, Outcome, Transport};

/// Room for type-length-values behind the addresses, as for connections.
const TLV_BYTES_MAX: usize = 2_048;

impl Relay {
    /// Takes datagrams of a balancer.
    pub(super) fn unwrap(
        self: &Rc<Self>,
        peers: &Peers,
        (datagrams, subscriber_tlv): (DatagramHeaders, Option<u8>),
        train: &Train<'_>,
    ) {
        if !peers.admit(Some(train.peer.ip())) {
            self.refuse_header("the peer is not in listener.peers");
            return;
        }
        if !train.datagrams().any(proxy_protocol::begins_v2) {
            self.take_unnamed(datagrams, train);
            return;
        }
        for datagram in train.datagrams() {
            if !proxy_protocol::begins_v2(datagram) {
                self.take_unnamed(datagrams, &train.only(datagram));
                continue;
            }
            match proxy_protocol::header(datagram, TLV_BYTES_MAX) {
                Outcome::Header(header @ Header { length, carried }) => match carried {
                    Carried::Addresses { transport: Transport::Datagram, source, destination } => {
                        let payload = datagram.get(length..).unwrap_or_default();
                        let said = Said::of(datagram, &header, subscriber_tlv);
                        let introduction = self.number_of(&said);
                        let ends =
                            FlowEnds::Proxied { source, destination, local: train.local, introduction };
                        let key = Key { peer: train.peer, ends };
                        self.take_introduced(key, || said.introduction(), &train.only(payload));
                        self.name_latest(key);
                    }
                    Carried::Addresses { transport: Transport::Stream, .. } => {
                        self.refuse_header("a stream header in front of a datagram");
                    }
                    // A balancer that checks whether we are there.
                    Carried::Nothing => {}
                },
                Outcome::NeedMore => self.refuse_header("the datagram ends inside the header"),
                Outcome::Malformed { field } => self.refuse_header(field),
                Outcome::Oversize => self.refuse_header("the header is too long"),
                Outcome::NotProxy => self.refuse_header("no PROXY header"),
            }
        }
    }

    /// What a header says of the subscriber, as a number that nobody can aim at.
    fn number_of(&self, said: &Said<'_>) -> u64 {
        match said {
            Said::Nothing => 0,
            said => self.numbers.hash_one(said),
        }
    }

    /// Takes datagrams without a header as those of the flow that their sender named last.
    fn take_unnamed(self: &Rc<Self>, datagrams: DatagramHeaders, train: &Train<'_>) {
        let latest = self.table.borrow().latest(train.peer);
        match (datagrams, latest) {
            (DatagramHeaders::Any, Some(key)) => self.take(key, train),
            (DatagramHeaders::Any, None) => {
                self.refuse_header("the first datagram has no PROXY header of version 2");
            }
            (DatagramHeaders::Each, _) => self.refuse_header("no PROXY header of version 2"),
        }
    }

    /// Notes that the sender names this flow.
    fn name_latest(&self, key: Key) {
        let mut table = self.table.borrow_mut();
        if table.latest(key.peer) != Some(key) {
            table.name_latest(key);
        }
    }

    /// Counts datagrams with a header that cannot be used.
    fn refuse_header(&self, why: &str) {
        self.worker.count_refusal(Refusal::ProxyHeader);
        tracing::trace!(refusal = Refusal::ProxyHeader.label(), why, "datagram not carried");
    }
}
