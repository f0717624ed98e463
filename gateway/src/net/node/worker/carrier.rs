//! Carries out what a flow's engine asks for, with the flow's sockets and the worker's counts and look-ups.

use std::net::IpAddr;
use std::rc::{Rc, Weak};

use allowlist::DomainName;
use billing_export::Account;

use super::Worker;
use crate::flow::engine::{Carrier, Counter, Decided, Effect, LookedUp, Observation, Reading};
use crate::flow::mark::Mark;
use crate::flow::sent::Queues;
use crate::flow::verdict::Outcome;
use crate::net::lookup::Asker;
use crate::net::node::event::Event;
use crate::net::node::flow_record::{Flow, State, SubscriberSide, counter_of};
use crate::net::node::meter::Remainder;
use crate::net::node::report::{FlowLabels, saturating_sum};
use crate::net::tcp::stream::TcpStream;

/// One flow's sockets, while its engine is at work.
struct SocketCarrier<'a> {
    worker: &'a Rc<Worker>,
    flow: &'a Rc<Flow>,
    subscriber: &'a mut Option<SubscriberSide>,
    remainder: &'a mut Option<Box<Remainder>>,
    origin: &'a Weak<TcpStream>,
    /// Whether a look-up was asked for and none was begun.
    was_refused: bool,
}

impl Worker {
    /// Tells the flow's engine what happened, and carries out what follows from it.
    pub(super) fn observe(self: &Rc<Self>, flow: &Rc<Flow>, observation: Observation<'_>) {
        self.tell(flow, &mut flow.state.borrow_mut(), observation);
    }

    /// The same with the flow's state in hand.
    pub(super) fn tell(self: &Rc<Self>, flow: &Rc<Flow>, state: &mut State, observation: Observation<'_>) {
        let State { engine, subscriber, remainder, origin } = state;
        let mut carrier =
            SocketCarrier { worker: self, flow, subscriber, remainder, origin, was_refused: false };
        engine.observe(observation, &*self.shared, &mut carrier);
        if carrier.was_refused {
            engine.observe(Observation::LookedUp(LookedUp::NotAsked), &*self.shared, &mut carrier);
        }
        if let Some(slot) = subscriber.as_mut().and_then(SubscriberSide::slot_mut) {
            slot.follow(engine);
        }
        if remainder.as_ref().is_some_and(|remainder| !remainder.is_waiting()) {
            *remainder = None;
        }
    }

    /// Notes that an exempt account reached a cap.
    fn note_capped(&self, account: &Account) {
        let mut counts = self.counts.borrow_mut();
        if counts.capped.len() < self.shared.accounts_max {
            counts.capped.insert(account.clone());
        }
    }

    /// Counts the first verdict of a flow, and a hello that may hide another name than the one it shows (decision 9).
    fn note_first(&self, decided: &Decided<'_>) {
        let (entry, protocol) = (&decided.account.entry, decided.claim.protocol());
        let labels = FlowLabels { protocol, class: entry.class(), reason: entry.reason() };
        let mut counts = self.counts.borrow_mut();
        let count = counts.flows.entry(labels).or_insert(0);
        *count = count.saturating_add(1);
        drop(counts);
        let Some(identity) = decided.claim.identity() else { return };
        let config_id = identity.ech.and_then(|ech| ech.config_id);
        if let (Some(name), Some(config_id), Some(destination)) =
            (&identity.name, config_id, decided.destination)
        {
            self.shared.lookups.answers().note_ech(name, destination.ip(), config_id);
        }
    }
}

impl Carrier for SocketCarrier<'_> {
    fn counter(&mut self) -> Option<&mut dyn Counter> {
        counter_of(self.subscriber, self.remainder)
    }

    fn queues(&self) -> Queues {
        self.worker.shared.egress.queues()
    }

    fn carry_out(&mut self, effect: Effect<'_>) {
        match effect {
            Effect::Ask { subscriber, transport, name, address } => {
                self.was_refused = !self.ask(Asker::new(subscriber, transport), name, address);
            }
            Effect::Read(reading) => self.note_reading(reading),
            Effect::Attribute { account, flags, volume } => {
                self.worker.usage.borrow_mut().add(account, flags, volume, self.worker.shared.accounts_max);
            }
            Effect::Remark { account, flags } => {
                let accounts_max = self.worker.shared.accounts_max;
                self.worker.usage.borrow_mut().remark(account, flags, accounts_max);
            }
            Effect::AtSharedAddress(bytes) => {
                self.worker.counts.borrow_mut().events.add(Event::SharedExemptBytes, bytes);
            }
            Effect::Spent(share) => self.worker.shared.policy.load().allowances.note_changed(share),
            Effect::Capped(account) => self.worker.note_capped(account),
            Effect::Mark { before, mark } => self.set_mark(before, mark),
            Effect::Decided(decided) => {
                if decided.is_first {
                    self.worker.note_first(&decided);
                }
                log_verdict(self.flow, &decided);
                if let Some(slot) = self.subscriber.as_mut().and_then(SubscriberSide::slot_mut) {
                    slot.set_claim(self.worker.claims.borrow_mut().word(&decided));
                }
                self.worker.mark_dirty(self.flow);
            }
            Effect::JudgedAgain => self.worker.count_event(Event::JudgedAgain),
            Effect::Charged(reason) => {
                tracing::debug!(flow = self.flow.id, reason = reason.label(), "charged");
            }
            Effect::LetGo => {
                self.worker.flows.borrow_mut().remove(self.flow);
            }
        }
    }
}

impl SocketCarrier<'_> {
    /// Asks our own resolver; whether the answer will come.
    fn ask(&self, asker: Asker, name: &DomainName, address: IpAddr) -> bool {
        let Some(answer) = self.worker.shared.lookups.verify(&asker, name, address) else { return false };
        let (worker, flow, name) = (Rc::clone(self.worker), Rc::clone(self.flow), name.clone());
        tokio::task::spawn_local(async move {
            let outcome = if answer.await {
                worker.shared.lookups.note_use(&name, &asker.subscriber);
                LookedUp::Found
            } else {
                LookedUp::NotFound
            };
            worker.observe(&flow, Observation::LookedUp(outcome));
        });
        true
    }

    /// Counts what was seen to pass.
    fn note_reading(&self, reading: &Reading) {
        let mut counts = self.worker.counts.borrow_mut();
        counts.seen = saturating_sum(counts.seen, reading.unseen);
        if reading.contradicts {
            counts.events.add(Event::MeterMismatch, 1);
        }
    }

    /// Has both sockets, or the packets in the kernel, carry another mark.
    fn set_mark(&mut self, before: Mark, mark: Mark) {
        if let Some(slot) = self.subscriber.as_mut().and_then(SubscriberSide::slot_mut) {
            slot.turn(mark);
            return;
        }
        let own = self.subscriber.as_ref().and_then(SubscriberSide::own_socket);
        if let Some(subscriber) = own {
            self.worker.change_marks(&subscriber, self.origin, before, mark);
        }
    }
}

/// The decision in the log, at DEBUG: it names what a subscriber visits.
fn log_verdict(flow: &Flow, decided: &Decided<'_>) {
    let name = decided.claim.identity().and_then(|identity| identity.name.as_ref());
    let name = name.map(DomainName::as_str);
    let rule = decided.verdict.rule.as_ref().map(tracing::field::display);
    match &decided.verdict.outcome {
        Outcome::Exempt { basis, service } => {
            tracing::debug!(flow = flow.id, name, basis = basis.label(), service = %service, rule, "exempt");
        }
        Outcome::Charged(reason) => {
            tracing::debug!(flow = flow.id, name, reason = reason.label(), rule, "charged");
        }
    }
}
