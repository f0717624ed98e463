//! Finding out where a waiting flow goes: to the destination that it names, or to the addresses of its name.

use std::net::SocketAddr;
use std::rc::Rc;

use allowlist::DomainName;

use crate::flow::decide::Vouched;
use crate::net::lookup::{LookupError, Whereabouts};
use crate::net::node::flow_record::Flow;
use crate::net::node::report::Refusal;
use crate::net::node::settings::Mode;
use crate::net::udp::table::{FlowEnds, Key};
use crate::net::udp::{Continuation, Relay, Stage};
use crate::net::upstream::dial::ADDRESSES_MAX;

/// Addresses of one name that are tried; the rest would only lengthen a failure.
const ADDRESSES_TRIED_MAX: usize = 4;

impl Relay {
    /// Takes a waiting flow as far as is possible.
    pub(in crate::net::udp) fn advance(self: &Rc<Self>, key: &Key) {
        let (identified, continues, flow) = {
            let mut table = self.table.borrow_mut();
            let Some(entry) = table.get_mut(key) else { return };
            match &entry.stage {
                Stage::Waiting => {}
                Stage::Reaching | Stage::Carried(_) | Stage::Refused => return,
            }
            (entry.is_identified(), entry.continues.clone(), Rc::clone(entry.flow()))
        };
        match (&self.mode, key.ends) {
            (_, FlowEnds::Proxied { destination, .. } | FlowEnds::Transparent { destination }) => {
                match self.worker.shared.dial.target(destination) {
                    // Judged by where it was going, whoever vouches for that.
                    Some(target) => self.carry(key, &[target], identified, |_| Vouched::No),
                    None => self.refuse(key, Refusal::Destination),
                }
            }
            (Mode::Steered { .. }, FlowEnds::Steered { .. }) if identified => {
                self.reach(key, &flow, continues);
            }
            (_, FlowEnds::Steered { .. }) => {}
        }
    }

    /// Finds out where a steered flow goes.
    fn reach(self: &Rc<Self>, key: &Key, flow: &Rc<Flow>, continues: Option<Continuation>) {
        let name = flow.name();
        let is_routed = |name: &DomainName| self.worker.shared.policy.load().routes(name);
        let name = match (name, continues) {
            (Some(name), None) if is_routed(&name) => name,
            // Without a name it goes where the subscriber's connection goes, and is charged.
            (name, Some(Continuation { target, vouched, .. })) if name.as_ref().is_none_or(is_routed) => {
                self.carry(key, &[target], true, |_| vouched);
                return;
            }
            (Some(_) | None, _) => return self.refuse(key, Refusal::NotRouted),
        };
        if let Some(entry) = self.table.borrow_mut().get_mut(key) {
            entry.stage = Stage::Reaching;
        }
        let (relay, key, flow) = (Rc::clone(self), *key, Rc::clone(flow));
        tokio::task::spawn_local(async move {
            let answer = relay.worker.shared.lookups.resolve(&name, || flow.asker()).await;
            relay.reached(&key, &flow, &name, answer);
        });
    }

    /// The look-up of a steered flow's name has ended.
    fn reached(
        self: &Rc<Self>,
        key: &Key,
        flow: &Rc<Flow>,
        name: &DomainName,
        answer: Result<Whereabouts, LookupError>,
    ) {
        {
            let mut table = self.table.borrow_mut();
            // It may have been given up for a newer one, and another flow may stand there.
            let Some(entry) = table.get_mut(key).filter(|entry| Rc::ptr_eq(entry.flow(), flow)) else {
                return;
            };
            match &entry.stage {
                Stage::Reaching => entry.stage = Stage::Waiting,
                Stage::Waiting | Stage::Carried(_) | Stage::Refused => return,
            }
        }
        let port = flow.service_port();
        let places = match answer {
            Ok(places) => places,
            Err(error) => {
                tracing::debug!(flow = flow.id, name = %name, %error, "listed name not resolved");
                return self.refuse(key, Refusal::Destination);
            }
        };
        let mut targets: Vec<SocketAddr> = places
            .addresses()
            .iter()
            .filter_map(|address| self.worker.shared.dial.target(SocketAddr::new(*address, port)))
            .take(ADDRESSES_MAX)
            .collect();
        // A datagram says nothing of whether it arrived: what TCP found of these addresses serves.
        self.worker.failures.borrow_mut().sort(&mut targets, self.worker.shared.clock.monotonic());
        targets.truncate(ADDRESSES_TRIED_MAX);
        if targets.is_empty() {
            self.refuse(key, Refusal::Destination);
        } else {
            self.carry(key, &targets, true, |address| places.vouched(address));
        }
    }
}
