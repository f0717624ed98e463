//! Datagrams of one flow, as they pass through the listener's socket.

use std::net::IpAddr;

use billing_export::{ByteBasis, Volume};

use super::totals::Totals;
use crate::flow::engine::{Counter, Reading, Unknowable};
use crate::flow::ip_bytes::datagram_header;
use crate::flow::sent::{Queues, Sent};

/// Datagrams both ways.
pub struct DatagramMeter {
    totals: Totals,
    /// What went to the subscriber.
    sent: Sent,
    /// Bytes of the headers that count with each.
    header: u64,
}

impl DatagramMeter {
    /// That of a flow that has not begun, of a subscriber at `address`.
    pub(super) fn new(address: IpAddr, basis: ByteBasis) -> Self {
        let header = match basis {
            ByteBasis::Payload => 0,
            ByteBasis::Ip => datagram_header(address),
        };
        Self { totals: Totals::default(), sent: Sent::default(), header }
    }

    /// The flow begins, with the queues like this.
    pub(super) fn begin(&mut self, queues: Queues) {
        self.sent = Sent::new(queues);
    }

    /// Adds a datagram that was received, by the length of its payload; the bytes seen with it.
    pub(super) fn add_received(&mut self, payload: usize) -> u64 {
        let bytes = self.header.saturating_add(payload as u64);
        self.totals.see_up(bytes);
        bytes
    }

    /// Adds datagrams that the listener's socket took, by their number, the sum of their payloads and that of the largest packet
    /// they went in; what they come to.
    pub(super) fn add_sent(&mut self, datagrams: u64, payload: u64, largest: u64) -> u64 {
        let bytes = self.header.saturating_mul(datagrams).saturating_add(payload);
        let packet = if largest == payload { bytes } else { self.header.saturating_add(largest) };
        self.sent.add(bytes, packet);
        bytes
    }

    /// The totals and what was sent, of a flow that has ended.
    pub(super) fn into_sent(self) -> (Totals, Sent) {
        (self.totals, self.sent)
    }
}

impl Counter for DatagramMeter {
    fn read(&mut self, queues: Queues) -> Reading {
        self.sent.look(queues);
        self.totals.raise(Volume { up: 0, down: self.sent.left() });
        let unknowable = Unknowable { dropped: self.sent.lost(), options: 0 };
        self.totals.reading(unknowable, false)
    }

    fn sent(&self) -> Option<&Sent> {
        Some(&self.sent)
    }

    fn moving(&self) -> u64 {
        self.sent.moving()
    }

    fn is_waiting(&self) -> bool {
        self.sent.is_waiting()
    }
}
