//! Taking what subscribers send: each datagram goes to its flow, which passes it on, holds it, or begins with it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::port::Port;
use super::table::{FlowEnds, Key};
use super::{Relay, Stage};
use crate::flow::mark;
use crate::flow::session::Introduction;
use crate::net::node::report::{DropCause, Refusal};
use crate::net::node::settings::Mode;
use crate::net::sys::batch::Train;

/// Batches taken before other work gets its turn.
const BATCHES_PER_WAKE_MAX: usize = 8;

impl Relay {
    /// Takes what has come, at most [`BATCHES_PER_WAKE_MAX`] batches of it.
    pub(super) fn receive(self: &Rc<Self>, port: &Port) -> io::Result<()> {
        for _ in 0..BATCHES_PER_WAKE_MAX {
            let mut batch = self.batch.borrow_mut();
            port.receive(&mut batch)?;
            for train in batch.trains() {
                let train = self.without_own_marks(train);
                match &self.mode {
                    Mode::Steered { .. } => {
                        let ends = FlowEnds::Steered { local: train.local };
                        self.take(Key { peer: train.peer, ends }, &train);
                    }
                    Mode::ProxyProtocol { peers, datagrams, subscriber_tlv } => {
                        self.unwrap(peers, (*datagrams, *subscriber_tlv), &train);
                    }
                    Mode::Transparent { .. } => match train.local {
                        // The packet is unchanged: it came to the address and port it was going to.
                        Some(address) => {
                            let destination = SocketAddr::new(address, self.bound.port());
                            let ends = FlowEnds::Transparent { destination };
                            self.take(Key { peer: train.peer, ends }, &train);
                        }
                        None => self.worker.count_refusal(Refusal::Destination),
                    },
                }
            }
            if !batch.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// The datagrams without a code point of ours, which would pass for our own mark (trap T38); others' stay.
    pub(super) fn without_own_marks<'b>(&self, train: Train<'b>) -> Train<'b> {
        match mark::code_point(train.octet) {
            0 => train,
            dscp if self.worker.shared.policy.load().rating.marks_with(dscp) => {
                Train { octet: mark::without_code_point(train.octet), ..train }
            }
            _ => train,
        }
    }

    /// Takes datagrams of one flow.
    pub(super) fn take(self: &Rc<Self>, key: Key, train: &Train<'_>) {
        self.take_introduced(key, || Introduction::Nothing, train);
    }

    /// The same, where whoever sends them for the subscriber may have said who that is.
    pub(super) fn take_introduced(
        self: &Rc<Self>,
        key: Key,
        introduction: impl FnOnce() -> Introduction,
        train: &Train<'_>,
    ) {
        if !self.pass(&key, train, false) {
            self.begin(key, introduction(), train);
        }
    }

    /// Sends datagrams of a flow on, or holds them, and reads them unless they `are_read`; false when there is no such flow.
    pub(super) fn pass(self: &Rc<Self>, key: &Key, train: &Train<'_>, are_read: bool) -> bool {
        let mut table = self.table.borrow_mut();
        let Some(entry) = table.get_mut(key) else { return false };
        if !are_read {
            self.worker.received_datagrams(entry.flow(), train.datagrams());
        }
        let identified = entry.is_identified();
        let flow = Rc::clone(entry.flow());
        match &mut entry.stage {
            Stage::Carried(carried) => {
                let sent = carried.send(&self.worker, &flow, self.manner(&flow), train);
                if sent.cause == Some(DropCause::TooLong) {
                    self.too_long(key, &flow, carried.up());
                }
                if identified && carried.leave_the_undecided() {
                    self.settle(&mut table, flow.id);
                }
                drop(table);
                if sent.refused {
                    self.remove(key);
                }
            }
            Stage::Waiting => {
                self.hold(key, entry, train);
                drop(table);
                self.advance(key);
            }
            Stage::Reaching => self.hold(key, entry, train),
            Stage::Refused => {}
        }
        true
    }
}
