//! Tells the engines of flows what decides about them: names, places, answers, and what changed for all of them.

use std::net::IpAddr;
use std::rc::Rc;

use super::Worker;
use crate::flow::decide::Vouched;
use crate::flow::engine::Observation;
use crate::flow::identify::Identity;
use crate::flow::session::SubscriberKey;
use crate::net::node::flow_record::Flow;

impl Worker {
    /// The subscriber sends nothing more: a name that is not complete will not be.
    pub fn subscriber_finished(self: &Rc<Self>, flow: &Rc<Flow>) {
        self.observe(flow, Observation::Finished);
    }

    /// Says whether the gateway dialled the name itself, and where, and lets the verdict latch.
    pub fn release(self: &Rc<Self>, flow: &Rc<Flow>, vouched: Vouched, dialled: Option<IpAddr>) {
        self.observe(flow, Observation::Placed { vouched, dialled });
    }

    /// The server has answered on this flow: its verdict may latch.
    pub fn answered(self: &Rc<Self>, flow: &Rc<Flow>, subscriber: &SubscriberKey) {
        if !flow.state.borrow().engine.is_unanswered() {
            return;
        }
        self.shared.answered(subscriber);
        self.settle_unanswered(flow, subscriber);
        self.observe(flow, Observation::Answered);
    }

    /// Gives a UDP flow the name of the one it continues.
    pub fn inherit(self: &Rc<Self>, flow: &Rc<Flow>, identity: Identity) {
        self.observe(flow, Observation::Continues(identity));
    }

    /// The flow's time for a name is over: it is judged by what is known. The watch for a second hello goes on.
    pub fn deadline(self: &Rc<Self>, flow: &Rc<Flow>) {
        self.observe(flow, Observation::Deadline);
    }

    /// Judges every open flow again when list, rating or dates changed (traps T32, B24).
    pub(super) fn follow_policy(self: &Rc<Self>) {
        let now = self.shared.clock.now().wall;
        let policy = self.shared.policy.load();
        let is_renewed = policy.generation != self.judged_by.get();
        let is_dated = self.next_change.get().is_some_and(|change| now >= change);
        if !is_renewed && !is_dated {
            return;
        }
        self.judged_by.set(policy.generation);
        self.next_change.set(policy.next_change_after(now));
        let flows: Vec<_> = self.flows.borrow().values().cloned().collect();
        for flow in flows {
            self.observe(&flow, if is_renewed { Observation::Renewed } else { Observation::Dated });
        }
    }

    /// Judges what is still open by what is known at the moment, for nobody will wait for more: the process ends.
    pub fn settle(self: &Rc<Self>) {
        let flows: Vec<_> = self.flows.borrow().values().cloned().collect();
        flows.iter().for_each(|flow| self.observe(flow, Observation::LastCall));
    }
}
