//! Flows that begin with a datagram: which may, whose they are, and where they go.

use std::net::SocketAddr;
use std::rc::Rc;

use super::held::Held;
use super::table::{FlowEnds, Key};
use super::{Entry, Relay, Stage};
use crate::flow::session::Introduction;
use crate::net::node::flow_record::{Destination, SubscriberSide};
use crate::net::node::report::{DropCause, Refusal};
use crate::net::node::settings::Mode;
use crate::net::sys::batch::Train;

impl Relay {
    /// Takes the first datagrams of a flow.
    pub(super) fn begin(self: &Rc<Self>, key: Key, introduction: Introduction, train: &Train<'_>) {
        if !self.takes_flows(&key) {
            self.worker.count_dropped(DropCause::Draining, train.count());
            return;
        }
        if matches!(key.ends, FlowEnds::Steered { .. }) && self.worker.shared.overload.is_unread() {
            self.worker.count_dropped(DropCause::Overload, train.count());
            return;
        }
        let (source, place) = match self.admit(&key) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.worker.count_refusal(refusal),
        };
        let side = SubscriberSide::datagrams(source.ip(), self.worker.shared.byte_basis);
        let open = self.worker.open_introduced(source, place, side, introduction);
        let continues = self.continued(&open, &key, train);
        self.worker.received_datagrams(open.flow(), train.datagrams());
        let number = open.flow().id;
        self.worker.unanswered.begin(open.subscriber(), number, self, key);
        let entry = Entry { open, stage: Stage::Waiting, held: Held::default(), continues };
        self.table.borrow_mut().insert(key, number, entry);
        self.undecided.begin();
        if self.keeping.get() {
            self.keep(&key);
        }
        match key.ends {
            // Where it goes is known: what came together goes on together, however much it is.
            FlowEnds::Proxied { .. } | FlowEnds::Transparent { .. } => self.advance(&key),
            FlowEnds::Steered { .. } => {}
        }
        self.pass(&key, train, true);
        while let Some(relay) = self.undecided.surplus() {
            relay.evict();
        }
    }

    /// Whose a new flow is and where it goes, if it may begin.
    fn admit(&self, key: &Key) -> Result<(SocketAddr, Destination), Refusal> {
        let shared = &self.worker.shared;
        let (source, place) = match (key.ends, &self.mode) {
            (FlowEnds::Proxied { destination, .. } | FlowEnds::Transparent { destination }, _) => {
                shared.dial.target(destination).ok_or(Refusal::Destination)?;
                let source = if let FlowEnds::Proxied { source, .. } = key.ends { source } else { key.peer };
                (source, Destination::Original(destination))
            }
            (FlowEnds::Steered { .. }, Mode::Steered { service_port, access }) => {
                if !access.admits(key.peer.ip(), &shared.sessions) {
                    return Err(Refusal::Client);
                }
                (key.peer, Destination::Steered { service_port: *service_port })
            }
            // Keys are made by the relay's own mode.
            (FlowEnds::Steered { .. }, Mode::ProxyProtocol { .. } | Mode::Transparent { .. }) => {
                return Err(Refusal::Destination);
            }
        };
        if shared.is_own_datagram(source) {
            return Err(Refusal::Loop);
        }
        Ok((source, place))
    }
}
